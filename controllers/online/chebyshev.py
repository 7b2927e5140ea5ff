"""ChebCB: an arm by the context of a round, with a Chebyshev polynomial of the cost over the context for each arm.

Source: M. Khodak, E. Chow, M.-F. Balcan & A. Talwalkar, "Learning to Relax: setting solver parameters across a sequence
of linear system instances", ICLR 2024, algorithm 3; the exploration is SquareCB's (D. Foster & A. Rakhlin, "Beyond UCB:
optimal and efficient contextual bandits with regression oracles", ICML 2020).

The context c in [a, b] becomes z = (2c - a - b)/(b - a), and the cost of an arm, less the least cost so far and over
the spread D (largest less least), is modelled as sum over j < m of theta_j T_j(z).  theta is the least-squares fit to
the arm's rounds with |theta_0| <= 1 and |theta_j| <= 2/j, which bound the coefficients of a function whose slope is at
most D/(b - a); where there are fewer rounds than coefficients, it is the smallest.  With predictions y_i in units of
the bounds' sum N = 2 + 4 (1 + ln m), the probabilities are

    p_i = 1 / (K + eta (y_i - min y)),    the rest to the arm of the least prediction,
    eta = 2 t sqrt(K t / (R + 2 alpha^2 t)),

for K arms after t rounds.  R is the regret of the predictions: their squared errors less those of the fits.  alpha =
(pi + 2/pi ln(2m + 1)) / (2 N (m + 1)) bounds how well a polynomial can do.  An arm without rounds is predicted to have
the least cost, so that every arm is tried.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from ...integrators.core import options
from ...integrators.core.errors import outside, refuse
from .bandit import Bandit

_SMALL = 1e-10


class ChebCB(Bandit):
    """ChebCB on `arms` arms.  seed: of its generator.

    context_range: (a, b), the finite ends of the contexts, a < b.  A context outside is taken as the nearest end and
    counted in `outside`, with a warning.  coefficients: m, from 1 to 30.
    """

    name = "chebyshev"
    contextual = True
    _kept = ("_gram", "_moment", "_square", "_count", "_theta", "_mistakes", "_low", "_high", "outside")

    def __init__(self, arms: int, seed: int = 0, *, context_range: Any, coefficients: int = 6) -> None:
        super().__init__(arms, seed)
        self.range = _ends(context_range)
        m = self.coefficients = options.count("coefficients", coefficients, high=30)
        self.name = f"chebyshev, {m} coefficients on [{self.range[0]:.17g}, {self.range[1]:.17g}]"
        # sums over the rounds of an arm: of features by features, of features by costs, of squared costs
        self._gram = np.zeros((self.arms, m, m))
        self._moment = np.zeros((self.arms, m))
        self._square = np.zeros(self.arms)
        self._count = np.zeros(self.arms)
        self._theta = np.zeros((self.arms, m))
        #: sum of squared errors of the predictions, in the unit of costs
        self._mistakes = 0.0
        self._low = self._high = 0.0
        self.outside = 0

    def features(self, context: float) -> np.ndarray:
        """T_0(z) ... T_{m-1}(z) of a context, shape (m,)."""
        a, b = self.range
        z = (2.0 * min(max(context, a), b) - a - b) / (b - a)
        return np.cos(np.arange(self.coefficients) * math.acos(min(1.0, max(-1.0, z))))

    def predictions(self, context: float) -> np.ndarray:
        """The predicted costs of all arms, shape (arms,), in the unit of costs."""
        return self._low + (self._high - self._low) * (self._theta @ self.features(context))

    def probabilities(self, context: float | None = None) -> np.ndarray:
        """The probability of each arm at a context, shape (arms,), float64, with sum 1."""
        number = self.checked(context)
        assert number is not None
        y = self._theta @ self.features(number) / self._bounds()[1]
        best = int(y.argmin())
        p = 1.0 / (self.arms + self._rate() * (y - y[best]))
        p[best] = 0.0
        p[best] = 1.0 - p.sum()
        return p

    def _bounds(self) -> tuple[np.ndarray, float]:
        """Bounds of the coefficients, shape (m,), and their sum N as the paper has it."""
        m = self.coefficients
        return np.array([1.0, *(2.0 / j for j in range(1, m))]), 2.0 + 4.0 * (1.0 + math.log(m))

    def _rate(self) -> float:
        """eta."""
        t, spread = self.rounds, self._high - self._low
        if t == 0 or spread == 0.0:
            return 0.0
        m, total = self.coefficients, self._bounds()[1]
        alpha = (math.pi + 2.0 / math.pi * math.log(2 * m + 1)) / (2.0 * total * (m + 1))
        regret = max(self._mistakes / spread**2 - self._left(), 0.0) / total**2
        return 2.0 * t * math.sqrt(self.arms * t / (regret + 2.0 * alpha**2 * t))

    def _left(self) -> float:
        """The squared errors of the present fits, over the squared spread."""
        b, yy = self._scaled()
        fit = np.einsum("ij,ijk,ik->", self._theta, self._gram, self._theta) - 2.0 * float((self._theta * b).sum())
        return max(float(yy.sum() + fit), 0.0)

    def _scaled(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of features by costs, (arms, m), and of squared costs, (arms,), for costs less the least over the
        spread."""
        low, spread = self._low, self._high - self._low
        b = (self._moment - low * self._gram[:, 0]) / spread
        yy = (self._square - 2.0 * low * self._moment[:, 0] + low**2 * self._count) / spread**2
        return b, yy

    def _learn(self, arm: int, cost: float, context: float | None) -> None:
        assert context is not None
        if not self.range[0] <= context <= self.range[1]:
            self.outside += 1
            warnings.warn(
                f"a context is outside of context_range {self.range} and is taken as the nearest end: give a wider "
                "context_range",
                stacklevel=outside(),
            )
        phi = self.features(context)
        if self._count[arm]:  # that an arm without rounds is the cheapest is a wish, not a prediction
            self._mistakes += float(self.predictions(context)[arm] - cost) ** 2
        self._gram[arm] += np.outer(phi, phi)
        self._moment[arm] += cost * phi
        self._square[arm] += cost**2
        self._count[arm] += 1.0
        first = self._count.sum() == 1.0
        low, high = (cost, cost) if first else (min(self._low, cost), max(self._high, cost))
        new = (low, high) != (self._low, self._high)
        self._low, self._high = low, high
        if low == high:
            return
        b = self._scaled()[0]
        for i in np.flatnonzero(self._count) if new else [arm]:
            self._theta[i] = fitted(self._gram[i], b[i], self._bounds()[0])


def fitted(gram: np.ndarray, moment: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """theta of least theta' G theta - 2 b' theta with |theta| <= bound, shapes (m, m), (m,), (m,); the smallest where
    it is not unique and the bound does not hold it."""
    size, axes = np.linalg.eigh(gram)
    seen = size > _SMALL * size[-1]
    roots, axes = np.sqrt(size[seen]), axes[:, seen]
    target = (axes.T @ moment) / roots
    theta = axes @ (target / roots)
    if np.all(np.abs(theta) <= bound):
        return theta
    from scipy.optimize import lsq_linear

    return lsq_linear(roots[:, None] * axes.T, target, (-bound, bound), method="bvls").x


def _ends(value: Any) -> tuple[float, float]:
    """`context_range` as two finite floats in order."""
    try:
        a, b = (float(options.number("context_range", x)) for x in value)
    except (TypeError, ValueError):
        raise refuse("context_range", "two finite numbers (low, high), low < high", value) from None
    if not a < b:
        raise refuse("context_range", "two finite numbers (low, high), low < high", value)
    return a, b
