"""View of a sparse matrix: `J[i, j]` of a user's Jacobian, of which only the declared entries are kept.

Entries lie column by column, `row[ptr[q]:ptr[q + 1]]` those of column q; `place` says which row and column of that
matrix the user's i and j are.  What is written elsewhere goes to the cell behind the last entry, and what is read there
is 0. (Outside the matrix itself: NaN, into its first cell.)
"""

from __future__ import annotations

import operator

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .lane_matrix import MatrixType, places
from .lanes import or_nan


class SparseMatrixType(MatrixType):
    """Numba type of an n by n matrix with `kept` cells, the last one for what is not kept; table: type of the three
    tables.
    """

    def __init__(self, n: int, kept: int, table: types.Array) -> None:
        self.rows = self.columns = n
        self.kept, self.table = kept, table
        super().__init__(name=f"SparseMatrix({n}, {kept}, {table})")


@register_model(SparseMatrixType)
class _SparseMatrixModel(models.StructModel):
    def __init__(self, dmm, fe_type):
        tables = [(name, fe_type.table) for name in ("ptr", "row", "place")]
        super().__init__(dmm, fe_type, [("data", types.CPointer(types.float64)), *tables])


@intrinsic
def sparse(typingctx, block, offset, n, kept, ptr, row, place):
    """Sparse view of the 1-D float64 array `block` from element `offset`; n, kept are literal ints, the tables 1-D
    int64 arrays.
    """
    if not all(isinstance(s, types.IntegerLiteral) for s in (n, kept)):
        raise numba.TypingError("sparse: n and kept must be compile-time constants")
    if not (isinstance(block, types.Array) and block.ndim == 1 and block.dtype == types.float64):
        raise numba.TypingError("sparse: block must be a 1-D float64 array")
    if not (ptr == row == place and isinstance(ptr, types.Array) and ptr.ndim == 1 and ptr.dtype == types.int64):
        raise numba.TypingError("sparse: ptr, row and place must be 1-D int64 arrays of one type")
    ty = SparseMatrixType(n.literal_value, kept.literal_value, ptr)

    def codegen(context, builder, sig, args):
        array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        out = cgutils.create_struct_proxy(ty)(context, builder)
        out.data = builder.gep(array.data, [index], inbounds=True)
        out.ptr, out.row, out.place = args[4:]
        return out._getvalue()

    return ty(block, offset, n, kept, ptr, row, place), codegen


def _find(ptr, row, place, n, i, j):
    """Cell of the user's element (i, j), both at least 0, or the number of entries where it is not kept."""
    i = place[i]
    j = place[j]
    lo, hi = ptr[j], ptr[j + 1]
    while lo < hi:
        middle = (lo + hi) // 2
        if row[middle] < i:
            lo = middle + 1
        else:
            hi = middle
    return lo if lo < ptr[j + 1] and row[lo] == i else ptr[n]


def _address(context, builder, ty, value, index):
    """Pointer to the element, or to the last cell; whether the element is kept, and inside the matrix (None: it is)."""
    view = cgutils.create_struct_proxy(ty)(context, builder, value=value)
    i, j, known = places(builder, ty, index)
    size = context.get_constant(types.intp, ty.rows)
    sig = signature(types.intp, ty.table, ty.table, ty.table, types.intp, types.intp, types.intp)
    at = context.compile_internal(builder, _find, sig, (view.ptr, view.row, view.place, size, i, j))
    if known is not None:  # a mistake must not end in the cell that nobody reads
        at = builder.select(known, at, context.get_constant(types.intp, 0))
    inside = builder.icmp_signed("<", at, context.get_constant(types.intp, ty.kept - 1))
    return builder.gep(view.data, [at], inbounds=True), inside, known


@lower_builtin(operator.getitem, SparseMatrixType, types.UniTuple)
def _lower_getitem(context, builder, sig, args):
    address, inside, known = _address(context, builder, sig.args[0], *args)
    return or_nan(builder, known, builder.select(inside, builder.load(address), ir.Constant(ir.DoubleType(), 0.0)))


@lower_builtin(operator.setitem, SparseMatrixType, types.UniTuple, types.Float)
def _lower_setitem(context, builder, sig, args):
    address, _, known = _address(context, builder, sig.args[0], *args[:2])
    builder.store(or_nan(builder, known, args[2]), address)
    return context.get_dummy_value()
