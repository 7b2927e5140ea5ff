"""A controller as one Python file that needs NumPy and nothing else.

Its functions compute on numbers or on arrays of one number a trajectory, with the functions that
`integrators.core.runner.Runner` has for many lanes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...integrators.core import record as rec
from ...integrators.core import tolerance_scale
from ...integrators.core.contract import ANSWER
from .described import NEWTONS, SLOTS, about, identifier, row_doc
from .expressions import Layer
from .printing import Style, Writer, activation_function, activation_name, text_of_float
from .tracing import Traced, trace

_WIDTH = 100


def python_file(controller: Any, name: str | None = None) -> str:
    """The text of a Python file whose class `Controller` decides as `controller` does.

    name: what the file says it is called; default the controller's name as an identifier.  TypeError for what is no
    controller, ValueError for one that cannot be written down, OptionError for a bad name.
    """
    traced, name = trace(controller), identifier(controller, name)
    text = _Text(traced)
    decide, first = text.decide(), text.first()
    kinds = {slot: f"{rec.NAMES[slot]}: {SLOTS[slot]}" for slot in traced.slots}
    lines = [*(f"# {text}".rstrip() for text in about(controller)), "#"]
    lines += ["# Needs NumPy alone.  How to use it:", "#", *_usage(name, traced)]
    lines += ["import math", "", "import numpy as np", "", f'NAME = "{name}"']
    lines += ["#: the solver works at this times the rtol and atol that a person asks for"]
    lines += [f"TOLERANCE_SCALE = {number(tolerance_scale.of(controller), True)}"]
    lines += ["#: what it reads of an attempt", "SLOTS = ("]
    lines += [f'    "{rec.NAMES[slot]}",  # {kinds[slot].partition(": ")[2]}' for slot in traced.slots]
    lines += [")", "#: its state at the start of a trajectory", "START = ("]
    lines += [f"    {number(start, True)},  # {row_doc(row)}" for row, start, _ in traced.state]
    lines += [")", "", *text.arrays, *text.helpers(), "", *decide, "", "", *first]
    return "\n".join([*lines, "", "", *_class(traced), ""])


class _Text:
    """The functions of one file and the weights and activations that they share."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.arrays: list[str] = []
        self._activations: list[str] = []
        self.symbols: dict[tuple, str] = {("state", row): f"s{i}" for i, (row, _, _) in enumerate(traced.state)}
        self.symbols |= {("record", slot): f"a_{rec.NAMES[slot]}" for slot in traced.slots}
        np_names = {name: f"np.{name}" for name in ("sqrt", "exp", "log", "tanh", "sin", "cos")}
        self.style = Style(
            {
                "where": "np.where", "and": "({} & {})", "or": "({} | {})", "not": "(~{})",
                "min": "np.minimum", "max": "np.maximum", "fabs": "np.abs", "atan": "np.arctan", **np_names,
            },
            number, lambda name, text, boolean: f"    {name} = {text}", self._layer,
        )  # fmt: skip

    def decide(self) -> list[str]:
        """The function `decide(state, attempt)`."""
        after = [value for _, _, value in self.traced.state]
        roots = [*self.traced.out, *after]
        writer = Writer(roots, self.style, self.symbols)
        out = [writer.bare(value) for value in self.traced.out]
        return [
            "def decide(state, attempt):",
            '    """Decide on one attempt, accepted or not.',
            "",
            "    state: a tuple as START, of numbers or of arrays, one number a trajectory.  attempt: a mapping with a",
            "    number or an array for each of SLOTS, NaN where it is unknown.",
            "",
            f"    Returns the answer ({', '.join(ANSWER)}) and the state after the attempt.",
            '    """',
            *self._reads(),
            *writer.lines,
            *_tuple("    answer = (", out),
            *_tuple("    after = (", [writer.bare(value) for value in after]),
            "    return answer, after",
        ]

    def _reads(self) -> list[str]:
        lines = []
        states = [text for key, text in self.symbols.items() if key[0] == "state"]
        if states:
            lines.append(f"    {', '.join(states)}{',' if len(states) == 1 else ''} = state")
        slots = [(text, key[1]) for key, text in self.symbols.items() if key[0] == "record"]
        return lines + [f'    {text} = attempt["{rec.NAMES[slot]}"]' for text, slot in slots]

    def first(self) -> list[str]:
        """The function `first(attempt, guess)`."""
        lines = [
            "def first(attempt, guess):",
            '    """First step size: the controller\'s own where it has one, else `guess`, the method\'s."""',
        ]
        if self.traced.first is None:
            return [*lines, "    return guess"]
        writer = Writer([self.traced.first], self.style, self.symbols)
        reads = [line for line in self._reads() if "attempt[" in line]
        return [
            *lines, *reads, *writer.lines, f"    size = {writer.bare(self.traced.first)}",
            "    return np.where(np.greater(size, 0.0), size, guess)",
        ]  # fmt: skip

    def helpers(self) -> list[str]:
        """The functions that layers call."""
        if not self._activations:
            return []
        lines = [
            "", "def _layer(weight, bias, inputs):",
            "    return ((weight @ np.stack(np.broadcast_arrays(*inputs))).T + bias).T",
        ]  # fmt: skip
        for activation in self._activations:
            if activation == "linear":
                continue
            value, _ = activation_function(activation)
            writer = Writer([value], self.style, {("z",): "z"})
            lines += ["", "", f"def _{activation_name(activation, self._activations)}(z):", *writer.lines]
            lines.append(f"    return {writer.bare(value)}")
        return [*lines, ""]

    def _layer(self, layer: Layer, z: str, inputs: Sequence[str]) -> list[str]:
        name = f"LAYER{layer.n}"
        for part, values in (("WEIGHT", layer.weight), ("BIAS", layer.bias[None])):
            self.arrays += [f"{name}_{part} = np.array(["]
            for row in values:
                items = [number(x, True) for x in row]
                self.arrays += _tuple("    [", items, "],") if part == "WEIGHT" else _tuple("    ", items, ",")
            self.arrays += ["])"]
        act = activation_name(layer.activation, self._activations)
        call = f"_layer({name}_WEIGHT, {name}_BIAS, x{layer.n})"
        return [
            *_tuple(f"    x{layer.n} = (", inputs),
            f"    {z} = {call if layer.activation == 'linear' else f'_{act}({call})'}",
        ]


def number(value: float, bare: bool = False) -> str:
    """A float of Python.  bare: without the brackets around a negative one."""
    text = text_of_float(float(np.float64(value)), "math.nan", "math.inf")
    return text[1:-1] if bare and text.startswith("(") else text


def _tuple(head: str, items: Sequence[str], tail: str = ")") -> list[str]:
    """`head` item, item, ... `tail` in lines of at most `_WIDTH` characters where the items allow it."""
    lines = [head]
    pad = " " * (len(head) - len(head.lstrip()) + 4)
    for i, item in enumerate(items):
        last = i == len(items) - 1
        text = item + ("," if not last or (tail == ")" and len(items) == 1) else "") + (tail if last else "")
        if len(lines[-1]) + len(text) + 1 > _WIDTH and lines[-1].strip():
            lines.append(pad + text)
        else:
            lines[-1] += ("" if lines[-1].endswith(("(", "[", "{", " ")) else " ") + text
    if not items:
        lines[-1] += tail
    return lines


def _usage(name: str, traced: Traced) -> list[str]:
    known = {rec.ERR: "err", rec.H: "h", rec.H_FREE: "want", rec.TRUNCATED: "cut", rec.T_LEFT: "t_end - t"}
    known |= {rec.FINITE: "np.isfinite(err)", rec.SPAN: "t_end - t_start"}
    given = ", ".join(f"{rec.NAMES[slot]}={known.get(slot, '...')}" for slot in traced.slots)
    return [f"#     {line}".rstrip() for line in (
        f"from {name} import Controller, TOLERANCE_SCALE",
        "rtol, atol = TOLERANCE_SCALE * rtol, TOLERANCE_SCALE * atol",
        "controller = Controller()  # Controller(lanes): that many trajectories side by side, in arrays",
        "want = h",
        "while t < t_end:",
        "    cut = want >= t_end - t",
        "    h = t_end - t if cut else want",
        "    ...  # attempt a step of size h, which gives y_new and the scaled error norm err",
        f"    accept, factor = controller.decide({given})",
        "    if accept:",
        "        t, y = t + h, y_new",
        "    # after a step cut short the controller goes on from the size that was wanted",
        "    want = (want if accept and cut else h) * factor",
    )] + [""]  # fmt: skip


def _class(traced: Traced) -> list[str]:
    # Newton's iteration is all that a host may not have: everything else has to be said, if only to be NaN
    words = [rec.NAMES[slot] + ("=math.nan" if slot in NEWTONS else "") for slot in traced.slots]
    attempt = [f'"{rec.NAMES[slot]}": {rec.NAMES[slot]}' for slot in traced.slots]
    return [
        "class Controller:",
        '    """The controller at work: it holds its state.',
        "",
        "    lanes: how many trajectories step side by side, each with a state of its own; None: one, in numbers.",
        "    After `decide`: log_factor, flags (Newton's methods: 1 keep or 2 renew the Jacobian, + 4 keep the LU",
        "    factors) and fallback (1 where the law answered in the place of a network).",
        '    """',
        "",
        "    def __init__(self, lanes=None):",
        "        self.init(lanes)",
        "",
        "    def init(self, lanes=None):",
        '        """Start anew, on `lanes` trajectories."""',
        "        self.lanes = lanes",
        "        shape = () if lanes is None else (lanes,)",
        "        self.state = tuple(np.full(shape, start) for start in START)",
        "        self.log_factor = self.flags = self.fallback = np.zeros(shape)",
        "",
        *_tuple("    def decide(", ["self", "*", *words] if words else ["self"], "):"),
        '        """Accept (bool) and the next size over the size attempted; attempts rejected count too.',
        "",
        "        Arguments are numbers, or arrays of one number a trajectory; NaN: unknown.",
        '        """',
        *_tuple("        given = {", attempt, "}"),
        "        shape = () if self.lanes is None else (self.lanes,)",
        "        attempt = {k: np.broadcast_to(np.asarray(v, dtype=np.float64), shape) for k, v in given.items()}",
        '        with np.errstate(all="ignore"):',
        "            answer, after = decide(self.state, attempt)",
        "        accept, self.log_factor, self.flags, self.fallback = (np.broadcast_to(x, shape) for x in answer)",
        "        self.state = tuple(np.broadcast_to(x, shape) for x in after)",
        '        with np.errstate(all="ignore"):',
        "            factor = np.exp(self.log_factor)",
        "        accept = accept > 0.5",
        "        return (bool(accept), float(factor)) if self.lanes is None else (accept, factor)",
    ]
