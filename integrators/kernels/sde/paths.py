"""Template: a path at its start and at its end, and the paths one after the other (see `kernels.templates`)."""

import math

from ..slots import (
    ATOL,
    BAD_START,
    CS,
    HLAST,
    HS,
    K0,
    K1,
    NACC,
    NFALL,
    NOVER,
    NREC,
    NREJ,
    NSTATE,
    R_FINITE,
    R_RTOL,
    R_SPAN,
    RTOL,
    RUNNING,
    STATUS,
    STUCK,
    SUCCESS,
    WIDTH,
    YN,
    H,
    M,
    N,
    P,
    R,
    T,
    Y,
    decide,
    entry,
    exp,
    fabs,
    first,
    init,
    inline,
    sqrt,
    view,
)  # fmt: skip
from .loop import begin, commit, keep_all, measure
from .motion import plant
from .slots import (
    AHEAD,
    BEFORE,
    CELL,
    CHOOSES,
    DRAWN,
    GG0,
    GG1,
    HT,
    KEY,
    LOADED,
    MARKS,
    MOTIONS,
    NQ,
    O_FIRST,
    O_RTOL,
    O_T0,
    O_T1,
    O_TREE,
    ORDER,
    OUTPUT,
    PATH,
    PLAIN,
    READY,
    SEEN,
    SPENT_F,
    SPENT_G,
    STAT_H_LAST,
    STAT_H_NEXT,
    STAT_NACCEPT,
    STAT_NACCEPT_OVER,
    STAT_NDIFFUSION,
    STAT_NDRIFT,
    STAT_NFALLBACK,
    STAT_NREJECT,
    STAT_STATUS,
    STAT_T,
    TT,
    USED,
    WT,
    Q,
    S,
    step,
)  # fmt: skip
from .steps import f, g


@inline
def load(A, I, pile, nodes, b, params, y0, p, q, atol, keys, opts, tgrid, yout, wout, hout):
    """Path b at its start."""
    row = b if len(y0) > 1 else 0
    for i in range(N):
        A[Y + i] = y0[row, i]
        A[YN + i] = y0[row, i]
        A[BEFORE + i] = y0[row, i]
        A[ATOL + i] = atol[i]
    row = b if len(p) > 1 else 0
    for i in range(M):
        A[P + i] = p[row, i]
    for i in range(NQ):
        A[Q + i] = q[row, i]
    for i in range(NREC):
        A[R + i] = math.nan
    for k in range(MOTIONS):
        A[WT + k] = 0.0
        A[HT + k] = 0.0
    A[R_FINITE] = 1.0
    A[R_SPAN] = opts[O_T1] - opts[O_T0]
    A[T] = opts[O_T0]
    A[TT] = 0.0
    A[RTOL] = opts[O_RTOL]
    A[R_RTOL] = opts[O_RTOL]
    A[H] = 0.0
    A[HLAST] = 0.0
    A[NACC] = 0.0
    A[NREJ] = 0.0
    A[NFALL] = 0.0
    A[NOVER] = 0.0
    A[SPENT_F] = 0.0
    A[SPENT_G] = 0.0
    A[STUCK] = 0.0
    A[READY] = 1.0  # `start` evaluates there
    A[STATUS] = SUCCESS if opts[O_T1] == opts[O_T0] else RUNNING
    I[KEY] = keys[b]
    I[DRAWN] = 0
    I[AHEAD] = 0
    I[USED] = 0
    I[CELL] = 0
    I[SEEN] = 0
    I[OUTPUT] = 0
    I[MARKS] = 1
    I[PATH] = b
    I[LOADED] = 1
    keep_all(A, I, b, tgrid, yout, wout, hout)
    if A[STATUS] == RUNNING:
        if opts[O_TREE] == 1.0:
            plant(I, pile, nodes, A[R_SPAN])
        start(A, params, opts)


@inline
def start(A, params, opts):
    """First size, as StochasticDiffEq.jl has it (initdt.jl): Hairer's, the noise counted three standard deviations."""
    f(A, A[T], Y, K0)
    g(A, A[T], Y, GG0)
    A[SPENT_F] = 1.0
    A[SPENT_G] = 1.0
    bad = 0.0
    states = 0.0
    slopes = 0.0
    for i in range(N):
        bad += 0.0*A[K0 + i] + 0.0*A[GG0 + i] + 0.0*A[Y + i]
        scale = max(A[ATOL + i] + A[RTOL]*fabs(A[Y + i]), 1e-300)
        states += (A[Y + i]/scale)**2
        slopes += ((fabs(A[K0 + i]) + 3.0*fabs(A[GG0 + i]))/scale)**2
    if bad != 0.0:
        A[STATUS] = BAD_START
    elif not PLAIN:
        init(params, view(A, CS, WIDTH, NSTATE))
        A[H] = opts[O_FIRST]
        if not A[H] > 0.0:
            d0 = sqrt(states/N)
            d1 = sqrt(slopes/N)
            h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01*d0/d1
            h0 = min(h0, A[R_SPAN])
            for i in range(N):
                A[S + i] = A[Y + i] + h0*A[K0 + i]
            f(A, A[T] + h0, S, K1)
            g(A, A[T] + h0, S, GG1)
            A[SPENT_F] += 1.0
            A[SPENT_G] += 1.0
            curves = 0.0
            for i in range(N):
                scale = max(A[ATOL + i] + A[RTOL]*fabs(A[Y + i]), 1e-300)
                noise = fabs(A[GG0 + i]) + fabs(A[GG1 + i])
                curves += ((fabs(A[K1 + i] - A[K0 + i]) + 3.0*noise)/scale)**2
            d2 = sqrt(curves/N)/h0
            d2 = d2 if d2 - d2 == 0.0 else 0.0
            top = max(d1, d2)
            h1 = max(1e-6, h0*1e-3) if top <= 1e-15 else exp(math.log(0.01/top)/ORDER)
            A[H] = min(min(100.0*h0, h1), A[R_SPAN])
            if CHOOSES:
                size = first(params, view(A, CS, WIDTH, NSTATE), view(A, R, WIDTH, NREC))
                A[H] = size if size > 0.0 else A[H]


@inline
def store(A, b, yend, stat):
    for i in range(N):
        yend[b, i] = A[Y + i]
    stat[b, STAT_STATUS] = A[STATUS]
    stat[b, STAT_T] = A[T]
    stat[b, STAT_NACCEPT] = A[NACC]
    stat[b, STAT_NREJECT] = A[NREJ]
    stat[b, STAT_NFALLBACK] = A[NFALL]
    stat[b, STAT_NACCEPT_OVER] = A[NOVER]
    stat[b, STAT_NDRIFT] = A[SPENT_F]
    stat[b, STAT_NDIFFUSION] = A[SPENT_G]
    stat[b, STAT_H_LAST] = A[HLAST]
    stat[b, STAT_H_NEXT] = A[H]


@entry
def run(
    A, I, pile, nodes, params, y0, p, q, atol, keys, opts, tgrid, kgrid, yout, wout, hout, yend, stat, first_path, last,
    most,
):  # fmt: skip
    """Paths first_path ... last - 1; 0 when all are done, 1 after `most` attempts: call it again with the same A, I,
    pile and nodes."""
    ticks = 0
    while True:
        if I[LOADED] == 0 or A[STATUS] != RUNNING:
            b = first_path
            if I[LOADED] == 1:
                store(A, I[PATH], yend, stat)
                b = I[PATH] + 1
            if b >= last:
                return 0
            load(A, I, pile, nodes, b, params, y0, p, q, atol, keys, opts, tgrid, yout, wout, hout)
            if A[STATUS] != RUNNING:
                continue
        begin(A, I, pile, nodes, tgrid, kgrid, opts)
        if A[STATUS] != RUNNING:
            continue
        step(A, A[T], A[HS])
        measure(A)
        if not PLAIN:
            decide(A, params)
        commit(A, I, pile, nodes, I[PATH], opts, tgrid, yout, wout, hout)
        ticks += 1
        if ticks >= most:
            return 1
