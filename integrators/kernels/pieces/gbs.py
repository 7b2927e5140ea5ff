"""One attempt of Gragg-Bulirsch-Stoer extrapolation, all lanes of a block at once (`kernels.gbs`).

Rows of the table are computed one after the other, in all lanes, until the last lane has its last one; a lane that is
done (row LIVE is 0) keeps its answer while the others go on.  Increments are extrapolated, not states.
"""

from ..slots import (
    ATOL,
    DIM,
    HS,
    K0,
    K1,
    LANDS,
    NPAR,
    R_NF,
    RTOL,
    S0,
    S1,
    S2,
    S3,
    STATUS,
    TEND,
    WIDTH,
    YN,
    G,
    N,
    P,
    T,
    W,
    Y,
    fabs,
    frozen,
    inline,
    maximum,
    rhs,
    traced,
    view,
    where,
)  # fmt: skip
from .gbs_order import first_column, judge
from .slots import (
    COEF,
    COLUMNS,
    HJ,
    LIVE,
    ORD,
    PA,
    PB,
    READY,
    ROUGH,
    SMALL,
    SUBSTEPS,
    TAB,
    WANTS_ENORM,
    WANTS_YNORM,
)  # fmt: skip


@traced
def take_slope(A, j, l):
    A[K0 + j] = where(A[READY + l] == 1.0, A[K0 + j], A[K1 + j])


@inline
def first_slope(A):
    # K0 = f(t, y) in the lanes that lack it
    lacking = 0
    for l in range(W):
        lacking += 1 if (A[READY + l] != 1.0) & (A[STATUS + l] == 0.0) else 0
    if lacking > 0:
        for l in range(W):
            rhs(A[T + l], frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
        for i in range(N):
            for l in range(W):
                take_slope(A, i*W + l, l)


@traced
def euler(A, j, l):
    A[PA + j] = 0.0
    A[PB + j] = A[HJ + l]*A[K0 + j]
    A[G + j] = A[Y + j] + A[PB + j]


@traced
def midpoint(A, j, l):
    z = A[PA + j] + 2.0*A[HJ + l]*A[K1 + j]
    A[PA + j] = A[PB + j]
    A[PB + j] = z
    A[G + j] = A[Y + j] + z


@traced
def smooth(A, j, l):
    # what smoothing changes is measured too: where the step is unstable it grows from row to row
    z = 0.5*(A[PA + j] + A[PB + j] + A[HJ + l]*A[K1 + j])
    sc = A[ATOL + j] + A[RTOL + l]*fabs(A[Y + j])
    e = (z - A[PB + j])/where(sc > 1e-300, sc, 1e-300)
    A[ROUGH + l] += e*e
    A[PB + j] = z


@traced
def combine(A, j, q, w):
    # one element of the table: that of the row before, at q, gives way to this row's
    low = A[q]
    high = A[PB + j]
    A[q] = high
    A[PA + j] = high
    A[PB + j] = high + (high - low)*w


@traced
def keep_row(A, j, q):
    A[q] = A[PB + j]


@traced
def clear(A, l):
    A[S0 + l] = 0.0
    A[S1 + l] = 0.0
    A[S2 + l] = 0.0
    A[S3 + l] = 0.0


@traced
def add_error(A, j, l):
    # PB: the last element of the row, PA: the one before
    y = A[Y + j]
    new = y + A[PB + j]
    u = fabs(y)
    v = fabs(new)
    sc = A[ATOL + j] + A[RTOL + l]*where(u > v, u, v)
    rs = 1.0/where(sc > 1e-300, sc, 1e-300)
    e = (A[PB + j] - A[PA + j])*rs
    A[YN + j] = where(A[LIVE + l] == 1.0, new, A[YN + j])
    A[S0 + l] += e*e
    A[S1 + l] += 0.0*new
    if WANTS_ENORM:
        A[S2 + l] = maximum(A[S2 + l], fabs(e))
    if WANTS_YNORM:
        A[S3 + l] += (y*rs)*(y*rs)


@traced
def euler_lane(A, l):
    for i in range(N):
        euler(A, i*W + l, l)


@traced
def midpoint_lane(A, l):
    for i in range(N):
        midpoint(A, i*W + l, l)


@traced
def smooth_lane(A, l):
    for i in range(N):
        smooth(A, i*W + l, l)


@traced
def combine_lane(A, l, q, w):
    for i in range(N):
        combine(A, i*W + l, q + i*W, w)


@traced
def keep_row_lane(A, l, q):
    for i in range(N):
        keep_row(A, i*W + l, q + i*W)


@traced
def error_lane(A, l):
    clear(A, l)
    for i in range(N):
        add_error(A, i*W + l, l)


@inline
def march(A, c):
    # the midpoint rule with the substeps of row c: its increment in PB
    for l in range(W):
        A[HJ + l] = A[HS + l]/SUBSTEPS[c]
        A[ROUGH + l] = 0.0
    if SMALL:
        for l in range(W):
            euler_lane(A, l)
    else:
        for i in range(N):
            for l in range(W):
                euler(A, i*W + l, l)
    for s in range(1, SUBSTEPS[c]):
        for l in range(W):
            t = A[T + l] + s*A[HJ + l]
            rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
            if SMALL:
                midpoint_lane(A, l)
        if not SMALL:
            for i in range(N):
                for l in range(W):
                    midpoint(A, i*W + l, l)
    for l in range(W):
        t = A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + A[HS + l]
        rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
        if SMALL:
            smooth_lane(A, l)
    if not SMALL:
        for i in range(N):
            for l in range(W):
                smooth(A, i*W + l, l)


@inline
def extrapolate(A, c):
    # the elements of row c, the last one in PB and the one before in PA
    for r in range(c - 1):
        w = COEF[c*COLUMNS + r]
        if SMALL:
            for l in range(W):
                combine_lane(A, l, TAB + r*N*W + l, w)
        else:
            for i in range(N):
                for l in range(W):
                    combine(A, i*W + l, TAB + (r*N + i)*W + l, w)
    if SMALL:
        for l in range(W):
            keep_row_lane(A, l, TAB + (c - 1)*N*W + l)
    else:
        for i in range(N):
            for l in range(W):
                keep_row(A, i*W + l, TAB + ((c - 1)*N + i)*W + l)


@inline
def measure(A):
    if SMALL:
        for l in range(W):
            error_lane(A, l)
    else:
        for l in range(W):
            clear(A, l)
        for i in range(N):
            for l in range(W):
                add_error(A, i*W + l, l)


@inline
def attempt(A):
    first_slope(A)
    live = 0
    for l in range(W):
        runs = A[STATUS + l] == 0.0
        A[LIVE + l] = 1.0 if runs else 0.0
        A[R_NF + l] = 1.0 if runs and A[READY + l] != 1.0 else 0.0
        live += 1 if runs else 0
        if A[ORD + l] == 0.0:
            A[ORD + l] = first_column(A[RTOL + l])
    c = 1
    while live > 0:
        march(A, c)
        extrapolate(A, c)
        if c > 1:
            measure(A)
        live = 0
        for l in range(W):
            if A[LIVE + l] == 1.0:
                judge(A, l, c)
                live += int(A[LIVE + l])
        c += 1
