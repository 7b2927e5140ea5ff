"""Predator and prey with noise in their growth, p = (a, b, c, d, s0, s1), of Ito's kind:

    dX0 = X0 (a - b X1) dt + s0 X0 dW0,   dX1 = X1 (c X0 - d) dt + s1 X1 dW1.

L. Arnold, W. Horsthemke, J. W. Stucki, The influence of external real and white noise on the Lotka-Volterra model,
Biometrical J. 21 (1979) 451.
"""

from __future__ import annotations

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = y[0] * (p[0] - p[1] * y[1])
    dy[1] = y[1] * (p[2] * y[0] - p[3])


def diffusion(t, y, p, g):
    g[0] = p[4] * y[0]
    g[1] = p[5] * y[1]


def sampler(rng, count):
    rates = uniform(rng, count, (0.8, 2.0), (0.5, 1.5), (0.5, 1.5), (0.8, 2.0), (0.05, 0.4), (0.05, 0.4))
    return np.exp(uniform(rng, count, (-0.7, 0.7), (-0.7, 0.7))), rates


FAMILY = SDEFamily(
    "lotka_volterra", "predator and prey with noisy growth", drift, diffusion, (1.0, 1.0),
    (1.5, 1.0, 1.0, 1.5, 0.2, 0.2), sampler, t_span=(0.0, 5.0),
)  # fmt: skip
