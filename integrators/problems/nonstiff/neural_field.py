"""Random neural vector fields, y' = gain W2 tanh(W1 (y, t) + b1) + b2: what a neural ODE's solver sees.

One hidden layer of 16 tanh units over a state of 4 and the time, as in Chen et al., "Neural Ordinary
Differential Equations" (NeurIPS 2018). p = (W1 (16, 5) row-major, b1 (16), W2 (4, 16) row-major, b2 (4)),
gain included in W2. Weights are normal with variance 1/fan-in (LeCun), W1 scaled by 1.5..3 and W2 by 5..25
(logarithmically uniform): from fields that one step crosses to ones that turn many times, the spread that
training produces. y0 standard normal, T = 1. Error at the end only (the layer's output), and the loose
tolerances at which neural ODEs run.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import tanh
from ..families import Family, tolerance_grid
from ..problem import Batch

DIM, HIDDEN = 4, 16
B1 = HIDDEN * (DIM + 1)
W2 = B1 + HIDDEN
B2 = W2 + DIM * HIDDEN
SIZE = B2 + DIM


def rhs(t, y, p, dy):
    y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
    d0, d1, d2, d3 = p[B2], p[B2 + 1], p[B2 + 2], p[B2 + 3]
    for j in range(HIDDEN):
        k = 5 * j
        z = p[k] * y0 + p[k + 1] * y1 + p[k + 2] * y2 + p[k + 3] * y3 + p[k + 4] * t + p[B1 + j]
        u = tanh(z)
        d0 += p[W2 + j] * u
        d1 += p[W2 + HIDDEN + j] * u
        d2 += p[W2 + 2 * HIDDEN + j] * u
        d3 += p[W2 + 3 * HIDDEN + j] * u
    dy[0] = d0
    dy[1] = d1
    dy[2] = d2
    dy[3] = d3


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = rng.normal(0.0, 1.0, (n, DIM))
    inner, outer = np.exp(rng.uniform(np.log([1.5, 5.0]), np.log([3.0, 25.0]), (n, 2))).T
    w1 = rng.normal(0.0, 1.0, (n, B1)) * (inner / np.sqrt(DIM + 1))[:, None]
    b1 = rng.normal(0.0, 0.5, (n, HIDDEN))
    w2 = rng.normal(0.0, 1.0, (n, DIM * HIDDEN)) * (outer / np.sqrt(HIDDEN))[:, None]
    b2 = rng.normal(0.0, 0.1, (n, DIM))
    p = np.concatenate([w1, b1, w2, b2], axis=1)
    return Batch(rhs, y0, p, np.zeros(n), np.ones(n), name="neural_field")


FAMILY = Family(
    name="neural_field", doc="random one-layer tanh vector fields, T = 1", rhs=rhs, n=DIM, m=SIZE,
    sampler=sampler, error="final", tolerances=tolerance_grid(1.0, 1e-7), atol_factor=1.0,
    levels=(3e-6, 3e-4), method="tsit5", tags=("neural", "few steps"),
)
