"""Hodgkin and Huxley's membrane: voltage and three gates of the squid's giant axon under a constant current.

    C V' = I - gNa m^3 h (V - ENa) - gK n^4 (V - EK) - gL (V - EL),   x' = Q (a_x(V) (1 - x) - b_x(V) x),  x = m, h, n

Source: A. L. Hodgkin and A. F. Huxley, J. Physiol. 117 (1952) 500-544, with the rest at -65 mV: C = 1 uF/cm^2, ENa =
50, EK = -77, EL = -54.387 mV. y = (V, m, h, n), mV and ms; p = (I, gNa, gK, gL, Q) in uA/cm^2, mS/cm^2 and the
temperature factor of the gates (3 per ten degrees), published (10, 120, 36, .3, 1). Stiff in the gate m and during
spikes, slow in between. Family: I in 5..40, conductances log-uniform within a factor 1.2, Q log-uniform in 1..5, V in
-75..-55 with gates at their rest of -65 mV, T = 50 ms. Error at the end.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import exp, fabs, where
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform, spread

E_NA, E_K, E_L = 50.0, -77.0, -54.387
CONDUCTANCES = (120.0, 36.0, 0.3)
REST = (-65.0, 0.05293248525724958, 0.5961207535084603, 0.3176769140606974)
NEAR = 0.1  # below this x/(1 - exp(-x)) comes from its series


def rhs(t, y, p, dy):
    v, m, h, n = y[0], y[1], y[2], y[3]
    x = 0.1 * (v + 40.0)
    z = where(fabs(x) < NEAR, 1.0, x)
    am = where(
        fabs(x) < NEAR,
        1.0 + x * (0.5 + x * (1.0 / 12.0 - x * x * (1.0 / 720.0 - x * x / 30240.0))),
        z / (1.0 - exp(-z)),
    )
    x = 0.1 * (v + 55.0)
    z = where(fabs(x) < NEAR, 1.0, x)
    an = where(
        fabs(x) < NEAR,
        1.0 + x * (0.5 + x * (1.0 / 12.0 - x * x * (1.0 / 720.0 - x * x / 30240.0))),
        z / (1.0 - exp(-z)),
    )
    u = v + 65.0
    dy[0] = p[0] - p[1] * m * m * m * h * (v - E_NA) - p[2] * n * n * n * n * (v - E_K) - p[3] * (v - E_L)
    dy[1] = p[4] * (am * (1.0 - m) - 4.0 * exp(-u / 18.0) * m)
    dy[2] = p[4] * (0.07 * exp(-u / 20.0) * (1.0 - h) - h / (1.0 + exp(-0.1 * (v + 35.0))))
    dy[3] = p[4] * (0.1 * an * (1.0 - n) - 0.125 * exp(-u / 80.0) * n)


def jac(t, y, p, J):
    v, m, h, n = y[0], y[1], y[2], y[3]
    x = 0.1 * (v + 40.0)
    z = where(fabs(x) < NEAR, 1.0, x)
    e = exp(-z)
    am = where(
        fabs(x) < NEAR, 1.0 + x * (0.5 + x * (1.0 / 12.0 - x * x * (1.0 / 720.0 - x * x / 30240.0))), z / (1.0 - e)
    )
    dam = where(fabs(x) < NEAR, 0.5 + x * (1.0 / 6.0 - x * x * (1.0 / 180.0 - x * x / 5040.0)),
                (1.0 - e - z * e) / ((1.0 - e) * (1.0 - e)))
    x = 0.1 * (v + 55.0)
    z = where(fabs(x) < NEAR, 1.0, x)
    e = exp(-z)
    an = where(
        fabs(x) < NEAR, 1.0 + x * (0.5 + x * (1.0 / 12.0 - x * x * (1.0 / 720.0 - x * x / 30240.0))), z / (1.0 - e)
    )
    dan = where(fabs(x) < NEAR, 0.5 + x * (1.0 / 6.0 - x * x * (1.0 / 180.0 - x * x / 5040.0)),
                (1.0 - e - z * e) / ((1.0 - e) * (1.0 - e)))
    u = v + 65.0
    bm, ah, bn = 4.0 * exp(-u / 18.0), 0.07 * exp(-u / 20.0), 0.125 * exp(-u / 80.0)
    e = exp(-0.1 * (v + 35.0))
    bh = 1.0 / (1.0 + e)
    J[0, 0] = -p[1] * m * m * m * h - p[2] * n * n * n * n - p[3]
    J[0, 1] = -3.0 * p[1] * m * m * h * (v - E_NA)
    J[0, 2] = -p[1] * m * m * m * (v - E_NA)
    J[0, 3] = -4.0 * p[2] * n * n * n * (v - E_K)
    J[1, 0] = p[4] * (0.1 * dam * (1.0 - m) + bm * m / 18.0)
    J[1, 1] = -p[4] * (am + bm)
    J[1, 2] = 0.0
    J[1, 3] = 0.0
    J[2, 0] = p[4] * (-ah * (1.0 - h) / 20.0 - 0.1 * e * bh * bh * h)
    J[2, 1] = 0.0
    J[2, 2] = -p[4] * (ah + bh)
    J[2, 3] = 0.0
    J[3, 0] = p[4] * (0.01 * dan * (1.0 - n) + bn * n / 80.0)
    J[3, 1] = 0.0
    J[3, 2] = 0.0
    J[3, 3] = -p[4] * (0.1 * an + bn)


def published() -> Problem:
    """The paper's membrane at 6.3 degrees under 10 uA/cm^2, from rest."""
    return Problem(rhs, REST, (0.0, 50.0), [10.0, *CONDUCTANCES, 1.0], jac=jac, name="hodgkin_huxley")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = np.tile(REST, (n, 1))
    y0[:, 0] = rng.uniform(-75.0, -55.0, n)
    p = np.empty((n, 5))
    p[:, 0] = rng.uniform(5.0, 40.0, n)
    p[:, 1:4] = spread(rng, CONDUCTANCES, 1.2, n)
    p[:, 4] = log_uniform(rng, 1.0, 5.0, n)
    return Batch(rhs, y0, p, np.zeros(n), np.full(n, 50.0), jac=jac, name="hodgkin_huxley")


FAMILY = Family(
    name="hodgkin_huxley",
    doc="Hodgkin-Huxley axon, T = 50 ms",
    rhs=rhs,
    n=4,
    m=5,
    sampler=sampler,
    published=published,
    error="final",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-3,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "neuron", "mildly stiff"),
)
