"""Straight-line functions compiled by running them: their operators emit LLVM instructions.

Formulas of laws, elementary functions and the pieces of a kernel that act on one lane have no branches and no loops but
over constants.  Running such a function once on symbolic values writes down its instructions.  That takes Numba a
millisecond or more of type inference an operation and a trace some ten microseconds, so that a kernel compiles in
seconds.  A function that asks a symbolic value for its truth cannot be traced and says so (`TraceError`); such a
function is compiled by Numba itself.

In compiled code `traced(fn)` is called as any function; its arguments are numbers, 1-D float64 arrays, lane views and
indices, which inside the trace are the values of `symbols` and the arrays of `memory`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import lower_builtin

from .lanes import LaneViewType
from .memory import Index, Memory
from .symbols import F64, TraceError, Value, coerce


def _symbol(context: Any, builder: ir.IRBuilder, ty: Any, arg: ir.Value, constant: bool) -> Any:
    if isinstance(ty, LaneViewType):
        return Memory(builder, arg, ty.width, ty.length, False)
    if isinstance(ty, types.Array):
        array = cgutils.create_struct_proxy(ty)(context, builder, value=arg)
        return Memory(builder, array.data, 1, None, constant)
    if isinstance(ty, types.IntegerLiteral):
        return ty.literal_value
    if isinstance(ty, types.Integer):
        return Index(context.cast(builder, arg, ty, types.intp))
    return Value(builder, context.cast(builder, arg, ty, types.float64))


_ARGS = (LaneViewType, types.Array, types.Integer, types.Float, types.Boolean)


def traced(fn: Callable[..., None]) -> Callable[..., None]:
    """A function for compiled code that does what `fn` does, traced anew for every set of argument types; it returns
    nothing.

    An array argument called `params` is taken to be constant while a kernel runs.
    """
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]

    @functools.wraps(fn)
    def stand_in(*args):
        return fn(*args)

    class _Template(AbstractTemplate):
        key = stand_in

        def generic(self, args, kws):
            if kws or len(args) != len(names) or not all(isinstance(a, _ARGS) for a in args):
                return None
            return signature(types.none, *[types.unliteral(a) for a in args])

    infer_global(stand_in, types.Function(_Template))

    @lower_builtin(stand_in, types.VarArg(types.Any))
    def _lower(context, builder, sig, args):
        fn(*[_symbol(context, builder, ty, a, k == "params") for ty, a, k in zip(sig.args, args, names, strict=True)])
        return context.get_dummy_value()

    return stand_in


def elementary(fallback: Callable) -> Callable[[Callable], Callable]:
    """Decorator of an elementary function: traced in compiled code, `fallback` (NumPy's) on Python numbers and
    arrays.
    """

    def decorate(body: Callable) -> Callable:
        first_is_bool = body.__code__.co_varnames[0] == "c"
        want: list[Any] = [types.float64] * body.__code__.co_argcount
        if first_is_bool:
            want[0] = types.boolean

        @functools.wraps(body)
        def call(*args):
            if any(isinstance(a, Value) for a in args):
                return body(*args)
            return fallback(*args)

        class _Template(AbstractTemplate):
            key = call

            def generic(self, args, kws):
                number_like = (types.Number, types.Boolean)
                if (
                    kws
                    or len(args) != len(want)
                    or not all(isinstance(a, number_like) and not isinstance(a, types.Complex) for a in args)
                ):
                    return None
                return signature(types.float64, *want)

        infer_global(call, types.Function(_Template))

        @lower_builtin(call, *want)
        def _lower(context, builder, sig, args):
            out = body(*[Value(builder, a) for a in args])
            return coerce(builder, out, F64).v

        vars(call)["py_func"] = body
        return call

    return decorate


def traceable(fn: Callable, lengths: tuple[int | None, ...]) -> bool:
    """Whether `fn` can be traced on arrays of these lengths (None: not known)."""
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [F64.as_pointer()] * len(lengths)), "probe")
    builder = ir.IRBuilder(function.append_basic_block())
    try:
        fn(*[Memory(builder, arg, 1, n, False) for arg, n in zip(function.args, lengths, strict=True)])
    except TraceError:
        return False
    return True
