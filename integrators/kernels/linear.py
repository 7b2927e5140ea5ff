"""Source of the linear algebra of implicit methods: Jacobian, factorisation, back-substitution, a lane at a time.

Rows of a block (in X): JAC (n, n) at the time TJ, JAGE attempts ago; LUF (n, n) and PIV (n) of the last factorisation, LUOK: 1 where it
came off, else NaN.  A lane's matrices are its own: what depends on the data (pivots) is a branch of that lane alone.

Jacobian by differences: the increment of component j is max(sqrt(eps) |y_j|, least sc_j), with sc = atol + rtol |y|,
least = 1000 |h| eps n ||f||_wrms (1 where f vanishes): the rule of CVODE's dense difference quotients (A. C. Hindmarsh et al., ACM TOMS
31 (2005) 363; cvLsDenseDQJac).
"""

from __future__ import annotations

import dis
from collections.abc import Callable

import numpy as np

SQRT_EPS = 1.4901161193847656e-08
EPS = 2.220446049250313e-16


def names(n: int) -> tuple[str, int]:
    """Source lines that name the rows, and how many rows of X they take."""
    sizes = (("JAC", n * n), ("LUF", n * n), ("PIV", n), ("TJ", 1), ("JAGE", 1), ("LUOK", 1))
    lines, at = "", 0
    for name, rows in sizes:
        lines += f"{name} = X + {at}*W\n"
        at += rows
    return lines, at


def reads_time(rhs: Callable) -> bool:
    """Whether a right-hand side's own code names its first argument; True where that cannot be told."""
    plain = getattr(rhs, "py_func", rhs)
    code = getattr(plain, "__code__", None)
    if code is None or code.co_argcount < 1 or code.co_varnames[0] in code.co_cellvars:
        return True
    time = code.co_varnames[0]
    # instructions may name two variables, and load and store in one
    named = (op.argval if isinstance(op.argval, tuple) else (op.argval,) for op in dis.get_instructions(code) if "FAST" in op.opname)
    return any(time in names for names in named)


def jacobian_source(given: bool) -> str:
    """`jacobian(A, l)`: J at (t, y) into JAC, K0 holding f(t, y); G and K1 are scratch.  Returns the evaluations it took."""
    if given:
        return """@_piece
def jacobian(A, l):
    jac(A[T + l], view(A, Y + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR), matrix(A, JAC + l, WIDTH, DIM, DIM))
    return 0.0


"""
    return f"""@_piece
def jacobian(A, l):
    norm = 0.0
    for c in range(N):
        sc = A[ATOL + c*W + l] + A[RTOL + l]*fabs(A[Y + c*W + l])
        r = A[K0 + c*W + l]/(sc if sc > 1e-300 else 1e-300)
        norm += r*r
    norm = sqrt(norm/N)
    h = fabs(A[HS + l])
    least = 1000.0*h*{EPS!r}*N*norm if norm > 0.0 and h > 0.0 else 1.0
    for c in range(N):
        A[G + c*W + l] = A[Y + c*W + l]
    spent = 0.0
    for j in range(N):
        y = A[Y + j*W + l]
        sc = A[ATOL + j*W + l] + A[RTOL + l]*fabs(y)
        d = max({SQRT_EPS!r}*fabs(y), least*sc)
        d = d if d > 1e-300 else {SQRT_EPS!r}
        A[G + j*W + l] = y + d
        d = A[G + j*W + l] - y
        rhs(A[T + l], view(A, G + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
        spent += 1.0
        check = 0.0
        for i in range(N):
            check += 0.0*A[K1 + i*W + l]
        if check != 0.0:
            # the increment left the domain: to the other side
            A[G + j*W + l] = y - d
            d = A[G + j*W + l] - y
            rhs(A[T + l], view(A, G + l, WIDTH, DIM), view(A, P + l, WIDTH, NPAR), view(A, K1 + l, WIDTH, DIM))
            spent += 1.0
        for i in range(N):
            A[JAC + (i*N + j)*W + l] = (A[K1 + i*W + l] - A[K0 + i*W + l])/d
        A[G + j*W + l] = y
    return spent


"""


def lu_source() -> str:
    """`factor(A, l, shift)`: LU of shift I - J with partial pivoting, False where it is singular or not finite; `back(A, l, row)`:
    row (n) replaced by the solution."""
    return """@_piece
def factor(A, l, shift):
    for i in range(N):
        for j in range(N):
            A[LUF + (i*N + j)*W + l] = -A[JAC + (i*N + j)*W + l]
        A[LUF + (i*N + i)*W + l] += shift
    for k in range(N):
        p = k
        top = fabs(A[LUF + (k*N + k)*W + l])
        for i in range(k + 1, N):
            v = fabs(A[LUF + (i*N + k)*W + l])
            if v > top or v != v:
                top = v
                p = i
        A[PIV + k*W + l] = p
        if not (top > 0.0 and top < math.inf):
            return False
        if p != k:
            for j in range(N):
                v = A[LUF + (k*N + j)*W + l]
                A[LUF + (k*N + j)*W + l] = A[LUF + (p*N + j)*W + l]
                A[LUF + (p*N + j)*W + l] = v
        r = 1.0/A[LUF + (k*N + k)*W + l]
        for i in range(k + 1, N):
            v = A[LUF + (i*N + k)*W + l]*r
            A[LUF + (i*N + k)*W + l] = v
            if v != 0.0:
                for j in range(k + 1, N):
                    A[LUF + (i*N + j)*W + l] -= v*A[LUF + (k*N + j)*W + l]
    return True


@_piece
def back(A, l, row):
    for k in range(N):
        p = int(A[PIV + k*W + l])
        if p != k:
            v = A[row + k*W + l]
            A[row + k*W + l] = A[row + p*W + l]
            A[row + p*W + l] = v
    for i in range(1, N):
        v = A[row + i*W + l]
        for j in range(i):
            v -= A[LUF + (i*N + j)*W + l]*A[row + j*W + l]
        A[row + i*W + l] = v
    for i in range(N - 1, -1, -1):
        v = A[row + i*W + l]
        for j in range(i + 1, N):
            v -= A[LUF + (i*N + j)*W + l]*A[row + j*W + l]
        A[row + i*W + l] = v/A[LUF + (i*N + i)*W + l]


"""


#: weight of component c in Newton's norms
SCALE = """@_piece
def scale(A, l, c):
    sc = A[ATOL + c*W + l] + A[RTOL + l]*fabs(A[Y + c*W + l])
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


def complex_source() -> str:
    """The same for (re + i im) I - J in the rows CRE, CIM (n, n), CPIV (n): `factor_complex(A, l, re, im)`, `back_complex(A, l, row_re,
    row_im)`.  Pivots by |re| + |im|."""
    return """@_piece
def factor_complex(A, l, re, im):
    for i in range(N):
        for j in range(N):
            A[CRE + (i*N + j)*W + l] = -A[JAC + (i*N + j)*W + l]
            A[CIM + (i*N + j)*W + l] = 0.0
        A[CRE + (i*N + i)*W + l] += re
        A[CIM + (i*N + i)*W + l] = im
    for k in range(N):
        p = k
        top = fabs(A[CRE + (k*N + k)*W + l]) + fabs(A[CIM + (k*N + k)*W + l])
        for i in range(k + 1, N):
            v = fabs(A[CRE + (i*N + k)*W + l]) + fabs(A[CIM + (i*N + k)*W + l])
            if v > top or v != v:
                top = v
                p = i
        A[CPIV + k*W + l] = p
        if not (top > 0.0 and top < math.inf):
            return False
        if p != k:
            for j in range(N):
                a = A[CRE + (k*N + j)*W + l]
                b = A[CIM + (k*N + j)*W + l]
                A[CRE + (k*N + j)*W + l] = A[CRE + (p*N + j)*W + l]
                A[CIM + (k*N + j)*W + l] = A[CIM + (p*N + j)*W + l]
                A[CRE + (p*N + j)*W + l] = a
                A[CIM + (p*N + j)*W + l] = b
        a = A[CRE + (k*N + k)*W + l]
        b = A[CIM + (k*N + k)*W + l]
        q = 1.0/(a*a + b*b)
        a = a*q
        b = -b*q
        for i in range(k + 1, N):
            c = A[CRE + (i*N + k)*W + l]
            d = A[CIM + (i*N + k)*W + l]
            u = c*a - d*b
            v = c*b + d*a
            A[CRE + (i*N + k)*W + l] = u
            A[CIM + (i*N + k)*W + l] = v
            if u != 0.0 or v != 0.0:
                for j in range(k + 1, N):
                    c = A[CRE + (k*N + j)*W + l]
                    d = A[CIM + (k*N + j)*W + l]
                    A[CRE + (i*N + j)*W + l] -= u*c - v*d
                    A[CIM + (i*N + j)*W + l] -= u*d + v*c
    return True


@_piece
def back_complex(A, l, re, im):
    for k in range(N):
        p = int(A[CPIV + k*W + l])
        if p != k:
            a = A[re + k*W + l]
            b = A[im + k*W + l]
            A[re + k*W + l] = A[re + p*W + l]
            A[im + k*W + l] = A[im + p*W + l]
            A[re + p*W + l] = a
            A[im + p*W + l] = b
    for i in range(1, N):
        a = A[re + i*W + l]
        b = A[im + i*W + l]
        for j in range(i):
            u = A[CRE + (i*N + j)*W + l]
            v = A[CIM + (i*N + j)*W + l]
            c = A[re + j*W + l]
            d = A[im + j*W + l]
            a -= u*c - v*d
            b -= u*d + v*c
        A[re + i*W + l] = a
        A[im + i*W + l] = b
    for i in range(N - 1, -1, -1):
        a = A[re + i*W + l]
        b = A[im + i*W + l]
        for j in range(i + 1, N):
            u = A[CRE + (i*N + j)*W + l]
            v = A[CIM + (i*N + j)*W + l]
            c = A[re + j*W + l]
            d = A[im + j*W + l]
            a -= u*c - v*d
            b -= u*d + v*c
        u = A[CRE + (i*N + i)*W + l]
        v = A[CIM + (i*N + i)*W + l]
        q = 1.0/(u*u + v*v)
        A[re + i*W + l] = (a*u + b*v)*q
        A[im + i*W + l] = (b*u - a*v)*q


"""
