"""Symbols that stand in for numbers while a function runs in plain Python, and note every operation as one of a graph.

NumPy's arrays hold them as objects, so that slices, `@`, `np.sum`, unpacking and reshaping of small arrays come apart
into operations on numbers.  A function that asks a symbol for its truth or its value cannot be noted down, and raises
`Untraceable`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

#: a graph with more operations is not worth unrolling: compilers take about a millisecond for each
MOST = 2000


class Untraceable(Exception):
    """What the function does depends on values, or it does too much."""


class Graph:
    """Operations in the order in which they were done, each once: (text with {} for its arguments, arguments)."""

    def __init__(self) -> None:
        self.nodes: list[tuple[str, tuple[Any, ...]]] = []
        self.known: dict[tuple[str, tuple[Any, ...]], Symbol] = {}

    def node(self, text: str, *args: Any) -> Symbol:
        """The symbol of an operation."""
        key = (text, tuple(("s", a.place) if isinstance(a, Symbol) else constant(a) for a in args))
        if key not in self.known:
            if len(self.nodes) >= MOST:
                raise Untraceable("too many operations")
            self.nodes.append(key)
            self.known[key] = Symbol(self, len(self.nodes) - 1)
        return self.known[key]

    def lines(self, outputs: list[Any]) -> tuple[list[str], list[str]]:
        """Assignments of what `outputs` need, and an expression for each of them."""
        places = [o.place if isinstance(o, Symbol) else -1 for o in outputs]
        used, todo = set(), [p for p in places if p >= 0]
        while todo:
            place = todo.pop()
            if place not in used:
                used.add(place)
                todo += [arg[1] for arg in self.nodes[place][1] if arg[0] == "s"]
        lines = []
        for place in sorted(used):
            text, args = self.nodes[place]
            lines.append(f"v{place} = " + text.format(*(f"v{v}" if kind == "s" else v for kind, v in args)))
        return lines, [f"v{p}" if p >= 0 else constant(o)[1] for o, p in zip(outputs, places, strict=True)]


def constant(value: Any) -> tuple[str, str]:
    """A number as source text; Untraceable for anything else."""
    if isinstance(value, (bool, np.bool_)):
        return "c", repr(float(value))
    if isinstance(value, (int, np.integer)):
        whole = int(value)  # compiled whole numbers have 64 bits
        return "c", f"({whole})" if abs(whole) <= 2**53 else f"({float(whole)!r})"
    if isinstance(value, (float, np.floating)) and np.isfinite(value):
        return "c", f"({float(value)!r})"
    raise Untraceable(f"no finite number: {value!r}")


_NUMBER = (bool, int, float, np.bool_, np.integer, np.floating)


def _binary(text: str, swapped: bool = False) -> Any:
    def method(self: Symbol, other: Any) -> Any:
        if not isinstance(other, (Symbol, *_NUMBER)):
            return NotImplemented  # an array takes its elements one by one
        return self.graph.node(text, other, self) if swapped else self.graph.node(text, self, other)

    return method


def _unary(text: str) -> Any:
    def method(self: Symbol) -> Symbol:
        return self.graph.node(text, self)

    return method


def _refuse(self: Symbol, *args: Any) -> Any:
    raise Untraceable("it depends on a value")


class Symbol:
    """A number of the graph."""

    __slots__ = ("graph", "place")

    def __init__(self, graph: Graph, place: int) -> None:
        self.graph, self.place = graph, place

    __hash__ = __repr__ = __str__ = __format__ = _refuse
    __bool__ = __float__ = __int__ = __index__ = __complex__ = __iter__ = __len__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refuse
    __neg__, __pos__, __abs__ = _unary("-{}"), _unary("{}"), _unary("fabs({})")
    __add__, __radd__ = _binary("{} + {}"), _binary("{} + {}", True)
    __sub__, __rsub__ = _binary("{} - {}"), _binary("{} - {}", True)
    __mul__, __rmul__ = _binary("{} * {}"), _binary("{} * {}", True)
    __truediv__, __rtruediv__ = _binary("{} / {}"), _binary("{} / {}", True)
    __pow__, __rpow__ = _binary("{} ** {}"), _binary("{} ** {}", True)
    conjugate = _unary("{}")


#: functions of one number: NumPy calls the method of this name on each element of an object array
_FUNCTIONS = {
    **{name: name for name in ("exp", "log", "sin", "cos", "tanh", "sqrt")},
    "arctan": "atan",
    **{name: f"math.{name}" for name in ("tan", "sinh", "cosh", "log1p", "expm1", "log10", "log2")},
    **{f"arc{name}": f"math.a{name}" for name in ("sin", "cos", "sinh", "cosh", "tanh")},
    "fabs": "fabs", "absolute": "fabs",
}  # fmt: skip
for _name, _text in _FUNCTIONS.items():
    setattr(Symbol, _name, _unary(_text + "({})"))
# a compiled `math.floor` gives a whole number of 64 bits, and GPUs have no `np.floor`
Symbol.floor = _unary("{0} - {0} % 1.0")  # type: ignore[attr-defined]
Symbol.ceil = _unary("-(-{0} - -{0} % 1.0)")  # type: ignore[attr-defined]
for _name in ("arctan2", "hypot"):
    setattr(Symbol, _name, _binary(f"math.{_name.replace('arc', 'a')}({{}}, {{}})"))
