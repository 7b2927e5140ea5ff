"""Integrated Brownian motion, dX0 = a dW0, dX1 = X0 dt + b dW1, p = (a, b).

X1 = X1(0) + X0(0) t + a int W0 ds + b W1, and int_0^t W ds = t (W/2 + H): the equation whose solution needs the
space-time Levy area.
"""

from __future__ import annotations

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = 0.0
    dy[1] = y[0]


def diffusion(t, y, p, g):
    g[0] = p[0]
    g[1] = p[1]


def exact(t, w, h, y0, p):
    t = np.asarray(t)
    integral = t * (0.5 * w[..., 0] + h[..., 0])
    first = y0[0] + p[0] * w[..., 0]
    return np.stack([first, y0[1] + y0[0] * t + p[0] * integral + p[1] * w[..., 1]], -1)


def moments(t, y0, p):
    t = np.asarray(t)
    mean = np.stack([np.full(t.shape, y0[0]), y0[1] + y0[0] * t], -1)
    return mean, np.stack([p[0] ** 2 * t, p[0] ** 2 * t**3 / 3.0 + p[1] ** 2 * t], -1)


def sampler(rng, count):
    return (0.0, 0.0), uniform(rng, count, (0.5, 2.0), (0.1, 1.0))


FAMILY = SDEFamily(
    "integrated", "integrated Brownian motion", drift, diffusion, (0.5, 0.0), (1.0, 0.3), sampler, noise="additive",
    interpretation=None, exact=exact, moments=moments, method="sra1",
)  # fmt: skip
