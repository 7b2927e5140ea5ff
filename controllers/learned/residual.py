"""The formulas of a learned decision: an action on top of a classical law's answer.

`decision` says what they promise.  They are written over names that `bind` replaces for each structure: which actions
there are, where they stand in the state, what each of them does with its number.
"""

from __future__ import annotations

import math

from ...integrators.core.contract import ACCEPT, ACCEPT_MAX, FALLBACK, FLAGS, LOG_FACTOR, S_NACC
from ...integrators.core.formulas import exp, fabs, log, maximum, minimum, tanh, where
from ...integrators.core.record import ERR, ORDER
from ..laws import nbody
from ..laws.formula import (
    P_ACCEPT_ERR,
    P_ACCEPT_FACTOR,
    P_FMAX,
    P_FMAX_FIRST,
    P_FMIN,
    P_JAC_RATE,
    P_ORDER,
    head_update,
    keep_ratios,
    linear_accept,
    linear_flags,
    linear_limit,
    linear_propose,
    log_error,
    usable,
)
from .actions import scaled
from .features import HUGE

#: an attempt rejected by a learned decision is repeated with at most this part of its size
SHRINK = 0.9
#: how far an action may leave [-1, 1] (rounding in float32) before it counts as invalid
SLACK = 1e-5
LOG_SHRINK = math.log(SHRINK)
LIMIT = 1.0 + SLACK

#: constants behind the law's parameters, by offset
D_RESIDUAL = 0
D_THRESHOLD = 1
D_FMAX = 2  # log: growth limit of a law that is not linear
N_CONSTANTS = 3

# compile-time values, bound for each structure
SQUASH = 0
ACT = 0  # first row of the actions in the state
SIZE, THRESHOLD, HOLD, RENEWAL = 0, 1, -1, -1  # which of them turns the knob; -1: none
HOLD_SCALE, RENEWAL_SCALE = 1.0, 1.0
NEWTON = True
DEC = 0
CLEAR = 0
move_size = move_threshold = move_hold = move_renewal = scaled
base_decide = nbody.criterion_decide


def squashed(x):
    """Network output to action; NaN where it is not finite."""
    if SQUASH == 1:
        x = where(fabs(x) <= HUGE, minimum(maximum(x, -1.0), 1.0), x - x)
    elif SQUASH == 2:
        x = where(fabs(x) <= HUGE, tanh(x), x - x)
    return x


def valid(a):
    """True for a finite action within [-1, 1], but for the slack."""
    return fabs(a) <= LIMIT


def inside(a):
    """Action without the slack."""
    return minimum(maximum(a, -1.0), 1.0)


def linear_apply(params, state, record, out):
    """Decide with the actions in the state on top of a linear law (signature of `contract.Lane.fn`)."""
    a_size = squashed(state[ACT + SIZE])
    ok = valid(a_size)
    shift = move_size(inside(a_size), params[DEC + D_RESIDUAL])
    lf = linear_propose(params, state, record)
    law_accept = linear_accept(params, record, lf)
    below = record[ERR] <= ACCEPT_MAX
    # the law would have gone on from here: its answer need not be a shorter step
    refused = where(below, 0.0, law_accept) > 0.5
    law_accept = where(below, law_accept, 0.0)
    nacc = state[S_NACC]
    fmax = where(nacc >= 1.0, params[P_FMAX], params[P_FMAX_FIRST])
    own = minimum(maximum(lf + shift, params[P_FMIN]), fmax)
    accept = law_accept
    moved = shift != 0.0
    if THRESHOLD >= 0:
        a_threshold = squashed(state[ACT + THRESHOLD])
        ok = ok & valid(a_threshold)
        ease = move_threshold(inside(a_threshold), params[DEC + D_THRESHOLD])
        per_k = 1.0 / where(params[P_ORDER] > 0.0, params[P_ORDER], record[ORDER])
        # in logarithms: that of the error is at hand
        good = (log_error(params, record) <= log(params[P_ACCEPT_ERR]) + ease) & (
            lf + ease * per_k >= params[P_ACCEPT_FACTOR]
        )
        accept = where(good & below & usable(record), 1.0, 0.0)
        moved = moved | (ease != 0.0)
    hold = 0.0
    if HOLD >= 0:
        a_hold = squashed(state[ACT + HOLD])
        ok = ok & valid(a_hold)
        hold = move_hold(inside(a_hold), HOLD_SCALE)
        moved = moved | (hold != 0.0)
    limit = params[P_JAC_RATE]
    if RENEWAL >= 0:
        a_renewal = squashed(state[ACT + RENEWAL])
        ok = ok & valid(a_renewal)
        later = move_renewal(inside(a_renewal), RENEWAL_SCALE)
        moved = moved | (later != 0.0)
        limit = limit * exp(later)
    # what the law or the actions propose is chosen before the rules, so that these are evaluated once
    use = ok & moved
    accept = where(use, accept, law_accept)
    shorter = where(use, where(accept < 0.5, 1.0, 0.0), where(refused, 1.0, 0.0)) > 0.5
    if HOLD >= 0:
        hold = where(use, hold, 0.0)
    answer = linear_limit(params, state, record, where(use, own, lf), accept, hold)
    answer = where(shorter & usable(record), minimum(answer, LOG_SHRINK), answer)
    flags = 0.0
    if NEWTON:
        flags = linear_flags(params, record, answer, where(use, limit, params[P_JAC_RATE]))
    head_update(params, state, record, accept)
    keep_ratios(params, state, record, accept, answer)
    out[ACCEPT] = accept
    out[LOG_FACTOR] = answer
    out[FLAGS] = flags
    out[FALLBACK] = where(ok, 0.0, 1.0)


def size_apply(params, state, record, out):
    """The same on top of a law that gives a size: the residual multiplies the next size of an accepted step."""
    a_size = squashed(state[ACT + SIZE])
    ok = valid(a_size)
    shift = move_size(inside(a_size), params[DEC + D_RESIDUAL])
    base_decide(params, state, record, out)
    lf = out[LOG_FACTOR]
    use = ok & (shift != 0.0) & (out[ACCEPT] > 0.5)
    out[LOG_FACTOR] = where(use, minimum(lf + shift, params[DEC + D_FMAX]), lf)
    out[FALLBACK] = where(ok, 0.0, 1.0)


def clear(params, state):
    """Empty head, observation and action: no lags, and the law's own decision."""
    for i in range(CLEAR):
        state[i] = 0.0
