"""Source of one trial step of an embedded Runge-Kutta-Nystrom method for q'' = a(t, q), for a block of lanes.

    g_i = q + c_i h v + h^2 sum_j a_ij k_j,   k_i = a(t + c_i h, g_i)
    q1 = q + h v + h^2 sum_i b_i k_i,   v1 = v + h sum_i bv_i k_i,   err = (h^2 sum_i e_i k_i, h sum_i ev_i k_i)

The state is y = (q, v), as everywhere, and the scaled error is that of `explicit` over all components.

Rows: the second half of K_i holds the accelerations k_i.  Those of the first slope and of the one at the step's end
hold f(t, y) = (v, a), as in other methods.  READY and AHEAD of a method that is not FSAL: see `explicit`.

The accelerations are those of `accel`, written straight into K_i; it is given a view whose velocities cannot be read
(`calls.accel`).  An N-body problem has no `accel`: its right-hand side is called, and fills K_i with (v, a); in a stage
it is shown the velocities at the start of the step (`checks.second_order` refuses accelerations that depend on them).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..core import record
from ..core.errors import shown
from ..methods.nystrom.tableau import NystromTableau
from . import calls, explicit
from .build import Parts
from .loops import UNROLL, Source, polynomial, step_time, weighted_sum
from .pieces import not_fsal
from .start import start_source
from .templates import text

Call = Callable[[str, str, str], str]


def _full_slope(half: int, call: str) -> str:
    """Source of `full_slope(A, l, t, state, row)`: f(t, y) = (v, a) of the rows `state` into the rows `row`, where
    `call` puts the accelerations; small systems are written out, for a loop over lanes has no other loop in it.
    """
    source = "@_inline\ndef full_slope(A, l, t, state, row):\n"
    if half <= UNROLL:
        source += "".join(f"    A[row + {i}*W + l] = A[state + {half + i}*W + l]\n" for i in range(half))
    else:
        source += "    for i in range(HALF):\n        A[row + i*W + l] = A[state + (HALF + i)*W + l]\n"
    return source + f"    {call}\n\n\n"


def _slope_call(time: str, state: str, slope: str) -> str:
    return f"full_slope(A, l, {time}, {state}, {slope})"


class Field:
    """How a problem's slope and its accelerations are evaluated; source: a Problem or Batch.

    definitions: what the kernel needs before its pieces.  slope, accelerate: `call(time, state, row)`, source of a call
    that fills the rows `row` with (v, a), or their second half with a.
    """

    def __init__(self, source: Any) -> None:
        self.half = source.n // 2
        self.definitions = f"HALF = {self.half}\n\n\n"
        self.by_rhs = source.accel is None
        self.slope: Call = calls.rhs
        self.accelerate: Call = calls.rhs
        self.objects = {"rhs": source.rhs}  # `turns_back` asks for it
        if not self.by_rhs:
            self.definitions += _full_slope(self.half, self._accel("t", "state", "row"))
            self.slope, self.accelerate = _slope_call, self._accel
            self.objects["accel"] = source.accel

    def _accel(self, time: str, state: str, slope: str) -> str:
        return calls.accel(time, state, self.velocity(slope), self.half)

    def velocity(self, row: str) -> str:
        """The second half of the rows `row`."""
        return f"{row} + {self.half}*W"

    def shown(self, state: str) -> str:
        """Line that puts the velocities that a stage is shown into the rows `state`; "" where none can be read."""
        return f"A[{self.velocity(state)} + j] = A[{self.velocity('Y')} + j]\n" if self.by_rhs else ""


def attempt_source(tableau: NystromTableau, field: Field, slots: frozenset[int]) -> str:
    """Source of `attempt(A)`: fills K, YN and the record of every lane.

    `slots` are the optional record slots wanted.
    """
    s, half, v = tableau.stages, field.half, field.velocity
    names = [v(f"K{i}") for i in range(s)]
    src = Source("attempt(A)")

    def loop(body: str, call: str = "") -> None:
        src.loop(half, 0, body, "", call, "HALF")

    if not tableau.fsal:
        src.defs = explicit.OWN_LINES + "\n\n"
        explicit.first_slope(src, 2 * half, field.slope)
    for i in range(1, s):
        dst = "YN" if tableau.fsal and i == s - 1 else "G"
        body = f"A[{dst} + j] = " + _position(tableau.c[i], tableau.a[i], names, v)
        if i == 1 or dst == "YN":
            body += field.shown(dst)
        loop(body, field.accelerate(step_time(float(tableau.c[i])), dst, f"K{i}"))
    body = "" if tableau.fsal else "A[YN + j] = " + _position(1, tableau.b, names, v)
    body += f"A[{v('YN')} + j] = A[{v('Y')} + j] + A[HS + l]*({weighted_sum(tableau.bv, names)})\n"
    if tableau.fsal:
        body += f"A[K{s - 1} + j] = A[{v('YN')} + j]\n"
    loop(body)
    _error(src, tableau, field, names, slots)
    if record.CURV in slots and tableau.fsal:
        explicit.curvature(src, 2 * half, f"K{s - 1}")
    return src.text()


def _position(c: Any, weights: Any, names: list[str], v: Callable[[str], str]) -> str:
    """q + c h v + h^2 sum_i w_i k_i of a component, an expression with its end of line."""
    inner = f"{float(c)!r}*A[{v('Y')} + j] + A[HS + l]*({weighted_sum(weights, names)})"
    return f"A[Y + j] + A[HS + l]*({inner})\n"


def _error(src: Source, tableau: NystromTableau, field: Field, names: list[str], slots: frozenset[int]) -> None:
    """The record; the sums are of the errors over |h|."""
    n, sums = 2 * field.half, 2
    body, post = "", f"ha = fabs(A[HS + l])\nerr = ha*sqrt(@0*{1.0 / n!r})\n" + explicit.report(tableau)
    largest, norm = record.ENORM in slots, record.YNORM in slots
    halves = (("", "A[HS + l]*", tableau.e), (f" + {field.half}*W", "", tableau.ev))
    for by, factor, weights in halves:
        body += explicit.scale(by) + f"e = {factor}({weighted_sum(weights, names)})*rs\n"
        body += f"@0 += e*e\n@1 += 0.0*A[YN{by} + j]\n"
        body += "@2 = maximum(@2, fabs(e))\n" if largest else ""
        body += f"r = A[Y{by} + j]*rs\n@{2 + largest} += r*r\n" if norm else ""
    if largest:
        post += f"A[R + {record.ENORM}*W + l] = where(err > 0.0, ha*@{sums}/err, 1.0)\n"
        sums += 1
    if norm:
        post += f"A[R + {record.YNORM}*W + l] = sqrt(@{sums}*{1.0 / n!r})\n"
        sums += 1
    src.loop(field.half, sums, body, post, count="HALF")


def dense_source(tableau: NystromTableau, field: Field) -> str:
    """Source of `prepare_dense(A, l)` (dense stages, returns the evaluations spent) and `dense(A, l, theta)`: Z = y(t +
    theta h), in the form of `NystromTableau.bridges`.

    An acceleration at the step's end that is not finite ends the trajectory where that step began.
    """
    s, v = tableau.stages, field.velocity
    names = [v(f"K{i}") for i in range(explicit.slope_rows(tableau))]
    src = "" if tableau.fsal else text(not_fsal.end_is_known)
    prepare = "@_inline\ndef prepare_dense(A, l):\n"
    for e, (c, row) in enumerate(zip(tableau.dense_c, tableau.dense_a, strict=True)):
        if s + e == tableau.end:
            prepare += "    " + field.slope("A[TN + l]", "YN", f"K{s + e}") + "\n    end_is_known(A, l)\n"
            continue
        src += f"@_traced\ndef dense_stage_{e}(A, j, l):\n    A[Z + j] = " + _position(c, row, names, v)
        src += "    " * field.by_rhs + field.shown("Z") + "\n"
        prepare += f"    for i in range(HALF):\n        dense_stage_{e}(A, i*W + l, l)\n"
        prepare += "    " + field.accelerate(step_time(float(c)), "Z", f"K{s + e}") + "\n"
    src += prepare + f"    return {float(len(tableau.dense_c))!r}\n\n"
    src += "@_traced\ndef dense_component(A, j, l, th):\n    u = 1.0 - th\n    x = th - u\n    h = A[HS + l]\n"
    for by, factor, rows in (("", "h*h", tableau.bridges[0]), (f" + {field.half}*W", "h", tableau.bridges[1])):
        src += "    rest = 0.0\n"
        for name, weights in zip(names, rows, strict=False):
            if any(weights):
                src += f"    w = {polynomial(weights, 'x')}\n    rest = rest + w*A[{name} + j]\n"
        src += f"    A[Z{by} + j] = (u*A[Y{by} + j] + th*A[YN{by} + j]) + {factor}*th*u*rest\n"
    return src + (
        "\n@_inline\ndef dense(A, l, th):\n    for i in range(HALF):\n        dense_component(A, i*W + l, l, th)\n"
    )


def nystrom_parts(tableau: NystromTableau, source: Any, slots: frozenset[int]) -> Parts:
    """`build.Parts` for a Problem or Batch with `accel` or `nbody`; ValueError where it has neither."""
    if source.accel is None and source.nbody is None:
        raise ValueError(
            f"{tableau.name} is for second-order systems q'' = a(t, q), y = (positions, velocities): give the problem "
            f"accel=f with f(t, y, p, a), which fills the n/2 accelerations a, or nbody=(bodies, dimension); "
            f"{shown(source.name)} has neither, and methods such as 'dop853' and 'vern9' need neither"
        )
    field = Field(source)
    return Parts(
        field.definitions + attempt_source(tableau, field, slots),
        start_source(tableau, source.n, "" if tableau.fsal else explicit.START_MARKS, field.slope),
        dense_source(tableau, field),
        explicit.carry_source(tableau),
        explicit.slope_rows(tableau),
        0 if tableau.fsal else explicit.OWN_ROWS,
        field.objects,
        marks=explicit.marks_source(tableau),
        degree=len(tableau.dense[0]),
    )
