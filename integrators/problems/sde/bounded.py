"""A nonlinear equation on (-1, 1) with a known solution, p = (a, b), of Ito's kind:

    dX = -(a + b^2 X)(1 - X^2) dt + b (1 - X^2) dW,
    X = ((1 + X0) E + X0 - 1)/((1 + X0) E + 1 - X0),   E = exp(-2 a t + 2 b W).

P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, Springer 1992, section 4.4, (4.4.46).
"""

from __future__ import annotations

import numpy as np

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = -(p[0] + p[1] * p[1] * y[0]) * (1.0 - y[0] * y[0])


def diffusion(t, y, p, g):
    g[0] = p[1] * (1.0 - y[0] * y[0])


def exact(t, w, h, y0, p):
    grown = (1.0 + y0) * np.exp(-2.0 * p[0] * np.asarray(t)[:, None] + 2.0 * p[1] * w)
    return (grown + y0 - 1.0) / (grown + 1.0 - y0)


def sampler(rng, count):
    return uniform(rng, count, (-0.5, 0.5)), uniform(rng, count, (-0.5, 1.0), (0.4, 1.2))


FAMILY = SDEFamily(
    "bounded", "nonlinear, on (-1, 1), of Kloeden and Platen", drift, diffusion, (0.1,), (0.2, 1.0), sampler,
    exact=exact,
)  # fmt: skip
