"""Two bodies whose solution is known, and what the tests of `gbs` read out of a record."""

from __future__ import annotations

import math

import numpy as np

from stepsmith import Problem
from stepsmith.controllers.laws import registry
from stepsmith.integrators.compile.vecmath import where
from stepsmith.integrators.core import record
from stepsmith.integrators.methods.extrapolation.gbs import FORMULAS

ACCEPT = record.N_RECORD
LAW = registry.get("universal_law").general()


def orbit(t, y, p, dy):
    """Two bodies; the attraction is p[0], and p[1] from the time p[2] on."""
    r2 = y[0] * y[0] + y[1] * y[1]
    w = where(t < p[2], p[0], p[1]) / (r2 * r2**0.5)
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -w * y[0]
    dy[3] = -w * y[1]


def body(end=20.0, after=1.0, switch=1e9, y0=(0.5, 0.0, 0.0, 3.0**0.5), start=0.0):
    return Problem(orbit, y0, (start, end), [1.0, after, switch])


def rate(t, y):
    r3 = np.hypot(y[0], y[1]) ** 3
    return np.array([y[2], y[3], -y[0] / r3, -y[1] / r3])


def exact(t, e=0.5):
    """Positions and velocities of the orbit at times t, (k, 4): Kepler's equation by Newton's method."""
    m = np.asarray(t, float)
    a = m + e * np.sin(m)
    for _ in range(50):
        a = a - (a - e * np.sin(a) - m) / (1.0 - e * np.cos(a))
    x, y = np.cos(a) - e, math.sqrt(1 - e * e) * np.sin(a)
    r = 1.0 - e * np.cos(a)
    return np.stack([x, y, -np.sin(a) / r, math.sqrt(1 - e * e) * np.cos(a) / r], -1)


def columns_of(rows):
    """Last columns of the attempts of a log, by what they cost; the first slope is there where one was rejected, and
    at the start.
    """
    known = np.concatenate([[True], rows[:-1, ACCEPT] == 0.0])
    return [[FORMULAS.cost(c) for c in range(10)].index(int(nf) + k)
            for nf, k in zip(rows[:, record.NF], known, strict=True)]  # fmt: skip
