"""VDPOL: van der Pol's oscillator at large mu, x'' = mu (1 - x^2) x' - x, unscaled.

Sources: Hairer and Wanner, "Solving ODEs II", section IV.10; Mazzia and Magherini, "Test Set for IVP Solvers", VDPOL. p
= (mu,). y = (x, x'). The period is (3 - 2 log 2) mu + O(mu^(-1/3)), the jumps between the slow branches last O(1/mu):
stiff but for the jumps. Family: mu log-uniform in 100..1000, |x| = 1.5..2.5 at rest, T = 2 mu (about one and a quarter
periods, as published). Error at the end, where both branches have been left once.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..nonstiff.vanderpol import rhs
from ..problem import Batch, Problem
from .shared import log_uniform


def jac(t, y, p, J):
    J[0, 0] = 0.0
    J[0, 1] = 1.0
    J[1, 0] = -2.0 * p[0] * y[0] * y[1] - 1.0
    J[1, 1] = p[0] * (1.0 - y[0] * y[0])


def published() -> Problem:
    """mu = 1000 from (2, 0) to t = 2000."""
    return Problem(rhs, [2.0, 0.0], (0.0, 2000.0), [1000.0], jac=jac, name="vdpol_stiff")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    mu = log_uniform(rng, 100.0, 1000.0, n)
    x = rng.uniform(1.5, 2.5, n) * rng.choice([-1.0, 1.0], n)
    return Batch(
        rhs, np.stack([x, np.zeros(n)], axis=1), mu[:, None], np.zeros(n), 2.0 * mu, jac=jac, name="vdpol_stiff"
    )


FAMILY = Family(
    name="vdpol_stiff",
    doc="van der Pol, mu in 100..1000, T = 2 mu",
    rhs=rhs,
    n=2,
    m=1,
    sampler=sampler,
    published=published,
    error="final",
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-3,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "limit cycle"),
)
