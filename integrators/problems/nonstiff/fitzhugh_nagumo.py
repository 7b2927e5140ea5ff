"""FitzHugh-Nagumo neuron, v' = v - v^3/3 - w + I, w' = (v + a - b w) / tau.

Sources: R. FitzHugh, Biophys. J. 1 (1961) 445-466; J. Nagumo et al., Proc. IRE 50 (1962) 2061. p = (I, a,
b, tau), published a = .7, b = .8, tau = 12.5; spikes for I between about .33 and 1.42. Family: I in
.2..1.2 (some instances are excitable but silent), tau in 8..16, T = 100 (two to three spikes).
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem


def rhs(t, y, p, dy):
    dy[0] = y[0] - y[0] * y[0] * y[0] / 3.0 - y[1] + p[0]
    dy[1] = (y[0] + p[1] - p[2] * y[1]) / p[3]


def published() -> Problem:
    """FitzHugh's parameters with the current I = .5, from rest at the origin."""
    return Problem(rhs, [0.0, 0.0], (0.0, 100.0), [0.5, 0.7, 0.8, 12.5], name="fitzhugh_nagumo")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = rng.uniform([-2.0, -0.5], [2.0, 1.5], (n, 2))
    p = rng.uniform([0.2, 0.7, 0.8, 8.0], [1.2, 0.7, 0.8, 16.0], (n, 4))
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 100.0), name="fitzhugh_nagumo")


FAMILY = Family(
    name="fitzhugh_nagumo", doc="FitzHugh-Nagumo neuron, T = 100", rhs=rhs, n=2, m=4, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9), atol_factor=1e-3,
    levels=(1e-6, 1e-3), tags=("excitable", "mildly stiff"),
)
