"""The start of methods with a mass matrix: consistency, slope and first size, a lane at a time (`implicit.mass`).

The size is that of `kernels.start` (Hairer, Norsett & Wanner I, II.4) with the slope y' of S y' = (I - P) f - c P f_t
in place of f; f_t is left out where only the size depends on it.
"""

import math

from ..slots import (
    ATOL,
    BAD_START,
    DIM,
    DIR,
    FRESH,
    HZERO,
    K0,
    K1,
    K2,
    NFEV,
    NJEV,
    NLU,
    NPAR,
    NSOLVE,
    RTOL,
    RUNNING,
    STATUS,
    TEND,
    WIDTH,
    G,
    H,
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
    view,
)  # fmt: skip
from .slots import (
    EPS,
    HIGH_INDEX,
    INCONSISTENT,
    JAC,
    MOVING,
    NEEDS_SLOPE,
    NJAC,
    SINGULAR,
    START_ORDER,
    algebraic,
    back,
    factor,
    jacobian,
    null_part,
    start_rows,
)  # fmt: skip


@piece
def weighted_norm(A, l, row):
    # a component at 0 without an absolute tolerance has no scale yet, and no say
    total = 0.0
    for k in range(N):
        sc = A[ATOL + k*W + l] + A[RTOL + l]*fabs(A[Y + k*W + l])
        r = A[row + k*W + l]/sc if sc > 1e-300 else 0.0
        total += r*r
    return sqrt(total/N)


@piece
def slope_matrix(A, l):
    # factors of S = M + c P J, into LUF; c, or NaN where there are none, and the status says why
    c = 0.0
    if SINGULAR:
        A[NFEV + l] += jacobian(A, l)
        A[NJEV + l] += 1.0
        c = algebraic(A, l)
        if not c < math.inf:
            A[STATUS + l] = BAD_START
            return math.nan
    else:
        for k in range(NJAC):
            A[JAC + l*NJAC + k] = 0.0
    A[NLU + l] += 1.0
    if not factor(A, l, 1.0):
        A[STATUS + l] = HIGH_INDEX
        return math.nan
    return c


@piece
def time_term(A, l, c):
    # of the slope: -S^-1 c P f_t into K2; f_t by three points within the step
    t = A[T + l]
    h = A[H + l]
    fine = min(max(EPS*fabs(t)/h, EPS), 1.0)
    d = (t + A[DIR + l]*(0.5*fine**(1.0/3.0)*h)) - t
    d = d if d != 0.0 else A[DIR + l]*0.5*h
    rhs(t + d, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, G + l, WIDTH, DIM))
    rhs(t + 2.0*d, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K2 + l, WIDTH, DIM))
    A[NFEV + l] += 2.0
    for k in range(N):
        f = A[K0 + k*W + l]
        A[G + k*W + l] = (4.0*(A[G + k*W + l] - f) - (A[K2 + k*W + l] - f))/(2.0*d)
    null_part(A, l, G, K2)
    for k in range(N):
        A[K2 + k*W + l] = -c*A[K2 + k*W + l]
    back(A, l, K2)
    A[NSOLVE + l] += 1.0


@piece
def first_size(A, l):
    # from the slope in K1
    d0 = weighted_norm(A, l, Y)
    d1 = weighted_norm(A, l, K1)
    span = fabs(A[TEND + l] - A[T + l])
    h0 = 1e-6 if d0 < 1e-5 or d1 < 1e-5 else 0.01*d0/d1
    h0 = min(h0, span)
    for k in range(N):
        A[G + k*W + l] = A[Y + k*W + l] + A[DIR + l]*h0*A[K1 + k*W + l]
    t = A[T + l] + A[DIR + l]*h0
    rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K2 + l, WIDTH, DIM))
    A[NFEV + l] += 1.0
    if SINGULAR:
        null_part(A, l, K2, Z)
        for k in range(N):
            A[K2 + k*W + l] -= A[Z + k*W + l]
    back(A, l, K2)
    A[NSOLVE + l] += 1.0
    for k in range(N):
        A[K2 + k*W + l] -= A[K1 + k*W + l]
    d2 = weighted_norm(A, l, K2)/h0
    d2 = d2 if d2 < math.inf else 0.0
    dm = max(d1, d2)
    h1 = max(1e-6, h0*1e-3) if dm <= 1e-15 else (0.01/dm)**(1.0/START_ORDER)
    return min(min(100.0*h0, h1), span)


@piece
def start_lane(A, l):
    t = A[T + l]
    rhs(t, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
    A[NFEV + l] += 1.0
    check = 0.0
    for k in range(N):
        check += 0.0*A[Y + k*W + l] + 0.0*A[K0 + k*W + l]
    if check != 0.0:
        A[STATUS + l] = BAD_START
        return
    c = slope_matrix(A, l)
    if A[STATUS + l] != RUNNING:
        return
    for k in range(N):
        A[K1 + k*W + l] = A[K0 + k*W + l]
    if SINGULAR:
        # Newton's correction that leaves M y as it is
        null_part(A, l, K0, Z)
        for k in range(N):
            A[K1 + k*W + l] -= A[Z + k*W + l]
            A[K2 + k*W + l] = -c*A[Z + k*W + l]
        back(A, l, K2)
        A[NSOLVE + l] += 1.0
        if not weighted_norm(A, l, K2) <= 0.5:
            A[STATUS + l] = INCONSISTENT
            return
    back(A, l, K1)
    A[NSOLVE + l] += 1.0
    A[H + l] = A[HZERO + l] if A[HZERO + l] > 0.0 else first_size(A, l)
    if NEEDS_SLOPE:
        for k in range(N):
            A[K2 + k*W + l] = 0.0
        if SINGULAR:
            if MOVING:
                time_term(A, l, c)
        for k in range(N):
            A[K0 + k*W + l] = A[K1 + k*W + l] + A[K2 + k*W + l]


@inline
def start(A):
    for l in range(W):
        if A[FRESH + l] == 1.0:
            if A[STATUS + l] == RUNNING:
                start_lane(A, l)
            start_rows(A, l)
