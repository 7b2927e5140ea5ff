"""HIRES: high-irradiance response of plant morphogenesis by phytochrome, eight species.

Sources: E. Schaefer, J. Math. Biol. 2 (1975) 41-56; B. A. Gottwald, Simulation 28 (1977) 169; Mazzia and Magherini,
"Test Set for IVP Solvers", HIRES. p = (k1, k2, k3, k4, k5, k6, k+, k-, k*, supply), published (1.71, .43, 8.32, .69,
.035, 8.32, 280, .69, .69, .0007). Family: rate constants log-uniform within a factor 1.5, the first species' start
log-uniform within a factor 1.5 of 1, the enzyme's total y7 + y8 within 1.5 of .0057, the published end time.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import spread

RATES = (1.71, 0.43, 8.32, 0.69, 0.035, 8.32, 280.0, 0.69, 0.69, 0.0007)
END = 321.8122


def rhs(t, y, p, dy):
    bind = p[6] * y[5] * y[7]
    free = (p[1] + p[7] + p[8]) * y[6]
    dy[0] = -p[0] * y[0] + p[1] * y[1] + p[5] * y[2] + p[9]
    dy[1] = p[0] * y[0] - (p[1] + p[2]) * y[1]
    dy[2] = -(p[5] + p[0]) * y[2] + p[1] * y[3] + p[4] * y[4]
    dy[3] = p[2] * y[1] + p[0] * y[2] - (p[3] + p[1]) * y[3]
    dy[4] = -(p[4] + p[0]) * y[4] + p[1] * (y[5] + y[6])
    dy[5] = -bind + p[3] * y[3] + p[0] * y[4] - p[1] * y[5] + p[7] * y[6]
    dy[6] = bind - free
    dy[7] = free - bind


def jac(t, y, p, J):
    for i in range(8):
        for j in range(8):
            J[i, j] = 0.0
    free = p[1] + p[7] + p[8]
    J[0, 0] = -p[0]
    J[0, 1] = p[1]
    J[0, 2] = p[5]
    J[1, 0] = p[0]
    J[1, 1] = -p[1] - p[2]
    J[2, 2] = -p[5] - p[0]
    J[2, 3] = p[1]
    J[2, 4] = p[4]
    J[3, 1] = p[2]
    J[3, 2] = p[0]
    J[3, 3] = -p[3] - p[1]
    J[4, 4] = -p[4] - p[0]
    J[4, 5] = p[1]
    J[4, 6] = p[1]
    J[5, 3] = p[3]
    J[5, 4] = p[0]
    J[5, 5] = -p[6] * y[7] - p[1]
    J[5, 6] = p[7]
    J[5, 7] = -p[6] * y[5]
    J[6, 5] = p[6] * y[7]
    J[6, 6] = -free
    J[6, 7] = p[6] * y[5]
    J[7, 5] = -p[6] * y[7]
    J[7, 6] = free
    J[7, 7] = -p[6] * y[5]


def enzyme(t, y, p):
    return y[6] + y[7]


def published() -> Problem:
    """The test set's instance."""
    y0 = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0057]
    return Problem(rhs, y0, (0.0, END), RATES, jac=jac, name="hires", invariants={"enzyme": enzyme})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = np.zeros((n, 8))
    y0[:, [0, 7]] = spread(rng, (1.0, 0.0057), 1.5, n)
    return Batch(rhs, y0, spread(rng, RATES, 1.5, n), np.zeros(n), np.full(n, END), jac=jac, name="hires",
                 invariants={"enzyme": enzyme})


FAMILY = Family(
    name="hires",
    doc="phytochrome kinetics (HIRES), T = 321.8",
    rhs=rhs,
    n=8,
    m=10,
    sampler=sampler,
    published=published,
    error="grid",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-4,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "chemistry"),
)
