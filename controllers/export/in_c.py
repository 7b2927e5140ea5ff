"""A controller as one C99 header that needs <math.h> and nothing else; C++ takes it too.

The header has no state of its own: everything lies in structs of the caller, so that any number of threads may decide
at once.  Its arithmetic is IEEE 754's, with NaN for what a host does not know; under -ffast-math it refuses to compile.
On one lane it decides as `integrators.core.runner.Runner` does, to a few units in the last place: both call libm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ...integrators.core import record as rec
from ...integrators.core import tolerance_scale
from ...integrators.core.contract import ACCEPT, FALLBACK, FLAGS, LOG_FACTOR
from . import arkode
from .described import NEWTONS, SLOTS, about, identifier, row_doc
from .expressions import Expr, Layer, Value, reached
from .printing import Style, Writer, activation_function, activation_name, operators, text_of_float, unwrapped
from .tracing import Traced, trace

_HELPERS = {
    "min": "static inline double {name}_min(double a, double b) {{ return (a <= b || a != a) ? a : b; }}",
    "max": "static inline double {name}_max(double a, double b) {{ return (a >= b || a != a) ? a : b; }}",
}
_WIDTH = 100


def c_header(controller: Any, name: str | None = None) -> str:
    """The text of a C99 header that decides as `controller` does.

    name: what everything in it is called after; default the controller's name.  In the header, with <name> for it:
    `<name>_state` and `<name>_init`, `<name>_attempt` with what the controller reads of an attempt, `<name>_blank`
    (everything unknown) and `<name>_missing` (what was not set), `<name>_decide` and `<name>_answer_to`,
    `<name>_first`, the macro `<NAME>_TOLERANCE_SCALE`, and functions in the form of SUNDIALS ARKODE's controllers, or
    the reason why ARKODE cannot run it.

    TypeError for what is no controller, ValueError for one that cannot be written down, OptionError for a bad name.
    """
    traced, name = trace(controller), identifier(controller, name)
    guard = f"STEPSMITH_{name.upper()}_H"
    parts = _Parts(name)
    body = [*parts.decide(traced), "", *parts.first(traced)]
    lines = [f"#ifndef {guard}", f"#define {guard}", "", *_comment(controller, name, traced), "", *_checks()]
    lines += ["#include <math.h>", ""]
    scale = text_of_float(tolerance_scale.of(controller), "NAN", "INFINITY")
    lines += ["/* The solver works at this times the rtol and atol that a person asks for. */"]
    lines += [f"#define {name.upper()}_TOLERANCE_SCALE {scale}", ""]
    lines += _structs(name, traced)
    glue = arkode.glue(controller, name, traced, parts.decide)
    lines += [*parts.arrays, *parts.helpers(), *body, "", *glue]
    return "\n".join([*lines, "", f"#endif /* {guard} */", ""])


class _Parts:
    """What the functions of one header share: arrays of weights, activations, minimum and maximum."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.arrays: list[str] = []
        self._activations: list[str] = []
        self._used: set[str] = set()
        self._weights: dict[tuple, str] = {}
        self.style = Style(
            {
                "where": "({} ? {} : {})", "and": "({} && {})", "or": "({} || {})", "not": "(!{})",
                "min": f"{name}_min", "max": f"{name}_max", "fabs": "fabs", "sqrt": "sqrt", "exp": "exp",
                "log": "log", "tanh": "tanh", "atan": "atan", "sin": "sin", "cos": "cos",
            },
            number, _assign, self._layer,
        )  # fmt: skip

    def helpers(self) -> list[str]:
        """The small functions that the others call, in the order in which they may stand."""
        lines = []
        for activation in self._activations:
            if activation == "linear":
                continue
            value, _ = activation_function(activation)
            writer = self._writer([value], {("z",): "z"})
            fn = f"{self.name}_act_{activation_name(activation, self._activations)}"
            lines += [f"static inline double {fn}(double z)", "{", *writer.lines]
            lines += [f"    return {writer.bare(value)};", "}", ""]
        small = [_HELPERS[op].format(name=self.name) for op in ("min", "max") if op in self._used]
        return [*small, "", *lines] if small else lines

    def _writer(self, roots: Sequence[Value], symbols: dict[tuple, str]) -> Writer:
        self._used |= operators(roots)
        return Writer(roots, self.style, symbols)

    def _symbols(self, traced: Traced) -> dict[tuple, str]:
        rows: dict[tuple, str] = {("state", row): f"s{i}" for i, (row, _, _) in enumerate(traced.state)}
        return rows | {("record", slot): f"a_{rec.NAMES[slot]}" for slot in traced.slots}

    def _reads(self, traced: Traced, roots: Sequence[Value]) -> list[str]:
        """Declarations of the symbols that the values need, and marks for arguments that they do not."""
        symbols, found = self._symbols(traced), used_symbols(roots)
        lines = []
        for key, text in symbols.items():
            if key in found:
                kind, i = key
                source = f"state->s[{text[1:]}]" if kind == "state" else f"attempt->{rec.NAMES[i]}"
                lines.append(f"    const double {text} = {source};")
        return lines

    def decide(self, traced: Traced, suffix: str = "") -> list[str]:
        """The functions `<name><suffix>_answer_to` and `<name><suffix>_decide`."""
        name, full = self.name, f"{self.name}{suffix}"
        after = [value for _, _, value in traced.state]
        roots = [*traced.out, *after]
        writer = self._writer(roots, self._symbols(traced))
        written = [writer.text(value) for value in traced.out]
        lines = [
            "/* Decide on one attempt, accepted or not, and move the state on. */",
            f"static inline void {full}_answer_to({name}_state *state, const {name}_attempt *attempt, "
            f"{name}_answer *answer)",
            "{",
            *self._reads(traced, roots),
            *writer.lines,
        ]
        if not after:
            lines.append("    (void)state;")
        if not any(kind == "record" for kind, _ in used_symbols(roots)):
            lines.append("    (void)attempt;")
        lines += [f"    state->s[{i}] = {writer.bare(value)};" for i, value in enumerate(after)]
        lines += [
            f"    answer->accept = {written[ACCEPT]} > 0.5;",
            f"    answer->log_factor = {unwrapped(written[LOG_FACTOR])};",
            "    answer->factor = exp(answer->log_factor);",
            f"    answer->flags = {_whole(traced.out[FLAGS], f'(int){written[FLAGS]}')};",
            f"    answer->fallback = {_whole(traced.out[FALLBACK], f'{written[FALLBACK]} > 0.5')};",
            "}",
        ]
        if suffix:
            return lines
        return [
            *lines,
            "",
            "/* The same: returns 1 to accept and 0 to reject, and writes the next size over the size attempted.",
            f"   Where a slot is missing ({name}_missing) it returns -1, writes NaN and leaves the state as it is. */",
            f"static inline int {name}_decide({name}_state *state, const {name}_attempt *attempt, double *factor)",
            "{",
            f"    {name}_answer answer;",
            f"    if ({name}_missing(attempt) != 0) {{",
            "        *factor = NAN;",
            "        return -1;",
            "    }",
            f"    {name}_answer_to(state, attempt, &answer);",
            "    *factor = answer.factor;",
            "    return answer.accept;",
            "}",
        ]

    def first(self, traced: Traced) -> list[str]:
        """The function `<name>_first`."""
        name, roots = self.name, [] if traced.first is None else [traced.first]
        lines = [
            "/* First step size: the controller's own where it has one, else `guess`, the method's. */",
            f"static inline double {name}_first(const {name}_attempt *attempt, double guess)",
            "{",
        ]
        if traced.first is None:
            return [*lines, "    (void)attempt;", "    return guess;", "}"]
        writer = self._writer(roots, self._symbols(traced))
        lines += self._reads(traced, roots)
        if not used_symbols(roots):
            lines.append("    (void)attempt;")
        lines += [*writer.lines, f"    const double size = {writer.bare(traced.first)};"]
        return [*lines, "    return size > 0.0 ? size : guess;", "}"]

    def _layer(self, layer: Layer, z: str, inputs: Sequence[str]) -> list[str]:
        n_out, n_in = layer.weight.shape
        arrays = self._array(layer)
        x = f"x{layer.n}"
        act = f"{self.name}_act_{activation_name(layer.activation, self._activations)}(sum)"
        return [
            *_wrapped(f"    const double {x}[{n_in}] = {{", inputs, "};"),
            f"    double {z}[{n_out}];",
            f"    for (int o = 0; o < {n_out}; ++o) {{",
            "        double sum = 0.0;",
            f"        for (int i = 0; i < {n_in}; ++i) {{",
            f"            sum += {arrays}_weight[o][i] * {x}[i];",
            "        }",
            f"        sum += {arrays}_bias[o];",
            f"        {z}[o] = {'sum' if layer.activation == 'linear' else act};",
            "    }",
        ]

    def _array(self, layer: Layer) -> str:
        """The name of a layer's weights among the header's arrays; equal layers share them."""
        key = (layer.weight.shape, layer.weight.tobytes(), layer.bias.tobytes())
        if key not in self._weights:
            name = self._weights[key] = f"{self.name}_layer{len(self._weights)}"
            n_out, n_in = layer.weight.shape
            self.arrays += [f"static const double {name}_weight[{n_out}][{n_in}] = {{"]
            for row in layer.weight:
                self.arrays += _wrapped("    {", [number(x, True) for x in row], "},")
            self.arrays += ["};"]
            self.arrays += _wrapped(
                f"static const double {name}_bias[{n_out}] = {{", [number(x, True) for x in layer.bias], "};"
            )
            self.arrays += [""]
        return self._weights[key]


def _whole(value: Value, text: str) -> str:
    """`text`, or a value that is known as a whole number of C."""
    return text if isinstance(value, Expr) else str(int(value))


def used_symbols(roots: Iterable[Value]) -> set[tuple]:
    """The names of the symbols that the values need."""
    return {node.args for node in reached(roots) if node.op == "symbol"}


def number(value: float, bare: bool = False) -> str:
    """A double of C.  bare: without the brackets around a negative one."""
    text = text_of_float(float(np.float64(value)), "NAN", "INFINITY")
    return text[1:-1] if bare and text.startswith("(") else text


def _assign(name: str, text: str, boolean: bool) -> str:
    return f"    const {'int' if boolean else 'double'} {name} = {text};"


def _wrapped(head: str, items: Sequence[str], tail: str) -> list[str]:
    """`head` item, item, ... `tail`, in lines of at most `_WIDTH` characters where the items allow it."""
    lines, at = [head], 0
    pad = " " * (len(head) - len(head.lstrip()) + 4)
    for i, item in enumerate(items):
        text = item + ("," if i < len(items) - 1 else tail)
        if len(lines[at]) + len(text) + 1 > _WIDTH and len(lines[at]) > len(pad):
            lines.append(pad + text)
            at += 1
        else:
            lines[at] += ("" if lines[at].endswith(("{", " ")) else " ") + text
    return lines


def _checks() -> list[str]:
    return [
        "#if defined(__FAST_MATH__) || (defined(__FINITE_MATH_ONLY__) && __FINITE_MATH_ONLY__)",
        '#error "this controller computes with NaN and infinity: compile it without -ffast-math"',
        "#endif",
    ]


def _structs(name: str, traced: Traced) -> list[str]:
    lines = ["/* One a trajectory. */", "typedef struct {"]
    lines.append(f"    double s[{max(1, len(traced.state))}];")
    lines += [f"    /* s[{i}]: {row_doc(row)} */" for i, (row, _, _) in enumerate(traced.state)]
    lines += [f"}} {name}_state;", ""]
    lines += [f"/* What it reads of an attempt; NaN where that is unknown, as {name}_blank() leaves it. */"]
    lines += ["typedef struct {"]
    for slot in traced.slots:
        lines.append(f"    double {rec.NAMES[slot]}; /* {SLOTS[slot]} */")
    if not traced.slots:
        lines.append("    double unread; /* nothing: its answer is always the same */")
    lines += [
        f"}} {name}_attempt;", "", "typedef struct {",
        "    int accept; /* 1 to accept the attempt, 0 to reject it */",
        "    double factor; /* next size over the size attempted */",
        "    double log_factor; /* its natural logarithm */",
        "    int flags; /* Newton's methods: 1 keep or 2 renew the Jacobian, + 4 keep the LU factors; 0 own rules */",
        "    int fallback; /* 1 where the law answered in the place of a network that gave no valid action */",
        f"}} {name}_answer;", "",
        "/* The state at the start of a trajectory. */",
        f"static inline void {name}_init({name}_state *state)", "{",
    ]  # fmt: skip
    starts = [start for _, start, _ in traced.state] or [0.0]
    lines += [f"    state->s[{i}] = {number(start, True)};" for i, start in enumerate(starts)]
    lines += ["}", "", "/* An attempt of which nothing is known. */"]
    lines += [f"static inline {name}_attempt {name}_blank(void)", "{", f"    {name}_attempt attempt;"]
    lines += [f"    attempt.{rec.NAMES[slot]} = NAN;" for slot in traced.slots] or ["    attempt.unread = NAN;"]
    return [*lines, "    return attempt;", "}", "", *_missing(name, traced), ""]


def _missing(name: str, traced: Traced) -> list[str]:
    """The function `<name>_missing`.

    A host without Newton's iteration leaves its slots out, and an attempt that is not finite may have no more than its
    size; an error that is NaN is missing where `finite` is, too.
    """
    said = {rec.H, rec.H_FREE, rec.ORDER, rec.TRUNCATED, rec.FINITE, rec.RTOL, rec.T_LEFT, rec.SPAN}
    lines = [
        "/* The first slot that was not set and has to be, by name; NULL where there is none.  NaN counts as not set,",
        "   but for Newton's slots, and but for what an attempt that was not finite cannot know. */",
        f"static inline const char *{name}_missing(const {name}_attempt *attempt)",
        "{",
    ]
    finite = "1"
    if rec.FINITE in traced.slots:
        finite = "attempt->finite != 0.0"
    if rec.ERR in traced.slots:
        finite += " && attempt->err - attempt->err == 0.0"
    always = [slot for slot in traced.slots if slot in said]
    measured = [slot for slot in traced.slots if slot not in said | NEWTONS | {rec.ERR}]
    for slot in always:
        text = f"attempt->{rec.NAMES[slot]}"
        lines.append(f'    if ({text} != {text}) return "{rec.NAMES[slot]}";')
    for slot in measured:
        text = f"attempt->{rec.NAMES[slot]}"
        lines.append(f'    if ({finite} && {text} != {text}) return "{rec.NAMES[slot]}";')
    if not always and not measured:
        lines.append("    (void)attempt;")
    return [*lines, "    return 0;", "}"]


def _comment(controller: Any, name: str, traced: Traced) -> list[str]:
    head = [*about(controller), ""]
    head += [
        "C99 and C++, <math.h> alone.  Compile without -ffast-math, and with -ffp-contract=off where the machine",
        "has fused multiply-add: the numbers are then those of the original to a few units in the last place.",
        "Nothing here is written to but the structs handed over: threads may share the header, not a state.",
        "The solver multiplies the rtol and atol asked for by the tolerance scale below.", "", "How to use it:", "",
        f"    {name}_state state;",
        f"    {name}_attempt attempt = {name}_blank();",
        "    double factor, want = h;",
        f"    {name}_init(&state);",
        "    while (t < t_end) {",
        "        int cut = want >= t_end - t;",
        "        h = cut ? t_end - t : want;",
        "        // ... attempt a step of size h, which gives y_new and the scaled error norm err ...",
    ]  # fmt: skip
    for slot in traced.slots:
        known = {rec.ERR: "err", rec.H: "h", rec.H_FREE: "want", rec.TRUNCATED: "cut", rec.T_LEFT: "t_end - t"}
        known |= {rec.FINITE: "all_finite", rec.SPAN: "t_end - t_start"}
        head.append(f"        attempt.{rec.NAMES[slot]} = {known.get(slot, '...')};")
    head += [
        f"        int accept = {name}_decide(&state, &attempt, &factor);",
        "        if (accept < 0) {",
        f"            return fail({name}_missing(&attempt)); // a slot that was not set, by name",
        "        }",
        "        if (accept) {",
        "            t += h; // take y_new; after a step cut short go on from the size that was wanted",
        "            want = (cut ? want : h) * factor;",
        "        } else {",
        "            want = h * factor;",
        "        }",
        "    }",
    ]
    safe = [text.replace("*/", "* /").replace("/*", "/ *").replace("??", "? ?") for text in head]
    return ["/*", *(f" * {text}".rstrip() for text in safe), " */"]
