"""Source of what methods with Newton's iteration share: when J and its factors are renewed, norms, dense output.

J is kept while it serves, and so are the factors.  The controller's flags (see `controllers.contract`) say what the next attempt does:
KEEP_JACOBIAN, REFRESH_JACOBIAN, and KEEP_LU, which lets the factors stand although the size changes.  Without a word about J the rule is
RADAU5's: it is evaluated anew where the worst rate of the last attempt exceeded 1e-3 and the solution has moved since (Hairer & Wanner II,
IV.8).  Without KEEP_LU, and where the step was cut to land on the end, the factors are renewed whenever the size has changed.

Factors of another size, h_lu, under KEEP_LU: increments are multiplied by 2/(1 + h_lu/h), which balances what is too long in the directions
of small and of large eigenvalues (CVODE; P. N. Brown, G. D. Byrne, A. C. Hindmarsh, SIAM J. Sci. Stat. Comput. 10 (1989) 1038).

Such an iteration contracts no faster than off = |1 - h_lu/h|/(1 + h_lu/h): what it is trusted to do at its first step is no better than
that.

If Newton fails with a kept J or kept factors, the attempt begins again with fresh ones; if it fails with those, the attempt counts as
non-finite and is rejected.
"""

from __future__ import annotations

import numpy as np

from ...core import record
from ..explicit import Embedded, start_source

R = {name: f"A[R + {i}*W + l]" for i, name in enumerate(record.NAMES)}
KEEP = 1e-3  # worst rate at which a Jacobian is kept

#: rows of X that the pieces name: size of the last factorisation (NaN: none), worst rate, last stage's theta/(1 - theta), age
ROWS = ("HLU", "RATE", "ETA", "LAGE")


def newton_source(factor: str, factors: int) -> str:
    """`converge(A, l)`: Jacobian and factors as the flags say, then `stages(A, l, kappa)`; False where Newton does not converge.

    factor: expression that factors what an attempt of size A[HS + l] needs, True where it came off; factors: matrices that are factored.
    """
    return f"""@_piece
def linearise(A, l, renew, keep):
    if renew:
        spent = jacobian(A, l)
        A[TJ + l] = A[T + l]
        A[JAGE + l] = 0.0
        {R['njac']} += 1.0
        {R['nf']} += spent
    if renew or not A[HLU + l]*A[HS + l] > 0.0 or (A[HLU + l] != A[HS + l] and not keep):
        {R['nlu']} += {float(factors)!r}
        A[LAGE + l] = 0.0
        A[HLU + l] = A[HS + l] if {factor} else math.nan
    good = A[HLU + l] == A[HLU + l]
    if not good:
        A[TJ + l] = math.nan
    return good


@_piece
def converge(A, l):
    flags = A[CO + 2*W + l]
    flags = int(flags) if 0.0 <= flags <= 7.0 else 0
    {R['njac']} = 0.0
    {R['nlu']} = 0.0
    {R['nsolve']} = 0.0
    {R['newton_iters']} = math.nan
    {R['newton_rate']} = math.nan
    A[JAGE + l] += 1.0
    A[LAGE + l] += 1.0
    stale = A[RATE + l] > {KEEP!r} if flags & 3 == 0 else flags & 2 != 0
    renew = A[TJ + l] != A[TJ + l] or (stale and A[TJ + l] != A[T + l])
    keep = flags & 4 != 0 and {R['truncated']} == 0.0
    kappa = max(2.2e-15/A[RTOL + l], min(0.03, sqrt(A[RTOL + l])))
    current = renew or A[TJ + l] == A[T + l]
    factored = linearise(A, l, renew, keep)
    good = factored and stages(A, l, kappa)
    # what failed with the Jacobian of this very point and factors of this very size would fail again
    if not good and (not current or (factored and A[HLU + l] != A[HS + l])):
        good = linearise(A, l, not current, False) and stages(A, l, kappa)
    {R['jac_age']} = A[JAGE + l]
    {R['lu_age']} = A[LAGE + l]
    {R['lu_shift']} = math.log(A[HS + l]/A[HLU + l]) if A[HLU + l]*A[HS + l] > 0.0 else 0.0
    return good


@_inline
def attempt(A):
    for l in range(W):
        # once an attempt: one that is looked at again (see `env`) stands
        if A[STATUS + l] == 0.0 and A[DONE + l] == 0.0:
            attempt_lane(A, l)
            A[DONE + l] = 1.0


"""


def newton_start(tableau: Embedded, n: int, more: tuple[tuple[str, str], ...] = ()) -> str:
    """`start(A)`: as for explicit methods; a lane just loaded has neither Jacobian nor factors, rate nor flags.

    more: (row, expression) of further rows with a value at the start.
    """
    text = start_source(tableau, n).rstrip("\n") + "\n    for l in range(W):\n        fresh = A[FRESH + l] == 1.0\n"
    rows = (("TJ", "math.nan"), ("HLU", "math.nan"), ("RATE", "0.0"), ("ETA", "1.0"), ("CO + 2*W", "0.0"))
    for name, value in (*rows, *more):
        text += f"        A[{name} + l] = {value} if fresh else A[{name} + l]\n"
    return text + "\n"


#: `trusted(A, l)`: least theta/(1 - theta) that the first iteration may be judged by: the last one's, but no better than factors of
#: another size allow
TRUST = """@_piece
def trusted(A, l):
    ratio = A[HLU + l]/A[HS + l]
    off = fabs(1.0 - ratio)/(1.0 + ratio)
    return max(max(A[ETA + l], 2.2e-16)**0.8, off/(1.0 - off))


"""


#: weight of component c in Newton's norms; g: the size of the iterate.  A component at 0 (or nearly) without an absolute tolerance has no
#: scale in atol + rtol |y|, and nothing would converge in it: below kappa sc = 1e-18 g, far beyond rounding, the scale is the iterate's
SCALE = """@_piece
def scale(A, l, c, g, kappa):
    sc = A[ATOL + c*W + l] + A[RTOL + l]*fabs(A[Y + c*W + l])
    sc = sc if kappa*sc >= 1e-18*g else A[RTOL + l]*g
    return sc if sc > 1e-300 else 1e-300


"""


def dense_source(D: np.ndarray) -> str:
    """Dense output from increments in the rows ZS (stages, n): (1 - th) y + th y1 + th (1 - th) sum_k z_k sum_q D_kq th^q."""
    return f"""_D = {tuple(tuple(float(x) for x in row) for row in D)!r}


@_inline
def prepare_dense(A, l):
    return 0.0


@_inline
def dense(A, l, th):
    for c in range(N):
        rest = 0.0
        for k in range({D.shape[0]}):
            w = 0.0
            for q in range({D.shape[1]} - 1, -1, -1):
                w = _D[k][q] + th*w
            rest += w*A[ZS + (k*N + c)*W + l]
        A[Z + c*W + l] = ((1.0 - th)*A[Y + c*W + l] + th*A[YN + c*W + l]) + th*(1.0 - th)*rest


"""
