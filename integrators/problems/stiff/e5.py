"""E5: a chemical pyrolysis with rates over twenty orders of magnitude.

    y1' = -A y1 - B y1 y3,   y2' = A y1 - M C y2 y3,   y4' = B y1 y3 - C y4,   y3 = y2 - y4

Sources: W. H. Enright, T. E. Hull, B. Lindberg, BIT 15 (1975) 10-48, problem E5; Hairer and Wanner, "Solving ODEs II",
section IV.10; Mazzia and Magherini, "Test Set for IVP Solvers", E5. The test set carries y3 along; rounding then breaks
y2 - y3 - y4 = 0, as in its own end point. It is eliminated here: y = (y1, y2, y4). p = (A, B, C, M), published
(7.89e-10, 1.1e7, 1.13e3, 1e6). Family: rate constants log-uniform within a factor 2, y1's start within 2 of 1.76e-3,
end time log-uniform in 1e7..1e13 (dimensionless).

Error at the end over y2 alone: y1 and y4 decay to zero (1e-291 at 1e13). y2 ends at 9e-23, so atol = 1e-24 rtol.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform, spread

RATES = (7.89e-10, 1.1e7, 1.13e3, 1e6)


def rhs(t, y, p, dy):
    y3 = y[1] - y[2]
    a = p[0] * y[0]
    b = p[1] * y[0] * y3
    dy[0] = -a - b
    dy[1] = a - p[3] * p[2] * y[1] * y3
    dy[2] = b - p[2] * y[2]


def jac(t, y, p, J):
    y3 = y[1] - y[2]
    mc = p[3] * p[2]
    J[0, 0] = -p[0] - p[1] * y3
    J[0, 1] = -p[1] * y[0]
    J[0, 2] = p[1] * y[0]
    J[1, 0] = p[0]
    J[1, 1] = -mc * (y3 + y[1])
    J[1, 2] = mc * y[1]
    J[2, 0] = p[1] * y3
    J[2, 1] = p[1] * y[0]
    J[2, 2] = -p[1] * y[0] - p[2]


def published() -> Problem:
    """The test set's instance, to t = 1e13."""
    return Problem(rhs, [1.76e-3, 0.0, 0.0], (0.0, 1e13), RATES, jac=jac, name="e5")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = np.zeros((n, 3))
    y0[:, :1] = spread(rng, (1.76e-3,), 2.0, n)
    return Batch(rhs, y0, spread(rng, RATES, 2.0, n), np.zeros(n), log_uniform(rng, 1e7, 1e13, n), jac=jac, name="e5")


FAMILY = Family(
    name="e5",
    doc="pyrolysis E5, T = 1e7..1e13",
    rhs=rhs,
    n=3,
    m=4,
    sampler=sampler,
    published=published,
    error="final",
    components=(1,),
    tolerances=tolerance_grid(1e-2, 1e-10),
    atol_factor=1e-24,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "chemistry"),
)
