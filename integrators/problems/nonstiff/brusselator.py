"""Brusselator without diffusion, x' = A + x^2 y - (B + 1) x, y' = B x - x^2 y.

Sources: I. Prigogine and R. Lefever, J. Chem. Phys. 48 (1968) 1695; instance and span: Hairer, Norsett,
Wanner, "Solving ODEs I", section II.4 (A = 1, B = 3, y0 = (1.5, 3), T = 20). p = (A, B). Family: A in
.8..1.2, B in 2..4 (limit cycle for B > 1 + A^2, damped below), starts in .5..2.5 by 1..4.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    x2y = y[0] * y[0] * y[1]
    dy[0] = p[0] + x2y - (p[1] + 1.0) * y[0]
    dy[1] = p[1] * y[0] - x2y


def published() -> Problem:
    """The instance of Hairer, Norsett and Wanner."""
    return Problem(rhs, [1.5, 3.0], (0.0, 20.0), [1.0, 3.0], name="brusselator")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = rng.uniform([0.5, 1.0], [2.5, 4.0], (n, 2))
    p = rng.uniform([0.8, 2.0], [1.2, 4.0], (n, 2))
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 20.0), name="brusselator")


FAMILY = Family(
    name="brusselator", doc="Brusselator, T = 20", rhs=rhs, n=2, m=2, sampler=sampler, published=published,
    error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3, levels=(1e-6, 1e-3),
    tags=("limit cycle", "chemistry"),
)
