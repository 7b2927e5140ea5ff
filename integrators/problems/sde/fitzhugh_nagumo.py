"""The FitzHugh-Nagumo neuron with a noisy current, p = (a, b, I, eps, s), additive noise:

    dV = (V - V^3/3 - U + I)/eps dt + s/sqrt(eps) dW0,   dU = (V + a - b U) dt      (its own motion W1 has no effect).

R. FitzHugh, Biophys. J. 1 (1961) 445; with noise: B. Lindner, L. Schimansky-Geier, Phys. Rev. E 60 (1999) 7270.  The
noise starts spikes at random times: long quiet stretches and sharp fronts.
"""

from __future__ import annotations

from math import sqrt

from .family import SDEFamily, uniform


def drift(t, y, p, dy):
    dy[0] = (y[0] - y[0] * y[0] * y[0] / 3.0 - y[1] + p[2]) / p[3]
    dy[1] = y[0] + p[0] - p[1] * y[1]


def diffusion(t, y, p, g):
    g[0] = p[4] / sqrt(p[3])
    g[1] = 0.0


def sampler(rng, count):
    free = uniform(rng, count, (0.65, 0.75), (0.7, 0.9), (0.2, 0.4), (0.05, 0.15), (0.05, 0.3))
    return uniform(rng, count, (-1.5, 1.5), (-0.8, 0.8)), free


FAMILY = SDEFamily(
    "fitzhugh_nagumo", "spiking neuron with a noisy current", drift, diffusion, (-1.0, -0.5),
    (0.7, 0.8, 0.3, 0.08, 0.15), sampler, noise="additive", interpretation=None, t_span=(0.0, 10.0), method="sra1",
)  # fmt: skip
