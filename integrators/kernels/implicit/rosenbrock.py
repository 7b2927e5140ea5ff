"""Source of one trial step of a linearly implicit Rosenbrock method, for a block of lanes (the equations:
`tableaus.rosenbrock`).

J = df/dy and f_t are those of the step's start: after a rejection they are kept, and only E = I/(h gamma) - J is
factored anew. A matrix that is singular or not finite makes the attempt non-finite: it is rejected, and the next,
shorter one has a new J.

f_t is a difference on the step's own scale that stays inside the step; right-hand sides that do not read the time have
none.  With r = eps max(|t|/h, 1), what the clock resolves of the step, a forward difference with the increment d =
r^(1/2) h balances the truncation d/(2 h) against the noise r h/d of a function whose argument is rounded.  Where the
whole span is short beside the time (row COARSE, see `blocks.load`) three points, 0, d/2 and d = r^(1/3) h, bring both
down from r^(1/2) to r^(2/3), for one evaluation more; and as the stage's time t + c h is then off by something like r
h, r h f_t is added to what f gives at the time that there is.

An embedded formula that agrees with the method on linear autonomous problems (`estimates_linear`) says nothing where f
is as good as linear.  There a second estimate of order 2 stands beside it, component by component the larger one
counts: the distance to the trapezoidal rule, (I - h gamma J)^-1 (y_new - y - h/2 (f(t, y) + f(t + h, y_new))), filtered
as in RADAU5 (Hairer & Wanner II, IV.8), which vanishes with the third derivative only.  It takes an evaluation and a
back-substitution more.

With a singular mass matrix M (`mass`) y_new satisfies the algebraic equations P f = 0 up to an error that the embedded
formula need not see; the next step's estimate sees it whatever that step's size is, and where it is too large no step
passes.  So E^-1 P f(t + h, y_new), Newton's correction, is such a second estimate, too; but for methods whose estimate
is the last increment, which is a Newton correction itself and leaves a smaller one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...core import record
from ...methods.rosenbrock.tableau import RosenbrockTableau
from ...problems.mass import analysed
from .. import calls
from ..loops import Source, polynomial, weighted_sum
from ..pieces import interpolate, rosenbrock
from ..start import start_source
from ..templates import constants, text
from . import mass
from .jacobian import EPS, reads_time
from .linear import Algebra

R = {name: f"A[R + {i}*W + l]" for i, name in enumerate(record.NAMES)}


def rosenbrock_parts(tableau: RosenbrockTableau, source: Any, slots: frozenset[int]):
    """`build.Parts` of the method for a Problem or Batch."""
    from ..build import Parts

    n, s = source.n, tableau.stages
    algebra = Algebra(source)
    moving = reads_time(source.rhs)
    for name in (*(["FT"] if moving else []), *(f"U{i}" for i in range(s))):
        algebra.add(name, n)
    if moving:
        algebra.add("FTH", 1)
    heavy = source.mass is not None
    second = _second(tableau, heavy and analysed(source.mass).singular)
    if second is _trapezoidal:
        if tableau.embedded_order != 2:
            raise ValueError(
                f"{tableau.name}: its error estimate is 0 on linear problems, and of order "
                f"{tableau.embedded_order}, not 2"
            )
    if second is not None:
        algebra.add("UE", n)
    if heavy:
        algebra.add("MW", n)
    attempt = algebra.lines + algebra.source() + _begin(moving) + _attempt(tableau, n, slots, moving, heavy, second)
    # a lane just loaded has no Jacobian
    if heavy:
        start = mass.start_source(float(tableau.embedded_order + 1), (("TJ", "math.nan"),), False, moving)
    else:
        start = start_source(tableau, n).rstrip("\n") + "\n    for l in range(W):\n"
        start += "        A[TJ + l] = math.nan if A[FRESH + l] == 1.0 else A[TJ + l]\n\n"
    degree = tableau.D.shape[1] + 1
    return Parts(attempt, start, _dense(tableau), "", 3, algebra.rows, algebra.objects, implicit=True, degree=degree)


def _begin(moving: bool) -> str:
    """`linearise(A, l)` (see `pieces.rosenbrock`).  moving: the right-hand side reads the time."""
    if moving:
        return constants(MOVING=True, EPS=EPS) + "\n\n" + text(rosenbrock)
    return constants(MOVING=False, FTH=0, time_slope=None) + "\n\n" + text(rosenbrock.linearise)


def _second(tableau: RosenbrockTableau, singular: bool) -> Callable | None:
    """What writes the second estimate, if there is one.  singular: there is a singular mass matrix."""
    if not tableau.estimates_linear:
        return _trapezoidal
    last = not any(float(x) != 0.0 for x in tableau.e[:-1])
    return _violation if singular and not last else None


def _attempt(
    tableau: RosenbrockTableau, n: int, slots: frozenset[int], moving: bool, heavy: bool, second: Callable | None
) -> str:
    """heavy: there is a mass matrix.  second: `_second`."""
    s = tableau.stages
    us = [f"U{i}" for i in range(s)]
    more = 0 if second is None else 1
    extra = sum(any(float(x) != 0.0 for x in row) for row in tableau.a) + more
    src = Source("attempt(A)")
    src.lines += f"""    for l in range(W):
        if A[STATUS + l] != 0.0:
            A[LUOK + l] = math.nan
        elif A[DONE + l] == 0.0:
            linearise(A, l)
            good = factor(A, l, {1.0 / tableau.gamma_float!r}/A[HS + l])
            A[LUOK + l] = 1.0 if good else math.nan
            {R['nsolve']} = {float(s + more)!r} if good else 0.0
            {R['nf']} += {float(extra)!r}
            # one by differences may be finite with smaller increments
            A[TJ + l] = A[T + l] if good else math.nan
            A[DONE + l] = 1.0
"""
    for i in range(s):
        stage, c = "K0", float(tableau.c[i])
        if any(float(x) != 0.0 for x in tableau.a[i]):
            stage = "K1"
            time = "A[S4 + l]" if moving else "A[T + l]"
            post = f"A[S4 + l] = {_stage_time(c)}\n" if moving else ""
            src.loop(
                n, 0, f"A[G + j] = A[Y + j] + {weighted_sum(tableau.a[i], us)}\n", post, calls.rhs(time, "G", "K1")
            )
        elif i > 0:
            raise ValueError(f"{tableau.name}: stage {i} has no argument of its own")
        body = f"b = A[{stage} + j]\n"
        if any(float(x) != 0.0 for x in tableau.C[i]) and heavy:
            _times_mass(src, n, f"({weighted_sum(tableau.C[i], us)})/A[HS + l]")
            body += "b += A[MS + j]\n"
        elif any(float(x) != 0.0 for x in tableau.C[i]):
            body += f"b += ({weighted_sum(tableau.C[i], us)})/A[HS + l]\n"
        if moving and float(tableau.d[i]) != 0.0:
            body += f"b += A[HS + l]*{float(tableau.d[i])!r}*A[FT + j]\n"
        if moving and c != 0.0:
            # what the clock cannot resolve of the stage's time
            body += f"b += where(A[COARSE + l] == 1.0, ({c!r}*A[HS + l] - (A[S4 + l] - A[T + l]))*A[FT + j], 0.0)\n"
        src.loop(n, 0, body + f"A[U{i} + j] = b\n")
        src.lines += f"    for l in range(W):\n        if A[LUOK + l] == 1.0:\n            back(A, l, U{i})\n"
    if second is not None:
        second(src, tableau, n, us, heavy)
        src.lines += "    for l in range(W):\n        if A[LUOK + l] == 1.0:\n            back(A, l, UE)\n"
    _error(src, tableau, n, us, slots, second is not None)
    return src.text()


def _times_mass(src: Source, n: int, value: str) -> None:
    """M times an expression of component j, into MS."""
    src.loop(n, 0, f"A[MW + j] = {value}\n")
    src.lines += "    for l in range(W):\n        mass_times(A, l, MW, MS)\n"


def _trapezoidal(src: Source, tableau: RosenbrockTableau, n: int, us: list[str], heavy: bool) -> None:
    """The distance to the trapezoidal rule, into UE."""
    src.loop(n, 0, f"A[G + j] = A[Y + j] + {weighted_sum(tableau.m, us)}\n", "", calls.rhs(_stage_time(1.0), "G", "K1"))
    moved = "(A[G + j] - A[Y + j])/A[HS + l]"
    if heavy:
        _times_mass(src, n, moved)
        moved = "A[MS + j]"
    body = f"w = {moved} - 0.5*(A[K0 + j] + A[K1 + j])\n"
    src.loop(n, 0, body + f"A[UE + j] = {1.0 / tableau.gamma_float!r}*w\n")


def _violation(src: Source, tableau: RosenbrockTableau, n: int, us: list[str], heavy: bool) -> None:
    """The algebraic part of f at the end, into UE."""
    src.loop(n, 0, f"A[G + j] = A[Y + j] + {weighted_sum(tableau.m, us)}\n", "", calls.rhs(_stage_time(1.0), "G", "K1"))
    src.lines += "    for l in range(W):\n        null_part(A, l, K1, UE)\n"


def _stage_time(c: float) -> str:
    """T + c h; the last step ends where the span does, to the last bit."""
    if c == 1.0:
        return "where(A[LANDS + l] == 1.0, A[TEND + l], A[T + l] + A[HS + l])"
    return "A[T + l]" if c == 0.0 else f"A[T + l] + {c!r}*A[HS + l]"


def _error(
    src: Source, tableau: RosenbrockTableau, n: int, us: list[str], slots: frozenset[int], second: bool
) -> None:
    body = f"A[YN + j] = A[Y + j] + {weighted_sum(tableau.m, us)}\n"
    body += "u = fabs(A[Y + j])\nv = fabs(A[YN + j])\nsc = A[ATOL + j] + A[RTOL + l]*where(u > v, u, v)\n"
    body += "rs = 1.0/where(sc > 1e-300, sc, 1e-300)\n"
    body += f"e = ({weighted_sum(tableau.e, us)})*rs\n"
    if second:
        # NaN in the second estimate counts; in the first it is in the new state too
        body += "e2 = A[UE + j]*rs\ne = where(fabs(e) > fabs(e2), e, e2)\n"
    body += "@0 += e*e\n@1 += 0.0*A[YN + j]\n"
    sums = 2
    post = f"err = sqrt(@0*{1.0 / n!r})\n{R['err']} = err\n{R['order']} = {float(tableau.embedded_order + 1)!r}\n"
    post += f"{R['lu_age']} = 0.0\n"
    post += f"{R['finite']} = where((@1 + 0.0*err == 0.0) & (A[LUOK + l] == 1.0), 1.0, 0.0)\n"
    if record.ENORM in slots:
        body += f"@{sums} = maximum(@{sums}, fabs(e))\n"
        post += f"{R['enorm']} = where(err > 0.0, @{sums}/err, 1.0)\n"
        sums += 1
    if record.YNORM in slots:
        body += f"r = A[Y + j]*rs\n@{sums} += r*r\n"
        post += f"{R['ynorm']} = sqrt(@{sums}*{1.0 / n!r})\n"
        sums += 1
    src.loop(n, sums, body, post)


def _dense(tableau: RosenbrockTableau) -> str:
    """(1 - th) y + th y1 + th (1 - th) sum_j th^j K_j, exact at both ends."""
    src = "@_inline\ndef prepare_dense(A, l):\n    return 0.0\n\n"
    src += "@_traced\ndef dense_component(A, j, l, th):\n    u = 1.0 - th\n"
    used = []
    for i, row in enumerate(tableau.D):
        if row.any():
            src += f"    w{i} = {polynomial(row)}\n"
            used.append(f"w{i}*A[U{i} + j]")
    rest = " + ".join(used) if used else "0.0"
    src += f"    A[Z + j] = (u*A[Y + j] + th*A[YN + j]) + th*u*({rest})\n\n"
    return src + text(interpolate.dense)
