"""Lane views of matrices: `J[i, j]` of a user's Jacobian, for one trajectory or for W of them side by side.

As `lanes.view`, with two indices: element (i, j) of an (rows, columns) matrix of lane l lies at `base[(i*columns + j)*W
+ l]`. Indices outside the matrix are treated as those outside a view: an error where they are constants, else NaN.
"""

from __future__ import annotations

import operator

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .lanes import or_nan, place


class MatrixType(types.Type):
    """What views of matrices share: `rows` and `columns`, and that they are indexed by two integers."""

    rows: int
    columns: int


class LaneMatrixType(MatrixType):
    """Numba type of a lane matrix: stride `width` (doubles), `rows` by `columns`."""

    def __init__(self, width: int, rows: int, columns: int) -> None:
        self.width, self.rows, self.columns = width, rows, columns
        super().__init__(name=f"LaneMatrix({width}, {rows}, {columns})")


@register_model(LaneMatrixType)
class _LaneMatrixModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.DoubleType().as_pointer())


@intrinsic
def matrix(typingctx, block, offset, width, rows, columns):
    """Lane matrix of the 1-D float64 array `block` starting at element `offset`; width, rows and columns are literal
    ints.
    """
    sizes = (width, rows, columns)
    if not all(isinstance(s, types.IntegerLiteral) for s in sizes):
        raise numba.TypingError("matrix: width, rows and columns must be compile-time constants")
    if not (isinstance(block, types.Array) and block.ndim == 1 and block.dtype == types.float64):
        raise numba.TypingError("matrix: block must be a 1-D float64 array")
    ty = LaneMatrixType(*(s.literal_value for s in sizes))

    def codegen(context, builder, sig, args):
        array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.gep(array.data, [index], inbounds=True)

    return ty(block, offset, width, rows, columns), codegen


def two_indices(index) -> bool:
    """Whether a Numba type is that of two integers."""
    members = getattr(index, "types", ()) if isinstance(index, types.BaseTuple) else ()
    return len(members) == 2 and all(isinstance(i, types.Integer) for i in members)


def _check_place(ty, index) -> None:
    """Constant indices outside the matrix would read or overwrite another row of the block: refuse them."""
    if isinstance(ty, MatrixType) and isinstance(index, tuple) and len(index) == 2:
        for i, size in zip(index, (ty.rows, ty.columns), strict=True):
            if isinstance(i, int) and not -size <= i < size:
                raise numba.TypingError(f"index {index} is outside a matrix of {ty.rows} by {ty.columns}")


@infer
class _ConstantGet(AbstractTemplate):
    key = "static_getitem"

    def generic(self, args, kws):
        _check_place(args[0], args[1])


@infer
class _ConstantSet(AbstractTemplate):
    key = "static_setitem"

    def generic(self, args, kws):
        _check_place(args[0], args[1])


@infer_global(operator.getitem)
class _GetItem(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and isinstance(args[0], MatrixType) and two_indices(args[1]):
            return signature(types.float64, args[0], types.UniTuple(types.intp, 2))
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 3 and isinstance(args[0], MatrixType) and two_indices(args[1]):
            return signature(types.none, args[0], types.UniTuple(types.intp, 2), types.float64)
        return None


def places(builder, ty, index):
    """Row and column of an element, and whether there is one (None: there is); see `lanes.place`."""
    (i, in_rows), (j, in_columns) = (
        place(builder, builder.extract_value(index, k), size) for k, size in ((0, ty.rows), (1, ty.columns))
    )
    checks = [c for c in (in_rows, in_columns) if c is not None]
    return i, j, builder.and_(*checks) if len(checks) == 2 else checks[0] if checks else None


def _address(builder, ty, ptr, index):
    i, j, inside = places(builder, ty, index)
    at = builder.add(builder.mul(i, ir.Constant(i.type, ty.columns)), j)
    return builder.gep(ptr, [builder.mul(at, ir.Constant(i.type, ty.width))], inbounds=True), inside


@lower_builtin(operator.getitem, LaneMatrixType, types.UniTuple)
def _lower_getitem(context, builder, sig, args):
    address, inside = _address(builder, sig.args[0], args[0], args[1])
    return or_nan(builder, inside, builder.load(address))


@lower_builtin(operator.setitem, LaneMatrixType, types.UniTuple, types.Float)
def _lower_setitem(context, builder, sig, args):
    address, inside = _address(builder, sig.args[0], args[0], args[1])
    builder.store(or_nan(builder, inside, args[2]), address)
    return context.get_dummy_value()
