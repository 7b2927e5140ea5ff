"""Lane views: one scalar right-hand side, compiled for one trajectory or for W of them side by side.

A block of W trajectories keeps quantity i of lane l at `base[i*W + l]`.  A lane view is the pointer `base + l` with the stride W and
the length N in its type, so `v[i]` is one load at a compile-time offset from the lane index; a loop over l then reads and writes
consecutive addresses and LLVM turns it into packed instructions.  With W = 1 the same code is the scalar solver.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

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


def _address(context, builder, view_ty, ptr, idx_ty, idx):
    i = context.cast(builder, idx, idx_ty, types.intp)
    i = builder.mul(i, ir.Constant(i.type, view_ty.width))
    return builder.gep(ptr, [i], inbounds=True)


@intrinsic
def _load(typingctx, v, i):
    if not (isinstance(v, LaneViewType) and isinstance(i, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        return builder.load(_address(context, builder, sig.args[0], args[0], sig.args[1], args[1]))

    return types.float64(v, i), codegen


@intrinsic
def _store(typingctx, v, i, x):
    if not (isinstance(v, LaneViewType) and isinstance(i, types.Integer)):
        return None

    def codegen(context, builder, sig, args):
        value = context.cast(builder, args[2], sig.args[2], types.float64)
        builder.store(value, _address(context, builder, sig.args[0], args[0], sig.args[1], args[1]))
        return context.get_dummy_value()

    return types.void(v, i, x), codegen


@overload(len, inline="always")
def _len(v):
    if isinstance(v, LaneViewType):
        n = v.length
        return lambda v: n
    return None


def _install_indexing() -> None:
    import operator

    @overload(operator.getitem, inline="always")
    def getitem(v, i):
        if isinstance(v, LaneViewType) and isinstance(i, types.Integer):
            n = v.length
            return lambda v, i: _load(v, i if i >= 0 else i + n)
        return None

    @overload(operator.setitem, inline="always")
    def setitem(v, i, x):
        if isinstance(v, LaneViewType) and isinstance(i, types.Integer):
            n = v.length

            def impl(v, i, x):
                _store(v, i if i >= 0 else i + n, x)

            return impl
        return None


_install_indexing()


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
