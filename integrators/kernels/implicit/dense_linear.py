"""Source of the factorisation and back-substitution of large dense matrices, a lane at a time.

As `linear.factor` and its like, by `compile.tiles`: a lane's factors lie column by column from the first place of its
own that starts a cache line (of an aligned block), `LD` numbers a column, and a right-hand side behind them.  Element
(i, j) of the Jacobian lies at `i*JROW + j*JCOLUMN`: row by row where the problem gives it, column by column where
differences of one column after another do.
"""

from __future__ import annotations

from ...compile.column_code import PANEL
from ...compile.tiles import leading
from ..templates import constants

#: unknowns from which on this is faster than plain loops (measured)
FROM = 16


def dense_room(n: int) -> int:
    """Cells that a lane's factors and a right-hand side take, a multiple of a cache line's."""
    return leading(n) * (n + 1) + PANEL


def dense_source(n: int, pair: bool, by_columns: bool) -> str:
    """The pieces `factor`, `back` and, for a pair, `factor_complex`, `back_complex`.

    by_columns: the Jacobian lies column by column.
    """
    head = f"from stepsmith.integrators.compile.tiles import lu, lu_solve\nLD = {leading(n)}\nLU_AT = -LUF % {PANEL}\n"
    head += constants(JROW=1 if by_columns else n, JCOLUMN=n if by_columns else 1)
    return head + _REAL + (f"CPLANE = CIM - CRE\nC_AT = -CRE % {PANEL}\n" + _COMPLEX if pair else "")


_REAL = """@_piece
def factor(A, l, shift):
    M = LUF + LU_AT + l*NLUF
    # the matrix, eight columns at a time; then the rows of zeros below it
    for k in range(0, N, 8):
        for i in range(N):
            for j in range(k, min(k + 8, N)):
                A[M + j*LD + i] = -A[JAC + l*NJAC + i*JROW + j*JCOLUMN]
    for j in range(N):
        A[M + j*LD + j] += shift
    for j in range(N):
        for i in range(N, LD):
            A[M + j*LD + i] = 0.0
    return lu(A, M, PIV + l, W, N, 0)


@_piece
def back(A, l, row):
    M = LUF + LU_AT + l*NLUF
    B = M + N*LD
    for k in range(N):
        A[B + k] = A[row + k*W + l]
    for k in range(N, LD):
        A[B + k] = 0.0
    lu_solve(A, M, PIV + l, W, N, 0)
    for k in range(N):
        A[row + k*W + l] = A[B + k]


"""

_COMPLEX = """@_piece
def factor_complex(A, l, re, im):
    M = CRE + C_AT + l*NLUF
    # the matrix, eight columns at a time; then its imaginary part, and the rows of zeros below both
    for k in range(0, N, 8):
        for i in range(N):
            for j in range(k, min(k + 8, N)):
                A[M + j*LD + i] = -A[JAC + l*NJAC + i*JROW + j*JCOLUMN]
    for j in range(N):
        for i in range(LD):
            A[M + CPLANE + j*LD + i] = 0.0
        A[M + j*LD + j] += re
        A[M + CPLANE + j*LD + j] = im
    for j in range(N):
        for i in range(N, LD):
            A[M + j*LD + i] = 0.0
    return lu(A, M, CPIV + l, W, N, CPLANE)


@_piece
def back_complex(A, l, re, im):
    M = CRE + C_AT + l*NLUF
    B = M + N*LD
    for k in range(N):
        A[B + k] = A[re + k*W + l]
        A[B + CPLANE + k] = A[im + k*W + l]
    for k in range(N, LD):
        A[B + k] = 0.0
        A[B + CPLANE + k] = 0.0
    lu_solve(A, M, CPIV + l, W, N, CPLANE)
    for k in range(N):
        A[re + k*W + l] = A[B + k]
        A[im + k*W + l] = A[B + CPLANE + k]


"""
