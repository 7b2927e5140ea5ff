"""Tsallis-INF: an arm by online mirror descent with Tsallis entropy of power 1/2, optimal on random and hostile costs.

Source: J. Zimmert & Y. Seldin, "An optimal algorithm for stochastic and adversarial bandits", AISTATS 2019 (JMLR 22:28,
2021); used on solver parameters by M. Khodak, E. Chow, M.-F. Balcan & A. Talwalkar, "Learning to Relax: setting solver
parameters across a sequence of linear system instances", ICLR 2024.

With estimated cumulative losses L_i and the learning rate eta_t of round t, the probabilities are

    p_i = 4 / (eta_t (L_i - x))^2,    x < min L  such that  sum p = 1.

The arm that was played adds its loss over its probability to L_i, which is right in the mean (`importance`, eta_t =
2/sqrt t).  The estimator of reduced variance takes a baseline b from the loss where p_i >= eta_t^2 and adds it to L_i
whether the arm was played or not (`reduced_variance`, eta_t = 4/sqrt t; section 3 of the paper, where b = 1/2 is the
middle of losses in [0, 1]).

A loss is (cost - floor)/scale.  Learning to Relax takes 1 as the floor, the least count of iterations, and the mean of
the costs so far, less the floor, as the scale.  Here the floor is the least cost so far: no unit of costs and no shift
changes what is drawn.  Losses have mean 1 so far by this scale, which is the baseline b.  Both are known from the past
alone, and the losses of earlier rounds are taken in the new scale.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...integrators.core import options
from .bandit import Bandit

ESTIMATORS = {"importance": 2.0, "reduced_variance": 4.0}
"""The estimators of losses, and sqrt(t) times the learning rate that belongs to each."""

_NEWTON = 100
_EXACT = 1e-14


class TsallisINF(Bandit):
    """Tsallis-INF on `arms` arms.  seed: of its generator.  estimator: "reduced_variance" or "importance".

    Costs are any finite numbers; they are compared by their differences, over the mean excess above the least cost.
    The regret grows as sqrt(arms * rounds) at most, and as the logarithm of the rounds where costs are drawn from fixed
    distributions (for losses of bounded size).
    """

    name = "tsallis"
    _kept = ("_over", "_weight", "_baseline", "_sum", "_least")

    def __init__(self, arms: int, seed: int = 0, *, estimator: str = "reduced_variance") -> None:
        super().__init__(arms, seed)
        self.estimator = options.choice("estimator", estimator, ESTIMATORS)
        self.name = f"tsallis, {self.estimator}"
        # L = (over - floor weight)/scale + baseline
        self._over = np.zeros(self.arms)
        self._weight = np.zeros(self.arms)
        self._baseline = np.zeros(self.arms)
        self._sum = 0.0
        self._least = 0.0
        self._found: np.ndarray | None = None

    @property
    def rate(self) -> float:
        """The learning rate eta of the next round."""
        return ESTIMATORS[self.estimator] / math.sqrt(self.rounds + 1)

    def losses(self) -> np.ndarray:
        """Estimated cumulative losses L, shape (arms,)."""
        if self.rounds == 0:
            return np.zeros(self.arms)
        scale = self._sum / self.rounds - self._least
        # costs that are all the same teach nothing; their mean may differ from them by rounding
        if scale <= 1e-12 * abs(self._least):
            return np.zeros(self.arms)
        return (self._over - self._least * self._weight) / scale + self._baseline

    def probabilities(self, context: float | None = None) -> np.ndarray:
        """The probability of each arm, shape (arms,), float64, with sum 1; a context is not read."""
        if self._found is None:
            self._found = weights(self.losses(), self.rate)
        return self._found.copy()

    def restore(self, state: Mapping[str, Any]) -> None:
        super().restore(state)
        self._found = None

    def _learn(self, arm: int, cost: float, context: float | None) -> None:
        p = self.probabilities()
        # an arm that could not have been drawn has no estimate; one that rounding took to zero counts as very rare
        chance = max(float(p[arm]), 1e-12)
        if self.estimator == "reduced_variance":
            known = p >= self.rate**2
            self._baseline += known
            self._baseline[arm] -= known[arm] / chance
        self._over[arm] += cost / chance
        self._weight[arm] += 1.0 / chance
        self._sum += cost
        self._least = cost if self.rounds == 0 else min(self._least, cost)
        self._found = None


def weights(losses: np.ndarray, rate: float) -> np.ndarray:
    """p_i = 4/(rate (L_i - x))^2 with sum 1, of finite losses L, shape (arms,), and a positive rate.

    Newton's iteration on u = min L - x, where sum p is convex and falling, from the left end of the bracket 2/rate <= u
    <= 2 sqrt(arms)/rate: its steps cannot overshoot, and one that rounding takes out of the bracket is replaced by the
    middle.  The sum is 1 within 1e-12 before it is divided out; ArithmeticError where it is not, for losses that are
    not finite.
    """
    above = losses - losses.min()
    low, high = 2.0 / rate, 2.0 * math.sqrt(len(above)) / rate
    u = low
    for _ in range(_NEWTON):
        root = 2.0 / (rate * (above + u))
        p = root * root
        excess = float(p.sum()) - 1.0
        if abs(excess) <= _EXACT:
            break
        low, high = (u, high) if excess > 0.0 else (low, u)
        step = u + excess / (rate * float((p * root).sum()))
        if step == u or low == high:
            break
        u = step if low <= step <= high else 0.5 * (low + high)
    if not abs(excess) <= 1e-12:
        raise ArithmeticError(f"the probabilities have sum 1 + {excess:.3g} at losses {losses.tolist()}")
    return p / p.sum()
