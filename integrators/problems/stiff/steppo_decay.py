"""Exponential decay as StePPO solves it, y' = -lambda y: a fast transient, then nothing but growing steps.

Source: M. Koumans, N. Pezzotti and T. S. W. Stevens, "StePPO: Adaptive Step-Size Control for Initial-Value Problems
Using PPO", repository MKoumans/StePPO, configs/envs/ode/scalar_decay/scalar_decay_icassp2027.yaml: lambda log-uniform
in 1..100, y0 = 1, T = 10, Kvaerno's 5(4) at rtol 1e-3 and atol 1e-6. p = (lambda,). Exact: y = exp(-lambda t), which is
1e-5 to 1e-434 at the end: errors are relative to y0, and taken at times from 1e-4 T on, so that every lambda is seen
while it decays.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, early_outputs, tolerance_grid
from ..problem import Batch, Problem
from .shared import log_uniform


def rhs(t, y, p, dy):
    dy[0] = -p[0] * y[0]


def jac(t, y, p, J):
    J[0, 0] = -p[0]


def published() -> Problem:
    """lambda = 50."""
    return Problem(rhs, [1.0], (0.0, 10.0), [50.0], jac=jac, name="steppo_decay")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    rate = log_uniform(rng, 1.0, 100.0, n)
    return Batch(rhs, np.ones((n, 1)), rate[:, None], np.zeros(n), np.full(n, 10.0), jac=jac, name="steppo_decay")


FAMILY = Family(
    name="steppo_decay",
    doc="exponential decay, lambda in 1..100, T = 10 (StePPO)",
    rhs=rhs,
    n=1,
    m=1,
    sampler=sampler,
    published=published,
    error="grid",
    outputs=early_outputs(1e-4),
    floor=1.0,
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-3,
    levels=(1e-6, 3e-4),
    method="kvaerno5",
    stiff=True,
    tags=("stiff", "linear", "published comparison"),
)
