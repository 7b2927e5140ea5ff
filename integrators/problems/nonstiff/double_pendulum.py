"""Planar double pendulum of two point masses on massless rods.

Equations in the angles from the downward vertical, y = (theta1, theta2, theta1', theta2'), radian and
second; p = (m1, m2, l1, l2, g) in kilogram, metre and m/s^2: the Lagrangian's 2x2 mass matrix solved by
Cramer's rule. Instance: matplotlib's gallery, "The double pendulum problem" (after M. S. Wheatland):
angles 120 and -10 degrees, at rest, unit masses and lengths, g = 9.8, T = 2.5. Family: unit masses and
lengths within 20 %, angles in -2..2 rad, rates in -1..1 rad/s; T = 3, since the largest exponents reach a
few per second.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import cos, sin
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    m1, m2, l1, l2, g = p[0], p[1], p[2], p[3], p[4]
    s = sin(y[0] - y[1])
    c = cos(y[0] - y[1])
    # M (theta1'', theta2'') = (f1, f2), solved by Cramer's rule; det M = m1 + m2 sin^2 > 0
    f1 = -m2 * l2 * s * y[3] * y[3] - (m1 + m2) * g * sin(y[0])
    f2 = l1 * s * y[2] * y[2] - g * sin(y[1])
    det = m1 + m2 * s * s
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = (f1 - m2 * c * f2) / (l1 * det)
    dy[3] = ((m1 + m2) * f2 - c * f1) / (l2 * det)


def energy(t, y, p):
    m1, m2, l1, l2, g = p[0], p[1], p[2], p[3], p[4]
    v1 = l1 * y[2]
    v2 = l2 * y[3]
    kinetic = 0.5 * (m1 + m2) * v1 * v1 + 0.5 * m2 * v2 * v2 + m2 * v1 * v2 * cos(y[0] - y[1])
    return kinetic - (m1 + m2) * g * l1 * cos(y[0]) - m2 * g * l2 * cos(y[1])


def published() -> Problem:
    """matplotlib's instance."""
    y0 = [np.deg2rad(120.0), np.deg2rad(-10.0), 0.0, 0.0]
    return Problem(rhs, y0, (0.0, 2.5), [1.0, 1.0, 1.0, 1.0, 9.8], name="double_pendulum",
                   invariants={"energy": energy})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = rng.uniform([-2.0, -2.0, -1.0, -1.0], [2.0, 2.0, 1.0, 1.0], (n, 4))
    p = np.empty((n, 5))
    p[:, :4] = rng.uniform(0.8, 1.2, (n, 4))
    p[:, 4] = 9.8
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 3.0), name="double_pendulum",
                 invariants={"energy": energy})


FAMILY = Family(
    name="double_pendulum", doc="double pendulum, T = 3 s", rhs=rhs, n=4, m=5, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3,
    levels=(1e-6, 1e-2), tags=("hamiltonian", "chaotic"),
)
