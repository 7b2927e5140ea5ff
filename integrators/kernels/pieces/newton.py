"""What methods with Newton's iteration share: when J and its factors are renewed, norms, the attempt.

A method brings along `stages(A, l, kappa)`, Newton's iteration (False where it does not converge), and
`attempt_lane(A, l)`.

What is compiled as one function decides how the compiler contracts multiplications and additions, and so on last bits:
the pieces are not to be cut otherwise without a look at the results.
"""

import math

from ..slots import (
    ATOL,
    CO_FLAGS,
    DONE,
    HS,
    R_JAC_AGE,
    R_LU_AGE,
    R_LU_SHIFT,
    R_NEWTON_ITERS,
    R_NEWTON_RATE,
    R_NF,
    R_NJAC,
    R_NLU,
    R_NSOLVE,
    R_TRUNCATED,
    RTOL,
    STATUS,
    T,
    W,
    Y,
    fabs,
    inline,
    piece,
    sqrt,
)  # fmt: skip
from .slots import (
    ETA,
    FACTORS,
    HLU,
    JAGE,
    KEEP,
    KEEP_OR_REFRESH,
    LAGE,
    PAIR,
    RATE,
    REFRESH,
    SHIFT,
    SHIFT_IM,
    SHIFT_RE,
    STAND,
    TJ,
    attempt_lane,
    factor,
    factor_complex,
    jacobian,
    stages,
)  # fmt: skip


@piece
def scale(A, l, c, g, kappa):
    # weight of component c in Newton's norms; g: the size of the iterate.  A component at 0 (or nearly) without an
    # absolute tolerance has no scale in atol + rtol |y|, and nothing would converge in it: below kappa sc = 1e-18 g,
    # far beyond rounding, the scale is the iterate's
    sc = A[ATOL + c*W + l] + A[RTOL + l]*fabs(A[Y + c*W + l])
    sc = sc if kappa*sc >= 1e-18*g else A[RTOL + l]*g
    return sc if sc > 1e-300 else 1e-300


@piece
def trusted(A, l):
    # least theta/(1 - theta) that the first iteration may be judged by: the last one's, but no better than factors of
    # another size allow
    ratio = A[HLU + l]/A[HS + l]
    off = fabs(1.0 - ratio)/(1.0 + ratio)
    return max(max(A[ETA + l], 2.2e-16)**0.8, off/(1.0 - off))


@piece
def linearise(A, l, renew, keep):
    if renew:
        spent = jacobian(A, l)
        A[TJ + l] = A[T + l]
        A[JAGE + l] = 0.0
        A[R_NJAC + l] += 1.0
        A[R_NF + l] += spent
    if renew or not A[HLU + l]*A[HS + l] > 0.0 or (A[HLU + l] != A[HS + l] and not keep):
        A[R_NLU + l] += FACTORS
        A[LAGE + l] = 0.0
        if PAIR:
            off = factor(A, l, SHIFT/A[HS + l]) and factor_complex(A, l, SHIFT_RE/A[HS + l], SHIFT_IM/A[HS + l])
        else:
            off = factor(A, l, SHIFT/A[HS + l])
        A[HLU + l] = A[HS + l] if off else math.nan
    good = A[HLU + l] == A[HLU + l]
    if not good:
        A[TJ + l] = math.nan
    return good


@piece
def converge(A, l):
    # Jacobian and factors as the flags say, then the stages; False where Newton does not converge
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
    kappa = max(2.2e-15/A[RTOL + l], min(0.03, sqrt(A[RTOL + l])))
    current = renew or A[TJ + l] == A[T + l]
    factored = linearise(A, l, renew, keep)
    good = factored and stages(A, l, kappa)
    # what failed with the Jacobian of this very point and factors of this very size would fail again
    if not good and (not current or (factored and A[HLU + l] != A[HS + l])):
        good = linearise(A, l, not current, False) and stages(A, l, kappa)
    A[R_JAC_AGE + l] = A[JAGE + l]
    A[R_LU_AGE + l] = A[LAGE + l]
    A[R_LU_SHIFT + l] = math.log(A[HS + l]/A[HLU + l]) if A[HLU + l]*A[HS + l] > 0.0 else 0.0
    return good


@inline
def attempt(A):
    for l in range(W):
        # once an attempt: one that is looked at again (see `environment`) stands
        if A[STATUS + l] == 0.0 and A[DONE + l] == 0.0:
            attempt_lane(A, l)
            A[DONE + l] = 1.0
