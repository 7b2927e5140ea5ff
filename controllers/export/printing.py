"""Expressions as straight-line source: one assignment a node, what is used once and is short written in place.

`C` and `NUMPY` are the two ways of writing; both compute every operand, whatever a choice takes of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ...integrators.core import activations
from .expressions import Expr, Graph, Layer, Value, inner, reached

#: characters up to which an expression that is used once is written in place
INLINE = 64

_SIGNS = {
    "add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "==",
    "ne": "!=",
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """A language.

    calls     what an operator is called; "{}" in it stands for the arguments, else they follow in brackets
    number    a float as text
    assign    `assign(name, text, boolean)`, a line
    layer     `layer(layer, name, inputs)`, the lines that compute an array `name` of the layer's outputs
    pick      `pick(name, i)`, element i of it
    """

    calls: Mapping[str, str]
    number: Callable[[float], str]
    assign: Callable[[str, str, bool], str]
    layer: Callable[[Layer, str, Sequence[str]], list[str]]
    pick: Callable[[str, int], str] = field(default=lambda name, i: f"{name}[{i}]")


def text_of_float(value: float, nan: str, inf: str) -> str:
    """The shortest decimal that reads back as `value`; negative numbers in brackets."""
    if math.isnan(value):
        return nan
    text = inf if math.isinf(value) else repr(abs(float(value)))
    return f"(-{text})" if math.copysign(1.0, value) < 0.0 else text


def unwrapped(text: str) -> str:
    """`text` without the brackets around the whole of it."""
    if not (text.startswith("(") and text.endswith(")")):
        return text
    depth = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if depth == 0 and i < len(text) - 1:
            return text
    return text[1:-1]


class Writer:
    """Writes the values `roots` in a style: `lines` compute them, `text(value)` is where they are then.

    symbols: the text of every symbol, by its name.
    """

    def __init__(self, roots: Iterable[Value], style: Style, symbols: Mapping[tuple, str], prefix: str = "v") -> None:
        self.style, self.prefix, self.lines = style, prefix, list[str]()
        self._text: dict[Expr, str] = {}
        roots = list(roots)
        nodes = reached(roots)
        uses = Counter(x for node in nodes for x in self._operands(node) if isinstance(x, Expr))
        uses.update(x for x in roots if isinstance(x, Expr))
        self._layers: set[Layer] = set()
        for node in nodes:
            if node.op == "symbol":
                self._text[node] = symbols[node.args]
            elif node.op == "layer":
                self._text[node] = self._output(*node.args)
            else:
                text = self._write(node)
                once = uses[node] == 1 and len(text) <= INLINE
                self._text[node] = text if once else self._name(text, node.boolean)

    def _operands(self, node: Expr) -> tuple:
        # a layer's inputs are used once for all of its outputs
        return () if node.op == "layer" and node.args[1] > 0 else inner(node)

    def text(self, value: Value) -> str:
        """A value's text; of an expression that is written in place it stands in brackets."""
        if isinstance(value, Expr):
            return self._text[value]
        return self.style.number(float(value))

    def bare(self, value: Value) -> str:
        """The text of a value that stands alone, without outer brackets."""
        return unwrapped(self.text(value))

    def _name(self, text: str, boolean: bool) -> str:
        name = f"{self.prefix}{len(self.lines)}"
        self.lines.append(self.style.assign(name, unwrapped(text), boolean))
        return name

    def _output(self, layer: Layer, i: int) -> str:
        name = f"z{layer.n}"
        if layer not in self._layers:
            self._layers.add(layer)
            self.lines += self.style.layer(layer, name, [self.text(x) for x in layer.inputs])
        return self.style.pick(name, i)

    def _write(self, node: Expr) -> str:
        args = [self.text(x) for x in node.args]
        sign = _SIGNS.get(node.op)
        if sign is not None:
            return f"({args[0]} {sign} {args[1]})"
        if node.op == "neg":
            return f"(-{args[0]})"
        call = self.style.calls[node.op]
        if "{}" in call:
            return call.format(*args)
        return f"{call}({', '.join(unwrapped(text) for text in args)})"


def operators(roots: Iterable[Value]) -> frozenset[str]:
    """The operators that the values need."""
    return frozenset(node.op for node in reached(roots))


def activation_function(activation: str) -> tuple[Value, Graph]:
    """An activation as an expression of the symbol ("z",), and its graph; tanh and linear among them."""
    graph = Graph()
    z = graph.symbol("z")
    where, tanh = graph.namespace["where"], graph.namespace["tanh"]
    if activation in activations.PLAIN:
        return (tanh(z) if activation == "tanh" else where(z < 0.0, 0.0, z) if activation == "relu" else z), graph
    return activations.bound(activation, graph.namespace)(z), graph


def activation_name(activation: str, used: list[str]) -> str:
    """A name for an activation's function, one for each slope of a leaky relu; `used` holds those that have one."""
    if activation not in used:
        used.append(activation)
    return f"{activations.kind(activation)}_{used.index(activation)}"
