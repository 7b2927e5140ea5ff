"""The Brusselator without diffusion as StePPO solves it, x' = A + x^2 y - (B + 1) x, y' = B x - x^2 y, A = 1.

Source: M. Koumans, N. Pezzotti and T. S. W. Stevens, "StePPO: Adaptive Step-Size Control for Initial-Value Problems
Using PPO", repository MKoumans/StePPO, configs/envs/ode/brusselator/brusselator_icassp2027.yaml: B log-uniform in 1..50
(that of its tests; its training draws 1..15 and 15..50 alike), y0 = (.5, 1), T = 100, Kvaerno's 5(4) at rtol 1e-3 and
atol 1e-6. p = (A, B). A damped focus at B < 2, a limit cycle above, of spikes x = O(B^2) between slow passages of about
B^2/4 where x = O(1/B): none within T for B > 20. Error at times from 1e-4 T on, which see the fast start that is all
there is to get wrong at large B.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, early_outputs, tolerance_grid
from ..nonstiff.brusselator import rhs
from ..problem import Batch, Problem
from .shared import log_uniform


def jac(t, y, p, J):
    J[0, 0] = 2.0 * y[0] * y[1] - p[1] - 1.0
    J[0, 1] = y[0] * y[0]
    J[1, 0] = p[1] - 2.0 * y[0] * y[1]
    J[1, 1] = -y[0] * y[0]


def published() -> Problem:
    """B = 50."""
    return Problem(rhs, [0.5, 1.0], (0.0, 100.0), [1.0, 50.0], jac=jac, name="steppo_brusselator")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    p = np.stack([np.ones(n), log_uniform(rng, 1.0, 50.0, n)], axis=1)
    return Batch(
        rhs, np.tile([0.5, 1.0], (n, 1)), p, np.zeros(n), np.full(n, 100.0), jac=jac, name="steppo_brusselator"
    )


FAMILY = Family(
    name="steppo_brusselator",
    doc="Brusselator, B in 1..50, T = 100 (StePPO)",
    rhs=rhs,
    n=2,
    m=2,
    sampler=sampler,
    published=published,
    error="grid",
    outputs=early_outputs(1e-4),
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-3,
    levels=(1e-6, 3e-4),
    method="kvaerno5",
    stiff=True,
    tags=("stiff", "limit cycle", "published comparison"),
)
