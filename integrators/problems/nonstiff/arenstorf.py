"""Arenstorf orbits: a satellite in the rotating frame of earth and moon (restricted three-body problem).

    x'' = x + 2 y' - (1 - mu)(x + mu)/r1^3 - mu (x - 1 + mu)/r2^3
    y'' = y - 2 x' - (1 - mu) y/r1^3 - mu y/r2^3

r1, r2: distances from the earth at (-mu, 0) and the moon at (1 - mu, 0); unit of length the earth-moon
distance, of time the month over 2 pi. y = (x, y, x', y'), p = (mu,), mu = .012277471. Source: R. F.
Arenstorf, Amer. J. Math. 85 (1963) 27; digits: Hairer, Norsett, Wanner, "Solving ODEs I", section II.0.
Conserved: Jacobi's integral. Family: starts beside the moon about the two published ones at x = .994
(speeds -2.00 and -2.03), T in 4..10: one or two loops, several earth and moon passages.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import sqrt
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem

MU = 0.012277471


def rhs(t, y, p, dy):
    x1 = y[0] + p[0]
    x2 = x1 - 1.0
    yy = y[1] * y[1]
    r1 = x1 * x1 + yy
    r2 = x2 * x2 + yy
    w1 = (1.0 - p[0]) / (r1 * sqrt(r1))
    w2 = p[0] / (r2 * sqrt(r2))
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = y[0] + 2.0 * y[3] - w1 * x1 - w2 * x2
    dy[3] = y[1] - 2.0 * y[2] - (w1 + w2) * y[1]


def jacobi(t, y, p):
    x1 = y[0] + p[0]
    x2 = x1 - 1.0
    yy = y[1] * y[1]
    potential = 0.5 * (y[0] * y[0] + yy) + (1.0 - p[0]) / sqrt(x1 * x1 + yy) + p[0] / sqrt(x2 * x2 + yy)
    return 0.5 * (y[2] * y[2] + y[3] * y[3]) - potential


def published() -> Problem:
    """The four-loop orbit, closed after one period."""
    y0 = [0.994, 0.0, 0.0, -2.00158510637908252240537862224]
    return Problem(rhs, y0, (0.0, 17.0652165601579625588917206249), [MU], name="arenstorf",
                   invariants={"jacobi": jacobi})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = np.zeros((n, 4))
    y0[:, 0] = rng.uniform(0.993, 0.995, n)
    y0[:, 3] = rng.uniform(-2.05, -1.98, n)
    t1 = rng.uniform(4.0, 10.0, n)
    return Batch(rhs, y0, np.full((n, 1), MU), np.zeros(n), t1, name="arenstorf",
                 invariants={"jacobi": jacobi})


FAMILY = Family(
    name="arenstorf", doc="earth-moon satellite orbits, T in 4..10", rhs=rhs, n=4, m=1, sampler=sampler,
    published=published, error="final", tolerances=tolerance_grid(1e-2, 1e-10), atol_factor=1e-3,
    levels=(1e-5, 1e-3), tags=("chaotic", "close encounters"),
)
