"""Source of one trial step of an embedded explicit Runge-Kutta method, for a block of lanes.

    g_i = y + h sum_j a_ij k_j,   k_i = f(t + c_i h, g_i),   y1 = y + h sum_i b_i k_i,   err = h sum_i e_i k_i
    E = rms_c( err_c / (atol_c + rtol max(|y_c|, |y1_c|)) )

Stage by stage, the lane loop innermost.  DOP853 combines its two estimates as Hairer's dop853.f does: with the rms
norms E5 and E3, E = E5^2 / sqrt(E5^2 + 0.01 E3^2).  The last row of an FSAL tableau is evaluated at y1.

A method that is not FSAL evaluates its first slope when an attempt begins, in lanes that do not have it: those that
have just accepted a step.  Row READY says whether K0 is f(t, y); only `start` and `commit` change it, so an attempt may
be repeated.  Where dense output has evaluated the slope at the step's end (row AHEAD), the next step takes it over.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ..core import record
from ..methods.explicit.rounding import rounded
from ..methods.explicit.tableau import ExplicitTableau
from . import calls
from .loops import Source, called, polynomial, step_time, weighted_sum
from .pieces import fsal, interpolate, not_fsal
from .templates import text


class Pair(Protocol):
    """What the pieces that are shared with other embedded pairs (`nystrom`) need to know of a tableau."""

    @property
    def embedded_order(self) -> int: ...
    @property
    def stages(self) -> int: ...
    @property
    def fsal(self) -> bool: ...
    @property
    def end(self) -> int | None: ...
    @property
    def dense_c(self) -> Sequence[Any]: ...


def slope_rows(tableau: Pair) -> int:
    """Slope rows a block needs: the stages and the extra stages of dense output."""
    return max(tableau.stages + len(tableau.dense_c), 3)  # `start` needs three


#: rows of a method that is not FSAL
OWN_ROWS = 2
OWN_LINES = "READY = X\nAHEAD = X + W\n"
READY, AHEAD = "A[READY + l]", "A[AHEAD + l]"
START_MARKS = f"{READY} = where(fresh, 1.0, {READY})\n{AHEAD} = where(fresh, 0.0, {AHEAD})\n"


def evaluations(tableau: Pair) -> str:
    """Right-hand sides an attempt costs, an expression: the first slope is carried over, or is evaluated where it is
    not there.
    """
    known = repr(float(tableau.stages - 1))
    return known if tableau.fsal else f"{known} + where({READY} == 1.0, 0.0, 1.0)"


def attempt_source(tableau: ExplicitTableau, n: int, slots: frozenset[int]) -> str:
    """Source of `attempt(A)`: fills K, YN and the record of every lane.

    `slots` are the optional record slots wanted.
    """
    s = tableau.stages
    names = [f"K{i}" for i in range(s)]
    rows, weights = rounded(tableau)
    src = Source("attempt(A)")
    if not tableau.fsal:
        src.defs = OWN_LINES + "\n\n"
        first_slope(src, n)
    for i in range(1, s):
        dst = "YN" if tableau.fsal and i == s - 1 else "G"
        body = f"A[{dst} + j] = A[Y + j] + A[HS + l]*({weighted_sum(rows[i], names)})\n"
        src.loop(n, 0, body, "", calls.rhs(step_time(float(tableau.c[i])), dst, f"K{i}"))
    if not tableau.fsal:
        src.loop(n, 0, f"A[YN + j] = A[Y + j] + A[HS + l]*({weighted_sum(weights, names)})\n")
    _error(src, tableau, n, names, slots)
    return src.text()


def first_slope(src: Source, n: int, slope: Callable[[str, str, str], str] = calls.rhs) -> None:
    """K0 = f(t, y) in the lanes that lack it; the others keep theirs, and where all have it nothing is evaluated.

    `slope`: as `start.start_source` takes it.
    """
    src.lines += "    lacking = 0\n    for l in range(W):\n"
    src.lines += f"        lacking += 1 if ({READY} != 1.0) & (A[STATUS + l] == 0.0) else 0\n"
    inner = Source("attempt(A)")
    inner.name = "first_slope"
    inner.lines = "    for l in range(W):\n" + called(n, slope(step_time(0.0), "Y", "G"))
    inner.loop(n, 0, f"A[K0 + j] = where({READY} == 1.0, A[K0 + j], A[G + j])\n")
    src.defs += inner.defs
    src.lines += "    if lacking > 0:\n" + re.sub(r"(?m)^(?=.)", "    ", inner.lines)


def scale(by: str = "") -> str:
    """Lines that leave in `rs` 1 over the scale of a component, that of `j` or `by` behind it (" + 8*W")."""
    y, new, atol = (f"A[{row}{by} + j]" for row in ("Y", "YN", "ATOL"))
    # plain comparisons: NaN in the state is caught by a sum
    body = f"u = fabs({y})\nv = fabs({new})\nsc = {atol} + A[RTOL + l]*where(u > v, u, v)\n"
    # a component whose scale and error are both 0 is exact, not undefined
    return body + "rs = 1.0/where(sc > 1e-300, sc, 1e-300)\n"


def report(tableau: Pair) -> str:
    """Lines that put the error `err` and what every attempt says into the record; the sum @1 is 0 where the new state
    is finite.
    """
    return (
        f"A[R + {record.ERR}*W + l] = err\n"
        f"A[R + {record.ORDER}*W + l] = {float(tableau.embedded_order + 1)!r}\n"
        f"A[R + {record.NF}*W + l] = {evaluations(tableau)}\n"
        f"A[R + {record.FINITE}*W + l] = where(@1 + 0.0*err == 0.0, 1.0, 0.0)\n"
    )


def _error(src: Source, tableau: ExplicitTableau, n: int, names: list[str], slots: frozenset[int]) -> None:
    hairer = tableau.error == "hairer853"
    body = scale()
    body += f"e = ({weighted_sum(tableau.e5 if hairer else tableau.e, names)})*rs\n"
    body += "@0 += e*e\n@1 += 0.0*A[YN + j]\n"
    sums = 2
    post = "ha = fabs(A[HS + l])\n"
    if hairer:
        body += f"e3 = ({weighted_sum(tableau.e3, names)})*rs\n@{sums} += e3*e3\n"
        # zero over zero where both estimates vanish: the step is exact, E = 0
        post += f"den = sqrt((@0 + 0.01*@{sums})*N)\nerr = where(den == 0.0, 0.0, ha*@0/den)\n"
        sums += 1
    else:
        post += f"err = ha*sqrt(@0*{1.0 / n!r})\n"
    post += report(tableau)
    if record.ENORM in slots:
        body += f"@{sums} = maximum(@{sums}, fabs(e))\n"
        post += f"A[R + {record.ENORM}*W + l] = where(err > 0.0, ha*@{sums}/err, 1.0)\n"
        sums += 1
    if record.YNORM in slots:
        body += f"r = A[Y + j]*rs\n@{sums} += r*r\n"
        post += f"A[R + {record.YNORM}*W + l] = sqrt(@{sums}*{1.0 / n!r})\n"
        sums += 1
    src.loop(n, sums, body, post)
    if record.HS in slots and tableau.last_pair is not None:
        _stiffness(src, tableau, tableau.last_pair, n)
    if record.CURV in slots and tableau.fsal:
        curvature(src, n, f"K{tableau.stages - 1}")


def _stiffness(src: Source, tableau: ExplicitTableau, pair: tuple[int, int], n: int) -> None:
    """h*S, S = |k_j - k_i|/|g_j - g_i| for two stages with the same c (Shampine; Hairer & Wanner II, IV.2)."""
    i, j = pair
    s = tableau.stages
    if not (j == s - 1 and i == s - 2):
        raise ValueError(f"{tableau.name}: the stiffness pair must be the last two stages, the only ones that are kept")
    apart = "A[YN + j] - A[G + j]"
    if not tableau.fsal:  # the states of the stages are gone, but not the slopes that they were made of
        rows, _ = rounded(tableau)
        other = [*rows[i], *[0.0] * (len(rows[j]) - len(rows[i]))]
        moved = weighted_sum([float(a) - float(b) for a, b in zip(rows[j], other, strict=True)],
                             [f"K{k}" for k in range(s)])
        apart = f"A[HS + l]*({moved})"
    src.loop(
        n,
        2,
        f"dk = A[K{j} + j] - A[K{i} + j]\ndg = {apart}\n@0 += dk*dk\n@1 += dg*dg\n",
        f"A[R + {record.HS}*W + l] = where(@1 > 0.0, fabs(A[HS + l])*sqrt(@0/@1), 0.0)\n",
    )


def curvature(src: Source, n: int, last: str) -> None:
    """|k_last - k_first| / (|k_last| + |k_first|), in [0, 1]: how much the slope turned over the step."""
    src.loop(
        n,
        3,
        f"d = A[{last} + j] - A[K0 + j]\n@0 += d*d\n@1 += A[{last} + j]*A[{last} + j]\n@2 += A[K0 + j]*A[K0 + j]\n",
        f"den = sqrt(@1) + sqrt(@2)\nA[R + {record.CURV}*W + l] = where(den > 0.0, sqrt(@0)/den, 0.0)\n",
    )


def carry_source(tableau: Pair) -> str:
    """The method's `carry`: after acceptance the slope at the end, where it is known, is the next step's first."""
    if tableau.end is None:
        return ""
    end = tableau.stages - 1 if tableau.fsal else tableau.end
    return f"K_END = K{end}\n\n\n" + text((fsal if tableau.fsal else not_fsal).carry)


def marks_source(tableau: Pair) -> str:
    """The method's `marks`, "" where it has none."""
    return "" if tableau.fsal else text(not_fsal.marks)


def dense_source(tableau: ExplicitTableau) -> str:
    """Source of `prepare_dense(A, l)` (extra stages, returns the evaluations spent) and `dense(A, l, theta)`: Z = y(t +
    theta h).

    In a form that is exact at both ends; u = 1 - th.  Where the slopes of an FSAL method are joined, too, it is the
    cubic u y + th y1 - th u [(u - th)(y1 - y) - h (u k_first - th k_last)], plus h th^2 u^2 sum_i k_i sum_j D_ij th^j.
    Else it is u y + th y1 + h th u sum_i k_i sum_j V_ij th^j.

    A slope at the step's end that is not finite ends the trajectory where that step began: its outputs are not known.
    """
    s = tableau.stages
    names = [f"K{i}" for i in range(slope_rows(tableau))]
    src = ""
    for e, a in enumerate(tableau.dense_a):
        if s + e == tableau.end:
            continue
        src += f"@_traced\ndef dense_stage_{e}(A, j, l):\n"
        src += f"    A[Z + j] = A[Y + j] + A[HS + l]*({weighted_sum(a, names)})\n\n"
    src += text(not_fsal.end_is_known) if tableau.end is not None and not tableau.fsal else ""
    src += "@_inline\ndef prepare_dense(A, l):\n"
    for e, c in enumerate(tableau.dense_c):
        if s + e == tableau.end:
            src += "    " + calls.rhs("A[TN + l]", "YN", f"K{s + e}") + "\n    end_is_known(A, l)\n"
            continue
        src += f"    for i in range(N):\n        dense_stage_{e}(A, i*W + l, l)\n"
        src += "    " + calls.rhs(step_time(float(c)), "Z", f"K{s + e}") + "\n"
    src += f"    return {float(len(tableau.dense_c))!r}\n\n"
    src += "@_traced\ndef dense_component(A, j, l, th):\n    u = 1.0 - th\n    h = A[HS + l]\n    y = A[Y + j]\n"
    src += "    d = A[YN + j] - y\n" if tableau.joins_slopes else ""
    used = []
    for i, row in enumerate(tableau.D if tableau.joins_slopes else tableau.V):
        if row.any():
            src += f"    w{i} = {polynomial(row)}\n"
            used.append(f"w{i}*A[K{i} + j]")
    if not tableau.joins_slopes:
        src += f"    A[Z + j] = (u*y + th*A[YN + j]) + h*th*u*({' + '.join(used) or '0.0'})\n\n"
        return src + text(interpolate.dense)
    src += f"    cubic = (u - th)*d - h*(u*A[K0 + j] - th*A[K{s - 1} + j])\n"
    src += "    rest = " + (f"th*u*h*({' + '.join(used)})" if used else "0.0") + "\n"
    src += "    A[Z + j] = (u*y + th*A[YN + j]) + th*u*(rest - cubic)\n\n"
    return src + text(interpolate.dense)
