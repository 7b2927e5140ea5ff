"""Template: what the rewards pay, for an attempt and at the end of an episode.  `rewards` says what they are.

`attempt_...(A, params, w, lw, l)` is traced and returns the reward of lane l's attempt, before the discount of time: w
is the work so far, lw its log, params the array `consts`.

`end_...(A, l, consts, e, le, base)` returns what the end of the episode in lane l pays, before the discount: e is its
error (inf where the end was not reached), le the log of e (1000 where e is not finite), base the log of the baseline's
work at e.

In the formulas w is the work before the attempt, w' after it, w_start that of the start, w_base(e) the baseline law's
at the error e on the same instance, w_base(tol) and e_base(tol) its work and error at the same tolerance, lambda
`lagrange`.
"""

# ruff: noqa: I001  (imports of a template stand in rows)
from __future__ import annotations

import math

from ..slots import (
    ACC, NFEV, NJEV, NLU, NSOLVE, RTOL, R_ERR, R_H, STATUS, SUCCESS, T, TEND, WIDTH, fabs, frozen, inline, traced,
    where,
)  # fmt: skip
from .places import CONST_FAIL, CONST_JACOBIAN, CONST_LAGRANGE, CONST_LU, CONST_SOLVE, CONST_WINDOW
from .slots import (
    BASEE, BASEI, FACT0, FACT_ACCEPTED, FACT_BASE_WORK, FACT_BASE_WORK_AT_ERROR, FACT_ERR, FACT_ERROR, FACT_H,
    FACT_LAGRANGE, FACT_LEFT, FACT_REACHED, FACT_RTOL, FACT_WORK, FACT_WORK_BEFORE, GAIN, IMPLICIT, LOGW, LOGW0,
    NFACTS, OWNPAY, PAID, PER_ORDER, PROP, SPAN, WPAID, reward_end, reward_step,
)  # fmt: skip


@traced
def work_so_far(A, params, l):
    """Right-hand sides, and linear algebra at its costs."""
    w = A[NFEV + l]
    if IMPLICIT:
        w = w + params[CONST_JACOBIAN]*A[NJEV + l] + params[CONST_LU]*A[NLU + l] + params[CONST_SOLVE]*A[NSOLVE + l]
    return w


@traced
def share_spent(A, params, w, l):
    """Minus the work of the attempt, as a share of the baseline's at this tolerance.  The choice keeps the product from
    being fused with what it is added to: it is rounded first, whatever the reward."""
    return where(A[PAID + l] == 0.0, (A[WPAID + l] - w)*A[BASEI + l], 0.0)


@inline
def decades_above(A, l, e, le):
    """Decades by which the episode's error lies above the baseline's at its tolerance; 10 where it is not finite."""
    return (le - A[BASEE + l])*0.4342944819032518 if e < math.inf else 10.0


@inline
def strayed(A, l, consts, e, le):
    """What it costs that the error left the decades about the baseline's, or that the end was not reached."""
    if e < math.inf:
        return consts[CONST_WINDOW]*max(0.0, abs(decades_above(A, l, e, le)) - 1.0)
    return consts[CONST_FAIL]


@traced
def attempt_matched(A, params, w, lw, l):
    """-(log w' - log w)"""
    return A[LOGW + l] - lw


@inline
def end_matched(A, l, consts, e, le, base):
    """log w_base(e) - log w_start: the sum over the episode is log(w_base(e)/w)"""
    return base - A[LOGW0 + l] - strayed(A, l, consts, e, le)


@traced
def attempt_matched_end(A, params, w, lw, l):
    """Nothing."""
    return 0.0


@inline
def end_matched_end(A, l, consts, e, le, base):
    """log(w_base(e)/w): the sum of "matched", and every return-to-go is free of the instance's own work."""
    return base - A[LOGW + l] - strayed(A, l, consts, e, le)


@traced
def attempt_constraint(A, params, w, lw, l):
    """-(w' - w)/w_base(tol); the first pays w_start too."""
    return share_spent(A, params, w, l)


@inline
def end_constraint(A, l, consts, e, le, base):
    """-lambda max(0, log10(e/e_base(tol)))"""
    above = decades_above(A, l, e, le)
    # the branch keeps the product from being fused with what follows, as in `share_spent`
    price = consts[CONST_LAGRANGE]*above if above > 0.0 else 0.0
    return -price - strayed(A, l, consts, e, le)


@traced
def attempt_propagated(A, params, w, lw, l):
    """100 [clock' - clock - (w' - w)/w_base(tol) - lambda (2/p) log((1 + |v'|/e(tol))/(1 + |v|/e(tol)))]

    The attempt's progress on the reference's natural clock, its work, and what its local error makes of the relative
    final error so far, v (template `propagated`).  e(tol) is a quarter of the sum of errors that steps along the clock
    commit with the work w_base(tol): where |v| ends there, a little more work and the error it saves weigh the same at
    lambda = 1. Every attempt is paid at once, so the returns-to-go have little variance.
    """
    cost = params[CONST_LAGRANGE]*A[PROP + l]*PER_ORDER
    return 100.0*(A[GAIN + l] + share_spent(A, params, w, l) - cost)


@inline
def end_propagated(A, l, consts, e, le, base):
    """Nothing but what a failure costs: it misses what the clock had left."""
    return 0.0 if e < math.inf else -100.0*consts[CONST_FAIL]


@traced
def see_attempt(A, l):
    """Facts that the next `begin` writes over."""
    A[FACT_ERR + l] = A[R_ERR + l]
    A[FACT_H + l] = A[R_H + l]


@traced
def see_decision(A, params, l):
    """Facts of the attempt when it has been decided; those of the end are not known yet."""
    A[FACT_WORK + l] = work_so_far(A, params, l)
    A[FACT_WORK_BEFORE + l] = A[WPAID + l]
    A[FACT_BASE_WORK + l] = 1.0/A[BASEI + l]
    A[FACT_ACCEPTED + l] = A[ACC + l]
    A[FACT_LEFT + l] = fabs(A[TEND + l] - A[T + l])/A[SPAN + l]
    A[FACT_RTOL + l] = A[RTOL + l]
    A[FACT_LAGRANGE + l] = params[CONST_LAGRANGE]
    A[FACT_ERROR + l] = math.nan
    A[FACT_BASE_WORK_AT_ERROR + l] = math.nan
    A[FACT_REACHED + l] = math.nan


@inline
def own_lane(A, params, l):
    """What the caller's `step` pays for the attempt, into the row OWNPAY."""
    see_decision(A, params, l)
    A[OWNPAY + l] = reward_step(frozen(A, FACT0 + l, WIDTH, NFACTS)) if A[PAID + l] == 0.0 else 0.0


@traced
def attempt_own(A, params, w, lw, l):
    """What the caller's `step` has paid."""
    return A[OWNPAY + l]


@inline
def end_own(A, l, consts, e, le, base):
    """What the caller's `end` pays, with the facts of the end."""
    A[FACT_ERROR + l] = e
    A[FACT_BASE_WORK_AT_ERROR + l] = math.exp(base)
    A[FACT_REACHED + l] = 1.0 if A[STATUS + l] == SUCCESS else 0.0
    return reward_end(frozen(A, FACT0 + l, WIDTH, NFACTS))
