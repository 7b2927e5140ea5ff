"""The Ornstein-Uhlenbeck process, dX = -theta X dt + sigma dW, p = (theta, sigma).

Its law at t: normal, mean X0 exp(-theta t), variance sigma^2 (1 - exp(-2 theta t))/(2 theta) (G. E. Uhlenbeck, L. S.
Ornstein, Phys. Rev. 36 (1930) 823).
"""

from __future__ import annotations

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = -p[0] * y[0]


def diffusion(t, y, p, g):
    g[0] = p[1]


def moments(t, y0, p):
    t = np.asarray(t)[:, None]
    return y0 * np.exp(-p[0] * t), -(p[1] ** 2) * np.expm1(-2.0 * p[0] * t) / (2.0 * p[0])


def sampler(rng, count):
    return uniform(rng, count, (-2.0, 2.0)), uniform(rng, count, (1.0, 10.0), (0.2, 1.0))


FAMILY = SDEFamily(
    "ornstein_uhlenbeck", "Ornstein-Uhlenbeck process", drift, diffusion, (1.0,), (3.0, 0.5), sampler, noise="additive",
    interpretation=None, t_span=(0.0, 2.0), moments=moments, method="sra1",
)  # fmt: skip
