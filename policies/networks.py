"""Which layers of a Stable-Baselines3 model decide, and how their answer becomes an action.

What cannot be exported is refused with the name of what to change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..controllers.learned.decision import Decision
from . import layers
from .layers import Layers

UNDERSTOOD = "PPO, A2C, SAC, TD3, DDPG, DQN, and TQC and CrossQ of sb3-contrib"


def of_model(model: Any, decision: Decision, actions: Any, frames: int = 1) -> tuple[Layers, str]:
    """The layers of the model's policy, and how their answer becomes an action: "clip", "tanh" or "argmax".

    frames: how many of the decision's observations it sees.
    ValueError for what is not understood.
    """
    from gymnasium import spaces
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.dqn.policies import DQNPolicy
    from stable_baselines3.sac.policies import SACPolicy
    from stable_baselines3.td3.policies import TD3Policy

    policy: Any = getattr(model, "policy", None)
    if hasattr(policy, "lstm_actor"):
        raise ValueError(
            "recurrent policies cannot be exported: a controller's network has no memory of its own. Train PPO under "
            "VecFrameStack(venv, k), which shows it the last k observations, or on lags among the features, such as "
            "log_err_1, log_err_2 and log_ratio_1"
        )
    _check_observation(policy, decision, frames)
    if isinstance(policy, DQNPolicy):
        _check_table(policy, actions, "DQN")
        _check_extractor(policy.q_net.features_extractor)
        return layers.read([policy.q_net.q_net]), "argmax"
    discrete = isinstance(policy, ActorCriticPolicy) and isinstance(policy.action_space, spaces.Discrete)
    if discrete:
        _check_table(policy, actions, type(model).__name__)
    elif actions is not None:
        raise ValueError(
            f"actions are for DQN and for discrete PPO and A2C, which choose among them, not for {_named(model)} on "
            f"{getattr(policy, 'action_space', None)}"
        )
    else:
        _check_actions(policy, decision)
    if isinstance(policy, ActorCriticPolicy):
        own = hasattr(policy, "pi_features_extractor")
        _check_extractor(policy.pi_features_extractor if own else policy.features_extractor)
        found = layers.read([policy.mlp_extractor.policy_net, policy.action_net])
        return found, "argmax" if discrete else "clip"
    if isinstance(policy, SACPolicy) or _contributed(policy, "TQCPolicy") or _contributed(policy, "CrossQPolicy"):
        if getattr(model, "use_sde", False):
            raise ValueError(
                f"{_named(model)} policies with state-dependent exploration (use_sde) cannot be exported: they clip "
                "their mean another way; train with use_sde=False"
            )
        _check_extractor(policy.actor.features_extractor)
        return layers.read([policy.actor.latent_pi, policy.actor.mu]), "tanh"
    if isinstance(policy, TD3Policy):
        _check_extractor(policy.actor.features_extractor)
        return layers.without_tanh(layers.read([policy.actor.mu])), "tanh"
    raise ValueError(f"a policy of type {type(policy).__name__} cannot be exported: {UNDERSTOOD} are understood")


def _named(model: Any) -> str:
    """The algorithm of a model, as its users call it."""
    return type(model).__name__


def _contributed(policy: Any, name: str) -> bool:
    """Whether a policy is one of sb3-contrib's classes of this name, which may not be installed."""
    return any(
        cls.__name__ == name and cls.__module__.startswith("sb3_contrib.") for cls in type(policy).__mro__
    )


def _check_observation(policy: Any, decision: Decision, frames: int) -> None:
    from gymnasium import spaces

    space, n_obs = getattr(policy, "observation_space", None), frames * decision.n_obs
    if not isinstance(space, spaces.Box) or space.shape != (n_obs,):
        several = f" ({frames} observations of it)" if frames > 1 else ""
        raise ValueError(
            f"the policy must observe a Box of shape ({n_obs},), as the decision does{several}, got {space}"
        )


def _check_actions(policy: Any, decision: Decision) -> None:
    from gymnasium import spaces

    space = policy.action_space
    if isinstance(space, spaces.MultiDiscrete):
        raise ValueError(
            f"actions of {space} cannot be exported: use a Discrete space, whose actions are rows of one table"
        )
    if not isinstance(space, spaces.Box) or space.shape != (decision.n_act,):
        raise ValueError(
            f"the policy must act in a Box of shape ({decision.n_act},), as the decision does, got {space}"
        )
    if np.any(space.low != -1.0) or np.any(space.high != 1.0):
        raise ValueError(
            f"actions must be bounded by -1 and 1, as the environment's are, got {space.low.tolist()} and "
            f"{space.high.tolist()}"
        )


def _check_table(policy: Any, actions: Any, algorithm: str) -> None:
    if actions is None:
        raise ValueError(
            f"{algorithm} chooses among discrete actions: give `actions`, the table of what they stand for"
        )
    count = int(policy.action_space.n)
    if len(actions) != count:
        raise ValueError(f"the policy has {count} actions, the table {len(actions)}")
    if int(getattr(policy.action_space, "start", 0)) != 0:
        raise ValueError(f"discrete actions must begin at 0, got {policy.action_space}")


def _check_extractor(extractor: Any) -> None:
    from stable_baselines3.common.torch_layers import FlattenExtractor

    if type(extractor) is not FlattenExtractor:
        raise ValueError(
            f"a feature extractor of type {type(extractor).__name__} cannot be exported: observations must come as "
            "they are (FlattenExtractor, what MlpPolicy takes); put its layers into net_arch instead"
        )
