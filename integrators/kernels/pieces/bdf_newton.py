"""Newton's iteration of the numerical differentiation formulas, and when J and its factors are renewed (`newton`)."""

import math

from ..slots import (
    CO_FLAGS,
    DIM,
    HS,
    K2,
    LANDS,
    NPAR,
    R_JAC_AGE,
    R_LU_AGE,
    R_NEWTON_ITERS,
    R_NEWTON_RATE,
    R_NF,
    R_NJAC,
    R_NLU,
    R_NSOLVE,
    R_TRUNCATED,
    RTOL,
    TEND,
    WIDTH,
    G,
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
from .newton import scale
from .slots import (
    EC,
    ETA,
    GS,
    HLU,
    JAGE,
    KAPPA,
    KEEP,
    KEEP_OR_REFRESH,
    LAGE,
    LEADING,
    MOST,
    PREDICTED,
    RATE,
    REFRESH,
    SLOPE,
    STAND,
    TJ,
    YS,
    back,
    factor,
    jacobian,
)  # fmt: skip


@piece
def correct(A, l, k, kappa):
    # Newton's iteration for e = y_n - w(t_n); False where it does not converge
    h = A[HS + l]
    ratio = A[HLU + l]/A[GS + l]
    scaled = 2.0/(1.0 + ratio)
    off = fabs(1.0 - ratio)/(1.0 + ratio)
    eta = max(max(A[ETA + l], 2.2e-16)**0.8, off/(1.0 - off))
    t = A[TEND + l] if A[LANDS + l] == 1.0 else A[T + l] + h
    for c in range(N):
        A[G + c*W + l] = A[PREDICTED + c*W + l]
        A[EC + c*W + l] = 0.0
    last = 0.0
    worst = 0.0
    iterations = 0.0
    done = False
    for it in range(MOST):
        rhs(t, frozen(A, G + l, WIDTH, DIM), frozen(A, P + l, WIDTH, NPAR), view(A, K2 + l, WIDTH, DIM))
        iterations += 1.0
        for c in range(N):
            A[K2 + c*W + l] -= (A[SLOPE + c*W + l] + LEADING[k]*A[EC + c*W + l])/h
        back(A, l, K2)
        norm = 0.0
        for c in range(N):
            d = scaled*A[K2 + c*W + l]
            A[EC + c*W + l] += d
            A[G + c*W + l] = A[PREDICTED + c*W + l] + A[EC + c*W + l]
            d = d/scale(A, l, c, fabs(A[G + c*W + l]), kappa)
            norm += d*d
        norm = sqrt(norm/N)
        if not norm < math.inf:
            break
        if it > 0:
            theta = norm/last if last > 0.0 else 0.0
            worst = max(worst, theta)
            if theta >= 1.0:
                break
            eta = theta/(1.0 - theta)
            if eta*norm*theta**(MOST - 2 - it) > kappa:
                break
        if eta*norm <= kappa:
            done = True
            break
        last = norm
    A[R_NEWTON_ITERS + l] = iterations
    A[R_NEWTON_RATE + l] = worst
    A[R_NF + l] += iterations
    A[R_NSOLVE + l] += iterations
    A[RATE + l] = worst
    if done:
        A[ETA + l] = eta
    return done


@piece
def jacobian_ahead(A, l):
    # J at the end of the attempt, where w(t_n) predicts the state to be; the evaluations it took
    t = A[T + l]
    A[T + l] = A[TEND + l] if A[LANDS + l] == 1.0 else t + A[HS + l]
    for c in range(N):
        A[Y + c*W + l] = A[PREDICTED + c*W + l]
    spent = jacobian(A, l)
    A[T + l] = t
    for c in range(N):
        A[Y + c*W + l] = A[YS + c*W + l]
    return spent


@piece
def linearise(A, l, renew, keep):
    # as in `newton`; what is factored belongs to the size over the leading coefficient, GS
    if renew:
        spent = jacobian_ahead(A, l)
        A[TJ + l] = A[T + l]
        A[JAGE + l] = 0.0
        A[R_NJAC + l] += 1.0
        A[R_NF + l] += spent
    if renew or not A[HLU + l]*A[GS + l] > 0.0 or (A[HLU + l] != A[GS + l] and not keep):
        A[R_NLU + l] += 1.0
        A[LAGE + l] = 0.0
        A[HLU + l] = A[GS + l] if factor(A, l, 1.0/A[GS + l]) else math.nan
        A[ETA + l] = 1.0
    good = A[HLU + l] == A[HLU + l]
    if not good:
        A[TJ + l] = math.nan
    return good


@piece
def converge(A, l, k):
    # Jacobian and factors as the flags say, then Newton's iteration; False where it does not converge
    flags = A[CO_FLAGS + l]
    flags = int(flags) if 0.0 <= flags <= 7.0 else 0
    A[R_NJAC + l] = 0.0
    A[R_NLU + l] = 0.0
    A[R_NSOLVE + l] = 0.0
    A[R_NEWTON_ITERS + l] = math.nan
    A[R_NEWTON_RATE + l] = math.nan
    A[JAGE + l] += 1.0
    A[LAGE + l] += 1.0
    stale = A[RATE + l] > KEEP if flags & KEEP_OR_REFRESH == 0 else flags & REFRESH != 0
    renew = A[TJ + l] != A[TJ + l] or (stale and A[TJ + l] != A[T + l])
    keep = flags & STAND != 0 and A[R_TRUNCATED + l] == 0.0
    kappa = max(2.2e-15/A[RTOL + l], KAPPA)
    factored = linearise(A, l, renew, keep)
    good = factored and correct(A, l, k, kappa)
    # what failed with the Jacobian of this very point and factors of this very size would fail again
    if not good and (not renew or (factored and A[HLU + l] != A[GS + l])):
        good = linearise(A, l, not renew, False) and correct(A, l, k, kappa)
    A[R_JAC_AGE + l] = A[JAGE + l]
    A[R_LU_AGE + l] = A[LAGE + l]
    return good


