"""From a trained Stable-Baselines3 model to a controller: what its deterministic policy computes, layer by layer.

PPO and A2C (`MlpPolicy`): the mean of the Gaussian, clipped to [-1, 1].  SAC: tanh of the mean.  DQN: the action of the greatest value out
of a table.  Observation statistics of a `VecNormalize` become the decision's normaliser.  Layers are read off by type, whatever is not
understood is refused by name, and the result is compared with `model.predict(deterministic=True)` before it is handed out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..controllers.decision import Decision
from ..controllers.learned import Learned

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize

#: greatest difference from SB3's float32 answer, in action units, that passes for rounding
TOLERANCE = 1e-4
_SAMPLES = 256

Layers = list[tuple[np.ndarray, np.ndarray, str]]


def from_sb3(
    model: BaseAlgorithm, decision: Decision, normaliser: VecNormalize | None = None, actions: Any = None, **rest: Any
) -> Learned:
    """The controller that `model`'s deterministic policy is.

    model: PPO, A2C, SAC or DQN with an MLP policy (tanh or ReLU) over decision's observation.
    decision: observation, action and base law that it was trained with.
    normaliser: the VecNormalize of its observations; None: the one that the model still holds, if any.
    actions: DQN only, (n,) or (n, n_act) table in [-1, 1]: the action that each of its n discrete ones stands for.
    rest: name, family, provenance, measured of the `Learned`.

    Raises ValueError on anything that is not understood: dict or image observations, other extractors, layers, distributions or
    bounds, recurrent policies, SAC's state-dependent exploration (it clips its mean another way), shapes that do not fit the decision.
    """
    from gymnasium import spaces
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.dqn.policies import DQNPolicy
    from stable_baselines3.sac.policies import SACPolicy

    policy: Any = getattr(model, "policy", None)
    space = getattr(policy, "observation_space", None)
    if not isinstance(space, spaces.Box) or space.shape != (decision.n_obs,):
        raise ValueError(f"the policy must observe a Box of shape ({decision.n_obs},), as the decision does, got {space}")
    if hasattr(policy, "lstm_actor"):
        raise ValueError("recurrent policies cannot be exported: a controller's network has no memory of its own")
    if getattr(model, "use_sde", False) and isinstance(policy, SACPolicy):
        raise ValueError("SAC policies with state-dependent exploration (use_sde) cannot be exported")
    if isinstance(policy, DQNPolicy):
        layers, squash = _value_layers(policy, actions), "argmax"
    elif actions is not None:
        raise ValueError(f"actions are for DQN, which chooses among them, not for {type(policy).__name__}")
    elif isinstance(policy, ActorCriticPolicy):
        _check_actions(policy, decision)
        extractor = policy.pi_features_extractor if hasattr(policy, "pi_features_extractor") else policy.features_extractor
        _check_extractor(extractor)
        layers, squash = _layers([policy.mlp_extractor.policy_net, policy.action_net]), "clip"
    elif isinstance(policy, SACPolicy):
        _check_actions(policy, decision)
        _check_extractor(policy.actor.features_extractor)
        layers, squash = _layers([policy.actor.latent_pi, policy.actor.mu]), "tanh"
    else:
        raise ValueError(f"a policy of type {type(policy).__name__} cannot be exported: PPO, A2C, SAC and DQN are understood")
    if normaliser is None:
        normaliser = model.get_vec_normalize_env()
    learned = Learned(_with_normaliser(decision, normaliser), layers, squash, actions, **rest)
    _compare(model, learned)
    return learned


def _check_actions(policy: Any, decision: Decision) -> None:
    from gymnasium import spaces

    space = policy.action_space
    if not isinstance(space, spaces.Box) or space.shape != (decision.n_act,):
        raise ValueError(f"the policy must act in a Box of shape ({decision.n_act},), as the decision does, got {space}")
    if np.any(space.low != -1.0) or np.any(space.high != 1.0):
        raise ValueError(f"actions must be bounded by -1 and 1, got {space.low.tolist()} and {space.high.tolist()}")


def _check_extractor(extractor: Any) -> None:
    from stable_baselines3.common.torch_layers import FlattenExtractor

    if type(extractor) is not FlattenExtractor:
        raise ValueError(f"a feature extractor of type {type(extractor).__name__} cannot be exported: observations must come as they are")


def _value_layers(policy: Any, actions: Any) -> Layers:
    if actions is None:
        raise ValueError("DQN chooses among discrete actions: give `actions`, the table of what they stand for")
    _check_extractor(policy.q_net.features_extractor)
    count = int(policy.action_space.n)
    if len(actions) != count:
        raise ValueError(f"the policy has {count} actions, the table {len(actions)}")
    return _layers([policy.q_net.q_net])


def _layers(modules: Iterable[Any]) -> Layers:
    """(weight, bias, activation) of linear layers and activations, nested in Sequentials or not."""
    from torch import nn

    names: dict[type, str] = {nn.Tanh: "tanh", nn.ReLU: "relu"}
    out: Layers = []
    for module in modules:
        part: Any
        for part in module if type(module) is nn.Sequential else (module,):
            kind = type(part)
            if kind is nn.Linear:
                weight = part.weight.detach().cpu().numpy().astype(np.float64)
                bias = np.zeros(len(weight)) if part.bias is None else part.bias.detach().cpu().numpy().astype(np.float64)
                out.append((weight, bias, "linear"))
            elif kind in names and out and out[-1][2] == "linear":
                out[-1] = (*out[-1][:2], names[kind])
            else:
                raise ValueError(f"a layer of type {kind.__name__} cannot be exported here: Linear, each followed by Tanh or ReLU, is")
    return out


def _with_normaliser(decision: Decision, normaliser: Any) -> Decision:
    if normaliser is None or not normaliser.norm_obs:
        return decision
    if np.any(decision.shift != 0.0) or np.any(decision.scale != 1.0):
        raise ValueError("the decision has a normaliser already: VecNormalize on top of it cannot be exported")
    rms = normaliser.obs_rms
    if isinstance(rms, dict) or rms.mean.shape != (decision.n_obs,):
        raise ValueError(f"VecNormalize must hold statistics of {decision.n_obs} features")
    return decision.replace(shift=rms.mean, scale=1.0 / np.sqrt(rms.var + normaliser.epsilon), obs_clip=normaliser.clip_obs)


def _compare(model: Any, learned: Learned) -> None:
    """ValueError unless the controller answers as `model.predict` on observations from the whole range of the features."""
    d = learned.decision
    rng = np.random.default_rng(0)
    raw = rng.uniform(d.observation.low, d.observation.high, (_SAMPLES, d.n_obs))
    seen = np.clip((raw - d.shift) * d.scale, -d.obs_clip, d.obs_clip).astype(np.float32)
    theirs, _ = model.predict(seen, deterministic=True)
    theirs = theirs if learned.table is None else learned.table[theirs]
    wrong = ~(np.abs(learned.action_numpy(seen) - theirs).max(axis=1) <= TOLERANCE)
    # among discrete actions, two values may be level to float32
    if wrong.mean() > (0.0 if learned.table is None else 0.05):
        raise ValueError("the exported network does not reproduce the policy's own answers: the policy computes something else")
