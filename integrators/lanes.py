"""Lane views: one scalar right-hand side, compiled for one trajectory or for W of them side by side.

A block of W trajectories keeps quantity i of lane l at `base[i*W + l]`.  A lane view is the pointer `base + l` with the stride W and
the length N in its type, so `v[i]` is one load at a compile-time offset from the lane index; a loop over l then reads and writes
consecutive addresses and LLVM turns it into packed instructions.  With W = 1 the same code is the scalar solver.
"""

from __future__ import annotations

import operator
from collections.abc import Callable

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

FASTMATH = {"contract"}  # fused multiply-adds only: no reassociation, NaN and inf keep their meaning


class LaneViewType(types.Type):
    """Numba type of a lane view: stride `width` (doubles), `length` elements."""

    def __init__(self, width: int, length: int) -> None:
        self.width = width
        self.length = length
        super().__init__(name=f"LaneView({width}, {length})")


@register_model(LaneViewType)
class _LaneViewModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.DoubleType().as_pointer())


@intrinsic
def view(typingctx, block, offset, width, length):
    """Lane view of the 1-D float64 array `block` starting at element `offset`; width and length are literal ints."""
    if not (isinstance(width, types.IntegerLiteral) and isinstance(length, types.IntegerLiteral)):
        raise numba.TypingError("view: width and length must be compile-time constants")
    if not (isinstance(block, types.Array) and block.ndim == 1 and block.dtype == types.float64):
        raise numba.TypingError("view: block must be a 1-D float64 array")
    ty = LaneViewType(width.literal_value, length.literal_value)

    def codegen(context, builder, sig, args):
        array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.gep(array.data, [index], inbounds=True)

    return ty(block, offset, width, length), codegen


def _check_place(view_ty, index) -> None:
    """A constant index outside the view would read or overwrite another row: refuse it."""
    if isinstance(view_ty, LaneViewType) and isinstance(index, int) and not -view_ty.length <= index < view_ty.length:
        raise numba.TypingError(f"index {index} is outside an array of length {view_ty.length}")


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
        if len(args) == 2 and isinstance(args[0], LaneViewType) and isinstance(args[1], types.Integer):
            return signature(types.float64, args[0], types.intp)
        return None


@infer_global(operator.setitem)
class _SetItem(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 3 and isinstance(args[0], LaneViewType) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.intp, types.float64)
        return None


@infer_global(len)
class _Len(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], LaneViewType):
            return signature(types.intp, args[0])
        return None


def _address(builder, view_ty, ptr, idx):
    # negative indices count from the end; for a constant index the select folds away
    wrapped = builder.add(idx, ir.Constant(idx.type, view_ty.length))
    idx = builder.select(builder.icmp_signed("<", idx, ir.Constant(idx.type, 0)), wrapped, idx)
    return builder.gep(ptr, [builder.mul(idx, ir.Constant(idx.type, view_ty.width))], inbounds=True)


@lower_builtin(operator.getitem, LaneViewType, types.Integer)
def _lower_getitem(context, builder, sig, args):
    return builder.load(_address(builder, sig.args[0], args[0], args[1]))


@lower_builtin(operator.setitem, LaneViewType, types.Integer, types.Float)
def _lower_setitem(context, builder, sig, args):
    builder.store(args[2], _address(builder, sig.args[0], args[0], args[1]))
    return context.get_dummy_value()


@lower_builtin(len, LaneViewType)
def _lower_len(context, builder, sig, args):
    return ir.Constant(context.get_value_type(types.intp), sig.args[0].length)


@intrinsic
def wide_vectors(typingctx):
    """Ask LLVM for 512-bit vectors in the calling function (its default on Intel is 256)."""

    def codegen(context, builder, sig, args):
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


def inline(fn: Callable) -> Callable:
    """Compile `fn` so that LLVM inlines it into every caller, with fused multiply-adds."""
    if isinstance(fn, numba.core.dispatcher.Dispatcher):
        return fn
    return numba.njit(forceinline=True, fastmath=FASTMATH, error_model="numpy")(fn)
