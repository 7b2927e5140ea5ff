"""One trial step of the numerical differentiation formulas, a lane at a time (`implicit.bdf`)."""

import math

from ..slots import (
    DIM,
    HS,
    K0,
    NPAR,
    R_ENORM,
    R_ERR,
    R_FINITE,
    R_LU_SHIFT,
    R_NF,
    R_ORDER,
    R_YNORM,
    WIDTH,
    YN,
    G,
    N,
    P,
    T,
    W,
    Y,
    Z,
    fabs,
    frozen,
    inline,
    piece,
    rhs,
    sqrt,
    traced,
    view,
    where,
)  # fmt: skip
from .bdf_newton import converge
from .multistep import basis, choose, nodes, turn, weight
from .slots import (
    AFTER,
    CONSTANTS,
    EC,
    FAILS,
    GS,
    HELD,
    HLU,
    KEPT,
    LEADING,
    ORD,
    PAST,
    POINTS,
    PREDICTED,
    RESTART,
    SLOPE,
    WANTS_ENORM,
    WANTS_YNORM,
    WT,
    XI,
    YS,
)  # fmt: skip


@traced
def carry(A, j, l, acc):
    for i in range(KEPT - 1):
        m = KEPT - 1 - i
        A[YS + m*N*W + j] = where(acc, A[YS + (m - 1)*N*W + j], A[YS + m*N*W + j])
    A[YS + j] = where(acc, A[YN + j], A[YS + j])


@traced
def marks(A, l):
    turn(A, l)


@piece
def history(A, l):
    # the points that the attempt looks back on.  At a fresh start, and after so many rejections that they cannot be
    # trusted, there is one more than the state: on the tangent, one step back
    if A[FAILS + l] >= RESTART and A[POINTS + l] > 1.0:
        t = A[T + l]
        rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
        A[R_NF + l] += 1.0
        A[POINTS + l] = 1.0
        A[ORD + l] = 1.0
        A[FAILS + l] = 0.0
        A[HELD + l] = 0.0
    if A[POINTS + l] == 1.0:
        A[PAST + l] = A[HS + l]
        for c in range(N):
            A[YS + c*W + l] = A[Y + c*W + l]
            A[YS + (N + c)*W + l] = A[Y + c*W + l] - A[HS + l]*A[K0 + c*W + l]
    nodes(A, l)


@piece
def predict(A, l, k):
    # w(t_n) and h w'(t_n), as differences from the last value: the weights of the first add up to 1, those of the
    # second to 0
    basis(A, l, 1, k + 1, 0.0)
    total = 0.0
    for i in range(k + 1):
        total += 1.0/A[XI + (i + 1)*W + l]
    for c in range(N):
        y = A[Y + c*W + l]
        w = 0.0
        d = 0.0
        for i in range(1, k + 1):
            v = A[WT + i*W + l]*(A[YS + (i*N + c)*W + l] - y)
            w += v
            d += v*(total - 1.0/A[XI + (i + 1)*W + l])
        A[PREDICTED + c*W + l] = y + w
        A[SLOPE + c*W + l] = d


@piece
def constant(A, l, j):
    # the error estimate of order j over ||e_j||
    s = 0.0
    for i in range(1, j + 2):
        s += 1.0/A[XI + i*W + l]
    return max(fabs(s - LEADING[j]), (j + 1.0)/A[XI + (j + 1)*W + l]*CONSTANTS[j])


@piece
def estimate(A, l, j):
    # what order j would have made of this step
    basis(A, l, 1, j + 1, 0.0)
    total = 0.0
    for c in range(N):
        y = A[Y + c*W + l]
        e = A[YN + c*W + l] - y
        for i in range(1, j + 1):
            e -= A[WT + i*W + l]*(A[YS + (i*N + c)*W + l] - y)
        e = e/weight(A, l, c)
        total += e*e
    return constant(A, l, j)*sqrt(total/N)


@piece
def attempt_lane(A, l):
    A[R_NF + l] = 0.0
    history(A, l)
    k = int(A[ORD + l])
    A[GS + l] = A[HS + l]/LEADING[k]
    predict(A, l, k)
    good = converge(A, l, k)
    total = 0.0
    most = 0.0
    size = 0.0
    finite = 0.0
    for c in range(N):
        yn = A[G + c*W + l]
        A[YN + c*W + l] = yn
        sc = weight(A, l, c)
        e = A[EC + c*W + l]/sc
        total += e*e
        most = max(most, fabs(e))
        size += (A[Y + c*W + l]/sc)*(A[Y + c*W + l]/sc)
        finite += 0.0*yn
    norm = sqrt(total/N)
    err = constant(A, l, k)*norm if good else math.nan
    err = choose(A, l, k, err)
    A[R_ERR + l] = err
    A[R_ORDER + l] = A[AFTER + l] + 1.0
    A[R_FINITE + l] = 1.0 if good and finite + 0.0*err == 0.0 else 0.0
    after = A[GS + l]*LEADING[k]/LEADING[int(A[AFTER + l])]
    A[R_LU_SHIFT + l] = math.log(after/A[HLU + l]) if A[HLU + l]*after > 0.0 else 0.0
    if WANTS_ENORM:
        A[R_ENORM + l] = most/norm if norm > 0.0 else 1.0
    if WANTS_YNORM:
        A[R_YNORM + l] = sqrt(size/N)


@inline
def prepare_dense(A, l):
    return 0.0


@inline
def dense(A, l, th):
    # the polynomial through the step's end and the last `order` values before it
    k = int(A[ORD + l])
    basis(A, l, 0, k + 1, th - 1.0)
    for c in range(N):
        y = A[YN + c*W + l]
        z = y
        for i in range(k):
            z += A[WT + (i + 1)*W + l]*(A[YS + (i*N + c)*W + l] - y)
        A[Z + c*W + l] = z
