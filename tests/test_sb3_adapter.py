"""The Stable-Baselines3 adapter: what SB3's wrappers and algorithms expect of a VecEnv."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.env_checker import check_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor, VecNormalize

from stepsmith.envs import make_sb3
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv

SMALL = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
ODE = "stepsmith/ODE-v0"


@pytest.mark.filterwarnings("error")
def test_sb3s_checker_passes_on_the_single_environment():
    check_env(ODEEnv(**SMALL))


@pytest.mark.parametrize("cut", [20_000, 30])
def test_it_is_dummyvecenv_of_single_environments_bit_for_bit(cut):
    n, kwargs = 4, {**SMALL, "max_attempts": cut}
    ours = make_sb3(ODE, n, seed=7, **kwargs)
    theirs = DummyVecEnv([lambda: Monitor(ODEEnv(**kwargs))] * n)
    theirs.seed(7)
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    assert np.array_equal(ours.reset(), theirs.reset())
    rng = np.random.default_rng(0)
    ends = cuts = 0
    for _ in range(400):
        act = rng.uniform(-0.3, 0.3, (n, 2)).astype(np.float32)
        a, b = ours.step(act), theirs.step(act)
        for u, v in zip(a[:3], b[:3], strict=True):
            assert u.dtype == v.dtype and u.shape == v.shape and np.array_equal(u, v)
        for i in np.flatnonzero(a[2]):
            x, y = a[3][i], b[3][i]
            assert np.array_equal(x["terminal_observation"], y["terminal_observation"])
            assert x["TimeLimit.truncated"] == y["TimeLimit.truncated"]
            assert (
                x["episode"]["r"] == pytest.approx(y["episode"]["r"], abs=2e-6)
                and x["episode"]["l"] == y["episode"]["l"]
            )
            assert x["episode"]["t"] >= 0
            ends += 1
            cuts += x["TimeLimit.truncated"]
        assert all(info == {} for info, done in zip(a[3], a[2], strict=True) if not done)
    assert ends >= 4 and (cuts == ends if cut == 30 else cuts == 0)


def test_seeds_are_those_of_the_gymnasium_environments():
    ours, gyms = make_sb3(ODE, 3, seed=5, **SMALL), ODEVectorEnv(3, "same_step", **SMALL)
    assert np.array_equal(ours.reset(), gyms.reset(seed=5)[0])
    first = ours.reset()  # without a new seed the generators go on
    assert np.array_equal(first, gyms.reset()[0])
    ours.seed(5)
    assert not np.array_equal(ours.reset(), first)
    assert np.array_equal(make_sb3(ODE, 3, seed=5, **SMALL).reset(), make_sb3(ODE, 3, seed=5, **SMALL).reset())
    assert not np.array_equal(make_sb3(ODE, 3, **SMALL).reset(), make_sb3(ODE, 3, **SMALL).reset())


def test_observations_and_rewards_are_the_callers_own():
    venv = make_sb3(ODE, 2, seed=0, **SMALL)
    first = venv.reset()
    kept = first.copy()
    act = np.zeros((2, 2), np.float32)
    obs, reward, done, infos = venv.step(act)
    again = [obs.copy(), reward.copy(), done.copy()]
    venv.step(act)
    assert np.array_equal(first, kept)
    assert all(np.array_equal(a, b) for a, b in zip((obs, reward, done), again, strict=True))
    infos[0] = {"mine": 1}
    assert all("mine" not in info for info in venv.step(act)[3])


def test_attributes():
    venv = make_sb3(ODE, 3, reward="constraint", lagrange=0.5, **SMALL)
    assert venv.get_attr("lagrange") == [0.5] * 3 and venv.get_attr("lagrange", [0]) == [0.5]
    venv.set_attr("lagrange", 2.0)
    assert venv.get_attr("lagrange") == [2.0] * 3 and venv.core.consts[1] == 2.0
    assert venv.get_attr("method", 1) == ["dopri5"] and venv.get_attr("render_mode") == [None] * 3
    assert venv.has_attr("lagrange") and not venv.has_attr("no_such")
    with pytest.raises(ValueError, match="did you mean 'lagrange'"):
        venv.set_attr("lagrang", 1.0)
    with pytest.raises(ValueError, match="all of them"):
        venv.set_attr("lagrange", 1.0, [0])
    with pytest.raises(ValueError, match="finite"):
        venv.set_attr("lagrange", float("nan"))
    with pytest.raises(AttributeError, match="no_such"):
        venv.env_method("no_such")
    assert venv.env_is_wrapped(Monitor) == [True] * 3
    assert venv.env_is_wrapped(VecNormalize, [0]) == [False]
    assert venv.get_images() == [None] * 3
    with pytest.raises(ValueError, match="did you mean 'stepsmith/ODE-v0'"):
        make_sb3("stepsmith/ODE-v1")
    venv.close()


@pytest.mark.filterwarnings("ignore:The environment is already wrapped")
def test_wrappers_and_algorithms_run_on_it():
    venv = VecNormalize(VecMonitor(make_sb3(ODE, 8, seed=1, **{**SMALL, "max_attempts": 60})), gamma=1.0)
    model = PPO("MlpPolicy", venv, n_steps=32, batch_size=64, n_epochs=2, seed=1, device="cpu")
    model.learn(512)
    assert model.num_timesteps == 512 and len(model.ep_info_buffer) > 0
    assert np.isfinite(model.ep_info_buffer[-1]["r"]) and np.all(np.isfinite(venv.obs_rms.mean))
    venv = make_sb3(ODE, 4, seed=1, **{**SMALL, "max_attempts": 20})
    sac = SAC("MlpPolicy", venv, learning_starts=80, batch_size=32, device="cpu", seed=1)
    sac.learn(200)
    # time limits are bootstrapped: the replay buffer knows which ends were cuts
    assert sac.replay_buffer.timeouts[: sac.replay_buffer.pos].sum() > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # SB3 warns where it finds no Monitor
        mean, _ = evaluate_policy(sac, make_sb3(ODE, 2, seed=2, **SMALL), n_eval_episodes=4)
    assert np.isfinite(mean)
