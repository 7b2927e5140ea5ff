"""What a bandit is measured against: one arm for good, and epsilon-greedy."""

from __future__ import annotations

import numpy as np

from ...integrators.core import options
from .bandit import Bandit


class Fixed(Bandit):
    """Always the arm `arm` (0 by default), whatever it costs."""

    name = "fixed"

    def __init__(self, arms: int, seed: int = 0, *, arm: int = 0) -> None:
        super().__init__(arms, seed)
        self.arm = options.count("arm", arm, low=0, high=self.arms - 1)

    def probabilities(self, context: float | None = None) -> np.ndarray:
        """1 for the arm and 0 for the others, shape (arms,)."""
        return np.eye(self.arms)[self.arm]

    def _learn(self, arm: int, cost: float, context: float | None) -> None:
        pass


class EpsilonGreedy(Bandit):
    """Each arm once in a random order, then the arm of the least mean cost, but with probability `epsilon` any arm.

    epsilon: in [0, 1], .1 by default (R. Sutton & A. Barto, "Reinforcement learning", section 2.2).
    """

    name = "epsilon_greedy"
    _kept = ("_sum", "_count")

    def __init__(self, arms: int, seed: int = 0, *, epsilon: float = 0.1) -> None:
        super().__init__(arms, seed)
        self.epsilon = options.number("epsilon", epsilon, 0.0, 1.0)
        self._sum = np.zeros(self.arms)
        self._count = np.zeros(self.arms)

    def probabilities(self, context: float | None = None) -> np.ndarray:
        """The probability of each arm, shape (arms,), with sum 1: even among those without rounds while there are
        any."""
        new = self._count == 0
        if new.any():
            return new / new.sum()
        p = np.full(self.arms, self.epsilon / self.arms)
        p[int((self._sum / self._count).argmin())] += 1.0 - self.epsilon
        return p

    def _learn(self, arm: int, cost: float, context: float | None) -> None:
        self._sum[arm] += cost
        self._count[arm] += 1.0
