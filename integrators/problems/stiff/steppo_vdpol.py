"""Van der Pol's oscillator as StePPO solves it, x'' = mu (1 - x^2) x' - x: from non-stiff to relaxation oscillations.

Source: M. Koumans, N. Pezzotti and T. S. W. Stevens, "StePPO: Adaptive Step-Size Control for Initial-Value Problems
Using PPO", repository MKoumans/StePPO, configs/envs/ode/van_der_pol/van_der_pol_icassp2027.yaml: mu log-uniform in
1..100, y0 = (0, -2), T = 50, Kvaerno's 5(4) at rtol 1e-3 and atol 1e-6. p = (mu,), y = (x, x'). The published command
solves mu = 50. Error at times from 1e-4 T on: late ones see the phase, early ones the flight to the slow branch, and no
single time decides, as the final one would by falling into a jump, on a slow branch that forgets errors, or on a change
of the error's sign.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, early_outputs, tolerance_grid
from ..nonstiff.vanderpol import rhs
from ..problem import Batch, Problem
from .shared import log_uniform
from .vdpol_stiff import jac


def published() -> Problem:
    """mu = 50."""
    return Problem(rhs, [0.0, -2.0], (0.0, 50.0), [50.0], jac=jac, name="steppo_vdpol")


def sampler(rng: np.random.Generator, n: int) -> Batch:
    mu = log_uniform(rng, 1.0, 100.0, n)
    return Batch(
        rhs, np.tile([0.0, -2.0], (n, 1)), mu[:, None], np.zeros(n), np.full(n, 50.0), jac=jac, name="steppo_vdpol"
    )


FAMILY = Family(
    name="steppo_vdpol",
    doc="van der Pol, mu in 1..100, T = 50 (StePPO)",
    rhs=rhs,
    n=2,
    m=1,
    sampler=sampler,
    published=published,
    error="grid",
    outputs=early_outputs(1e-4),
    tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-3,
    levels=(1e-5, 1e-2),
    method="kvaerno5",
    stiff=True,
    tags=("stiff", "limit cycle", "published comparison"),
)
