"""Loops over lanes and components, and sums over stages, as text: what is written out differently for every kernel.

Small systems are one lane loop whose components are written out, sums in registers; in large ones component loops stand
around lane loops, and sums are in scratch rows.  Bodies are compiled by `compile.trace`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

UNROLL = 8  # systems up to this size are written out component by component, sums in registers


def weighted_sum(weights: Any, rows: Iterable[str]) -> str:
    """`w0*A[K0 + j] + ...` over the weights that are not 0, an expression; rows: names of the rows."""
    terms = [f"{float(w)!r}*A[{row} + j]" for w, row in zip(weights, rows, strict=False) if float(w) != 0.0]
    return " + ".join(terms) if terms else "0.0"


def polynomial(coefficients: Any, variable: str = "th") -> str:
    """sum_q c_q th^q by Horner's rule, an expression; at least one coefficient.  variable: the name of th."""
    expr = repr(float(coefficients[-1]))
    for c in coefficients[-2::-1]:
        expr = f"({float(c)!r} + {variable}*{expr})"
    return expr


def step_time(c: float) -> str:
    """T + c h, an expression."""
    return "A[T + l]" if c == 0.0 else f"A[T + l] + {c!r}*A[HS + l]"


#: import of `compile.packed`, for functions with a line of `called`
PACKED = "from stepsmith.integrators.compile.packed import packed as _packed\n\n\n"


def called(n: int, call: str) -> str:
    """Lines of a lane loop that call a right-hand side.  Where that is all, or nearly all, that the loop does, it is
    kept together until the function stands in it; loops of small systems hold more.
    """
    keep = "        _packed(W)\n" if n > UNROLL else ""
    return f"{keep}        {call.strip()}\n" if call else ""


def traced_loop(
    name: str, n: int, sums: int, body: str, post: str = "", call: str = "", count: str = "N"
) -> tuple[str, str]:
    """The same loop with its lane body compiled by `trace.traced`: (definitions, loop lines of the calling function).

    `body`, `post` must be straight-line; `call` is what the loop does a lane afterwards outside the trace (a right-hand
    side).  count: how the source calls n.
    """
    ind = " " * 4
    if n <= UNROLL:
        src = f"@_traced\ndef {name}(A, l):\n" + "".join(f"{ind}s{k} = 0.0\n" for k in range(sums))
        for i in range(n):
            src += f"{ind}j = {i}*W + l\n" + re.sub(r"(?m)^", ind, body.rstrip("\n")) + "\n"
        if post:
            src += re.sub(r"(?m)^", ind, post.rstrip("\n")) + "\n"
        loop = f"    for l in range(W):\n        {name}(A, l)\n" + called(n, call)
        return re.sub(r"@(\d)", r"s\1", src) + "\n", loop
    src = f"@_traced\ndef {name}(A, j, l):\n" + re.sub(r"(?m)^", ind, body.rstrip("\n")) + "\n\n"
    loop = ""
    if sums:
        loop += "    for l in range(W):\n" + "".join(f"{ind*2}A[S{k} + l] = 0.0\n" for k in range(sums))
    keep = "            _packed(W)\n"
    loop += f"    for i in range({count}):\n        for l in range(W):\n{keep}            {name}(A, i*W + l, l)\n"
    if post:
        src += f"@_traced\ndef {name}_end(A, l):\n" + re.sub(r"(?m)^", ind, post.rstrip("\n")) + "\n\n"
    if post or call:
        loop += (
            "    for l in range(W):\n"
            + (f"        {name}_end(A, l)\n" if post else "")
            + called(n, call)
        )
    return re.sub(r"@(\d)", r"A[S\1 + l]", src), loop


class Source:
    """A function of a kernel in the making: definitions it needs, and its own lines."""

    def __init__(self, head: str) -> None:
        self.defs = ""
        self.lines = f"@_inline\ndef {head}:\n"
        self.name = head.split("(")[0]
        self.count = 0

    def loop(self, n: int, sums: int, body: str, post: str = "", call: str = "", count: str = "N") -> None:
        """Add a `traced_loop`."""
        defs, lines = traced_loop(f"{self.name}_{self.count}", n, sums, body, post, call, count)
        self.count += 1
        self.defs += defs
        self.lines += lines

    def text(self) -> str:
        """Definitions, then the function."""
        return (PACKED if "_packed(" in self.lines else "") + self.defs + self.lines + "\n"
