"""Ring modulator: an electrical circuit of four diodes that mixes a low and a high frequency; 15 voltages and currents.

Sources: E. H. Horneber (1976); P. Rentrop and K. Strehmel in the CWI test set; Mazzia and Magherini, "Test Set for IVP
Solvers", ringmod. y = (U1..U7, I1..I8) in V and A, time in s, p = (C, Cs, Cp, Lh, Ls1, Ls2, Ls3, gamma, R, Rp, Rg1,
Rg2, Rg3, Ri, Rc, delta). The parasitic capacitance Cs (2 pF) makes the circuit stiff and, at 5 MHz, oscillatory.
Family: capacitances and inductances log-uniform within a factor 1.5, resistances within 1.2, start at rest, T = 5e-5
(half a carrier period; the published run lasts ten).
"""

from __future__ import annotations

import math

import numpy as np

from ...compile.vecmath import exp, sin
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import spread

PARTS = (
    1.6e-8, 2e-12, 1e-8, 4.45, 0.002, 5e-4, 5e-4, 40.67286402e-9, 25000.0, 50.0, 36.3, 17.3, 17.3, 50.0, 600.0,
    17.7493332,
)  # fmt: skip
LOW, HIGH = 2000.0 * math.pi, 20000.0 * math.pi


def rhs(t, y, p, dy):
    carrier = 2.0 * sin(HIGH * t)
    q1 = p[7] * (exp(p[15] * (y[2] - y[4] - y[6] - carrier)) - 1.0)
    q2 = p[7] * (exp(p[15] * (-y[3] + y[5] - y[6] - carrier)) - 1.0)
    q3 = p[7] * (exp(p[15] * (y[3] + y[4] + y[6] + carrier)) - 1.0)
    q4 = p[7] * (exp(p[15] * (-y[2] - y[5] + y[6] + carrier)) - 1.0)
    dy[0] = (y[7] - 0.5 * y[9] + 0.5 * y[10] + y[13] - y[0] / p[8]) / p[0]
    dy[1] = (y[8] - 0.5 * y[11] + 0.5 * y[12] + y[14] - y[1] / p[8]) / p[0]
    dy[2] = (y[9] - q1 + q4) / p[1]
    dy[3] = (-y[10] + q2 - q3) / p[1]
    dy[4] = (y[11] + q1 - q3) / p[1]
    dy[5] = (-y[12] - q2 + q4) / p[1]
    dy[6] = (-y[6] / p[9] + q1 + q2 - q3 - q4) / p[2]
    dy[7] = -y[0] / p[3]
    dy[8] = -y[1] / p[3]
    dy[9] = (0.5 * y[0] - y[2] - p[11] * y[9]) / p[5]
    dy[10] = (-0.5 * y[0] + y[3] - p[12] * y[10]) / p[6]
    dy[11] = (0.5 * y[1] - y[4] - p[11] * y[11]) / p[5]
    dy[12] = (-0.5 * y[1] + y[5] - p[12] * y[12]) / p[6]
    dy[13] = (-y[0] + 0.5 * sin(LOW * t) - (p[13] + p[10]) * y[13]) / p[4]
    dy[14] = (-y[1] - (p[14] + p[10]) * y[14]) / p[4]


def jac(t, y, p, J):
    for i in range(15):
        for j in range(15):
            J[i, j] = 0.0
    carrier = 2.0 * sin(HIGH * t)
    slope = p[7] * p[15]
    a1 = slope * exp(p[15] * (y[2] - y[4] - y[6] - carrier))
    a2 = slope * exp(p[15] * (-y[3] + y[5] - y[6] - carrier))
    a3 = slope * exp(p[15] * (y[3] + y[4] + y[6] + carrier))
    a4 = slope * exp(p[15] * (-y[2] - y[5] + y[6] + carrier))
    c, s = 1.0 / p[0], 1.0 / p[1]
    for k in range(2):
        J[k, k] = -c / p[8]
        J[k, 7 + k] = c
        J[k, 9 + 2 * k] = -0.5 * c
        J[k, 10 + 2 * k] = 0.5 * c
        J[k, 13 + k] = c
        J[7 + k, k] = -1.0 / p[3]
        J[9 + 2 * k, k] = 0.5 / p[5]
        J[9 + 2 * k, 2 + 2 * k] = -1.0 / p[5]
        J[9 + 2 * k, 9 + 2 * k] = -p[11] / p[5]
        J[10 + 2 * k, k] = -0.5 / p[6]
        J[10 + 2 * k, 3 + 2 * k] = 1.0 / p[6]
        J[10 + 2 * k, 10 + 2 * k] = -p[12] / p[6]
        J[13 + k, k] = -1.0 / p[4]
        J[13 + k, 13 + k] = -(p[13 + k] + p[10]) / p[4]
        J[2 + 2 * k, 9 + 2 * k] = s
        J[3 + 2 * k, 10 + 2 * k] = -s
    J[2, 2] = -(a1 + a4) * s
    J[2, 4] = a1 * s
    J[2, 5] = -a4 * s
    J[2, 6] = (a1 + a4) * s
    J[3, 3] = -(a2 + a3) * s
    J[3, 4] = -a3 * s
    J[3, 5] = a2 * s
    J[3, 6] = -(a2 + a3) * s
    J[4, 2] = a1 * s
    J[4, 3] = -a3 * s
    J[4, 4] = -(a1 + a3) * s
    J[4, 6] = -(a1 + a3) * s
    J[5, 2] = -a4 * s
    J[5, 3] = a2 * s
    J[5, 5] = -(a2 + a4) * s
    J[5, 6] = (a2 + a4) * s
    J[6, 2] = (a1 + a4) / p[2]
    J[6, 3] = -(a2 + a3) / p[2]
    J[6, 4] = -(a1 + a3) / p[2]
    J[6, 5] = (a2 + a4) / p[2]
    J[6, 6] = -(1.0 / p[9] + a1 + a2 + a3 + a4) / p[2]


def published() -> Problem:
    """The test set's instance, to t = 1e-3."""
    return Problem(rhs, np.zeros(15), (0.0, 1e-3), PARTS, jac=jac, name="ring_modulator")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = np.tile(PARTS, (n, 1))
    p[:, :7] = spread(rng, PARTS[:7], 1.5, n)
    p[:, 8:15] = spread(rng, PARTS[8:15], 1.2, n)
    return Batch(rhs, np.zeros((n, 15)), p, np.zeros(n), np.full(n, 5e-5), jac=jac, name="ring_modulator")


FAMILY = Family(
    name="ring_modulator",
    doc="ring modulator circuit, T = 5e-5",
    rhs=rhs,
    n=15,
    m=16,
    sampler=sampler,
    published=published,
    error="final",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-1,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "circuit", "oscillatory", "nonautonomous"),
)
