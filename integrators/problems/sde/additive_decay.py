"""Additive noise that fades, dX = (b/sqrt(1 + t) - X/(2 (1 + t))) dt + a b/sqrt(1 + t) dW, p = (a, b).

Solution X = X0/sqrt(1 + t) + b/sqrt(1 + t) (t + a W): P. E. Kloeden, E. Platen, Numerical Solution of Stochastic
Differential Equations, Springer 1992, section 4.4; the additive test problem of StochasticDiffEq.jl.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = p[1] / sqrt(1.0 + t) - y[0] / (2.0 * (1.0 + t))


def diffusion(t, y, p, g):
    g[0] = p[0] * p[1] / sqrt(1.0 + t)


def exact(t, w, h, y0, p):
    t = np.asarray(t)[:, None]
    return y0 / np.sqrt(1.0 + t) + p[1] / np.sqrt(1.0 + t) * (t + p[0] * w)


def moments(t, y0, p):
    t = np.asarray(t)[:, None]
    mean = y0 / np.sqrt(1.0 + t) + p[1] * t / np.sqrt(1.0 + t)
    return mean, (p[0] * p[1]) ** 2 * t / (1.0 + t)


def sampler(rng, count):
    return (1.0,), uniform(rng, count, (0.5, 4.0), (0.5, 2.0))


FAMILY = SDEFamily(
    "additive_decay", "additive noise that fades", drift, diffusion, (1.0,), (2.0, 1.0), sampler, noise="additive",
    interpretation=None, t_span=(0.0, 2.0), exact=exact, moments=moments, method="sra1",
)  # fmt: skip
