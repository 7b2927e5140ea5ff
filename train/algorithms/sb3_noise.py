"""The noise that TD3 and DDPG explore by: their actors are deterministic, and without it nothing but one policy is
tried.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from stable_baselines3.common.noise import NormalActionNoise, VectorizedActionNoise


class Gaussian(VectorizedActionNoise):
    """Independent normal noise for every environment and action, drawn in one call for all environments.

    Stable-Baselines3's own wrapper calls one object for each environment, which costs more than the step of a hundred
    of them.  As its objects do, this one draws from NumPy's global generator, whose state a checkpoint holds.

    scale: standard deviation in units of the action.  num_envs, n_act: shape of what a call returns, float32.
    """

    def __init__(self, scale: float, num_envs: int, n_act: int) -> None:
        super().__init__(NormalActionNoise(np.zeros(n_act), np.full(n_act, scale)), num_envs)
        self.scale, self.shape = float(scale), (num_envs, n_act)

    def reset(self, indices: Iterable[int] | None = None) -> None:
        """Nothing: independent noise remembers nothing of an episode."""

    def __call__(self) -> np.ndarray:
        return np.random.normal(0.0, self.scale, self.shape).astype(np.float32)  # noqa: NPY002 (as SB3 draws)
