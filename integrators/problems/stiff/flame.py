"""Radius of a ball of flame, y' = y^2 - y^3: slow growth, a jump at t = 1/delta, then a stiff steady state.

Source: L. F. Shampine, I. Gladwell, S. Thompson, "Solving ODEs with MATLAB" (2003), section 2.3, after R. E. O'Malley;
y(0) = delta, T = 2/delta. Exact: y = 1 / (W(a exp(a - t)) + 1) with a = 1/delta - 1 and Lambert's W. No parameters (m =
0). Family: delta log-uniform in 1e-5..1e-2, T = 1.5/delta..2.5/delta. atol = 1e-6 rtol, below the smallest start.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform


def rhs(t, y, p, dy):
    dy[0] = y[0] * y[0] * (1.0 - y[0])


def jac(t, y, p, J):
    J[0, 0] = y[0] * (2.0 - 3.0 * y[0])


def published() -> Problem:
    """delta = 1e-4, to t = 2e4."""
    return Problem(rhs, [1e-4], (0.0, 2e4), (), jac=jac, name="flame")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    delta = log_uniform(rng, 1e-5, 1e-2, n)
    return Batch(
        rhs, delta[:, None], np.empty((n, 0)), np.zeros(n), rng.uniform(1.5, 2.5, n) / delta, jac=jac, name="flame"
    )


FAMILY = Family(
    name="flame",
    doc="flame propagation, delta in 1e-5..1e-2, T = 2/delta",
    rhs=rhs,
    n=1,
    m=0,
    sampler=sampler,
    published=published,
    error="grid",
    tolerances=tolerance_grid(1e-2, 1e-10),
    atol_factor=1e-6,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "stiffness onset", "few components"),
)
