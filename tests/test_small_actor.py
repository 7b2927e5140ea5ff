"""Small actors for Stable-Baselines3: their shape, their critic's, and that they begin as the law."""

import pytest

pytest.importorskip("torch")
pytest.importorskip("stable_baselines3")

import numpy as np
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3

import stepsmith as ss
from stepsmith.policies import small_actor
from stepsmith.policies.export import from_sb3

ENV = {"family": "lotka_volterra", "method": "tsit5", "pool_size": 4}


@pytest.mark.parametrize("cls", [PPO, SAC, TD3, DDPG])
@pytest.mark.parametrize("hidden", [[], [3]])
def test_the_actor_is_small_and_begins_as_the_law(cls, hidden):
    venv = ss.envs.make_sb3("stepsmith/ODE-v0", num_envs=2, **ENV)
    kwargs = small_actor.policy_kwargs(cls.__name__.lower(), hidden, [16, 16], "relu")
    model = cls("MlpPolicy", venv, policy_kwargs=kwargs, device="cpu", seed=0)
    small_actor.start_as_the_law(model)
    learned = from_sb3(model, venv.core.decision, normalised=False)
    assert [b for _, b, _ in learned.shapes] == [*hidden, 2]
    obs = np.random.default_rng(0).uniform(-2, 2, (50, venv.core.decision.n_obs))
    largest = np.abs(learned.action_numpy(obs)).max()
    assert largest < 0.2 if cls is PPO else largest == 0.0
    critic = model.policy.mlp_extractor.value_net if cls is PPO else model.critic
    assert 16 in [getattr(layer, "out_features", 0) for layer in critic.modules()]


def test_a_log_standard_deviation_of_its_own():
    venv = ss.envs.make_sb3("stepsmith/ODE-v0", num_envs=2, **ENV)
    model = SAC("MlpPolicy", venv, policy_kwargs=small_actor.policy_kwargs("sac"), device="cpu", seed=0)
    small_actor.start_as_the_law(model, -2.5)
    assert model.actor.log_std.bias.detach().numpy() == pytest.approx(-2.5)


def test_an_algorithm_without_a_critic_and_unknown_names():
    assert small_actor.policy_kwargs("dqn", [4])["net_arch"] == [4] and DQN
    with pytest.raises(ValueError, match="algorithm"):
        small_actor.policy_kwargs("pqo")
    with pytest.raises(ValueError, match="activation"):
        small_actor.policy_kwargs("ppo", activation="relo")
