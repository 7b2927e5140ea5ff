"""Step sizes that are not proposed from an error: N-body criteria and the constant step.

    h' = min over the criteria in use of  c * tau        tau: the record's TAU_AMUSE, TAU_AARSETH, TAU_PRS

AMUSE's Hermite: tau = min over pairs of {r^4/v^4, r^2/a_pair^2}^(1/4), c = mu = .03.  Aarseth: tau^2 =
(|a||a2| + |a1|^2) / (|a1||a3| + |a2|^2), c = sqrt(eta), eta = .02 inside the root (.14 outside).  PRS,
REBOUND's default for IAS15 (Pham, Rein & Spiegel 2024, doi 10.21105/astro.2401.02849): tau^2 = min over
bodies of 2 y2/(y3 + sqrt(y4 y2)), y2, y3, y4 the squared norms of acceleration, jerk and snap; c = (5040
epsilon)^(1/7), growth at most 4, an attempt is repeated where h'/h < 1/4.

A criterion gives a size, not a ratio, so after a truncated step the answer is relative to the size asked
for (`H_FREE`), from which the engine goes on.
"""

from __future__ import annotations

from ...integrators.core.contract import ACCEPT, FALLBACK, FLAGS, LOG_FACTOR
from ...integrators.core.formulas import log, maximum, minimum, where
from ...integrators.core.record import ERR, FINITE, H_FREE, TAU_AARSETH, TAU_AMUSE, TAU_PRS, TRUNCATED, H
from .formula import head_update

# slots 0 and 1 are those of `formula` (error floors of the head)
C_AMUSE = 2  # constants; 0: criterion not in use
C_AARSETH = 3
C_PRS = 4
C_ACCEPT_FACTOR = 5  # log: repeat the step where h'/h falls below
C_FMAX = 6  # log: largest growth
C_NONFINITE = 7  # log: factor when the state or the time scale is not a number
N_CRITERION = 8

K_SIZE = 2  # constant step: the size
K_NONFINITE = 3
N_CONSTANT = 4

TINY = 1e-300
HUGE = 1e300


def asked(record):
    """Size from which the engine goes on after an accepted step: H, or H_FREE where the step was
    truncated.
    """
    free = (record[TRUNCATED] > 0.5) & (record[H_FREE] > 0.0)
    return maximum(where(free, record[H_FREE], record[H]), TINY)


def criterion_size(params, record):
    """The criterion's step size: the smallest constant times time scale."""
    size = where(params[C_AMUSE] > 0.0, params[C_AMUSE] * record[TAU_AMUSE], HUGE)
    size = minimum(size, where(params[C_AARSETH] > 0.0, params[C_AARSETH] * record[TAU_AARSETH], HUGE))
    return minimum(size, where(params[C_PRS] > 0.0, params[C_PRS] * record[TAU_PRS], HUGE))


def criterion_first(params, state, record):
    """First step size, from the time scales at the start."""
    return criterion_size(params, record)


def constant_first(params, state, record):
    """First step size: the constant one."""
    return params[K_SIZE]


def criterion_decide(params, state, record, out):
    """N-body step criterion (signature of `contract.Lane.fn`); accepts unless non-finite or too
    ambitious by its own rule.
    """
    size = criterion_size(params, record)
    fine = (size > 0.0) & (record[FINITE] != 0.0)
    lw = log(where(fine, size, 1.0))
    ratio = lw - log(maximum(record[H], TINY))
    accept = where(fine & (ratio >= params[C_ACCEPT_FACTOR]), 1.0, 0.0)
    kept = minimum(lw - log(asked(record)), params[C_FMAX])
    rejected = where(fine, ratio, params[C_NONFINITE])
    answer = where(accept > 0.5, kept, rejected)
    head_update(params, state, record, accept)
    out[ACCEPT] = accept
    out[LOG_FACTOR] = answer
    out[FLAGS] = 0.0
    out[FALLBACK] = 0.0


def constant_decide(params, state, record, out):
    """Constant step: accepts every finite attempt, whatever its error; a non-finite one is repeated
    with a shorter step.
    """
    fine = (record[FINITE] != 0.0) & (where(record[ERR] > HUGE, 1.0, 0.0) < 0.5)
    accept = where(fine, 1.0, 0.0)
    answer = where(fine, log(params[K_SIZE] / asked(record)), params[K_NONFINITE])
    head_update(params, state, record, accept)
    out[ACCEPT] = accept
    out[LOG_FACTOR] = answer
    out[FLAGS] = 0.0
    out[FALLBACK] = 0.0
