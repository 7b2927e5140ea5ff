"""From a Stable-Baselines3 model that was trained in `stepsmith/Regularization-v0` to a strength of a regulariser."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..controllers.strengths.observation import BOUND, OBSERVED
from ..controllers.strengths.policy_file import StrengthNetwork
from .layers import read

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

#: greatest difference from SB3's float32 answer, in action units, that passes for rounding
TOLERANCE = 1e-4
_SAMPLES = 256


def strength_from_sb3(
    model: BaseAlgorithm,
    name: str = "",
    provenance: Mapping[str, Any] | None = None,
    measured: Mapping[str, Any] | None = None,
    *,
    normalised: bool | None = None,
) -> StrengthNetwork:
    """The strength that `model`'s deterministic policy is.

    model       PPO or A2C with an MLP policy, trained in `stepsmith/Regularization-v0` with observe="run" and
                actions=1, and without a normaliser around it.
    name, provenance, measured    of the file.
    normalised  False says that the policy saw observations as the environment gives them; needed where the model holds
                no environment, as out of `PPO.load`.

    The result is compared with `model.predict(deterministic=True)` before it is handed out.  ValueError for another
    observation or action, for layers that are not understood, and where the two answers differ.
    """
    policy: Any = getattr(model, "policy", None)
    if not hasattr(policy, "mlp_extractor"):
        raise ValueError(f"a strength is exported from PPO or A2C with an MLP policy, got {type(model).__name__}")
    shapes = tuple(getattr(space, "shape", None) for space in (model.observation_space, model.action_space))
    if shapes != ((len(OBSERVED),), (1,)):
        raise ValueError(
            f"a strength observes {len(OBSERVED)} features and sets one ratio: train it in "
            f'stepsmith/Regularization-v0 with observe="run", actions=1; this model has shapes {shapes}'
        )
    if model.get_env() is None and normalised is None:
        raise ValueError(
            "the model holds no environment, so that it is not known whether its observations were normalised: pass "
            "normalised=False if they were not"
        )
    if normalised or model.get_vec_normalize_env() is not None:
        raise ValueError("a strength reads observations as the environment gives them: train without VecNormalize")
    layers = read([policy.mlp_extractor.policy_net, policy.action_net])
    network = StrengthNetwork(name, tuple(OBSERVED), layers, provenance or {}, measured or {})
    obs = np.random.default_rng(0).uniform(-BOUND, BOUND, (_SAMPLES, len(OBSERVED))).astype(np.float32)
    theirs, ours = model.predict(obs, deterministic=True)[0], network(obs)
    worst = float(np.abs(ours - theirs).max())
    if not worst <= TOLERANCE:
        raise ValueError(f"the exported strength differs from the model by {worst:.2g}: its policy is not understood")
    return network
