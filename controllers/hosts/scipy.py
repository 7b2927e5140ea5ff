"""SciPy: `solve_ivp(f, span, y0, method=ctrl.for_scipy("RK45"))`, with RK23, RK45, DOP853, Radau and BDF.

SciPy has no controller object.  `method=` takes a class of solvers instead, and `method` makes one: a subclass of
SciPy's own whose step asks the controller where SciPy computes a factor.  Tableaus, first step, dense output, events
and counts are SciPy's.  Read against SciPy 1.17.

What is SciPy's and stays: sizes are held between ten spacings of the time variable and `max_step`, and the last step
is shortened to land on the end.  What goes: its factors .9, .2 and 10, in whose place the law's own stand.

SciPy's own loop never ends where f(t0) is NaN, since its size is NaN then and no comparison with it is true.  Here such
a solve fails with a message, and so does one that takes more than `max_steps` attempts, an option that `solve_ivp`
passes on: solve_ivp(..., max_steps=10_000).

The controller sees the error, the sizes, the time left and norms, and of the explicit methods the stages too.  Radau
and BDF, in `scipy_implicit`, show the iterations and the convergence rate of Newton's method.
"""

from __future__ import annotations

import copyreg
import math
from typing import Any

import numpy as np
from scipy.integrate._ivp.rk import rk_step

from ...integrators.core import options as options_
from ...integrators.core import record as rec
from ...integrators.core import tolerance_scale
from ...integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR
from ...integrators.core.errors import shown
from ...integrators.core.names import unknown
from ...integrators.core.runner import slots_read
from ...integrators.engine.decisions import Decisions
from ...integrators.engine.trained_method import warn_once
from ...integrators.methods.tableaus import get as tableau
from .fitting import ENDS, NORMS, STAGES, TIER0, fit, library

#: SciPy's methods, and the names of the same pairs here
EXPLICIT = {"RK23": "bs32", "RK45": "dopri5", "DOP853": "dop853"}
IMPLICIT = {"Radau": "radau5", "BDF": "bdf"}

#: attempts of one solve, where `max_steps` is not given
MAX_STEPS = 1_000_000

NOT_FINITE = "The right-hand side is not finite at the start: f(t0, y0) has NaN or infinite components."


class Sight:
    """A controller at work in one SciPy solver: what it is shown of an attempt, and what it answers.

    asked: its decisions, at the start of a solve.  slots: record slots that it reads.  The state advances once an
    attempt.
    """

    def __init__(self, asked: Decisions, slots: frozenset[int]) -> None:
        self.asked, self.slots = asked, slots
        self.attempts = self.rejected = self.fallbacks = 0

    def first(self, guess: Any) -> Any:
        """The first size: the controller's own, where it has one, else SciPy's."""
        return self.asked.first(guess)

    def decide(self, seen: dict[int, float]) -> tuple[bool, float]:
        """Whether the attempt is accepted, and the factor of its size.  seen: its record, slot by slot."""
        out = self.asked(seen)
        accept = bool(out[ACCEPT] > 0.5) and seen[rec.FINITE] == 1.0
        self.attempts += 1
        self.rejected += not accept
        self.fallbacks += bool(out[FALLBACK] > 0.5)
        return accept, math.exp(min(out[LOG_FACTOR], 700.0))


class Steered:
    """What all of SciPy's solvers under a controller share; a class that `method` makes has it before SciPy's own."""

    controller: Any
    host_name: str
    asked: Decisions
    slots: frozenset[int]
    scale: float
    # SciPy's attributes
    t: Any
    direction: Any
    max_step: Any
    t_bound: Any
    h_abs: Any
    rtol: Any
    f: Any
    n: int
    #: why the last step failed; `solve_ivp` hands it on as `message`
    TOO_SMALL_STEP = "Required step size is less than spacing between numbers."

    def __init__(
        self, fun: Any, t0: Any, y0: Any, t_bound: Any, max_step: Any = np.inf, rtol: Any = 1e-3, atol: Any = 1e-6,
        max_steps: int = MAX_STEPS, **options: Any,
    ) -> None:  # fmt: skip
        scale = self.scale
        self.max_steps = options_.count("max_steps", max_steps, 1)
        for name, value in (("rtol", rtol), ("atol", atol)):
            if not np.all(np.isfinite(value)):
                raise ValueError(f"{name} must be finite, got {shown(value)}")
        rtol, atol = np.multiply(rtol, scale)[()], np.multiply(atol, scale)[()]
        host: Any = super()
        host.__init__(fun, t0, y0, t_bound, max_step=max_step, rtol=rtol, atol=atol, **options)
        self.sight = Sight(self.asked.anew(), self.slots)
        self.zeros = np.zeros(self.n)
        self.rtol_seen, self.span = geometric_mean(np.ravel(self.rtol)), float(abs(t_bound - t0))
        #: SciPy's first size
        self.guess = self.h_abs
        if options.get("first_step") is None:
            self.h_abs = min(self.sight.first(self.h_abs), self.span)

    def start_fails(self) -> bool:
        """Whether the solve cannot begin: its first slope or its first size is no number."""
        return not np.isfinite(self.h_abs)

    def spent(self) -> str | None:
        """Why no further attempt is made, or None."""
        if self.sight.attempts >= self.max_steps:
            return (
                f"{self.max_steps} attempts were made before the end, the most that are allowed (option max_steps of "
                "solve_ivp)."
            )
        return None

    def resolved(self) -> float:
        """The least size, as SciPy has it: ten spacings of the time variable."""
        return 10.0 * abs(np.nextafter(self.t, self.direction * np.inf) - self.t)

    def allowed(self) -> float:
        """The size that the controller asked for last, within the bounds of SciPy and of `max_step`."""
        return min(max(self.h_abs, self.resolved()), self.max_step)

    def stuck(self, want: float, finite: bool) -> str | None:
        """Why an attempt of size `want` is not made, or None.  finite: whether the last attempt was."""
        if not want >= self.resolved():
            last = "" if finite else " The last attempt's state or error was not finite."
            return self.TOO_SMALL_STEP + last
        return self.spent()

    def target(self, want: float) -> tuple[Any, bool]:
        """The end of an attempt of size `want`, and whether it was shortened to land on the end time."""
        t_new = self.t + want * self.direction
        truncated = bool(self.direction * (t_new - self.t_bound) > 0.0)
        return (self.t_bound if truncated else t_new), truncated

    def seen(self, t: Any, h_abs: Any, want: Any, truncated: bool, order: int, error: Any, finite: bool) -> dict:
        """The slots that every method fills."""
        return {
            rec.ERR: float(error), rec.H: float(h_abs), rec.H_FREE: float(want), rec.ORDER: float(order),
            rec.TRUNCATED: float(truncated), rec.FINITE: float(finite), rec.RTOL: self.rtol_seen,
            rec.T_LEFT: float(abs(self.t_bound - t)),
            rec.SPAN: self.span,
        }  # fmt: skip


def geometric_mean(values: np.ndarray) -> float:
    """Of tolerances that differ from component to component; zeros are left out."""
    positive = values[values > 0.0]
    return float(np.exp(np.mean(np.log(positive)))) if len(positive) else 0.0


class SteeredRungeKutta(Steered):
    """The step of SciPy's explicit methods, with the controller's decision.

    pair: numbers of two stages at the end of the step, for the stiffness estimate, or None.
    """

    pair: tuple[int, int] | None

    def start_fails(self) -> bool:
        return super().start_fails() or not np.all(np.isfinite(self.f))

    def _step_impl(self) -> tuple[bool, str | None]:
        self_: Any = self  # attributes are SciPy's
        if self.sight.attempts == 0 and self.start_fails():
            return False, NOT_FINITE
        t, y, finite = self_.t, self_.y, True
        want = self.allowed()
        while True:
            if (why := self.stuck(want, finite)) is not None:
                return False, why
            t_new, truncated = self.target(want)
            h = t_new - t
            y_new, f_new = stepped(self_, t, y, h)
            seen, finite = self._measured(t, y, y_new, f_new, h, want, truncated)
            accept, factor = self.sight.decide(seen)
            base = want if accept and truncated else abs(h)
            if accept:
                break
            want = base * factor
        self_.h_previous, self_.y_old = h, y
        self_.t, self_.y, self_.h_abs, self_.f = t_new, y_new, base * factor, f_new
        return True, None

    def _measured(
        self, t: Any, y: Any, y_new: Any, f_new: Any, h: Any, want: Any, truncated: bool
    ) -> tuple[dict[int, float], bool]:
        """The record of an attempt, and whether all of it is finite."""
        slots = self.sight.slots
        host: Any = self
        scale = host.atol + np.maximum(np.abs(y), np.abs(y_new)) * host.rtol
        error = host._estimate_error_norm(host.K, h, scale)
        finite = math.isfinite(error) and all_finite(y_new, self.zeros) and all_finite(f_new, self.zeros)
        seen = self.seen(t, abs(h), want, truncated, host.error_estimator_order + 1, error, finite)
        width = y.size**0.5
        if rec.YNORM in slots:
            seen[rec.YNORM] = float(np.linalg.norm(y / scale) / width)
        if rec.ENORM in slots:
            weights = host.E5 if hasattr(host, "E5") else host.E
            largest = float(np.max(np.abs(np.dot(host.K.T, weights) * h / scale), initial=0.0))
            seen[rec.ENORM] = largest / error if error > 0.0 else 1.0
        if rec.HS in slots and self.pair is not None:
            i, j = self.pair
            g = y + h * np.dot(host.K[:i].T, host.A[i][:i])
            apart = np.linalg.norm(y_new - g)
            seen[rec.HS] = float(abs(h) * np.linalg.norm(host.K[j] - host.K[i]) / apart) if apart > 0.0 else 0.0
        if rec.CURV in slots:
            sizes = np.linalg.norm(host.K[0]) + np.linalg.norm(f_new)
            seen[rec.CURV] = float(np.linalg.norm(f_new - host.K[0]) / sizes) if sizes > 0.0 else 0.0
        return seen, finite


def all_finite(x: np.ndarray, zeros: np.ndarray) -> bool:
    """Whether all entries of x (n,) are finite: 0 times an infinity or NaN is NaN.  A quarter of the time of isfinite
    and all.
    """
    return bool(x.dot(zeros) == 0.0)


def stepped(solver: Any, t: Any, y: Any, h: Any) -> tuple[Any, Any]:
    """State and slope at the end of a trial step; its slopes stand in `solver.K`, the one at the end last."""
    return rk_step(solver.fun, t, y, solver.f, h, solver.A, solver.B, solver.C, solver.K)


class _Made(type):
    """The type of classes that `method` makes, so that they can be pickled: by what they are made from."""


def _again(controller: Any, name: str) -> Any:
    return method(controller, name)


def _parts(cls: Any) -> tuple[Any, tuple[Any, str]]:
    return _again, (cls.controller, cls.host_name)


copyreg.pickle(_Made, _parts)


def method(controller: Any, method: str = "RK45") -> Any:
    """The class to hand to `scipy.integrate.solve_ivp(f, span, y0, method=...)`.

    controller  a law or a learned controller.
    method      "RK23", "RK45", "DOP853", "Radau" or "BDF".

    `solve_ivp` takes its options as before, and `max_steps`, the most attempts of a solve, beside them.  Counts of
    accepted and rejected attempts are those of the solver object, which `solve_ivp` does not hand out; a solver stepped
    by hand has them as `solver.sight.attempts`, `.rejected` and `.fallbacks`.

    Raises ValueError for another method, and for a controller that reads what the method does not show, by the name of
    its features; ImportError where SciPy is missing.
    """
    if method not in (*EXPLICIT, *IMPLICIT):
        raise unknown("method of SciPy", method, (*EXPLICIT, *IMPLICIT))
    library("scipy", "1.13", "1.18")
    from scipy import integrate

    pair = tableau(EXPLICIT[method]).stiffness if method in EXPLICIT else None
    if method in EXPLICIT:
        stages = STAGES if pair is not None else STAGES - {rec.HS}
        steps: type = SteeredRungeKutta
    else:
        from . import scipy_implicit

        stages, steps = scipy_implicit.SLOTS, scipy_implicit.STEPS[method]
    fit(controller, f"SciPy's {method}", TIER0 | NORMS | ENDS | stages)
    warn_once(controller, {**EXPLICIT, **IMPLICIT}[method], f"SciPy's {method}", method in IMPLICIT)
    host = getattr(integrate, method)
    parts = {
        "controller": controller, "host_name": method, "pair": pair, "asked": Decisions(controller),
        "slots": slots_read(controller), "scale": tolerance_scale.of(controller),
    }  # fmt: skip
    return _Made(f"{method}Steered", (steps, host), parts)
