"""Van der Pol oscillator, x'' = mu (1 - x^2) x' - x, non-stiff range.

Source: B. van der Pol, Phil. Mag. 2 (1926) 978-992. p = (mu,). y = (x, x'). Family: mu logarithmically
uniform in .5..8, where relaxation sets in but an explicit method is still limited by accuracy, starts in
-2..2, T = 20 (one and a half to three cycles).
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]


def published() -> Problem:
    """mu = 1 from (2, 0), nearly on the limit cycle (Hairer, Norsett, Wanner, section I.16)."""
    return Problem(rhs, [2.0, 0.0], (0.0, 20.0), [1.0], name="vanderpol")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = np.exp(rng.uniform(np.log(0.5), np.log(8.0), (n, 1)))
    return Batch(rhs, rng.uniform(-2.0, 2.0, (n, 2)), p, np.zeros(n), np.full(n, 20.0), name="vanderpol")


FAMILY = Family(
    name="vanderpol", doc="van der Pol, mu in .5..8, T = 20", rhs=rhs, n=2, m=1, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3,
    levels=(1e-6, 1e-2), tags=("limit cycle", "mildly stiff"),
)
