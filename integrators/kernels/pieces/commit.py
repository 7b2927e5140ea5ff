"""`commit(A, tgrid, yout)`: carry out the decision in CO: advance or hold, next size, counts, status, outputs.

A method brings two pieces along: `carry(A, j, l, acc)`, what it does a component beside advancing the state (acc:
whether the lane advances), and `marks(A, l)`, what it does a lane after that (row ACC says whether it advanced).
"""

from ..slots import (
    ACC,
    CO_ACCEPT,
    CO_FALLBACK,
    CO_LOG_FACTOR,
    DIR,
    DONE,
    HLAST,
    HS,
    LANDS,
    MAX_STEPS,
    MAXSTEP,
    NACC,
    NFALL,
    NFEV,
    NJEV,
    NLU,
    NOVER,
    NREJ,
    NSOLVE,
    R_ERR,
    R_FINITE,
    R_H,
    R_H_FREE,
    R_NF,
    R_NJAC,
    R_NLU,
    R_NSOLVE,
    R_TRUNCATED,
    STATUS,
    STUCK,
    SUCCESS,
    TEND,
    TN,
    TOUT,
    YN,
    H,
    N,
    T,
    W,
    Y,
    emit,
    exp,
    inline,
    traced,
    where,
)  # fmt: skip
from .nothing_kept import carry, marks
from .slots import IMPLICIT, SMALL


@traced
def commit_lane(A, l):
    running = A[STATUS + l] == 0.0
    acc = (A[CO_ACCEPT + l] > 0.5) & running & (A[R_FINITE + l] == 1.0)
    one = where(acc, 1.0, 0.0)
    live = where(running, 1.0, 0.0)
    lands = A[LANDS + l] == 1.0
    A[ACC + l] = one
    A[TN + l] = where(lands, A[TEND + l], A[T + l] + A[HS + l])
    base = where(acc & (A[R_TRUNCATED + l] == 1.0), A[R_H_FREE + l], A[R_H + l])
    A[HLAST + l] = where(acc, A[R_H + l], A[HLAST + l])
    A[H + l] = where(running, base*exp(A[CO_LOG_FACTOR + l]), A[H + l])
    A[STUCK + l] = live - one
    nacc = A[NACC + l] + one
    nrej = A[NREJ + l] + (live - one)
    A[NACC + l] = nacc
    A[NREJ + l] = nrej
    # an attempt that has not run may hold NaN there
    A[NFEV + l] = A[NFEV + l] + (where(running, A[R_NF + l], 0.0) if IMPLICIT else live*A[R_NF + l])
    A[NFALL + l] = A[NFALL + l] + live*A[CO_FALLBACK + l]
    A[NOVER + l] = A[NOVER + l] + where(acc & (A[R_ERR + l] > 1.0), 1.0, 0.0)
    if IMPLICIT:
        A[NJEV + l] = A[NJEV + l] + where(running, A[R_NJAC + l], 0.0)
        A[NLU + l] = A[NLU + l] + where(running, A[R_NLU + l], 0.0)
        A[NSOLVE + l] = A[NSOLVE + l] + where(running, A[R_NSOLVE + l], 0.0)
        A[DONE + l] = 0.0
    spent = running & (nacc + nrej >= A[MAXSTEP + l])
    A[STATUS + l] = where(acc & lands, SUCCESS, where(spent, MAX_STEPS, A[STATUS + l]))


@traced
def advance_component(A, j, l, acc):
    A[Y + j] = where(acc, A[YN + j], A[Y + j])
    carry(A, j, l, acc)


@traced
def advance_time(A, l):
    A[T + l] = where(A[ACC + l] == 1.0, A[TN + l], A[T + l])
    marks(A, l)


@traced
def advance_lane(A, l):
    acc = A[ACC + l] == 1.0
    for i in range(N):
        advance_component(A, i*W + l, l, acc)
    advance_time(A, l)


@traced
def advance_row(A, j, l):
    advance_component(A, j, l, A[ACC + l] == 1.0)


@inline
def advance_all(A):
    if SMALL:
        for l in range(W):
            advance_lane(A, l)
    else:
        for i in range(N):
            for l in range(W):
                advance_row(A, i*W + l, l)
        for l in range(W):
            advance_time(A, l)


@inline
def pass_outputs(A, tgrid, yout):
    if tgrid.shape[1] > 0:
        crossing = 0
        for l in range(W):
            crossing += 1 if (A[ACC + l] == 1.0) & (A[DIR + l]*A[TN + l] >= A[TOUT + l]) else 0
        if crossing > 0:
            for l in range(W):
                if A[ACC + l] == 1.0 and A[DIR + l]*A[TN + l] >= A[TOUT + l]:
                    emit(A, l, tgrid, yout)


@inline
def commit(A, tgrid, yout):
    for l in range(W):
        commit_lane(A, l)
    pass_outputs(A, tgrid, yout)
    advance_all(A)
