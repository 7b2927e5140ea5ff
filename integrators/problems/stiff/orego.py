"""OREGO: the Oregonator, Field and Noyes' model of the Belousov-Zhabotinsky reaction.

    y1' = s (y2 + y1 (1 - q y1 - y2)),   y2' = (y3 - (1 + y1) y2) / s,   y3' = w (y1 - y3)

Sources: R. J. Field and R. M. Noyes, J. Chem. Phys. 60 (1974) 1877; Hairer and Wanner, "Solving ODEs II", section
IV.10; Mazzia and Magherini, "Test Set for IVP Solvers", OREGO. p = (s, q, w), published (77.27, 8.375e-6, .161).
Family: s within a factor 1.3, q and w within 2 (log-uniform), starts log-uniform in 1..4, end time 360: one to two
relaxation oscillations. Error at the end.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import spread

RATES = (77.27, 8.375e-6, 0.161)


def rhs(t, y, p, dy):
    dy[0] = p[0] * (y[1] + y[0] * (1.0 - p[1] * y[0] - y[1]))
    dy[1] = (y[2] - (1.0 + y[0]) * y[1]) / p[0]
    dy[2] = p[2] * (y[0] - y[2])


def jac(t, y, p, J):
    J[0, 0] = p[0] * (1.0 - 2.0 * p[1] * y[0] - y[1])
    J[0, 1] = p[0] * (1.0 - y[0])
    J[0, 2] = 0.0
    J[1, 0] = -y[1] / p[0]
    J[1, 1] = -(1.0 + y[0]) / p[0]
    J[1, 2] = 1.0 / p[0]
    J[2, 0] = p[2]
    J[2, 1] = 0.0
    J[2, 2] = -p[2]


def published() -> Problem:
    """The test set's instance, to t = 360."""
    return Problem(rhs, [1.0, 2.0, 3.0], (0.0, 360.0), RATES, jac=jac, name="orego")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = np.concatenate([spread(rng, RATES[:1], 1.3, n), spread(rng, RATES[1:], 2.0, n)], axis=1)
    y0 = spread(rng, (2.0, 2.0, 2.0), 2.0, n)
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 360.0), jac=jac, name="orego")


FAMILY = Family(
    name="orego", doc="Oregonator, T = 360", rhs=rhs, n=3, m=3, sampler=sampler, published=published, error="final",
    tolerances=tolerance_grid(1e-2, 1e-10), atol_factor=1e-3, levels=(1e-6, 1e-3), stiff=True,
    tags=("stiff", "chemistry", "limit cycle"),
)
