"""Source of factorisation and back-substitution of sparse matrices: the pieces of `linear`, over a pattern known
beforehand.

A lane's Jacobian holds its entries column by column (_PTR, _ROW), and one cell behind them for what is written
elsewhere; its factors those of `sparse_factors.Factors` (_LP, _LR, _LD), the reciprocal of the pivot on the diagonal.
A column is gathered in TMP, reduced by the columns before it (J. R. Gilbert, T. Peierls, SIAM J. Sci. Stat. Comput. 9
(1988) 862, with the pattern fixed), and put away.

Pivots are not exchanged.  One that is the difference of terms more than 1e13 times its size is noise, and nothing can
be eliminated with it: the factorisation then counts as failed, and the step is tried again smaller, which makes the
diagonal larger.  The test does not depend on the components' units: scaling rows or columns scales pivot and terms
alike.  It says nothing of a pivot that is tiny to begin with: where a diagonal entry of shift I - J is smaller than its
neighbours by a factor g, up to log10 g digits are lost, which Newton's rates and the error estimates see, but no test
here.  Kinetics and diffusion have no such entries.
"""

from __future__ import annotations

NOISE = 1e-13

_REAL = f"""@_piece
def factor(A, l, shift):
    F = LUF + l*NLUF
    B = TMP + l*N
    for j in range(N):
        for e in range(_LP[j], _LP[j + 1]):
            A[B + _LR[e]] = 0.0
        for e in range(_PTR[j], _PTR[j + 1]):
            A[B + _ROW[e]] = -A[JAC + l*NJAC + e]
        A[B + j] += shift
        # the largest term that goes into the pivot
        top = fabs(A[B + j])
        for e in range(_LP[j], _LD[j]):
            k = _LR[e]
            v = A[B + k]
            A[F + e] = v
            if v != 0.0:
                before = A[B + j]
                for i in range(_LD[k] + 1, _LP[k + 1]):
                    A[B + _LR[i]] -= A[F + i]*v
                top = max(top, fabs(A[B + j] - before))
        pivot = A[B + j]
        least = {NOISE!r}*top if _LP[j + 1] > _LD[j] + 1 else 0.0
        if not (fabs(pivot) > least and fabs(pivot) < math.inf):
            return False
        r = 1.0/pivot
        A[F + _LD[j]] = r
        for e in range(_LD[j] + 1, _LP[j + 1]):
            A[F + e] = A[B + _LR[e]]*r
    return True


@_piece
def back(A, l, row):
    F = LUF + l*NLUF
    B = TMP + l*N
    for k in range(N):
        A[B + k] = A[row + @ORDER*W + l]
    for k in range(N):
        v = A[B + k]
        for e in range(_LD[k] + 1, _LP[k + 1]):
            A[B + _LR[e]] -= A[F + e]*v
    for k in range(N - 1, -1, -1):
        v = A[B + k]*A[F + _LD[k]]
        A[B + k] = v
        for e in range(_LP[k], _LD[k]):
            A[B + _LR[e]] -= A[F + e]*v
    for k in range(N):
        A[row + @ORDER*W + l] = A[B + k]


"""

_COMPLEX = f"""@_piece
def factor_complex(A, l, re, im):
    F = CRE + l*NLUF
    G_ = CIM + l*NLUF
    B = TMP + l*N
    C = TMI + l*N
    for j in range(N):
        for e in range(_LP[j], _LP[j + 1]):
            A[B + _LR[e]] = 0.0
            A[C + _LR[e]] = 0.0
        for e in range(_PTR[j], _PTR[j + 1]):
            A[B + _ROW[e]] = -A[JAC + l*NJAC + e]
        A[B + j] += re
        A[C + j] = im
        top = fabs(A[B + j]) + fabs(im)
        for e in range(_LP[j], _LD[j]):
            k = _LR[e]
            a = A[B + k]
            b = A[C + k]
            A[F + e] = a
            A[G_ + e] = b
            if a != 0.0 or b != 0.0:
                c = A[B + j]
                d = A[C + j]
                for i in range(_LD[k] + 1, _LP[k + 1]):
                    u = A[F + i]
                    v = A[G_ + i]
                    A[B + _LR[i]] -= u*a - v*b
                    A[C + _LR[i]] -= u*b + v*a
                top = max(top, fabs(A[B + j] - c) + fabs(A[C + j] - d))
        a = A[B + j]
        b = A[C + j]
        size = fabs(a) + fabs(b)
        least = {NOISE!r}*top if _LP[j + 1] > _LD[j] + 1 else 0.0
        if not (size > least and size < math.inf):
            return False
        a = a/size
        b = b/size
        q = 1.0/((a*a + b*b)*size)
        a = a*q
        b = -b*q
        A[F + _LD[j]] = a
        A[G_ + _LD[j]] = b
        for e in range(_LD[j] + 1, _LP[j + 1]):
            c = A[B + _LR[e]]
            d = A[C + _LR[e]]
            A[F + e] = c*a - d*b
            A[G_ + e] = c*b + d*a
    return True


@_piece
def back_complex(A, l, re, im):
    F = CRE + l*NLUF
    G_ = CIM + l*NLUF
    B = TMP + l*N
    C = TMI + l*N
    for k in range(N):
        A[B + k] = A[re + @ORDER*W + l]
        A[C + k] = A[im + @ORDER*W + l]
    for k in range(N):
        a = A[B + k]
        b = A[C + k]
        for e in range(_LD[k] + 1, _LP[k + 1]):
            u = A[F + e]
            v = A[G_ + e]
            A[B + _LR[e]] -= u*a - v*b
            A[C + _LR[e]] -= u*b + v*a
    for k in range(N - 1, -1, -1):
        c = A[B + k]
        d = A[C + k]
        u = A[F + _LD[k]]
        v = A[G_ + _LD[k]]
        a = c*u - d*v
        b = c*v + d*u
        A[B + k] = a
        A[C + k] = b
        for e in range(_LP[k], _LD[k]):
            u = A[F + e]
            v = A[G_ + e]
            A[B + _LR[e]] -= u*a - v*b
            A[C + _LR[e]] -= u*b + v*a
    for k in range(N):
        A[re + @ORDER*W + l] = A[B + k]
        A[im + @ORDER*W + l] = A[C + k]


"""


def sparse_source(pair: bool) -> str:
    """`factor` and `back`; for a pair `factor_complex` and `back_complex` too."""
    return (_REAL + (_COMPLEX if pair else "")).replace("@ORDER", "_ORDER[k]")
