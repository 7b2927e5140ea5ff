"""Views that note when an index leaves them: a mistake then costs the whole slope, whatever the function does with what
it read.

A view (`lanes`, `lane_matrix`, `band_matrix`, `sparse_matrix`) reads NaN outside of itself, and a comparison, `max` or
a later write can swallow that NaN.  A noted view carries a pointer to a flag beside the view, and sets it.  The guard
around a user's function (`kernels.calls`) makes a flag for each call, and fills the answer with NaN where it was set.
Once the function is inlined, the flag is a register; where LLVM can prove the indices it is a constant, and costs
nothing.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer, infer_global, signature
from numba.extending import intrinsic, lower_builtin, models, register_model

from .lane_matrix import MatrixType, places
from .lanes import LaneViewType, place

_BIT = ir.IntType(1)


class FaultType(types.Type):
    """Numba type of a flag."""

    def __init__(self) -> None:
        super().__init__(name="Fault")


FAULT = FaultType()


class NotedType(types.Type):
    """Numba type of a noted view of the type `of`."""

    def __init__(self, of: LaneViewType | MatrixType) -> None:
        self.of = of
        super().__init__(name=f"Noted({of})")


@register_model(FaultType)
class _FaultModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _BIT.as_pointer())


@register_model(NotedType)
class _NotedModel(models.StructModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, [("view", fe_type.of), ("fault", FAULT)])


@intrinsic
def new_fault(typingctx):
    """A flag that is not set; it lives as long as the function that asks for it."""

    def codegen(context, builder, sig, args):
        flag = cgutils.alloca_once(builder, _BIT)
        builder.store(ir.Constant(_BIT, 0), flag)
        return flag

    return FAULT(), codegen


@intrinsic
def faulty(typingctx, fault):
    """Whether a flag is set."""

    def codegen(context, builder, sig, args):
        return builder.load(args[0])

    return types.boolean(fault), codegen


@intrinsic
def noted(typingctx, view, fault):
    """The view, with the flag that it sets."""

    def codegen(context, builder, sig, args):
        out = cgutils.create_struct_proxy(sig.return_type)(context, builder)
        out.view, out.fault = args
        return out._getvalue()

    return NotedType(view)(view, fault), codegen


@infer
class _ConstantGet(AbstractTemplate):
    key = "static_getitem"

    def generic(self, args, kws):
        if isinstance(args[0], NotedType):  # raises where the index is outside
            self.context.resolve_static_getitem(args[0].of, args[1])


@infer
class _ConstantSet(AbstractTemplate):
    key = "static_setitem"

    def generic(self, args, kws):
        if isinstance(args[0], NotedType):
            self.context.resolve_static_setitem(args[0].of, args[1], args[2])


class _OfTheView(AbstractTemplate):
    """A view's own signature, with the noted view in its place."""

    def generic(self, args, kws):
        if not (args and isinstance(args[0], NotedType)):
            return None
        own = self.context.resolve_function_type(self.key, (args[0].of, *args[1:]), kws)
        return None if own is None else signature(own.return_type, args[0], *own.args[1:])


@infer_global(operator.getitem)
class _GetItem(_OfTheView):
    pass


@infer_global(operator.setitem)
class _SetItem(_OfTheView):
    pass


@infer_global(len)
class _Len(_OfTheView):
    pass


def _note(context, builder, ty, value, index):
    """The view in `value`; sets the flag where `index` is outside of it."""
    noted_view = cgutils.create_struct_proxy(ty)(context, builder, value=value)
    if isinstance(ty.of, MatrixType):
        *_, inside = places(builder, ty.of, index)
    else:
        _, inside = place(builder, index, ty.of.length) if ty.of.length else (None, ir.Constant(_BIT, 0))
    if inside is not None:
        builder.store(builder.or_(builder.load(noted_view.fault), builder.not_(inside)), noted_view.fault)
    return noted_view.view


def _delegate(function, context, builder, sig, args):
    """Call `function` of the view itself."""
    own = signature(sig.return_type, sig.args[0].of, *sig.args[1:])
    return context.get_function(function, own)(builder, args)


@lower_builtin(operator.getitem, NotedType, types.Any)
def _lower_getitem(context, builder, sig, args):
    view = _note(context, builder, sig.args[0], args[0], args[1])
    return _delegate(operator.getitem, context, builder, sig, (view, args[1]))


@lower_builtin(operator.setitem, NotedType, types.Any, types.Float)
def _lower_setitem(context, builder, sig, args):
    view = _note(context, builder, sig.args[0], args[0], args[1])
    return _delegate(operator.setitem, context, builder, sig, (view, *args[1:]))


@lower_builtin(len, NotedType)
def _lower_len(context, builder, sig, args):
    view = cgutils.create_struct_proxy(sig.args[0])(context, builder, value=args[0]).view
    return _delegate(len, context, builder, sig, (view,))
