"""Lane views: one scalar right-hand side, compiled for one trajectory or for W of them side by side.

A block of W trajectories keeps quantity i of lane l at `base[i*W + l]`.  A lane view is the pointer `base + l` with the
stride W and the length N in its type, so `v[i]` is one load at a compile-time offset from the lane index; a loop over l
then reads and writes consecutive addresses and LLVM turns it into packed instructions.  With W = 1 the same code is the
scalar solver.

A user's function reads y and p through frozen views, which cannot be written to.  An index outside a view is a
compile-time error where it is a constant.  Where it is not, it is checked as the code runs: what is read is NaN, and
what is written is NaN in the view's first element.  No other memory is touched.  A comparison, `max`, or a later write
to the first element can swallow that NaN: `noted` views set a flag as well.  LLVM drops the check where it can prove
the index, as in loops over constants.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable
from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .inner import FASTMATH, inner

NAN = float("nan")

#: what the compiler says of a write through a frozen view
FROZEN = "y and p cannot be written to: they are the solver's own, and only the last argument is the function's to fill"


class LaneViewType(types.Type):
    """Numba type of a lane view: stride `width` (doubles), `length` elements; frozen: it cannot be written to."""

    def __init__(self, width: int, length: int, frozen: bool = False) -> None:
        self.width = width
        self.length = length
        self.frozen = frozen
        super().__init__(name=f"LaneView({width}, {length}{', frozen' if frozen else ''})")


@register_model(LaneViewType)
class _LaneViewModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.DoubleType().as_pointer())


def _view(block, offset, width, length, frozen):
    if not (isinstance(width, types.IntegerLiteral) and isinstance(length, types.IntegerLiteral)):
        raise numba.TypingError("view: width and length must be compile-time constants")
    if not (isinstance(block, types.Array) and block.ndim == 1 and block.dtype == types.float64):
        raise numba.TypingError("view: block must be a 1-D float64 array")
    ty = LaneViewType(width.literal_value, length.literal_value, frozen)

    def codegen(context, builder, sig, args):
        array = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0])
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        return builder.gep(array.data, [index], inbounds=True)

    return ty(block, offset, width, length), codegen


@intrinsic
def view(typingctx, block, offset, width, length):
    """Lane view of the 1-D float64 array `block` starting at element `offset`; width and length are literal ints."""
    return _view(block, offset, width, length, False)


@intrinsic
def frozen(typingctx, block, offset, width, length):
    """As `view`, of elements that cannot be written through it."""
    return _view(block, offset, width, length, True)


def _check_place(view_ty, index) -> None:
    """A constant index outside the view would read or overwrite another row: refuse it."""
    if isinstance(view_ty, LaneViewType) and isinstance(index, int) and not -view_ty.length <= index < view_ty.length:
        raise numba.TypingError(f"index {index} is outside an array of length {view_ty.length}")


def _check_frozen(view_ty) -> None:
    if isinstance(view_ty, LaneViewType) and view_ty.frozen:
        raise numba.TypingError(FROZEN)


@infer
class _ConstantGet(AbstractTemplate):
    key = "static_getitem"

    def generic(self, args, kws):
        _check_place(args[0], args[1])


@infer
class _ConstantSet(AbstractTemplate):
    key = "static_setitem"

    def generic(self, args, kws):
        _check_frozen(args[0])
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
        _check_frozen(args[0])
        if len(args) == 3 and isinstance(args[0], LaneViewType) and isinstance(args[1], types.Integer):
            return signature(types.none, args[0], types.intp, types.float64)
        return None


@infer_global(len)
class _Len(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 1 and isinstance(args[0], LaneViewType):
            return signature(types.intp, args[0])
        return None


def place(builder, index, size: int):
    """Index of a constant-size row as an element's number, and whether it is one (None: it is).  Negative ones count
    from the end.
    """
    if isinstance(index, ir.Constant) and isinstance(index.constant, int) and -size <= index.constant < size:
        return ir.Constant(index.type, index.constant % size), None
    zero = ir.Constant(index.type, 0)
    wrapped = builder.add(index, ir.Constant(index.type, size))
    index = builder.select(builder.icmp_signed("<", index, zero), wrapped, index)
    inside = builder.icmp_unsigned("<", index, ir.Constant(index.type, size))
    return builder.select(inside, index, zero), inside


def or_nan(builder, inside, value):
    """`value` where `inside` (see `place`), else NaN."""
    return value if inside is None else builder.select(inside, value, ir.Constant(ir.DoubleType(), NAN))


def _address(builder, view_ty, ptr, index):
    at, inside = place(builder, index, view_ty.length)
    return builder.gep(ptr, [builder.mul(at, ir.Constant(at.type, view_ty.width))], inbounds=True), inside


@lower_builtin(operator.getitem, LaneViewType, types.Integer)
def _lower_getitem(context, builder, sig, args):
    if sig.args[0].length == 0:
        return ir.Constant(ir.DoubleType(), NAN)
    address, inside = _address(builder, sig.args[0], args[0], args[1])
    return or_nan(builder, inside, builder.load(address))


@lower_builtin(operator.setitem, LaneViewType, types.Integer, types.Float)
def _lower_setitem(context, builder, sig, args):
    if sig.args[0].length > 0:
        address, inside = _address(builder, sig.args[0], args[0], args[1])
        builder.store(or_nan(builder, inside, args[2]), address)
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


def bounded(fn: Any) -> Callable:
    """As `inline`, with an IndexError where an array is indexed outside (views are checked without).

    A function that is compiled already keeps its options.
    """
    options: dict[str, Any] = {"forceinline": True, "fastmath": FASTMATH, "error_model": "numpy"}
    if isinstance(fn, numba.core.dispatcher.Dispatcher):
        options = {k: v for k, v in fn.targetoptions.items() if k != "nopython"}
        options["locals"] = getattr(fn, "locals", {})
    plain: Any = fn if inspect.isfunction(fn) else fn.py_func
    return numba.njit(**{**options, "boundscheck": True})(plain)


def inline(fn: Callable) -> Callable:
    """Compile `fn` so that LLVM inlines it into every caller, with fused multiply-adds; only compiled code calls it
    (`inner`).
    """
    if isinstance(fn, numba.core.dispatcher.Dispatcher):
        return fn
    return inner(fn, forceinline=True)
