"""Thermal ignition in a stirred reactor with feed: fuel c and temperature T, stiff from the ignition on.

    c' = f (1 - c) - c w(T),   T' = f (1 - T) + q c w(T),   w(T) = a exp(E (1 - 1/T))

Sources: N. N. Semenov, Z. Phys. 48 (1928) 571; A. Uppal, W. H. Ray, A. B. Poore, Chem. Eng. Sci. 29 (1974) 967.
Dimensionless, feed at c = T = 1; p = (a, E, q, f). From c = 1 and T near 1 the mixture warms slowly, explodes within
O(1/(a q E)), and burns on: the fuel then follows its source with rate w(1 + q), 1e3 to 1e5 times the reactor's own.
Family: a log-uniform in .5..2, E in 10..18, q in 1..2, f in .2..1, T(0) in .95..1.05, end time 3. The canonical
instance is ours: a = 1, E = 15, q = 1.5, f = .5.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import exp
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform


def rhs(t, y, p, dy):
    burn = y[0] * p[0] * exp(p[1] * (1.0 - 1.0 / y[1]))
    dy[0] = p[3] * (1.0 - y[0]) - burn
    dy[1] = p[3] * (1.0 - y[1]) + p[2] * burn


def jac(t, y, p, J):
    w = p[0] * exp(p[1] * (1.0 - 1.0 / y[1]))
    slope = y[0] * w * p[1] / (y[1] * y[1])
    J[0, 0] = -p[3] - w
    J[0, 1] = -slope
    J[1, 0] = p[2] * w
    J[1, 1] = -p[3] + p[2] * slope


def published() -> Problem:
    """The canonical instance."""
    return Problem(rhs, [1.0, 1.0], (0.0, 3.0), [1.0, 15.0, 1.5, 0.5], jac=jac, name="ignition")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = rng.uniform([0.0, 10.0, 1.0, 0.2], [1.0, 18.0, 2.0, 1.0], (n, 4))
    p[:, 0] = log_uniform(rng, 0.5, 2.0, n)
    y0 = np.stack([np.ones(n), rng.uniform(0.95, 1.05, n)], axis=1)
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 3.0), jac=jac, name="ignition")


FAMILY = Family(
    name="ignition",
    doc="thermal ignition in a stirred reactor, T = 3",
    rhs=rhs,
    n=2,
    m=4,
    sampler=sampler,
    published=published,
    error="grid",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-4,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "stiffness onset", "chemistry"),
)
