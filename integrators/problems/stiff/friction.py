"""Stick-slip: a block on a spring, dragged by a belt through velocity-weakening (Stribeck) dry friction, regularised.

    x' = v,   v' = -k x - F (2/pi) atan(eps (v - v_belt)) / (1 + delta |v - v_belt|)      (unit mass)

Source: R. I. Leine, D. H. van Campen, A. de Kraker, L. van den Steen, Nonlinear Dynamics 16 (1998) 41-54, equation of
the smoothing method; k = 1, v_belt = .2, F = 1, delta = 3, eps = 1e6 (SI units). p = (k, v_belt, F, delta, eps). While
the block sticks the Jacobian has the eigenvalue -2 F eps / pi; slipping is not stiff at all, and the switch is nearly a
corner. Family: eps log-uniform in 1e3..1e6, v_belt log-uniform in .1...4, k and F log-uniform within a factor 1.5,
delta in 2..4, x in -1..1.5 and v in -.5...5, T = 25 (about two cycles).
"""

from __future__ import annotations

import math

import numpy as np

from ...compile.vecmath import atan, fabs, where
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform, spread

TWO_PI = 2.0 / math.pi


def rhs(t, y, p, dy):
    slip = y[1] - p[1]
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] - TWO_PI * p[2] * atan(p[4] * slip) / (1.0 + p[3] * fabs(slip))


def jac(t, y, p, J):
    slip = y[1] - p[1]
    s = p[4] * slip
    weak = 1.0 / (1.0 + p[3] * fabs(slip))
    sign = where(slip < 0.0, -1.0, 1.0)
    J[0, 0] = 0.0
    J[0, 1] = 1.0
    J[1, 0] = -p[0]
    J[1, 1] = -TWO_PI * p[2] * weak * (p[4] / (1.0 + s * s) - atan(s) * p[3] * sign * weak)


def published() -> Problem:
    """The paper's oscillator; the start, riding on the belt with a slack spring, is ours."""
    return Problem(rhs, [0.0, 0.2], (0.0, 25.0), [1.0, 0.2, 1.0, 3.0, 1e6], jac=jac, name="friction")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = np.empty((n, 5))
    p[:, [0, 2]] = spread(rng, (1.0, 1.0), 1.5, n)
    p[:, 1] = log_uniform(rng, 0.1, 0.4, n)
    p[:, 3] = rng.uniform(2.0, 4.0, n)
    p[:, 4] = log_uniform(rng, 1e3, 1e6, n)
    y0 = rng.uniform([-1.0, -0.5], [1.5, 0.5], (n, 2))
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 25.0), jac=jac, name="friction")


FAMILY = Family(
    name="friction",
    doc="stick-slip oscillator, T = 25",
    rhs=rhs,
    n=2,
    m=5,
    sampler=sampler,
    published=published,
    error="grid",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-2,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "nonsmooth", "mechanics"),
)
