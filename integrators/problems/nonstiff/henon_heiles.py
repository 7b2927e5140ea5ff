"""Henon-Heiles: motion in V = (x^2 + y^2)/2 + x^2 y - y^3/3; x'' = -x - 2 x y, y'' = -y - x^2 + y^2.

Source: M. Henon and C. Heiles, Astron. J. 69 (1964) 73-79. y = (x, y, x', y'), no parameters; the energy
is conserved and motion is bounded for E < 1/6. Family: E uniform in 1/12..1/6 (from regular to mostly
chaotic, the paper's range), position uniform where V < E inside the triangle, direction of motion
uniform; T = 50, about eight oscillations.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -y[0] - 2.0 * y[0] * y[1]
    dy[3] = -y[1] - y[0] * y[0] + y[1] * y[1]


def accel(t, y, p, a):
    a[0] = -y[0] - 2.0 * y[0] * y[1]
    a[1] = -y[1] - y[0] * y[0] + y[1] * y[1]


def potential(x, y):
    return 0.5 * (x * x + y * y) + x * x * y - y * y * y / 3.0


def energy(t, y, p):
    kinetic = 0.5 * (y[2] * y[2] + y[3] * y[3])
    return kinetic + 0.5 * (y[0] * y[0] + y[1] * y[1]) + y[0] * y[0] * y[1] - y[1] * y[1] * y[1] / 3.0


def published() -> Problem:
    """A start on the paper's surface of section x = 0 at its middle energy E = 1/8: y = .1, y' = 0."""
    speed = np.sqrt(2.0 * (1.0 / 8.0 - potential(0.0, 0.1)))
    return Problem(rhs, [0.0, 0.1, speed, 0.0], (0.0, 50.0), name="henon_heiles",
                   invariants={"energy": energy}, accel=accel)


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = np.empty((n, 4))
    filled = 0
    while filled < n:
        e, x, y, angle = rng.uniform([1 / 12, -1.0, -0.5, 0.0], [1 / 6, 1.0, 1.0, 2 * np.pi])
        inside = y > -0.5 and abs(x) < (1.0 - y) / np.sqrt(3.0)
        if inside and potential(x, y) < e:
            speed = np.sqrt(2.0 * (e - potential(x, y)))
            y0[filled] = x, y, speed * np.cos(angle), speed * np.sin(angle)
            filled += 1
    return Batch(rhs, y0, np.empty((n, 0)), np.zeros(n), np.full(n, 50.0), name="henon_heiles",
                 invariants={"energy": energy}, accel=accel)


FAMILY = Family(
    name="henon_heiles", doc="Henon-Heiles, E in 1/12..1/6, T = 50", rhs=rhs, n=4, m=0, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3,
    levels=(1e-6, 1e-2), tags=("hamiltonian", "smooth", "second order"),
)
