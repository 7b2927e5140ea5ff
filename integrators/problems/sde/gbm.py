"""Geometric Brownian motion, dX = mu X dt + sigma X dW (Ito), p = (mu, sigma).

Solution X = X0 exp((mu - sigma^2/2) t + sigma W): P. E. Kloeden, E. Platen, Numerical Solution of Stochastic
Differential Equations, Springer 1992, (4.4.6).  mu = 0.5 and sigma = 1 make a hard path for step-size control: errors
grow with the state.
"""

from __future__ import annotations

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = p[0] * y[0]


def diffusion(t, y, p, g):
    g[0] = p[1] * y[0]


def exact(t, w, h, y0, p):
    return y0 * np.exp((p[0] - 0.5 * p[1] ** 2) * np.asarray(t)[:, None] + p[1] * w)


def moments(t, y0, p):
    t = np.asarray(t)[:, None]
    mean = y0 * np.exp(p[0] * t)
    return mean, mean**2 * np.expm1(p[1] ** 2 * t)


def sampler(rng, count):
    return (1.0,), uniform(rng, count, (-1.0, 1.0), (0.3, 1.2))


FAMILY = SDEFamily(
    "gbm", "geometric Brownian motion", drift, diffusion, (1.0,), (0.5, 1.0), sampler, exact=exact, moments=moments
)
