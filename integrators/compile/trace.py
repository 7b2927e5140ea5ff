"""Straight-line functions compiled by running them: their operators emit LLVM instructions.

Formulas of laws, elementary functions and the pieces of a kernel that act on one lane have no branches and no loops but over
constants.  Running such a function once on symbolic values writes down its instructions.  That takes Numba a millisecond or more of
type inference an operation and a trace some ten microseconds, so that a kernel compiles in seconds.  A function that asks a symbolic
value for its truth cannot be traced and says so (`TraceError`); such a function is compiled by Numba itself.

In compiled code `traced(fn)` is called as any function; its arguments are numbers, 1-D float64 arrays, lane views and indices.
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

F64 = ir.DoubleType()
I64 = ir.IntType(64)
I1 = ir.IntType(1)


class TraceError(TypeError):
    """The function is not straight-line code."""


class Zero(float):
    """A zero that is known when the function is compiled, and that takes what it multiplies with it (NaN included)."""


class Value:
    """A float64, int64 or boolean inside a trace; operators emit instructions."""

    __slots__ = ("b", "v", "clean")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, builder: ir.IRBuilder, value: ir.Value, clean: bool = False) -> None:
        self.b = builder
        self.v = value
        self.clean = clean  # a parameter: never NaN

    def __bool__(self) -> bool:
        raise TraceError("the function branches on a value that is known only at run time; use where(condition, a, b)")

    def __float__(self) -> float:
        raise TraceError("a run-time value cannot become a Python number")

    __index__ = __int__ = __iter__ = __float__

    def _other(self, x: Any) -> Value:
        return coerce(self.b, x, self.v.type)

    def _arith(self, x: Any, op_f: str, op_i: str, swap: bool = False) -> Value:
        a, c = _pair(self, x)
        if swap:
            a, c = c, a
        emit = getattr(self.b, op_i if a.v.type == I64 else op_f)
        return Value(self.b, emit(a.v, c.v))

    def __add__(self, x: Any) -> Value:
        return self if isinstance(x, Zero) else self._arith(x, "fadd", "add")

    def __radd__(self, x: Any) -> Value:
        return self if isinstance(x, Zero) else self._arith(x, "fadd", "add", True)

    def __sub__(self, x: Any) -> Value:
        return self if isinstance(x, Zero) else self._arith(x, "fsub", "sub")

    def __rsub__(self, x: Any) -> Value:
        return self._arith(x, "fsub", "sub", True)

    def __mul__(self, x: Any) -> Value | Zero:
        return x if isinstance(x, Zero) else self._arith(x, "fmul", "mul")

    def __rmul__(self, x: Any) -> Value | Zero:
        return x if isinstance(x, Zero) else self._arith(x, "fmul", "mul", True)

    def __truediv__(self, x: Any) -> Value:
        return number(self)._arith(x, "fdiv", "sdiv")

    def __rtruediv__(self, x: Any) -> Value:
        return number(self)._arith(x, "fdiv", "sdiv", True)

    def __neg__(self) -> Value:
        return Value(self.b, self.b.fneg(self.v) if self.v.type == F64 else self.b.neg(self.v))

    def __pos__(self) -> Value:
        return self

    def __lshift__(self, x: Any) -> Value:
        return Value(self.b, self.b.shl(self.v, self._other(x).v))

    def __rshift__(self, x: Any) -> Value:
        return Value(self.b, self.b.ashr(self.v, self._other(x).v))

    def __and__(self, x: Any) -> Value:
        return Value(self.b, self.b.and_(self.v, self._other(x).v))

    def __or__(self, x: Any) -> Value:
        return Value(self.b, self.b.or_(self.v, self._other(x).v))

    def __xor__(self, x: Any) -> Value:
        return Value(self.b, self.b.xor(self.v, self._other(x).v))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Value:
        return Value(self.b, self.b.not_(self.v))

    def _compare(self, x: Any, op: str) -> Value:
        a, c = _pair(self, x)
        if a.v.type == F64:
            emit = self.b.fcmp_unordered if op == "!=" else self.b.fcmp_ordered
        else:
            emit = self.b.icmp_signed
        return Value(self.b, emit(op, a.v, c.v))

    def __lt__(self, x: Any) -> Value:
        return self._compare(x, "<")

    def __le__(self, x: Any) -> Value:
        return self._compare(x, "<=")

    def __gt__(self, x: Any) -> Value:
        return self._compare(x, ">")

    def __ge__(self, x: Any) -> Value:
        return self._compare(x, ">=")

    def __eq__(self, x: Any) -> Value:  # type: ignore[override]
        return self._compare(x, "==")

    def __ne__(self, x: Any) -> Value:  # type: ignore[override]
        return self._compare(x, "!=")

    def call(self, name: str) -> Value:
        """LLVM's intrinsic `name` of one float64."""
        fn = self.b.module.declare_intrinsic(name, [F64])
        return Value(self.b, self.b.call(fn, [number(self).v]))

    def cast(self, to: ir.Type) -> Value:
        """The same bits as another type."""
        return Value(self.b, self.b.bitcast(self.v, to))


def coerce(builder: ir.IRBuilder, x: Any, kind: ir.Type) -> Value:
    """`x` as a Value of LLVM type `kind`; Python numbers become constants."""
    if isinstance(x, Value):
        if x.v.type == kind:
            return x
        if kind == F64:
            return number(x)
        if kind == I64 and x.v.type == I1:
            return Value(builder, builder.zext(x.v, I64))
        raise TraceError(f"a value of type {x.v.type} stands where {kind} is needed")
    if isinstance(x, (bool, int, float)) or hasattr(x, "dtype"):
        return Value(builder, ir.Constant(kind, float(x) if kind == F64 else int(x)))
    raise TraceError(f"{type(x).__name__} cannot take part in compiled arithmetic")


def number(x: Value) -> Value:
    """`x` as float64: integers are converted, truth is 1.0 or 0.0."""
    if x.v.type == F64:
        return x
    return Value(x.b, x.b.uitofp(x.v, F64) if x.v.type == I1 else x.b.sitofp(x.v, F64))


def _pair(a: Value, x: Any) -> tuple[Value, Value]:
    """Both operands of one type: float64 if either is, or if a Python float takes part."""
    kinds = {a.v.type, x.v.type} if isinstance(x, Value) else {a.v.type}
    if F64 in kinds or isinstance(x, float):
        kind = F64
    elif I64 in kinds or (not isinstance(x, (Value, bool)) and isinstance(x, int)):
        kind = I64
    else:
        kind = I1
    return coerce(a.b, a, kind), coerce(a.b, x, kind)


def select(c: Any, a: Any, b: Any) -> Any:
    """a where c else b, as float64."""
    if not isinstance(c, Value):
        return a if c else b
    return Value(c.b, c.b.select(c.v, coerce(c.b, a, F64).v, coerce(c.b, b, F64).v))


def clean(x: Any) -> bool:
    """Whether x is known not to be NaN."""
    return x.clean if isinstance(x, Value) else x == x


class Index:
    """A run-time element index plus a constant."""

    __slots__ = ("ptr", "at")

    def __init__(self, ptr: ir.Value, at: int = 0) -> None:
        self.ptr = ptr
        self.at = at

    def __add__(self, k: int) -> Index:
        return Index(self.ptr, self.at + k)

    __radd__ = __add__


class Memory:
    """An array or lane view inside a trace: elements at constant places, or at a run-time index plus a constant."""

    def __init__(self, builder: ir.IRBuilder, base: ir.Value, stride: int, length: int | None, constant: bool) -> None:
        self.b, self.base, self.stride, self.length, self.constant = builder, base, stride, length, constant
        self.lanes: dict[int, ir.Value] = {}

    def _address(self, i: Any) -> ir.Value:
        if isinstance(i, Index):
            # one pointer to the lane, constant offsets from it: rows are then known not to overlap
            lane = self.lanes.get(id(i.ptr))
            if lane is None:
                lane = self.lanes[id(i.ptr)] = self.b.gep(self.base, [i.ptr], inbounds=True)
            return self.b.gep(lane, [ir.Constant(I64, i.at)], inbounds=True)
        if not isinstance(i, int):
            raise TraceError("an element's place must be known when the function is compiled")
        if self.length is not None:
            i = i + self.length if i < 0 else i
            if not 0 <= i < self.length:
                raise TraceError(f"index {i} is outside an array of length {self.length}")
        return self.b.gep(self.base, [ir.Constant(I64, i * self.stride)], inbounds=True)

    def __len__(self) -> int:
        if self.length is None:
            raise TraceError("the length of this array is not known when the function is compiled")
        return self.length

    def __getitem__(self, i: Any) -> Value:
        load = self.b.load(self._address(i))
        if self.constant:
            load.set_metadata("invariant.load", self.b.module.add_metadata([]))
        return Value(self.b, load, self.constant)

    def __setitem__(self, i: Any, x: Any) -> None:
        self.b.store(coerce(self.b, x, F64).v, self._address(i))


class Local:
    """Memory whose elements at `places` behind a run-time index live in registers for the length of one trace."""

    def __init__(self, memory: Memory, places: frozenset[int]) -> None:
        self.memory, self.places = memory, places
        self.kept: dict[int, Any] = {}

    def __getitem__(self, i: Index) -> Any:
        if i.at in self.kept:
            return self.kept[i.at]
        return self.memory[i]

    def __setitem__(self, i: Index, x: Any) -> None:
        if i.at in self.places:
            self.kept[i.at] = coerce(self.memory.b, x, F64)
        else:
            self.memory[i] = x


class Known:
    """Memory of which some elements are constants when the function is compiled; what is written to those is dropped."""

    def __init__(self, memory: Any, constants: tuple[tuple[int, float], ...]) -> None:
        self.memory = memory
        self.constants = {i: Zero() if x == 0.0 else x for i, x in constants}

    def __getitem__(self, i: int) -> Any:
        return self.constants[i] if i in self.constants else self.memory[i]

    def __setitem__(self, i: int, x: Any) -> None:
        if i not in self.constants:
            self.memory[i] = x


class Part:
    """`length` elements of a block, `stride` apart, from a run-time index on: a lane view inside a trace."""

    def __init__(self, memory: Any, start: Index, stride: int, length: int) -> None:
        self.memory, self.start, self.stride, self.length = memory, start, stride, length

    def _place(self, i: int) -> Index:
        if not isinstance(i, int):
            raise TraceError("an element's place must be known when the function is compiled")
        i = i + self.length if i < 0 else i
        if not 0 <= i < self.length:
            raise TraceError(f"index {i} is outside an array of length {self.length}")
        return self.start + i * self.stride

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, i: int) -> Any:
        return self.memory[self._place(i)]

    def __setitem__(self, i: int, x: Any) -> None:
        self.memory[self._place(i)] = x


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
    """A function for compiled code that does what `fn` does, traced anew for every set of argument types; it returns nothing.

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
    """Decorator of an elementary function: traced in compiled code, `fallback` (NumPy's) on Python numbers and arrays."""

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
                if kws or len(args) != len(want) or not all(isinstance(a, number_like) and not isinstance(a, types.Complex) for a in args):
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
