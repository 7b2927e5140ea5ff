"""ROBER: Robertson's autocatalytic reaction, A -> B (k1), B + B -> C + B (k2), B + C -> A + C (k3).

    y1' = -k1 y1 + k3 y2 y3,   y2' = k1 y1 - k3 y2 y3 - k2 y2^2,   y3' = k2 y2^2

Sources: H. H. Robertson, in "Numerical Analysis: An Introduction" (ed. J. Walsh, 1966), 178-182; Mazzia and Magherini,
"Test Set for IVP Solvers", ROBER. p = (k1, k2, k3). Family: rate constants log-uniform within a factor 2 of (.04, 3e7,
1e4), up to .3 of the mass in C at the start, end time log-uniform in 1e4..1e11 (dimensionless).

Error at the end over y1 alone: y3 is the conserved mass less 1e-8, and y2 follows y1. y2 ends at 1e-13, so atol = 1e-16
rtol: three orders below y2 times rtol; an atol near y2 lets it turn negative, after which the solution runs away.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform, spread

RATES = (0.04, 3e7, 1e4)


def rhs(t, y, p, dy):
    a = p[0] * y[0]
    b = p[2] * y[1] * y[2]
    c = p[1] * y[1] * y[1]
    dy[0] = b - a
    dy[1] = a - b - c
    dy[2] = c


def jac(t, y, p, J):
    J[0, 0] = -p[0]
    J[0, 1] = p[2] * y[2]
    J[0, 2] = p[2] * y[1]
    J[1, 0] = p[0]
    J[1, 1] = -p[2] * y[2] - 2.0 * p[1] * y[1]
    J[1, 2] = -p[2] * y[1]
    J[2, 0] = 0.0
    J[2, 1] = 2.0 * p[1] * y[1]
    J[2, 2] = 0.0


def mass(t, y, p):
    return y[0] + y[1] + y[2]


def published() -> Problem:
    """The test set's instance, to t = 1e11."""
    return Problem(rhs, [1.0, 0.0, 0.0], (0.0, 1e11), RATES, jac=jac, name="rober", invariants={"mass": mass})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    c = rng.uniform(0.0, 0.3, n)
    y0 = np.stack([1.0 - c, np.zeros(n), c], axis=1)
    return Batch(
        rhs,
        y0,
        spread(rng, RATES, 2.0, n),
        np.zeros(n),
        log_uniform(rng, 1e4, 1e11, n),
        jac=jac,
        name="rober",
        invariants={"mass": mass},
    )


FAMILY = Family(
    name="rober",
    doc="Robertson's kinetics, T = 1e4..1e11",
    rhs=rhs,
    n=3,
    m=3,
    sampler=sampler,
    published=published,
    error="final",
    components=(0,),
    tolerances=tolerance_grid(1e-2, 1e-10),
    atol_factor=1e-16,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "chemistry"),
)
