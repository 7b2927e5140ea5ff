"""Expressions: what a formula computes, written down instead of computed.

A formula runs once on symbols; every operator and every function of the formulas' namespace then makes a node of a
graph.  Equal nodes are one node.  Numbers alone are computed at once, with the float64 functions that decide for a
single lane, so that what is printed later gives the same bits.  Beyond that only what changes no bit is simplified: a
product with 1, a choice whose condition is known or whose two sides are equal.  x - x stays, since it is how formulas
pass NaN on, and 0 x stays, which is NaN for an infinite x.

A formula that asks a symbol for its truth (`if`, `while`, `and`, Python's `min`) or for its number (`math.log`) has a
branch or leaves the formulas: `Untraceable`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ...integrators.core.namespaces import SCALAR, Namespace


class Untraceable(ValueError):
    """A formula does more with a number than formulas may."""


#: what a node holds, and what a formula hands on
Value = Any  # Expr | float | bool

_SCALAR: dict[str, Callable[..., Any]] = {
    "min": SCALAR["minimum"], "max": SCALAR["maximum"], "fabs": SCALAR["fabs"], "sqrt": SCALAR["sqrt"],
    "exp": SCALAR["exp"], "log": SCALAR["log"], "tanh": SCALAR["tanh"], "atan": SCALAR["atan"], "sin": SCALAR["sin"],
    "cos": SCALAR["cos"], "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b, "neg": lambda a: -a, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
}  # fmt: skip

#: operators whose answer is a truth value
BOOLEAN = frozenset({"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"})


class Expr:
    """A node: an operator and what it acts on.

    op        "symbol" (args: its name), "layer" (args: a `Layer` and the number of an output), or an operator
    args      nodes, floats and truth values
    boolean   whether it is a truth value
    """

    __slots__ = ("args", "boolean", "graph", "op")
    __array_ufunc__ = None  # NumPy's numbers leave operators to this class

    def __init__(self, graph: Graph, op: str, args: tuple, boolean: bool) -> None:
        self.graph, self.op, self.args, self.boolean = graph, op, args, boolean

    def __hash__(self) -> int:
        return id(self)

    def __add__(self, other: Value) -> Value:
        return self.graph.make("add", self, other)

    def __radd__(self, other: Value) -> Value:
        return self.graph.make("add", other, self)

    def __sub__(self, other: Value) -> Value:
        return self.graph.make("sub", self, other)

    def __rsub__(self, other: Value) -> Value:
        return self.graph.make("sub", other, self)

    def __mul__(self, other: Value) -> Value:
        return self.graph.make("mul", self, other)

    def __rmul__(self, other: Value) -> Value:
        return self.graph.make("mul", other, self)

    def __truediv__(self, other: Value) -> Value:
        return self.graph.make("div", self, other)

    def __rtruediv__(self, other: Value) -> Value:
        return self.graph.make("div", other, self)

    def __neg__(self) -> Value:
        return self.graph.make("neg", self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return self.graph.make("fabs", self)

    def __lt__(self, other: Value) -> Value:
        return self.graph.make("lt", self, other)

    def __le__(self, other: Value) -> Value:
        return self.graph.make("le", self, other)

    def __gt__(self, other: Value) -> Value:
        return self.graph.make("gt", self, other)

    def __ge__(self, other: Value) -> Value:
        return self.graph.make("ge", self, other)

    def __eq__(self, other: object) -> Value:
        return self.graph.make("eq", self, other)

    def __ne__(self, other: object) -> Value:
        return self.graph.make("ne", self, other)

    def __and__(self, other: Value) -> Value:
        return self.graph.make("and", self, other)

    def __or__(self, other: Value) -> Value:
        return self.graph.make("or", self, other)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Value:
        return self.graph.make("not", self)

    def __bool__(self) -> bool:
        raise Untraceable("it branches (if, and, or, min, max) on a number that is known at run time only: use where")

    def __float__(self) -> float:
        raise Untraceable(
            "it hands a number to a function that is none of stepsmith.integrators.core.formulas (math.log, NumPy's)"
        )

    __int__ = __index__ = __float__

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise Untraceable(f"it asks a number for its {name}")


class Layer:
    """A dense layer: activation(weight @ inputs + bias); its outputs are nodes.  `n` counts the layers of a graph."""

    def __init__(self, n: int, weight: np.ndarray, bias: np.ndarray, activation: str, inputs: tuple) -> None:
        self.n, self.weight, self.bias, self.activation, self.inputs = n, weight, bias, activation, inputs


class Graph:
    """The nodes of what is written down, and the functions that formulas call meanwhile."""

    def __init__(self) -> None:
        self._nodes: dict[tuple, Expr] = {}
        self.layers: list[Layer] = []
        two = {"minimum": "min", "maximum": "max"}
        functions = {name: self._function(two.get(name, name)) for name in (
            "minimum", "maximum", "fabs", "sqrt", "exp", "log", "tanh", "atan", "sin", "cos")}  # fmt: skip
        self.namespace = Namespace({
            **functions, "where": self.where, "pow_": lambda x, a: functions["exp"](a * functions["log"](x)),
        })  # fmt: skip

    def _function(self, op: str) -> Callable[..., Value]:
        return lambda *args: self.make(op, *args)

    def symbol(self, *name: Any) -> Expr:
        """The symbol of a name."""
        return self._node("symbol", name, False)

    def layer(self, weight: np.ndarray, bias: np.ndarray, activation: str, inputs: Iterable[Value]) -> list[Expr]:
        """The outputs of a dense layer, one node each.  weight: (n_out, n_in).  bias: (n_out,)."""
        made = Layer(len(self.layers), weight, bias, activation, tuple(_plain(x) for x in inputs))
        self.layers.append(made)
        return [self._node("layer", (made, i), False) for i in range(len(bias))]

    def where(self, c: Value, a: Value, b: Value) -> Value:
        """`a` where `c` is true, else `b`."""
        if not isinstance(c, Expr):
            return a if c else b
        a, b = _plain(a), _plain(b)
        if _key(a) == _key(b):
            return a
        both = all(x.boolean if isinstance(x, Expr) else isinstance(x, bool) for x in (a, b))
        return self._node("where", (c, a, b), both)

    def make(self, op: str, *args: Value) -> Value:
        """The node of an operator, or the number that it gives."""
        args = tuple(_plain(x) for x in args)
        if op in ("and", "or"):
            known = [x for x in args if not isinstance(x, Expr)]
            if known:
                other = args[1] if args[0] is known[0] else args[0]
                return (other if known[0] else False) if op == "and" else (True if known[0] else other)
            if args[0] is args[1]:
                return args[0]
        elif not any(isinstance(x, Expr) for x in args):
            with np.errstate(all="ignore"):
                return _plain(_SCALAR[op](*(x if isinstance(x, bool) else np.float64(x) for x in args)))
        elif (same := _unchanged(op, args)) is not None:
            return same
        return self._node(op, args, op in BOOLEAN)

    def _node(self, op: str, args: tuple, boolean: bool) -> Expr:
        key = (op, *(_key(x) for x in args))
        if key not in self._nodes:
            self._nodes[key] = Expr(self, op, args, boolean)
        return self._nodes[key]


def _plain(x: Any) -> Value:
    """A value as it stands in a node: NumPy's scalars as Python's."""
    if isinstance(x, Expr):
        return x
    if isinstance(x, (bool, np.bool_)):
        return bool(x)
    if isinstance(x, (int, float, np.number)):
        return float(x)
    raise Untraceable(f"it computes with a {type(x).__name__}, and formulas compute with numbers")


def _key(x: Any) -> Any:
    """What equal values have in common: of floats the bits, so that 0 and -0 are two, and NaN is one."""
    if isinstance(x, float):
        return ("bits", struct.pack("d", x))
    return x if isinstance(x, (bool, int, str)) else ("id", id(x))


def _unchanged(op: str, args: tuple) -> Value | None:
    """The operand that the operator gives back, bit for bit, whatever it is; None where there is none."""
    if op == "mul":
        for one, other in (args, args[::-1]):
            if isinstance(one, float) and one == 1.0:
                return other
    if op == "div" and isinstance(args[1], float) and args[1] == 1.0:
        return args[0]
    if op == "sub" and _key(args[1]) == _key(0.0):
        return args[0]
    if op == "neg" and args[0].op == "neg":
        return args[0].args[0]
    return None


def inner(node: Expr) -> tuple:
    """What a node needs: its operands, or a layer's inputs."""
    if node.op == "symbol":
        return ()
    return node.args[0].inputs if node.op == "layer" else node.args


def reached(roots: Iterable[Value]) -> list[Expr]:
    """The nodes that the values need, each after what it needs itself."""
    done: dict[Expr, None] = {}
    for root in roots:
        stack = [(root, False)] if isinstance(root, Expr) else []
        while stack:
            node, ready = stack.pop()
            if ready:
                done.setdefault(node)
            elif node not in done:
                stack.append((node, True))
                stack += [(x, False) for x in reversed(inner(node)) if isinstance(x, Expr) and x not in done]
    return list(done)
