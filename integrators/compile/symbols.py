"""Numbers inside a trace: operators on them emit LLVM instructions.

A function that is traced (`trace`) runs once on such values instead of numbers.  `a + b` then writes down an addition
and gives the value that stands for its result; a value has no truth and no size while the function runs, so that asking
for them raises `TraceError`.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

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
