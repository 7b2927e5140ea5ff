"""`stepsmith/SteadyState-v0`: what an episode pays, its ends, checkers, seeds, states, refusals."""

from __future__ import annotations

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import stepsmith as ss
from steady_cores import begun, slope
from stepsmith.envs import steady_state
from stepsmith.envs.steady_state import kernel, make_core, places
from stepsmith.envs.steady_state.core import EPISODE, FEATURES, ROW

ID = "stepsmith/SteadyState-v0"


# -- episodes ----------------------------------------------------------------------------------------------------------


def careful(core):
    """h times the stiffest eigenvalue's modulus is 1."""
    stiff = np.abs(core.fields.spectrum).max(1)[core.rows("instance").astype(int)]
    return np.clip(np.log(1.0 / stiff / core.rows("h")) / kernel.LOG_FACTOR_MOST, -1.0, 1.0)[:, None]


def test_an_episode_ends_at_the_steady_state_and_pays_its_evaluations():
    core, paid = begun(1, seed=2), 0.0
    base = core.rows("base")[0]
    while not core.step(careful(core)):
        paid += float(core.reward[0])
    paid += float(core.reward[0])
    stats = core.episode(0)
    assert core.terminated[0] and not core.truncated[0] and stats["status"] == 1.0 and stats["failed"] == 0.0
    assert stats["nfev"] == 1 + 6 * stats["length"] and stats["baseline"] == base
    assert stats["return"] == pytest.approx(-stats["nfev"] / base, rel=1e-12)
    assert paid == pytest.approx(stats["return"], rel=1e-5)
    i = int(core.rows("instance")[0])
    assert stats["instance"] == i  # of the split "train", whose first number is 0
    z = core.states[0]
    residual = np.abs(slope(i, z, core.fields)).max()
    assert residual == pytest.approx(stats["slope"], rel=1e-9) and residual <= 1e-3 * (1.0 + np.abs(z).max())
    assert stats["error"] == pytest.approx(residual / (1e-3 * (1.0 + np.abs(z).max())), rel=1e-9)
    slowest = -core.fields.spectrum[i].real.max()
    assert np.abs(z - core.fields.fixed[i]).max() < 20.0 * residual / slowest
    assert core.waiting(0)


def test_a_tighter_tolerance_ends_nearer():
    found = []
    for tol in (1e-2, 1e-6, 1e-10):
        core = begun(1, seed=2, tol=tol)
        while not core.step(careful(core)):
            pass
        found.append((core.episode(0)["slope"], core.episode(0)["nfev"], core.episode(0)["baseline"]))
    assert found[0][0] > 1e3 * found[1][0] > 1e6 * found[2][0]
    assert found[0][1] < found[1][1] < found[2][1] and found[0][2] < found[1][2] < found[2][2]


def test_an_episode_is_truncated_after_so_many_attempts():
    core = begun(2, max_attempts=3)
    for n in range(3):
        assert core.step(np.zeros((2, 1))) == (2 if n == 2 else 0)
    assert core.truncated.all() and not core.terminated.any()
    stats = core.episode(0)
    assert (stats["status"], stats["failed"], stats["length"], stats["nfev"]) == (0.0, 0.0, 3.0, 19.0)
    assert stats["error"] > 1.0
    assert core.step(np.ones((2, 1))) == 0 and (core.reward == 0.0).all() and not core.truncated.any()
    assert (core.rows("attempts") == 0.0).all() and (core.episodes == 2).all()


def test_too_long_a_step_is_rejected_paid_and_cut():
    core = begun(1, first_step=1e3)
    z, base, slope_before = core.states[0].copy(), core.rows("base")[0], core.rows("slope")[0]
    core.step(np.zeros((1, 1)))
    assert core.rows("rejects")[0] == 1.0 and np.array_equal(core.states[0], z)
    assert core.rows("h")[0] == 250.0 and core.rows("slope")[0] == slope_before
    assert core.reward[0] == pytest.approx(-7.0 / base) and core.obs[0, FEATURES.index("rejected")] == 1.0
    core.step(np.full((1, 1), -1.0))  # a factor of what it was cut to
    assert core.rows("last")[0] == pytest.approx(62.5) and core.reward[0] == pytest.approx(-6.0 / base)
    assert np.isfinite(core.obs).all()


def test_a_step_that_is_not_finite_is_rejected():
    core = begun(1)
    core.states[0, 0] = 1e305
    core._blocks[0, places.R_K : places.R_K + 8] = 1e308
    core._blocks[0, ROW["slope"]] = 1e308
    core.step(np.ones((1, 1)))
    assert core.rows("rejects")[0] == 1.0 and core.states[0, 0] == 1e305 and np.isfinite(core.obs).all()
    assert core.rows("h")[0] == 1.0 and not core.terminated[0]


def test_a_solve_that_diverges_ends_and_pays():
    core = begun(1, fail=3.0)
    core.rows("bound")[:] = 1e-3  # any state is beyond it
    core.step(np.array([[-1.0]]))
    stats = core.episode(0)
    assert core.terminated[0] and stats["status"] == -5.0 and stats["failed"] == 1.0
    assert stats["return"] == pytest.approx(-7.0 / stats["baseline"] - 1.0 - 3.0)


def test_a_state_grows_beyond_the_bound_where_steps_are_too_long():
    """Far from the range of tanh dz/dt = -z + constant: every unstable step makes the state larger, until it counts as
    diverged."""
    core = begun(1, first_step=4.3)
    z = np.full(8, 1e5)
    core.states[0] = z
    core._blocks[0, places.R_K : places.R_K + 8] = slope(int(core.rows("instance")[0]), z, core.fields)
    core.rows("slope")[:] = 1e5
    sizes = [1e5]
    while not core.step(np.zeros((1, 1))):
        sizes.append(np.abs(core.states[0]).max())
    # R(-4.3) of Tsit5's stability function, whose last coefficient is not that of the exponential
    assert len(sizes) > 5 and sizes[-1] / sizes[-2] == pytest.approx(3.742, rel=1e-3)
    assert core.terminated[0] and core.episode(0)["status"] == -5.0


def test_an_action_that_is_no_number_is_answered_and_counted():
    core = begun(5)
    core.step(np.array([[np.nan], [3.0], [-np.inf], [1.0 + 5e-7], [-1.0 - 5e-7]]))
    assert core.rows("fallbacks").tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert core.rows("last") == pytest.approx([1.0, 1.0, 1.0, 4.0, 0.25])


# -- faces, seeds, states ----------------------------------------------------------------------------------------------


def test_checkers_accept_it():
    from stable_baselines3.common.env_checker import check_env as check_sb3

    env = gym.make(ID, pool_size=8)
    check_env(env.unwrapped, skip_render_check=True)
    check_sb3(env.unwrapped)
    assert env.observation_space.shape == (len(FEATURES),) and env.action_space.shape == (1,)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_vector_environment_is_its_single_ones(mode):
    given = {"pool_size": 8, "max_attempts": 25, "tol": 1e-2}
    native = steady_state.SteadyStateVectorEnv(num_envs=3, autoreset_mode=mode, **given)
    single = SyncVectorEnv([lambda: steady_state.SteadyStateEnv(**given)] * 3, autoreset_mode=mode)
    rng, ends = np.random.default_rng(0), 0
    assert np.array_equal(native.reset(seed=4)[0], single.reset(seed=4)[0])
    for _ in range(70):
        actions = rng.uniform(-1, 0.6, (3, 1)).astype(np.float32)
        ours, theirs = native.step(actions), single.step(actions)
        for a, b in zip(ours[:4], theirs[:4], strict=True):
            assert np.array_equal(a, b)
        info, other = ours[4], theirs[4]
        if mode == AutoresetMode.SAME_STEP and "final_info" in info:
            info, other = info["final_info"], other["final_info"]
        if "stepsmith" in info:
            for name in EPISODE:
                assert np.array_equal(info["stepsmith"][name], other["stepsmith"][name])
            ends += int(info["_stepsmith"].sum())
    assert ends > 5


def test_the_sb3_adapter_is_its_single_environments():
    from stable_baselines3.common.vec_env import DummyVecEnv

    given = {"pool_size": 8, "max_attempts": 25, "tol": 1e-2}
    ours = ss.envs.make_sb3(ID, num_envs=3, seed=6, **given)
    theirs = DummyVecEnv([lambda: steady_state.SteadyStateEnv(**given)] * 3)
    theirs.seed(6)
    rng, ends = np.random.default_rng(0), 0
    assert np.array_equal(ours.reset(), theirs.reset())
    for _ in range(70):
        actions = rng.uniform(-1, 0.6, (3, 1)).astype(np.float32)
        a, b = ours.step(actions), theirs.step(actions)
        for mine, other in zip(a[:3], b[:3], strict=True):
            assert np.array_equal(mine, other)
        for lane in np.flatnonzero(a[2]):
            mine, other = a[3][lane], b[3][lane]
            assert np.array_equal(mine["terminal_observation"], other["terminal_observation"])
            assert mine["TimeLimit.truncated"] == other["TimeLimit.truncated"]
            assert {name: mine["episode"][name] for name in EPISODE} == other["stepsmith"]
            ends += 1
    assert ends > 5
    with pytest.raises((AttributeError, ValueError)):
        ours.set_attr("lagrange", 1.0)
    with pytest.raises(AttributeError):
        ours.get_attr("lagrange")


@pytest.mark.parametrize("same_step", [False, True])
def test_seeds_and_saved_states_give_the_same_numbers(same_step):
    rng = np.random.default_rng(1)
    actions = rng.uniform(-1, 0.5, (60, 4, 1))

    def play(core, rows):
        found = []
        for row in rows:
            core.step(row)
            found.append(np.concatenate([core.obs.ravel(), core.reward, core.terminated, core.truncated]))
        return np.array(found)

    core, again = begun(4, same_step, max_attempts=20), begun(4, same_step, max_attempts=20)
    assert np.array_equal(play(core, actions[:30]), play(again, actions[:30]))
    state = core.get_state()
    fresh = make_core(4, same_step, pool_size=16, max_attempts=20)
    fresh.set_state(state)
    twins = [copy.deepcopy(core), pickle.loads(pickle.dumps(core)), fresh]
    after = play(core, actions[30:])
    for twin in twins:
        assert np.array_equal(play(twin, actions[30:]), after)
    core.set_state(state)
    assert np.array_equal(play(core, actions[30:]), after)
    for changed in ({"tol": 1e-4}, {"fail": 2.0}, {"split": "test"}, {"first_step": 0.5}):
        other = make_core(4, same_step, **{"pool_size": 16, "max_attempts": 20, **changed})
        with pytest.raises(ValueError, match="another environment.*" + next(iter(changed))):
            other.set_state(state)
    part = begun(2, same_step, seed=9, max_attempts=20)
    part.set_state(core.get_state([3]), [0])
    assert np.array_equal(part.obs[0], core.obs[3]) and not np.array_equal(part.obs[1], core.obs[3])
    state["rows"][0, 0] += 1.0
    with pytest.raises(ValueError, match="checksum"):
        core.set_state(state)


def test_lanes_draw_their_own_starts_and_other_seeds_others():
    core = begun(64)
    assert len(np.unique(core.states[:, 0])) == 64
    first = core.states.copy()
    core.reset()
    assert not (core.states == first).any()
    part = core.states.copy()
    core.reset(np.arange(64) < 3)
    assert np.array_equal(core.states[3:], part[3:]) and not (core.states[:3] == part[:3]).any()


def test_infos_are_told_and_the_environment_restarts():
    env = gym.make(ID, pool_size=4, max_attempts=2)
    env.reset(seed=1)
    env.step(np.zeros(1, np.float32))
    *_, truncated, info = env.step(np.zeros(1, np.float32))
    assert truncated and set(info["stepsmith"]) == set(EPISODE) and info["stepsmith"]["status"] == 0.0
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(1, np.float32))
    assert env.reset()[0].shape == (len(FEATURES),)


def test_sb3_trains_on_it():
    from stable_baselines3 import PPO

    venv = ss.envs.make_sb3(ID, num_envs=8, seed=0, pool_size=8, max_attempts=30)
    PPO("MlpPolicy", venv, n_steps=32, batch_size=64, n_epochs=1, seed=0, device="cpu").learn(512)
    assert len(venv.core.stats) == 8 and venv.core.episodes.min() > 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"split": "tests"}, "did you mean 'test'"),
        ({"tol": 0.1}, "tol must be"),
        ({"tol": 0.0}, "tol must be"),
        ({"first_step": 0.0}, "first_step must be"),
        ({"fail": -1.0}, "fail must be"),
        ({"fail": float("nan")}, "fail must be"),
        ({"max_attempts": 0}, "max_attempts must be"),
        ({"pool_size": 0}, "pool_size must be"),
        ({"pool_size": 1000}, "pool_size must be"),
        ({"splitt": "train"}, "did you mean 'split'"),
    ],
)
def test_what_does_not_fit(given, words):
    with pytest.raises(ValueError, match=words):
        gym.make(ID, **given)


def test_actions_of_other_shapes():
    core = make_core(2, False, pool_size=2)
    with pytest.raises(RuntimeError, match="reset"):
        core.step(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="first reset"):
        core.reset(np.array([True, False]))
    core.reset()
    with pytest.raises(ValueError, match="actions must have shape"):
        core.step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="real numbers"):
        core.step(np.full((2, 1), "a"))
