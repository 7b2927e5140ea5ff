"""`stepsmith/SDE-v0`: episodes are paths of `solve_sde`, what they pay, checkers, seeds, states, training, refusals."""

from __future__ import annotations

import copy
import pickle
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import stepsmith as ss
from stepsmith.controllers.learned.observation import TIER1
from stepsmith.envs import sde
from stepsmith.envs.sde import make_core
from stepsmith.envs.sde.pool import make_pool
from stepsmith.integrators.engine.sde import run_paths
from stepsmith.integrators.kernels.sde.build import OPTIONS
from stepsmith.integrators.methods import sde as methods

ID = "stepsmith/SDE-v0"
#: the kernel of the baseline is that of `test_solve_sde`
GIVEN = {"family": "gbm", "method": "milstein_ito", "pool_size": 8, "paths": 4}


def begun(lanes, seed=1, same_step=False, **more):
    core = make_core(lanes, same_step, **(GIVEN | more))
    core.seed(np.arange(seed, seed + lanes, dtype=np.uint64))
    core.reset()
    return core


def played(core, action=0.0):
    """Play every lane's episode: its statistics, the sum of its rewards, and the path and tolerance that it had."""
    lanes, done = core.lanes, np.zeros(core.lanes, bool)
    found, paid = [{} for _ in range(lanes)], np.zeros(lanes)
    entry, rtol = core.rows("ENTRY")[:, 0].astype(int).copy(), core.rows("RTOL")[:, 0].copy()
    while not done.all():
        ended = core.step(np.full((lanes, core.n_act), action, np.float32))
        paid += np.where(done, 0.0, core.reward)
        for lane in core.ended[:ended]:
            if not done[lane]:
                found[lane], done[lane] = core.episode(lane), True
    return found, paid, entry, rtol


def test_with_zero_actions_an_episode_is_the_law_s_path() -> None:
    core = begun(12)
    found, _, entry, rtol = played(core)
    pool, law = core.pool, ss.controller("i").general()
    for k in range(core.lanes):
        given = {"t0": 0.0, "t1": 1.0, "rtol": rtol[k], "first": np.nan, "fixed": np.nan, "max_steps": 1e5, "tree": 1.0}
        opts = np.array([given.get(name, 0.0) for name in OPTIONS])
        rows = slice(entry[k], entry[k] + 1)
        sol = run_paths(
            ss.sdes.make("gbm"), methods.get("milstein_ito"), law, opts, np.full(1, rtol[k]), pool.path_keys[rows],
            np.ones(1), 1, 1.0, pool.y0[rows], pool.p[rows],
        )  # fmt: skip
        episode, stats = found[k], sol.stats
        assert episode["nfev"] == stats.nfev[0] + stats.ngev[0]
        assert (episode["naccept"], episode["nreject"]) == (stats.naccept[0], stats.nreject[0])
        exact = np.exp((pool.p[rows, 0] - pool.p[rows, 1] ** 2 / 2) + pool.p[rows, 1] * sol.W[0, 0, 0])
        error = abs(sol.y[0, 0, 0] - exact[0]) / pool.size[entry[k] // 4, 0]
        assert episode["error"] == pytest.approx(error, rel=1e-9)
        assert episode["instance"] == entry[k] // 4 and episode["rtol"] == rtol[k]


def test_the_error_estimate_is_the_one_that_was_asked_for() -> None:
    core = begun(3, family="additive_decay", method="sra1", estimate="difference")
    found, _, entry, rtol = played(core)
    pool, law = core.pool, ss.controller("i").general()
    for k in range(core.lanes):
        given = {"t0": 0.0, "t1": pool.family.t_span[1], "rtol": rtol[k], "first": np.nan, "fixed": np.nan,
                 "max_steps": 1e5, "tree": 1.0}  # fmt: skip
        opts, rows = np.array([given.get(name, 0.0) for name in OPTIONS]), slice(entry[k], entry[k] + 1)
        work = {}
        for estimate in methods.ESTIMATES:
            sol = run_paths(
                ss.sdes.make("additive_decay"), methods.get("sra1", estimate), law, opts,
                np.full(pool.family.n, rtol[k]), pool.path_keys[rows], np.array([given["t1"]]), 1, 1.0,
                pool.y0[rows], pool.p[rows],
            )  # fmt: skip
            work[estimate] = sol.stats.nfev[0] + sol.stats.ngev[0]
        assert found[k]["nfev"] == work["difference"] != work["published"]


def test_rewards_are_what_they_say() -> None:
    for reward in ("matched", "matched_end"):
        found, paid, *_ = played(begun(6, reward=reward))
        for episode, r in zip(found, paid, strict=True):
            assert episode["return"] == pytest.approx(episode["log_ratio"], abs=1e-12)
            assert r == pytest.approx(episode["return"], abs=1e-4)
    core = begun(6, reward="constraint", lagrange=0.5)
    found, paid, entry, rtol = played(core)
    pool = core.pool
    for episode, r, b, tol in zip(found, paid, entry, rtol, strict=True):
        at = [np.interp(np.log(tol), pool.log_rtol, pool.at_tol[k, b // 4]) for k in (0, 1)]
        price = 0.5 * max(0.0, np.log10(episode["error"]) - at[1] / np.log(10))
        assert episode["return"] == pytest.approx(-episode["nfev"] / np.exp(at[0]) - price, rel=1e-9)
        assert r == pytest.approx(episode["return"], rel=1e-4)


def test_looser_actions_do_less_work_at_larger_errors() -> None:
    loose, tight = (played(begun(40), action)[0] for action in (0.6, -0.6))
    work = [np.mean([e["nfev"] for e in episodes]) for episodes in (loose, tight)]
    error = [np.exp(np.mean([np.log(e["error"]) for e in episodes])) for episodes in (loose, tight)]
    assert work[0] < 0.7 * work[1] and error[0] > 1.3 * error[1]


def test_references_of_equal_steps_agree_with_the_exact_solution() -> None:
    from dataclasses import replace

    family = ss.sdes.family("gbm")
    make = partial(make_pool, method=methods.get("milstein_ito"), baseline=ss.controller("pi34"), size=2, paths=4,
                   split="train", seed=0, rtol=(0.3, 0.1), points=2)  # fmt: skip
    exact, stepped = make(family), make(replace(family, exact=None))
    assert exact.dropped == stepped.dropped == 0
    np.testing.assert_allclose(stepped.ref, exact.ref, rtol=5e-3)


def test_an_episode_is_truncated_after_so_many_attempts_and_goes_on_in_its_last_observation() -> None:
    core, longer = begun(3, max_attempts=3), begun(3)
    for k in range(3):
        assert core.step(np.zeros((3, 2))) == (3 if k == 2 else 0)
        longer.step(np.zeros((3, 2)))
    assert core.truncated.all() and not core.terminated.any()
    np.testing.assert_array_equal(core.final_obs, longer.obs)
    episode = core.episode(0)
    assert episode["length"] == 3.0 and episode["error"] == np.inf and episode["status"] == 0.0
    assert core.step(np.ones((3, 2))) == 0 and (core.reward == 0.0).all()  # the next episode begins


def test_wrong_actions_are_answered_by_the_law_and_counted() -> None:
    core, other = begun(3), begun(3)
    core.step(np.array([[np.nan, 0.0], [0.0, 3.0], [0.0, 0.0]]))
    other.step(np.zeros((3, 2)))
    assert core.rows("NFALL")[:, 0].tolist() == [1.0, 1.0, 0.0]
    np.testing.assert_array_equal(core.obs, other.obs)
    with pytest.raises(ValueError, match="shape"):
        core.step(np.zeros((3, 1)))


def test_checkers_accept_it() -> None:
    from stable_baselines3.common.env_checker import check_env as check_sb3

    env = gym.make(ID, **GIVEN)
    check_env(env.unwrapped, skip_render_check=True)
    check_sb3(env.unwrapped)
    assert env.observation_space.shape == (len(TIER1),) and env.action_space.shape == (2,)
    vector = gym.make_vec(ID, num_envs=3, **GIVEN)
    assert isinstance(vector.unwrapped, sde.SDEVectorEnv) and vector.reset(seed=1)[0].shape == (3, len(TIER1))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_vector_environment_is_its_single_ones(mode) -> None:
    given = GIVEN | {"max_attempts": 25}
    native = sde.SDEVectorEnv(num_envs=3, autoreset_mode=mode, **given)
    single = SyncVectorEnv([lambda: sde.SDEEnv(**given)] * 3, autoreset_mode=mode)
    rng, ends = np.random.default_rng(0), 0
    assert np.array_equal(native.reset(seed=4)[0], single.reset(seed=4)[0])
    for _ in range(80):
        action = rng.uniform(-1, 1, (3, 2)).astype(np.float32)
        ours, theirs = native.step(action), single.step(action)
        for a, b in zip(ours[:4], theirs[:4], strict=True):
            np.testing.assert_array_equal(a, b)
        ends += int((ours[2] | ours[3]).sum())
    assert ends > 3


def test_states_copies_and_pickles_go_on_alike() -> None:
    core = begun(4)
    rng = np.random.default_rng(0)
    for _ in range(5):
        core.step(rng.uniform(-1, 1, (4, 2)))
    twins = [copy.deepcopy(core), pickle.loads(pickle.dumps(core)), begun(4, seed=9)]
    twins[2].set_state(core.get_state())
    for _ in range(60):
        action = rng.uniform(-1, 1, (4, 2))
        core.step(action)
        for twin in twins:
            twin.step(action)
            np.testing.assert_array_equal(twin.obs, core.obs)
            np.testing.assert_array_equal(twin.reward, core.reward)
    with pytest.raises(ValueError, match="another environment"):
        begun(4, pool_seed=1).set_state(core.get_state())


def test_ppo_trains_and_its_controller_solves(tmp_path) -> None:
    """A few hundred steps; the exported file is the policy, and `solve_sde` takes it."""
    from stable_baselines3 import PPO

    from stepsmith.controllers.file import save
    from stepsmith.policies.export import from_sb3

    venv = ss.envs.make_sb3(ID, num_envs=16, seed=0, **GIVEN)
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=64, seed=0, device="cpu", policy_kwargs={"net_arch": [8]})
    model.learn(512)
    learned = from_sb3(model, venv.core.decision, normalised=False, env=venv, name="small")
    path = tmp_path / "small.safetensors"
    save(learned, path)
    problem = ss.sdes.make("gbm")
    sol = ss.solve_sde(problem, 200, "milstein_ito", str(path), rtol=0.05, atol=0.05)
    assert sol.success.all() and not sol.stats.nfallback.any()
    again = ss.solve_sde(problem, 200, "milstein_ito", ss.load_controller(str(path)), rtol=0.05, atol=0.05)
    np.testing.assert_array_equal(sol.y, again.y)
    exact = problem.exact(sol.t, sol.W, sol.H, problem.y0, problem.p)
    assert np.median(np.abs(sol.y - exact)) < 0.2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"family": "gmb"}, "did you mean 'gbm'"),
        ({"method": "euler_maruyama"}, "step_size="),
        ({"method": "sra1"}, "additive"),
        ({"estimate": "guess"}, "estimate"),
        ({"reward": "gold"}, "reward"),
        ({"lagrange": 2.0}, "no effect"),
        ({"n_act": 4}, "n_act"),
        ({"law": "aarseth"}, "needs|n_act"),
        ({"features": ("log_er",)}, "log_err"),
        ({"rtol": (0.1, 0.3)}, "tight"),
        ({"split": "all"}, "split"),
        ({"paths": 0}, "paths"),
        ({"atol_factor": -1.0}, "atol_factor"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"decision": 3}, "decision"),
    ],
)
def test_refusals(given, words) -> None:
    with pytest.raises(ValueError, match=words):
        make_core(2, False, **(GIVEN | given))


def test_a_config_trains_in_it(tmp_path) -> None:
    from stepsmith.train import config as configs
    from stepsmith.train import run as runs

    given = {
        "name": "toy", "algorithm": "ppo", "env": {"id": ID, **GIVEN, "rtol": [0.3, 0.05]}, "policy": {"hidden": [4]},
        "evaluate": {"every": 512, "instances": 20},
        "train": {"total_steps": 512, "num_envs": 32, "n_steps": 16, "batch_size": 256},
    }  # fmt: skip
    assert runs.train(configs.from_dict(given), out=tmp_path / "run", progress=False).name == "policy.zip"
    with pytest.raises(ValueError, match="did you mean 'gbm'"):
        runs.train(configs.from_dict(given | {"env": {"id": ID, "family": "gmb"}}), out=tmp_path / "no")
