"""View of a band matrix: `J[i, j]` of a user's Jacobian, of which only the entries inside a band are kept.

Element (i, j) lies at `base[i*(lower + upper + 1) + j - i + lower]`.  What is written outside the band goes to the cell
behind the last row, and what is read there is 0.  (Outside the matrix itself: NaN, into its first element.) With an
`order` (see `sparsity`) i and j are first turned into rows of the reordered matrix.
"""

from __future__ import annotations

import operator

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model

from .lane_matrix import MatrixType, places
from .lanes import or_nan


class BandMatrixType(MatrixType):
    """Numba type of a band of an n by n matrix, `lower` and `upper` diagonals beside the main one; ordered: with a
    permutation.
    """

    def __init__(self, n: int, lower: int, upper: int, ordered: bool) -> None:
        self.rows = self.columns = n
        self.lower, self.upper, self.ordered = lower, upper, ordered
        super().__init__(name=f"BandMatrix({n}, {lower}, {upper}, {ordered})")


@register_model(BandMatrixType)
class _BandMatrixModel(models.StructModel):
    def __init__(self, dmm, fe_type):
        super().__init__(
            dmm, fe_type, [("data", types.CPointer(types.float64)), ("place", types.CPointer(types.int64))]
        )


@intrinsic
def band(typingctx, block, offset, n, lower, upper, place):
    """Band view of the 1-D float64 array `block` from element `offset`; n, lower, upper are literal ints.

    place: int64 (n,), the reordered number of every row, or an empty array.
    """
    sizes = (n, lower, upper)
    if not all(isinstance(s, types.IntegerLiteral) for s in sizes):
        raise numba.TypingError("band: n, lower and upper must be compile-time constants")
    if not (isinstance(block, types.Array) and block.ndim == 1 and block.dtype == types.float64):
        raise numba.TypingError("band: block must be a 1-D float64 array")
    ordered = isinstance(place, types.Array)
    ty = BandMatrixType(*(s.literal_value for s in sizes), ordered)

    def codegen(context, builder, sig, args):
        array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        out = cgutils.create_struct_proxy(ty)(context, builder)
        out.data = builder.gep(array.data, [index], inbounds=True)
        if ordered:
            out.place = cgutils.create_struct_proxy(sig.args[5])(context, builder, value=args[5]).data
        return out._getvalue()

    return ty(block, offset, n, lower, upper, place), codegen


def _address(context, builder, ty, value, index):
    """Pointer to the element, or to the cell behind the last row; whether it is inside the band, and inside the matrix
    (None: it is).
    """
    view = cgutils.create_struct_proxy(ty)(context, builder, value=value)
    i, j, known = places(builder, ty, index)
    const = lambda x: ir.Constant(i.type, x)  # noqa: E731
    if ty.ordered:
        i, j = (builder.load(builder.gep(view.place, [x], inbounds=True)) for x in (i, j))
    across = builder.add(builder.sub(j, i), const(ty.lower))
    inside = builder.icmp_unsigned("<=", across, const(ty.lower + ty.upper))
    stride = ty.lower + ty.upper + 1
    at = builder.select(inside, builder.add(builder.mul(i, const(stride)), across), const(ty.rows * stride))
    if known is not None:  # a mistake must not end in the cell that nobody reads
        at = builder.select(known, at, const(ty.lower))
    return builder.gep(view.data, [at], inbounds=True), inside, known


@lower_builtin(operator.getitem, BandMatrixType, types.UniTuple)
def _lower_getitem(context, builder, sig, args):
    address, inside, known = _address(context, builder, sig.args[0], *args)
    return or_nan(builder, known, builder.select(inside, builder.load(address), ir.Constant(ir.DoubleType(), 0.0)))


@lower_builtin(operator.setitem, BandMatrixType, types.UniTuple, types.Float)
def _lower_setitem(context, builder, sig, args):
    address, _, known = _address(context, builder, sig.args[0], *args[:2])
    builder.store(or_nan(builder, known, args[2]), address)
    return context.get_dummy_value()
