"""Chua's circuit with ideal diodes: piecewise-linear throughout, stiff while a diode conducts.

    x' = alpha (y - x - f(x)),   y' = x - y + z,   z' = -beta y
    f(x) = m1 x + (m0 - m1)/2 (|x + 1| - |x - 1|) + G (max(x - vc, 0) + min(x + vc, 0))

Sources: T. Matsumoto, IEEE Trans. Circuits Syst. 31 (1984) 1055; M. P. Kennedy, Frequenz 46 (1992) 66, whose resistor
is passive beyond a saturation voltage. Here that outer branch is a pair of ideal diodes clamping x at +-vc, an
on-conductance G in place of infinity: the eigenvalue -alpha G comes and goes at corners of the right-hand side. p =
(alpha, beta, m0, m1, G, vc), dimensionless. Family: alpha in 8..10, beta in 13..16, m0 = -8/7, m1 = -5/7, G log-uniform
in 1e2..1e5, vc in 1.2..2, start in a box of half width .7 about zero, T = 10. Error levels are a decade looser than
elsewhere: where corners and a positive exponent meet, so is any reference. The canonical instance has Matsumoto's alpha
= 9, beta = 100/7 with G = 1e4, vc = 1.5.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import fabs, maximum, minimum, where
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform

M0, M1 = -8.0 / 7.0, -5.0 / 7.0


def rhs(t, y, p, dy):
    x = y[0]
    clamp = maximum(x - p[5], 0.0) + minimum(x + p[5], 0.0)
    f = p[3] * x + 0.5 * (p[2] - p[3]) * (fabs(x + 1.0) - fabs(x - 1.0)) + p[4] * clamp
    dy[0] = p[0] * (y[1] - x - f)
    dy[1] = x - y[1] + y[2]
    dy[2] = -p[1] * y[1]


def jac(t, y, p, J):
    x = y[0]
    slope = where(fabs(x) < 1.0, p[2], p[3]) + where(fabs(x) > p[5], p[4], 0.0)
    J[0, 0] = -p[0] * (1.0 + slope)
    J[0, 1] = p[0]
    J[0, 2] = 0.0
    J[1, 0] = 1.0
    J[1, 1] = -1.0
    J[1, 2] = 1.0
    J[2, 0] = 0.0
    J[2, 1] = -p[1]
    J[2, 2] = 0.0


def published() -> Problem:
    """Matsumoto's double scroll, clamped."""
    return Problem(rhs, [0.7, 0.0, 0.0], (0.0, 10.0), [9.0, 100.0 / 7.0, M0, M1, 1e4, 1.5], jac=jac, name="chua")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = rng.uniform([8.0, 13.0, M0, M1, 0.0, 1.2], [10.0, 16.0, M0, M1, 1.0, 2.0], (n, 6))
    p[:, 4] = log_uniform(rng, 1e2, 1e5, n)
    return Batch(rhs, rng.uniform(-0.7, 0.7, (n, 3)), p, np.zeros(n), np.full(n, 10.0), jac=jac, name="chua")


FAMILY = Family(
    name="chua",
    doc="Chua's circuit with ideal diodes, T = 10",
    rhs=rhs,
    n=3,
    m=6,
    sampler=sampler,
    published=published,
    error="grid",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-2,
    levels=(1e-5, 1e-2),
    stiff=True,
    tags=("stiff", "nonsmooth", "circuit"),
)
