"""ThreeBodyPaper-v0: the paper's set-up, what was mended in it, and the conventions that every environment keeps."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from scipy.integrate import solve_ivp

import stepsmith  # noqa: F401 (registers the id)
from stepsmith.envs.three_body_paper import MUS, ThreeBodyPaperEnv, ThreeBodyPaperVectorEnv, make_core
from stepsmith.integrators.problems.nbody.three_body_paper import FAMILY, instances

ID = "stepsmith/ThreeBodyPaper-v0"
PC = 4 * np.pi**2


def play(action: int, steps: int, **kwargs) -> dict[str, np.ndarray]:
    """Statistics of one episode of each of the paper's seeds 0..99 under a constant mu."""
    c = make_core(100, True, steps=steps, seeds=range(100), in_turn=True, **kwargs)
    c.reset()
    first: dict[int, dict] = {}
    for _ in range(steps):
        c.step(np.full(100, action))
        for i in np.flatnonzero(c.terminated | c.truncated):
            first.setdefault(int(i), c.episode(i))
    assert sorted(e["instance"] for e in first.values()) == list(range(100))
    return {k: np.array([e[k] for e in first.values()]) for k in c.columns}


@pytest.mark.parametrize(
    "action, error, q90, steps", [(0, 1.0e-3, 3e-2, 514), (2, 5.4e-7, 1.5e-5, 2389), (3, 1.2e-8, 3.2e-7, 5148)]
)
def test_fixed_mu_gives_the_known_errors_and_step_counts(action, error, q90, steps):
    # an independent implementation of the paper's set-up, seeds 0..99, 300 decisions, every run to its end
    run = play(action, 300, energy_limit=np.inf)
    assert np.median(run["nsteps"]) == pytest.approx(steps, rel=0.01)
    assert error / 1.3 < np.median(run["error"]) < error * 1.3
    assert q90 / 1.3 < np.quantile(run["error"], 0.9) < q90 * 1.3
    # two evaluations a decision beside one a step
    assert np.array_equal(run["nfev"], run["nsteps"] + 2 * run["length"])
    assert np.all(run["time"] >= 30.0 - 1e-9)


def test_the_best_constant_mu_under_the_papers_reward():
    # the same source: 168 at mu = 1e-2 for 100 decisions, beside 135 at 2.2e-2 and 167 at 4.6e-3; energies rounded
    # otherwise
    means = [play(a, 100, counter="hidden")["return"].mean() for a in (2, 3, 4)]
    assert np.allclose(means, [135, 168, 167], rtol=0.05)


def rhs(t, y):
    x, v = y[:6].reshape(3, 2), y[6:]
    a = np.zeros((3, 2))
    for i in range(3):
        for j in range(3):
            if i != j:
                d = x[j] - x[i]
                a[i] += PC * d / np.sum(d * d) ** 1.5
    return np.concatenate([v, a.ravel()])


def test_states_are_those_of_scipy():
    c = make_core(4, True, seeds=range(4), in_turn=True)
    c.reset()
    for _ in range(20):
        c.step(np.full(4, 6))  # mu = 1e-3
    for i in range(4):
        t, y = c.rows("T")[0, i], c.rows("Y", 12)[:, i]
        assert 2.0 <= t < 2.02
        ref = solve_ivp(rhs, (0, t), instances([i]).y0[0], method="DOP853", rtol=1e-12, atol=1e-12).y[:, -1]
        assert np.allclose(y, ref, rtol=1e-7, atol=1e-8)
    # units: 10 au, and sqrt(G M/R) for 3 solar masses at 1 au, which is sqrt(3) times the earth's speed, 2 pi au/yr
    assert np.allclose(c.obs[:, :6], c.rows("Y", 6).T / 10, rtol=1e-6)
    assert np.allclose(c.obs[:, 6:12], c.rows("Y", 12).T[:, 6:] / (2 * np.pi * np.sqrt(3)), rtol=1e-6)


def energies(y: np.ndarray) -> float:
    x, v = y[:6].reshape(3, 2), y[6:].reshape(3, 2)
    e = 0.5 * np.sum(v * v)
    for i in range(3):
        for j in range(i):
            e -= PC / np.linalg.norm(x[i] - x[j])
    return e


@pytest.mark.parametrize("counter", ["observed", "out", "hidden"])
def test_rewards_are_the_papers_formula(counter):
    w0, w2, steps = 1500.0, 3.0, 12
    c = make_core(3, False, steps=steps, weights=(w0, 0, w2), counter=counter, seeds=[11, 5, 7], in_turn=True)
    obs = c.reset()
    assert obs.shape == (3, 14 if counter == "observed" else 13)
    assert np.all(obs[:, 12] == 16.0)  # no error yet
    e0 = [energies(y) for y in c.rows("Y", 12).T]
    rng = np.random.default_rng(0)
    total = np.zeros(3)
    for n in range(1, steps + 1):
        act = rng.integers(0, 7, 3)
        ended = c.step(act)
        for i in range(3):
            de = abs((energies(c.rows("Y", 12)[:, i]) - e0[i]) / e0[i])
            le = np.log10(np.clip(de, 1e-16, 0.1))
            # rounding decides the last digits of a small error
            assert c.obs[i, 12] == pytest.approx(-le, abs=2e-6 + 5e-16 / de)
            le = -float(c.obs[i, 12])
            count = {"observed": n, "hidden": n, "out": steps / sum(1 / k for k in range(1, steps + 1))}[counter]
            want = -w0 * (le + 10) / (abs(le) ** 3 * count) + w2 / abs(np.log10(MUS[act[i]]))
            assert c.reward[i] == pytest.approx(want, rel=1e-5, abs=1e-5)
            if counter == "observed":
                assert c.obs[i, 13] == np.float32(n / steps)
        total += c.reward
    assert ended == 3 and c.truncated.all() and not c.terminated.any()
    assert np.allclose([c.episode(i)["return"] for i in range(3)], total, rtol=1e-5)


def test_the_energy_limit_terminates_and_the_time_limit_truncates():
    run = play(0, 300)
    early = run["length"] < 300
    assert 3 <= early.sum() <= 12
    assert np.all(run["error"][early] > 0.1) and np.all(run["error"][~early] <= 0.1)
    assert np.all(np.isfinite(run["return"])) and np.all(run["return"] > -1e5)  # no pole at |dE| = 1
    c = make_core(100, True, steps=300, seeds=range(100), in_turn=True)
    c.reset()
    ends = np.zeros(2, int)
    for _ in range(300):
        c.step(np.full(100, 0))
        ends += [c.terminated.sum(), (c.truncated & (c.terminated == 0)).sum()]
        assert not np.any(c.terminated & c.truncated)
        over = c.terminated
        assert np.all(c.final_obs[over, 12] == 1.0)  # the greatest error told apart
    assert ends[0] >= early.sum() and ends[1] == 100 - early.sum()


def test_every_episode_is_a_new_initial_condition_from_the_lanes_own_generator():
    env = ThreeBodyPaperEnv(steps=1)
    seen = {env.reset(seed=3 if k == 0 else None)[0].tobytes() for k in range(40)}
    assert len(seen) >= 38
    state = np.random.get_state()[1].copy()  # noqa: NPY002 (the global generator is left alone)
    a, b = env.reset(seed=3)[0], env.reset(seed=3)[0]
    assert np.array_equal(a, b) and np.array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    few, many = make_core(2, True, steps=4), make_core(70, True, steps=4)
    keys = np.arange(70, dtype=np.uint64)
    few.seed(keys[[66, 1]]), many.seed(keys)
    few.reset(), many.reset()
    rng = np.random.default_rng(0)
    for _ in range(12):
        act = rng.integers(0, 6, 70)
        few.step(act[[66, 1]]), many.step(act)
        for name in ("obs", "reward", "truncated", "stats", "final_obs"):
            assert np.array_equal(getattr(few, name), getattr(many, name)[[66, 1]])
    # the training pool never holds the paper's own evaluation seeds
    assert not set(map(bytes, FAMILY.split("train", 50, 0).y0)) & set(map(bytes, instances(range(100)).y0))


def test_a_close_pair_that_cannot_be_resolved_fails_alone():
    batch = instances([0, 1])
    batch.y0[1, 2:4] = batch.y0[1, 0:2] + 1e-14  # bodies on top of each other: the step underflows
    from stepsmith.envs.three_body_paper import PaperCore

    c = PaperCore(4, True, 5, (3000, 0, 4), "observed", "hermite4_pec", batch, True, 0.1)
    c.reset()
    c.step(np.full(4, 3))
    good = make_core(1, True, steps=5, seeds=[0], in_turn=True)
    good.reset(), good.step(np.array([3]))
    assert c.terminated.tolist() == [False, True, False, True]
    assert c.episode(1)["error"] == np.inf and c.episode(1)["status"] < 0
    assert np.array_equal(c.obs[0], good.obs[0]) and np.all(np.isfinite(c.reward)) and np.all(np.isfinite(c.obs))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_native_is_sync_vector_environment_bit_for_bit(mode):
    n, kwargs = 3, {"steps": 6}
    sync = SyncVectorEnv([lambda: ThreeBodyPaperEnv(**kwargs)] * n, autoreset_mode=mode)
    native = ThreeBodyPaperVectorEnv(n, autoreset_mode=mode, **kwargs)
    assert native.action_space == sync.action_space and native.observation_space == sync.observation_space
    assert np.array_equal(native.reset(seed=4)[0], sync.reset(seed=4)[0])
    rng = np.random.default_rng(1)
    for k in range(30):
        act = rng.integers(0, 6, n)
        x, y = native.step(act), sync.step(act)
        for u, v in zip(x[:4], y[:4], strict=True):
            assert u.dtype == v.dtype and np.array_equal(u, v)
        assert set(x[4]) == set(y[4])
        if "final_obs" in x[4]:
            assert all(np.array_equal(a, b) for a, b in zip(x[4]["final_obs"], y[4]["final_obs"], strict=True))
        if k == 10:
            mask = np.array([True, False, True])
            options = [{"reset_mask": mask.copy()} for _ in range(2)]
            assert np.array_equal(native.reset(options=options[0])[0], sync.reset(options=options[1])[0])


@pytest.mark.filterwarnings("ignore:.*Box observation space")  # positions have no bounds
def test_checkers_pass_and_make_vec_takes_the_native_one():
    env = gym.make(ID, render_mode="rgb_array", disable_env_checker=True, steps=20)
    check_env(env.unwrapped)
    env.reset(seed=0)
    for _ in range(20):
        out = env.step(2)
    assert out[3] and env.render().shape == (480, 960, 3)
    assert isinstance(gym.make_vec(ID, num_envs=2).unwrapped, ThreeBodyPaperVectorEnv)


def test_sb3_runs_on_it():
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_checker import check_env as check_sb3
    from stable_baselines3.common.vec_env import DummyVecEnv

    from stepsmith.envs import make_sb3

    check_sb3(ThreeBodyPaperEnv(steps=10), warn=False)
    ours, theirs = make_sb3(ID, 3, seed=2, steps=5), DummyVecEnv([lambda: ThreeBodyPaperEnv(steps=5)] * 3)
    theirs.seed(2)
    assert np.array_equal(ours.reset(), theirs.reset())
    for k in range(12):
        a, b = ours.step(np.array([k % 5, 2, 3])), theirs.step(np.array([k % 5, 2, 3]))
        assert all(np.array_equal(u, v) for u, v in zip(a[:3], b[:3], strict=True))
        for x, y in zip(a[3], b[3], strict=True):
            assert x.get("TimeLimit.truncated", False) == y.get("TimeLimit.truncated", False)
    model = DQN(
        "MlpPolicy",
        make_sb3(ID, 4, seed=1, steps=5),
        learning_starts=40,
        buffer_size=400,
        batch_size=16,
        device="cpu",
        seed=1,
    )
    model.learn(200)
    assert model.num_timesteps >= 200 and model.replay_buffer.timeouts[: model.replay_buffer.pos].sum() > 0
    with pytest.raises(ValueError, match="attribute that can be set"):
        ours.set_attr("lagrange", 1.0)


def test_bad_arguments_are_named():
    for kwargs, match in (
        ({"steps": 0}, "steps"), ({"counter": "hiden"}, "did you mean 'hidden'"),
        ({"method": "tsit5"}, "unknown method"),
        ({"weights": (1, 2, 3)}, "weights"), ({"weights": (1, 0)}, "weights"), ({"weights": (np.nan, 0, 1)}, "weights"),
        ({"seeds": []}, "seeds"), ({"pool_size": 0}, "pool_size"), ({"energy_limit": 0.0}, "energy_limit"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            make_core(1, True, **kwargs)
    with pytest.raises(ValueError, match="num_envs"):
        make_core(0, True)
    c = make_core(2, True)
    with pytest.raises(RuntimeError, match="reset"):
        c.step(np.zeros(2, int))
    c.reset()
    for bad in (np.array([0, 10]), np.array([-1, 0]), np.zeros(3, int), np.zeros(2)):
        with pytest.raises(ValueError, match="actions must be"):
            c.step(bad)
