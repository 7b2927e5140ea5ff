"""PPO with a discount by time: its buffer, where durations come from, and what SB3's own ways of use ask of it."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.callbacks import CheckpointCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecNormalize

from stepsmith.envs import make_sb3
from stepsmith.envs.ode import make_decision
from stepsmith.policies.export import from_sb3
from stepsmith.train import TimeAwarePPO
from stepsmith.train.algorithms import time_aware_ppo as module
from stepsmith.train.algorithms.time_aware_ppo import TimedRolloutBuffer
from stepsmith.train.config import config as configs
from stepsmith.train.config import overrides
from stepsmith.train.config.resolved import resolved
from stepsmith.train.run import run as runs
from toy_runs import ENV, TRAIN

SMALL = {"n_steps": 32, "batch_size": 64, "n_epochs": 2, "seed": 3, "device": "cpu"}
BOX = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)


class Repeats(gym.Wrapper):
    """CartPole whose actions are repeated, one to three times or a fixed number: a decision covers that many frames."""

    def __init__(self, fixed=None, cut=25):
        super().__init__(gym.make("CartPole-v1", max_episode_steps=cut))
        self.fixed = fixed

    def step(self, action):
        total, count = 0.0, 0
        for _ in range(self.fixed or self.np_random.integers(1, 4)):
            obs, reward, terminated, truncated, info = self.env.step(action)
            total, count = total + reward, count + 1
            if terminated or truncated:
                break
        return obs, total, terminated, truncated, {**info, "duration": 0.02 * (self.fixed or count)}


def carts(fixed=None, count=4, wrap=Monitor):
    return DummyVecEnv([lambda: wrap(Repeats(fixed))] * count)


def ours(count=8, **changes):
    return make_sb3("stepsmith/ODE-v0", count, seed=1, **{**ENV, "features": tuple(ENV["features"]), **changes})


def weights(model):
    return np.concatenate([p.detach().numpy().ravel() for p in model.policy.parameters()])


def test_the_buffers_advantages_are_those_of_a_plain_loop():
    """Of random decisions, where some episodes end and some of those by truncation."""
    rng, beta, kappa, shape = np.random.default_rng(0), 0.8, 3.0, (20, 3)
    h = np.where(rng.random(shape) < 0.3, 0.0, rng.exponential(0.1, shape))
    starts, last = rng.random((21, 3)) < 0.2, rng.normal(size=3)
    bootstraps = np.where(starts[1:] & (rng.random(shape) < 0.5), rng.normal(size=shape), 0.0)
    buffer = TimedRolloutBuffer(20, BOX, BOX, "cpu", n_envs=3, beta=beta, kappa=kappa)
    for k in range(20):
        value, log_prob = torch.as_tensor(rng.normal(size=(2, 3)))
        obs, action, reward = rng.normal(size=(3, 2)), rng.normal(size=(3, 2)), rng.normal(size=3)
        timed = {"durations": h[k], "bootstraps": bootstraps[k]}
        buffer.add(obs, action, reward, starts[k], value, log_prob, **timed)
    buffer.compute_returns_and_advantage(torch.as_tensor(last), starts[-1])
    for i in range(3):
        follows = 0.0
        for k in reversed(range(20)):
            over = starts[k + 1, i]
            after = last[i] if k == 19 else buffer.values[k + 1, i]
            keep = np.exp(-beta * h[k, i])
            behind = buffer.bootstraps[k, i] if over else after
            delta = buffer.rewards[k, i] + keep * behind - buffer.values[k, i]
            follows = delta + (0.0 if over else keep * np.exp(-kappa * h[k, i]) * follows)
            assert buffer.advantages[k, i] == pytest.approx(follows, abs=2e-5)
            assert buffer.returns[k, i] == pytest.approx(follows + buffer.values[k, i], abs=2e-5)


def test_with_equal_durations_it_is_ppo():
    """Advantages and the trained policy, to rounding, over episodes that fall and episodes that are cut."""
    beta, kappa, h = 2.0, 5.0, 0.04
    gamma, lam = float(np.exp(-beta * h)), float(np.exp(-kappa * h))
    timed = TimeAwarePPO("MlpPolicy", carts(2), beta=beta, kappa=kappa, **SMALL).learn(128)
    plain = PPO("MlpPolicy", carts(2), gamma=gamma, gae_lambda=lam, **SMALL).learn(128)
    a, b = timed.rollout_buffer, plain.rollout_buffer
    assert np.array_equal(a.actions, b.actions) and np.any(a.bootstraps != 0.0) and np.any(a.episode_starts)
    assert np.allclose(a.advantages, b.advantages, rtol=1e-5, atol=1e-5)
    assert np.allclose(a.returns, b.returns, rtol=1e-5, atol=1e-5)
    assert np.allclose(weights(timed), weights(plain), atol=1e-4)
    other = TimeAwarePPO("MlpPolicy", carts(2), beta=beta, kappa=0.1, **SMALL).learn(128)
    assert not np.allclose(other.rollout_buffer.advantages, b.advantages, atol=1e-2)


def test_it_learns_in_an_environment_of_ones_own(tmp_path):
    """Info's durations; callbacks, tensorboard, seeds, saving, going on."""
    pytest.importorskip("tensorboard")
    given = {"beta": 0.5, "kappa": 2.0, "reward": "rate", **SMALL}
    model = TimeAwarePPO("MlpPolicy", carts(), tensorboard_log=str(tmp_path), **given)
    steps = CheckpointCallback(64, str(tmp_path / "kept"))
    model.learn(256, callback=steps)
    assert [p.name for p in tmp_path.glob("TimeAware*")] == ["TimeAwarePPO_1"]
    assert np.unique(model.rollout_buffer.durations) == pytest.approx([0.02, 0.04, 0.06])
    twin = TimeAwarePPO("MlpPolicy", carts(), **given).learn(256)
    assert np.array_equal(weights(model), weights(twin))
    model.save(tmp_path / "model")
    loaded = TimeAwarePPO.load(tmp_path / "model", env=carts(), device="cpu")
    assert (loaded.beta, loaded.kappa, loaded.reward, loaded.gamma) == (0.5, 2.0, "rate", 1.0)
    assert np.array_equal(weights(model), weights(loaded))
    assert (loaded.rollout_buffer.beta, loaded.rollout_buffer.reward) == (0.5, "rate")
    loaded.set_random_seed(5)
    loaded.learn(128, reset_num_timesteps=False, tb_log_name="TimeAwarePPO")
    assert loaded.num_timesteps == 256 + 128 and not np.array_equal(weights(model), weights(loaded))
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_observations_may_be_dictionaries():
    class Named(gym.ObservationWrapper):
        def __init__(self, env):
            super().__init__(env)
            self.observation_space = gym.spaces.Dict({"state": env.observation_space})

        def observation(self, observation):
            return {"state": observation}

    model = TimeAwarePPO("MultiInputPolicy", carts(2, wrap=lambda env: Monitor(Named(env))), **SMALL).learn(128)
    assert isinstance(model.rollout_buffer, module.TimedDictRolloutBuffer)
    assert np.any(model.rollout_buffer.bootstraps != 0.0)


@pytest.mark.parametrize("wrapped", [lambda v: v, VecNormalize, lambda v: VecNormalize(VecFrameStack(v, 2))])
def test_durations_of_our_environments_reach_it_through_wrappers(wrapped):
    venv = ours()
    model = TimeAwarePPO("MlpPolicy", wrapped(venv), **SMALL).learn(256)
    h = model.rollout_buffer.durations
    assert module.timed(model.get_env()) is venv and np.all(h >= 0.0) and np.any(h > 0.0)
    assert np.array_equal(h[-1], venv.durations.astype(np.float32))
    assert venv.get_attr("durations", [2]) == [venv.durations[2]]


def test_an_outer_wrapper_may_have_durations_of_its_own():
    class Half(VecNormalize):
        @property
        def durations(self):
            return 0.5 * self.venv.durations

    model = TimeAwarePPO("MlpPolicy", Half(venv := ours()), **SMALL).learn(256)
    assert np.array_equal(model.rollout_buffer.durations[-1], (0.5 * venv.durations).astype(np.float32))


def test_a_truncation_is_bootstrapped_and_an_end_is_not():
    """Episodes of seven attempts: each is cut, and the buffer has the last observation's value, and no end's."""
    venv = ours(max_attempts=7)
    model = TimeAwarePPO("MlpPolicy", venv, beta=1.0, **{**SMALL, "n_epochs": 1, "learning_rate": 1e-12}).learn(256)
    buffer = model.rollout_buffer
    cut = np.zeros((32, 8), bool)
    cut[6::7] = True
    assert np.array_equal(buffer.bootstraps != 0.0, cut)
    falls = DummyVecEnv([lambda: Monitor(Repeats(2, cut=10_000))] * 4)
    buffer = TimeAwarePPO("MlpPolicy", falls, **SMALL).learn(128).rollout_buffer
    assert np.any(buffer.episode_starts[1:]) and not np.any(buffer.bootstraps)


def test_its_policy_is_exported_as_ppos_is():
    venv = ours()
    model = TimeAwarePPO("MlpPolicy", venv, policy_kwargs={"net_arch": [4]}, **SMALL).learn(256)
    decision = make_decision(ENV["family"], ENV["method"], ENV["law"], tuple(ENV["features"]))
    learned = from_sb3(model, decision, normalised=False)
    assert learned.squash == "clip" and learned.shapes[0][:2] == (3, 4)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"gamma": 0.9}, r"gamma must be left out of TimeAwarePPO: beta is the discount's rate"),
        ({"gae_lambda": 0.9}, "gae_lambda must be left out.* kappa is its rate"),
        ({"rollout_buffer_class": RolloutBuffer}, "rollout_buffer_class must be left out"),
        ({"beta": -1.0}, "beta must be"),
        ({"kappa": float("nan")}, "kappa must be"),
        ({"reward": "rates"}, "did you mean 'rate'"),
    ],
)
def test_bad_arguments_are_named(given, says):
    with pytest.raises(ValueError, match=says):
        TimeAwarePPO("MlpPolicy", carts(count=2), **{**SMALL, **given})


def test_what_has_no_durations_is_refused(tmp_path):
    with pytest.raises(ValueError, match="neither has the VecEnv .* `durations`.* environment 0 a 'duration'"):
        TimeAwarePPO("MlpPolicy", "CartPole-v1", **{**SMALL, "batch_size": 32}).learn(32)

    class Wrong(VecNormalize):
        durations = np.array([0.1, -1.0, 0.1, 0.1])

    with pytest.raises(ValueError, match="durations must be 4 finite numbers of at least 0"):
        TimeAwarePPO("MlpPolicy", Wrong(carts()), **SMALL).learn(128)
    TimeAwarePPO("MlpPolicy", carts(), **SMALL).save(tmp_path / "model")
    with pytest.raises(ValueError, match="gamma must be left out"):
        TimeAwarePPO.load(tmp_path / "model", env=carts(), gamma=0.9)


def test_its_name_loads_no_torch_before_it_is_used():
    code = "import sys, stepsmith.train; from stepsmith.train import continuous_time; print('torch' in sys.modules); "
    code += "from stepsmith.train import TimeAwarePPO; print(TimeAwarePPO.__mro__[1].__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "PPO"]


def refused(**changes):
    """What a training config is refused with."""
    given = {"name": "toy", "algorithm": "time_aware_ppo", "env": ENV, "train": TRAIN["time_aware_ppo"]}
    with pytest.raises(ValueError) as error:
        runs.train(configs.from_dict({**given, **changes}), progress=False)
    return str(error.value)


def test_a_config_is_refused_by_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "beta is the rate: gamma = e^(-beta h)" in refused(train={"gamma": 0.9})
    assert "kappa is its rate" in refused(train={"gae_lambda": 0.9})
    assert "'rate'" in refused(train={"reward": "propagated"})
    assert "beta" in refused(train={"beta": -0.1})
    assert "divisor of n_steps times num_envs" in refused(train={"n_steps": 10, "num_envs": 10, "batch_size": 33})
    assert "time_discount" in refused(env={**ENV, "time_discount": 0.5})
    told = refused(env={"id": "stepsmith/SteadyState-v0"})
    assert "time_aware_ppo needs decisions that cover time, and those of stepsmith/SteadyState-v0 do not" in told
    said = refused(algorithm="ppo", train={"reward": "propagated"})
    assert "a setting of time_aware_ppo, not of ppo; [env] has one of this name" in said
    assert not list(tmp_path.iterdir())


def test_another_algorithms_config_is_taken_over():
    found = overrides.with_algorithm(configs.read("three_body_ppo"), "time_aware_ppo")
    shown = resolved(configs.from_dict(found))["train"]
    assert (shown["beta"], shown["kappa"], shown["reward"]) == (1.0, 5.0, "count")
    assert "gamma" not in shown and shown["n_steps"] == 512
    ppos = resolved(configs.load("three_body_ppo"))["train"]
    assert {k: v for k, v in shown.items() if k in ppos} == {k: v for k, v in ppos.items() if k in shown}
