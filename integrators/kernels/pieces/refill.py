"""A trajectory into a lane, and out of it: `load`, `store`; `start_fresh(A, params)`: the starts of method and
controller."""

import math

from ..slots import (
    ATOL,
    COARSE,
    CS,
    DIR,
    DONE,
    FRESH,
    HLAST,
    HS,
    HZERO,
    IDLE,
    INST,
    MAXSTEP,
    NACC,
    NEXT,
    NFALL,
    NFEV,
    NJEV,
    NLU,
    NOVER,
    NREC,
    NREJ,
    NSOLVE,
    NSTATE,
    R_FINITE,
    R_SPAN,
    RTOL,
    RUNNING,
    STATUS,
    STUCK,
    SUCCESS,
    TEND,
    TOUT,
    WIDTH,
    YN,
    H,
    M,
    N,
    P,
    R,
    T,
    W,
    Y,
    fabs,
    first,
    init,
    inline,
    maximum,
    start,
    view,
)  # fmt: skip
from .slots import (
    CHOOSES,
    STAT_H_LAST,
    STAT_H_NEXT,
    STAT_NACCEPT,
    STAT_NACCEPT_OVER,
    STAT_NFALLBACK,
    STAT_NFEV,
    STAT_NJEV,
    STAT_NLU,
    STAT_NREJECT,
    STAT_NSOLVE,
    STAT_STATUS,
    STAT_T,
)  # fmt: skip


@inline
def load(A, l, b, y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps):
    for i in range(N):
        A[Y + i*W + l] = y0[b, i]
        A[YN + i*W + l] = y0[b, i]
        A[ATOL + i*W + l] = atol[b, i]
    for i in range(M):
        A[P + i*W + l] = p[b, i]
    for i in range(NREC):
        A[R + i*W + l] = math.nan
    A[R_FINITE + l] = 1.0
    A[R_SPAN + l] = fabs(t1[b] - t0[b])
    A[T + l] = t0[b]
    A[TEND + l] = t1[b]
    A[DIR + l] = -1.0 if t1[b] < t0[b] else 1.0
    coarse = 2.220446049250313e-16*maximum(fabs(t0[b]), fabs(t1[b])) > 1e-13*fabs(t1[b] - t0[b])
    A[COARSE + l] = 1.0 if coarse else 0.0
    A[RTOL + l] = rtol[b]
    A[HZERO + l] = h0[b]
    A[H + l] = 0.0
    A[HS + l] = 0.0
    A[HLAST + l] = 0.0
    A[STATUS + l] = SUCCESS if t1[b] == t0[b] else RUNNING
    A[INST + l] = b
    A[FRESH + l] = 1.0
    A[NACC + l] = 0.0
    A[NREJ + l] = 0.0
    A[NFEV + l] = 0.0
    A[NFALL + l] = 0.0
    A[NOVER + l] = 0.0
    A[NJEV + l] = 0.0
    A[NLU + l] = 0.0
    A[NSOLVE + l] = 0.0
    A[DONE + l] = 0.0
    A[STUCK + l] = 0.0
    A[MAXSTEP + l] = max_steps
    # outputs at the start or before it hold the initial state
    q = 0
    row = b if tgrid.shape[0] > 1 else 0
    nt = tgrid.shape[1]
    while q < nt and A[DIR + l]*tgrid[row, q] <= A[DIR + l]*A[T + l]:
        for i in range(N):
            yout[b, q, i] = y0[b, i]
        q += 1
    A[NEXT + l] = q
    A[TOUT + l] = A[DIR + l]*tgrid[row, q] if q < nt else math.inf


@inline
def store(A, l, yend, stat):
    b = int(A[INST + l])
    for i in range(N):
        yend[b, i] = A[Y + i*W + l]
    stat[b, STAT_STATUS] = A[STATUS + l]
    stat[b, STAT_NACCEPT] = A[NACC + l]
    stat[b, STAT_NREJECT] = A[NREJ + l]
    stat[b, STAT_NFEV] = A[NFEV + l]
    stat[b, STAT_T] = A[T + l]
    stat[b, STAT_NFALLBACK] = A[NFALL + l]
    stat[b, STAT_H_LAST] = A[HLAST + l]
    stat[b, STAT_H_NEXT] = A[H + l]
    stat[b, STAT_NJEV] = A[NJEV + l]
    stat[b, STAT_NLU] = A[NLU + l]
    stat[b, STAT_NSOLVE] = A[NSOLVE + l]
    stat[b, STAT_NACCEPT_OVER] = A[NOVER + l]
    A[STATUS + l] = IDLE
    A[INST + l] = -1.0


@inline
def start_fresh(A, params):
    start(A)
    for l in range(W):
        if A[FRESH + l] == 1.0:
            init(params, view(A, CS + l, WIDTH, NSTATE))
            A[FRESH + l] = 0.0
            if CHOOSES:
                size = first(params, view(A, CS + l, WIDTH, NSTATE), view(A, R + l, WIDTH, NREC))
                # an answer that is no positive number leaves the method's guess
                A[H + l] = size if size > 0.0 and not A[HZERO + l] > 0.0 else A[H + l]
