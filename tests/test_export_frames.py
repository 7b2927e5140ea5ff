"""Policies that see the last observations (VecFrameStack): exported, compared in their environment, refused in doubt.
"""

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

import stepsmith as ss
from stepsmith.envs import make_sb3
from stepsmith.policies.export import from_sb3

torch.set_num_threads(1)
FEATURES = ("log_err", "log_ratio_1", "log_left")


def venv_of(lanes=8, **rest):
    return make_sb3("stepsmith/ODE-v0", lanes, seed=1, family="lotka_volterra", method="tsit5", features=FEATURES,
                    pool_size=12, rtol=(1e-3, 1e-5), **rest)  # fmt: skip


def ppo(venv, steps=256):
    model = PPO("MlpPolicy", venv, n_steps=16, batch_size=64, n_epochs=1, device="cpu", seed=0,
                policy_kwargs={"net_arch": [8], "log_std_init": -1.0})  # fmt: skip
    model.learn(steps)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(torch.randn_like(p) / np.sqrt(p.shape[-1]))
    return model


@pytest.fixture(scope="module")
def stacked():
    inner = venv_of()
    return ppo(VecFrameStack(inner, 3)), inner.core.decision


def test_the_controller_answers_as_the_policy_along_whole_episodes(stacked):
    """The actions that the loop of a solve takes are those that the policy takes in the environment."""
    model, decision = stacked
    learned = from_sb3(model, decision, name="stacked", family="lotka_volterra")
    assert learned.frames == 3 and learned.shapes[0][0] == 9
    venv = model.get_env()
    core = venv.unwrapped.core
    obs = venv.reset()
    instance, rtol = int(core.rows("INST")[0, 0]), float(core.rows("RTOL")[0, 0])
    answers, infos = [], [{}] * 8
    while not infos[0]:
        actions, _ = model.predict(obs, deterministic=True)
        answers.append(actions[0])
        obs, _, _, infos = venv.step(actions)
    assert not infos[0]["TimeLimit.truncated"] and infos[0]["episode"]["nreject"] > 0
    problem, family = core.pool.batch[instance], core.pool.family
    sol = ss.solve(problem, "tsit5", learned, rtol, rtol * family.atol_factor, log=True)
    assert sol.stats.naccept == infos[0]["episode"]["naccept"] and sol.stats.nreject == infos[0]["episode"]["nreject"]
    assert np.std(answers) > 0.05 and sol.stats.nfallback == 0


def test_the_environment_that_is_given_is_compared(stacked):
    model, decision = stacked
    assert from_sb3(model, decision, env=VecFrameStack(venv_of(4), 3)).frames == 3
    with pytest.raises(ValueError, match=r"Box of shape .6,., as the decision does .2 observations"):
        from_sb3(model, decision, env=VecFrameStack(venv_of(4), 2))


def test_a_loaded_model_is_told_its_frames(stacked, tmp_path):
    model, decision = stacked
    model.save(tmp_path / "m.zip")
    loaded = PPO.load(tmp_path / "m.zip", device="cpu")
    with pytest.raises(ValueError, match=r"9 numbers, 3 times .* give frames=3 or env="):
        from_sb3(loaded, decision, normalised=False)
    learned = from_sb3(loaded, decision, normalised=False, frames=3)
    assert np.array_equal(learned.weights, from_sb3(model, decision).weights)
    with pytest.raises(ValueError, match=r"Box of shape \(6,\)"):
        from_sb3(loaded, decision, normalised=False, frames=2)
    with pytest.raises(ValueError, match="frames must be 3"):
        from_sb3(model, decision, frames=2)
    with pytest.raises(ValueError, match="frames"):
        from_sb3(loaded, decision, normalised=False, frames=0)


def test_normalised_observations_are_stacked_afterwards():
    inner = venv_of()
    model = ppo(VecFrameStack(VecNormalize(inner, clip_obs=1.5), 2))
    learned = from_sb3(model, inner.core.decision, env=model.get_env())
    assert learned.frames == 2 and learned.decision.obs_clip == 1.5 and np.any(learned.decision.shift != 0.0)
    other = venv_of()
    model = ppo(VecNormalize(VecFrameStack(other, 2)))
    with pytest.raises(ValueError, match=r"train under VecFrameStack\(VecNormalize"):
        from_sb3(model, other.core.decision)


def test_other_algorithms_are_stacked_too():
    venv = venv_of()
    stack = VecFrameStack(venv, 2)
    model = SAC("MlpPolicy", stack, buffer_size=100, device="cpu", seed=0, policy_kwargs={"net_arch": [8]})
    assert from_sb3(model, venv.core.decision).frames == 2
    from stepsmith.train.algorithms.sb3 import Discrete

    table = np.array([[-0.5, 0.0], [0.0, 0.0], [0.5, 0.3]])
    stack = VecFrameStack(Discrete(venv_of(), table), 2)
    model = DQN("MlpPolicy", stack, buffer_size=100, device="cpu", seed=0, policy_kwargs={"net_arch": [8]})
    assert from_sb3(model, venv.core.decision, actions=table).frames == 2
