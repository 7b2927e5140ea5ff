"""Source of the linear algebra of implicit methods: Jacobian, factorisation, back-substitution, a lane at a time.

Rows of a block (in X): JAC, the Jacobian at the time TJ, JAGE attempts ago; LUF and PIV (n) of the last factorisation,
LUOK: 1 where it came off, else NaN.  A lane's matrices are its own, and lie together (element k of lane l at `l*size +
k`): what depends on the data (pivots) is a branch of that lane alone.  The problem's `sparsity` says whether they are
kept in full or as a band: of the Jacobian, row by row, the columns i - lower .. i + upper; of the factors, column by
column, the rows j - lower - upper .. j + lower (the room that row exchanges take included).  What is neither is
factored as a sparse matrix: `sparse_linear`; large full matrices in vectors that are written out: `dense_linear`.

LU with partial pivoting by columns, the multipliers left where they arose (LAPACK's dgetf2, dgbtf2), so that one text
serves full and band matrices; on the diagonal stand the pivots' reciprocals.  Inner loops run down a column.
Right-hand sides are copied to TMP, where they too lie together, in the matrix's own order.

The Jacobian itself: `jacobian`.
"""

from __future__ import annotations

from re import sub
from typing import Any

import numpy as np

from ...problems.sparsity import Structure, structure
from . import mass
from .dense_linear import FROM, dense_room, dense_source
from .jacobian import jacobian_source, place, table
from .sparse_linear import sparse_source


class Algebra:
    """The matrices of a method for a Problem or Batch `source`; with its mass matrix M, shift M - J in place of
    shift I - J.

    `lines`: source that names the rows; `rows`: how many of X they take; `together`: (first, count) of those in which a
    lane's elements lie together; `objects`: what the sources name.  pair: a complex matrix too. slope: K0 holds the
    slope at the step's start, as differences need it.
    """

    def __init__(self, source: Any, pair: bool = False, slope: bool = True) -> None:
        n = source.n
        self.n, self.pair, self.slope = n, pair, slope
        self.mass = source.mass
        self.structure: Structure = structure(source.sparsity, n, source.mass)
        self.given = source.jac is not None
        self.objects: dict[str, Any] = {"rhs": source.rhs}
        if self.given:
            self.objects["jac"] = source.jac
        st = self.structure
        # vector code factors shift I - J; with a mass matrix it is the plain text
        self.large = st.dense and st.n >= FROM and source.mass is None
        kept, factors = _room(st, self.large)
        sizes = [("JAC", kept), ("LUF", factors), ("PIV", n), ("TJ", 1), ("JAGE", 1), ("LUOK", 1)]
        sizes += [("CRE", factors), ("CIM", factors), ("CPIV", n)] if pair else []
        if not self.large:
            sizes += [("TMP", n), ("TMI", n)] if pair else [("TMP", n)]
        self.lines, self.rows = "", 0
        self.together: tuple[tuple[int, int], ...] = ()
        for name, count in sizes:
            if name in ("JAC", "LUF", "CRE", "CIM", "TMP", "TMI"):
                self.together += ((self.rows, count),)
            self.add(name, count)
        self.lines += f"NJAC = {kept}\nNLUF = {factors}\n"
        if st.order is not None:
            self.lines += "import numpy as _np\n" + table("_ORDER", st.order) + table("_PLACE", np.argsort(st.order))
        if not self.given and not slope:
            self.add("FB", n)
        if st.factors is not None:
            self.lines += table("_LP", st.factors.ptr) + table("_LR", st.factors.row) + table("_LD", st.factors.diag)
        coloured = not self.given and (st.coloured or st.factors is not None)
        if coloured:
            self.add("INC", n)
            if st.order is None:
                self.lines += "import numpy as _np\n"
            by_group = np.argsort(st.groups, kind="stable")
            start = np.searchsorted(st.groups[by_group], np.arange(st.groups.max() + 2))
            self.lines += table("_MEMBER", by_group) + table("_GROUP", start)
        if coloured or st.factors is not None:
            self.lines += table("_PTR", st.ptr) + table("_ROW", st.row)
        if self.mass is not None:
            self.add("MS", 3 * n if pair else n)

    def add(self, name: str, count: int) -> None:
        """Name `count` more rows of X."""
        self.lines += f"{name} = X + {self.rows}*W\n"
        self.rows += count

    def source(self) -> str:
        """The pieces `jacobian`, `factor`, `back` and, for a pair, `factor_complex`, `back_complex`."""
        st = self.structure
        # differences come column by column
        by_columns = self.large and not self.given and not st.coloured
        text = jacobian_source(st, self.given, self.slope, by_columns)
        if self.large:
            return text + dense_source(st.n, self.pair, by_columns)
        sparse = st.factors is not None
        factors = sparse_source(self.pair) if sparse else _REAL + (_COMPLEX if self.pair else "")
        if self.mass is not None:
            text = text if self.given else mass.wider_differences(text)
            text = mass.mass_source(self.mass, st) + text
            factors = mass.assembled(factors, self.pair, sparse)
        return text + (factors if sparse else _laid_out(factors, st))


def _room(st: Structure, large: bool) -> tuple[int, int]:
    """Cells that a lane's Jacobian and a lane's factors take.  large: these are those of `dense_linear`."""
    n = st.n
    if st.factors is not None:
        return len(st.row) + 1, len(st.factors.row)
    if large:
        return n * n, dense_room(n)
    return (n * n, n * n) if st.dense else (n * (st.lower + st.upper + 1) + 1, n * (2 * st.lower + st.upper + 1))


def _laid_out(text: str, st: Structure) -> str:
    """Fill in the places and limits of a text: @LUF(i, j), @JAC(i, j), and the ends of columns and rows."""
    n, width = st.n, 2 * st.lower + st.upper + 1
    text = sub(r"@(LUF|CRE|CIM)\((\w+), (\w+)\)", lambda m: f"A[{m[1]} + l*NLUF + {place(st, m[2], m[3], True)}]", text)
    text = sub(r"@JAC\((\w+), (\w+)\)", lambda m: f"A[JAC + l*NJAC + {place(st, m[1], m[2])}]", text)
    ends = {
        "@BELOW": f"min(N, k + {st.lower + 1})",  # behind the last row of column k
        "@RIGHT": f"min(N, k + {st.lower + st.upper + 1})",  # behind the last column of row k, exchanges included
        "@ABOVE": f"max(0, k - {st.lower + st.upper})",  # first row of column k, exchanges included
        "@FIRST": f"max(0, j - {st.upper})",  # rows of column j of the Jacobian
        "@LAST": f"min(N, j + {st.lower + 1})",
    }
    whole = {"@BELOW": "N", "@RIGHT": "N", "@ABOVE": "0", "@FIRST": "0", "@LAST": "N"}
    for mark, end in (whole if st.dense else ends).items():
        text = text.replace(mark, end)
    # of a band, the places that only row exchanges fill start at zero
    clear = f"    for k in range({n * width}):\n"
    for mark, rows in (("@CLEAR(LUF)", ("LUF",)), ("@CLEAR(C)", ("CRE", "CIM"))):
        lines = "".join(f"        A[{row} + l*NLUF + k] = 0.0\n" for row in rows)
        text = text.replace(mark, "" if st.dense else clear + lines)
    return text.replace("@ORDER", "k" if st.order is None else "_ORDER[k]")


#: `factor(A, l, shift)`: LU of shift I - J, False where it is singular or not finite; `back(A, l, row)`: row (n)
#: replaced by the solution
_REAL = """@_piece
def factor(A, l, shift):
@CLEAR(LUF)    for j in range(N):
        for i in range(@FIRST, @LAST):
            @LUF(i, j) = -@JAC(i, j)
        @LUF(j, j) += shift
    for k in range(N):
        p = k
        top = fabs(@LUF(k, k))
        for i in range(k + 1, @BELOW):
            v = fabs(@LUF(i, k))
            if v > top or v != v:
                top = v
                p = i
        A[PIV + k*W + l] = p
        if not (top > 0.0 and top < math.inf):
            return False
        if p != k:
            for j in range(k, @RIGHT):
                v = @LUF(k, j)
                @LUF(k, j) = @LUF(p, j)
                @LUF(p, j) = v
        r = 1.0/@LUF(k, k)
        @LUF(k, k) = r
        for i in range(k + 1, @BELOW):
            @LUF(i, k) *= r
        for j in range(k + 1, @RIGHT):
            v = @LUF(k, j)
            if v != 0.0:
                for i in range(k + 1, @BELOW):
                    @LUF(i, j) -= @LUF(i, k)*v
    return True


@_piece
def back(A, l, row):
    B = TMP + l*N
    for k in range(N):
        A[B + k] = A[row + @ORDER*W + l]
    for k in range(N):
        p = int(A[PIV + k*W + l])
        v = A[B + p]
        A[B + p] = A[B + k]
        A[B + k] = v
        for i in range(k + 1, @BELOW):
            A[B + i] -= @LUF(i, k)*v
    for k in range(N - 1, -1, -1):
        v = A[B + k]*@LUF(k, k)
        A[B + k] = v
        for i in range(@ABOVE, k):
            A[B + i] -= @LUF(i, k)*v
    for k in range(N):
        A[row + @ORDER*W + l] = A[B + k]


"""

#: the same for (re + i im) I - J in the rows CRE, CIM, CPIV: `factor_complex(A, l, re, im)`, `back_complex(A, l,
#: row_re, row_im)`.  Pivots by |re| + |im|
_COMPLEX = """@_piece
def factor_complex(A, l, re, im):
@CLEAR(C)    for j in range(N):
        for i in range(@FIRST, @LAST):
            @CRE(i, j) = -@JAC(i, j)
            @CIM(i, j) = 0.0
        @CRE(j, j) += re
        @CIM(j, j) = im
    for k in range(N):
        p = k
        top = fabs(@CRE(k, k)) + fabs(@CIM(k, k))
        for i in range(k + 1, @BELOW):
            v = fabs(@CRE(i, k)) + fabs(@CIM(i, k))
            if v > top or v != v:
                top = v
                p = i
        A[CPIV + k*W + l] = p
        if not (top > 0.0 and top < math.inf):
            return False
        if p != k:
            for j in range(k, @RIGHT):
                a = @CRE(k, j)
                b = @CIM(k, j)
                @CRE(k, j) = @CRE(p, j)
                @CIM(k, j) = @CIM(p, j)
                @CRE(p, j) = a
                @CIM(p, j) = b
        a = @CRE(k, k)
        b = @CIM(k, k)
        q = 1.0/(a*a + b*b)
        a = a*q
        b = -b*q
        @CRE(k, k) = a
        @CIM(k, k) = b
        for i in range(k + 1, @BELOW):
            c = @CRE(i, k)
            d = @CIM(i, k)
            @CRE(i, k) = c*a - d*b
            @CIM(i, k) = c*b + d*a
        for j in range(k + 1, @RIGHT):
            c = @CRE(k, j)
            d = @CIM(k, j)
            if c != 0.0 or d != 0.0:
                for i in range(k + 1, @BELOW):
                    u = @CRE(i, k)
                    v = @CIM(i, k)
                    @CRE(i, j) -= u*c - v*d
                    @CIM(i, j) -= u*d + v*c
    return True


@_piece
def back_complex(A, l, re, im):
    B = TMP + l*N
    C = TMI + l*N
    for k in range(N):
        A[B + k] = A[re + @ORDER*W + l]
        A[C + k] = A[im + @ORDER*W + l]
    for k in range(N):
        p = int(A[CPIV + k*W + l])
        a = A[B + p]
        b = A[C + p]
        A[B + p] = A[B + k]
        A[C + p] = A[C + k]
        A[B + k] = a
        A[C + k] = b
        for i in range(k + 1, @BELOW):
            u = @CRE(i, k)
            v = @CIM(i, k)
            A[B + i] -= u*a - v*b
            A[C + i] -= u*b + v*a
    for k in range(N - 1, -1, -1):
        c = A[B + k]
        d = A[C + k]
        u = @CRE(k, k)
        v = @CIM(k, k)
        a = c*u - d*v
        b = c*v + d*u
        A[B + k] = a
        A[C + k] = b
        for i in range(@ABOVE, k):
            u = @CRE(i, k)
            v = @CIM(i, k)
            A[B + i] -= u*a - v*b
            A[C + i] -= u*b + v*a
    for k in range(N):
        A[re + @ORDER*W + l] = A[B + k]
        A[im + @ORDER*W + l] = A[C + k]


"""
