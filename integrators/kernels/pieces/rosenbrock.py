"""What a step of a Rosenbrock method begins with: f, J and f_t at its start (`implicit.rosenbrock`)."""

import math

from ..slots import (
    COARSE,
    DIM,
    DIR,
    HS,
    K0,
    K1,
    NPAR,
    R_JAC_AGE,
    R_NF,
    R_NJAC,
    R_NLU,
    WIDTH,
    N,
    P,
    T,
    W,
    Y,
    fabs,
    frozen,
    piece,
    rhs,
    sqrt,
    view,
)  # fmt: skip
from .slots import EPS, FT, FTH, JAGE, MOVING, TJ, jacobian


@piece
def time_slope(A, l):
    # f_t at (t, y) into FT, from K0 = f(t, y); the evaluations it took.  K1 is scratch
    t = A[T + l]
    h = fabs(A[HS + l])
    # what the clock resolves of the step
    fine = min(max(EPS*fabs(t)/h, EPS), 1.0)
    d = (t + A[DIR + l]*(0.5*fine**(1.0/3.0)*h)) - t
    if A[COARSE + l] == 1.0 and d != 0.0 and 2.0*fabs(d) <= h:
        rhs(t + d, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
        rhs(t + 2.0*d, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, FT + l, WIDTH, DIM))
        spent = 2.0
        for c in range(N):
            f = A[K0 + c*W + l]
            A[FT + c*W + l] = (4.0*(A[K1 + c*W + l] - f) - (A[FT + c*W + l] - f))/(2.0*d)
    else:
        d = (t + A[DIR + l]*(sqrt(fine)*h)) - t
        d = d if d != 0.0 else A[HS + l]
        rhs(t + d, frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, FT + l, WIDTH, DIM))
        spent = 1.0
        for c in range(N):
            A[FT + c*W + l] = (A[FT + c*W + l] - A[K0 + c*W + l])/d
    check = 0.0
    for c in range(N):
        check += 0.0*A[FT + c*W + l]
    A[FTH + l] = h if check == 0.0 else math.inf
    return spent


@piece
def linearise(A, l):
    # f, J and f_t at the step's start unless they are there already; what that cost into the record.  Once an attempt:
    # one that is looked at again (see `environment`) finds its record as it is
    A[R_NLU + l] = 1.0
    if A[TJ + l] == A[T + l]:
        A[R_NJAC + l] = 0.0
        if MOVING:
            # one taken for a step this much longer says little about this one; one that is not finite may be with a
            # shorter step
            A[R_NF + l] = time_slope(A, l) if 100.0*fabs(A[HS + l]) < A[FTH + l] else 0.0
        else:
            A[R_NF + l] = 0.0
        A[JAGE + l] += 1.0
        A[R_JAC_AGE + l] = A[JAGE + l]
        return
    rhs(A[T + l], frozen(A, Y + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K0 + l, WIDTH, DIM))
    spent = 1.0 + jacobian(A, l)
    if MOVING:
        spent += time_slope(A, l)
    A[TJ + l] = A[T + l]
    A[JAGE + l] = 0.0
    A[R_JAC_AGE + l] = 0.0
    A[R_NJAC + l] = 1.0
    A[R_NF + l] = spent
