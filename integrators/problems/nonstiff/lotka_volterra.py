"""Lotka-Volterra predator and prey, x' = a x - b x y, y' = -c y + d x y.

Sources: A. J. Lotka (1925), V. Volterra (1926). p = (a, b, c, d). Periodic orbits about (c/d, a/b);
conserved: d x - c log x + b y - a log y. Family: the parameters of SciML's benchmark (1.5, 1, 3, 1), each
within a third to a half of its value, and starts in .5..3: one to four cycles in T = 10, from gentle to
strongly peaked.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import log
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    xy = y[0] * y[1]
    dy[0] = p[0] * y[0] - p[1] * xy
    dy[1] = p[3] * xy - p[2] * y[1]


def first_integral(t, y, p):
    return p[3] * y[0] - p[2] * log(y[0]) + p[1] * y[1] - p[0] * log(y[1])


def published() -> Problem:
    """SciML's benchmark instance."""
    return Problem(rhs, [1.0, 1.0], (0.0, 10.0), [1.5, 1.0, 3.0, 1.0], name="lotka_volterra",
                   invariants={"first_integral": first_integral})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = rng.uniform([1.0, 0.5, 2.0, 0.5], [2.0, 1.5, 4.0, 1.5], (n, 4))
    return Batch(rhs, rng.uniform(0.5, 3.0, (n, 2)), p, np.zeros(n), np.full(n, 10.0), name="lotka_volterra",
                 invariants={"first_integral": first_integral})


FAMILY = Family(
    name="lotka_volterra", doc="predator and prey, T = 10", rhs=rhs, n=2, m=4, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3,
    levels=(1e-7, 1e-3), tags=("periodic", "smooth"),
)
