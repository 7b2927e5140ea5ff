"""Lorenz system, x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z.

Source: E. N. Lorenz, J. Atmos. Sci. 20 (1963) 130-141. p = (sigma, rho, beta). Dimensionless. Family:
sigma = 10, beta = 8/3, rho uniform in 20..40 (chaotic above 24.74, long transients below), start uniform
in a box about the attractor. T = 5: with a largest exponent near 1 per unit time errors grow by e^5, so
state errors still mean something.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    dy[0] = p[0] * (y[1] - y[0])
    dy[1] = y[0] * (p[1] - y[2]) - y[1]
    dy[2] = y[0] * y[1] - p[2] * y[2]


def published() -> Problem:
    """Lorenz's parameters; start and span of the reference solution in quadruple precision."""
    return Problem(rhs, [1.0, 0.0, 0.0], (0.0, 10.0), [10.0, 28.0, 8.0 / 3.0], name="lorenz")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = rng.uniform([-15.0, -20.0, 5.0], [15.0, 20.0, 40.0], (n, 3))
    p = np.empty((n, 3))
    p[:] = 10.0, 0.0, 8.0 / 3.0
    p[:, 1] = rng.uniform(20.0, 40.0, n)
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 5.0), name="lorenz")


FAMILY = Family(
    name="lorenz", doc="Lorenz 1963, rho in 20..40, T = 5", rhs=rhs, n=3, m=3, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3,
    levels=(1e-5, 1e-2), tags=("chaotic", "smooth"),
)
