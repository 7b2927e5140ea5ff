"""The Lorenz system with additive noise, p = (sigma, rho, beta, noise): dX = f(X) dt + noise dW in every component.

E. N. Lorenz, J. Atmos. Sci. 20 (1963) 130; with noise the latent process of X. Li et al., Scalable gradients for
stochastic differential equations, AISTATS 2020 (there the noise is multiplicative).
"""

from __future__ import annotations

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = p[0] * (y[1] - y[0])
    dy[1] = y[0] * (p[1] - y[2]) - y[1]
    dy[2] = y[0] * y[1] - p[2] * y[2]


def diffusion(t, y, p, g):
    g[0] = p[3]
    g[1] = p[3]
    g[2] = p[3]


def sampler(rng, count):
    start = uniform(rng, count, (-10.0, 10.0), (-10.0, 10.0), (15.0, 35.0))
    free = uniform(rng, count, (24.0, 32.0), (0.2, 2.0))
    fixed = np.ones((count, 1))
    return start, np.hstack([10.0 * fixed, free[:, :1], 8.0 / 3.0 * fixed, free[:, 1:]])


FAMILY = SDEFamily(
    "lorenz", "Lorenz system with additive noise", drift, diffusion, (1.0, 1.0, 25.0), (10.0, 28.0, 8.0 / 3.0, 1.0),
    sampler, noise="additive", interpretation=None, method="sra1",
)  # fmt: skip
