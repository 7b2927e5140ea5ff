"""The step of torchdiffeq's solvers under a controller; `torchdiffeq.method` puts it to work."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...integrators.core import record as rec
from ...integrators.core.contract import ACCEPT, FALLBACK, LOG_FACTOR
from ...integrators.core.errors import shown
from .fitting import ENDS, NORMS, TIER0, fit
from .torch_measures import curvature, geometric_mean, norms, stiffness
from .torchdiffeq_book import Book, Solve, SolveFailed

#: rejected attempts in a row after which a solve gives up
MOST_REJECTED = 1000
#: the function that `odeint_adjoint` solves backwards
AUGMENTED = "OdeintAdjointMethod.backward.<locals>.augmented_dynamics"


def impl(name: str) -> Any:
    """A module of torchdiffeq's by its file: `torchdiffeq._impl.odeint` is shadowed by the function of that name."""
    importlib.import_module("torchdiffeq")
    return sys.modules[f"torchdiffeq._impl.{name}"]


def measured(solver: Any) -> frozenset[int]:
    """Record slots that a solver class of torchdiffeq's fills, where the end time is known."""
    alpha, c_sol, beta = solver.tableau.alpha, solver.tableau.c_sol, solver.tableau.beta
    slots = TIER0 | NORMS | ENDS | {rec.NF}
    if bool(c_sol[-1] == 0) and bool((c_sol[:-1] == beta[-1]).all()):  # the last slope is that at the end
        slots = slots | {rec.CURV}
        if len(alpha) > 1 and alpha[-2] == 1.0:
            slots = slots | {rec.HS}
    return slots


class Counted:
    """func as torchdiffeq calls it, counted.  limit: no call gets a later time (None: any)."""

    def __init__(self, func: Any) -> None:
        self.func, self.calls = func, 0
        self.limit: Any = None
        self.callback_step = func.callback_step
        self.callback_accept_step, self.callback_reject_step = func.callback_accept_step, func.callback_reject_step

    def __call__(self, t: Any, y: Any, **perturb: Any) -> Any:
        self.calls += 1
        return self.func(t if self.limit is None else torch.minimum(t, self.limit), y, **perturb)

    @property
    def wrapped(self) -> tuple[bool, bool]:
        """Whether time runs backwards, and whether this is the func of `odeint_adjoint`'s backward pass."""
        backwards, func = False, self.func
        while hasattr(func, "base_func"):
            backwards, func = backwards or type(func).__name__ == "_ReverseFunc", func.base_func
        return backwards, getattr(func, "__qualname__", "") == AUGMENTED


class Steered:
    """torchdiffeq's solver with the controller's decision; a class that `method` makes has it before torchdiffeq's."""

    book: Book
    # torchdiffeq's attributes
    func: Any
    rk_state: Any
    first_step: Any

    def __init__(self, func: Any, y0: Any, rtol: Any, atol: Any, **options: Any) -> None:
        given = [name for name in ("safety", "ifactor", "dfactor") if name in options]
        if given:
            raise ValueError(
                f"option {given[0]} has no effect under controller {shown(self.book.controller.name)}: a law has its "
                "own coefficients, controller.replace(safety=0.9, fmax=10.0, fmin=0.2)"
            )
        if self.book.warm_start and options.get("first_step") is not None:
            raise ValueError("warm_start chooses the first step, and the option first_step was given too")
        first = options.get("first_step")
        if first is not None and float(first) <= 0.0:
            raise ValueError(f"option first_step must be positive, also where time runs backwards, got {shown(first)}")
        host: Any = super()
        host.__init__(func=func, y0=y0, rtol=rtol, atol=atol, **options)
        self_: Any = self
        for name, value in (("rtol", self_.rtol), ("atol", self_.atol)):
            if not bool((torch.isfinite(value) & (value >= 0)).all()):
                raise ValueError(f"{name} must be finite and not negative, got {shown(value.tolist())}")
        if not bool((self_.rtol + self_.atol > 0).all()):
            raise ValueError("rtol and atol are both 0: nothing is within tolerance then")
        if self.book.scale != 1.0:
            self_.rtol, self_.atol = self_.rtol * self.book.scale, self_.atol * self.book.scale
        self.func, self.event = Counted(func), False
        self.rtol_seen = geometric_mean(self_.rtol)
        # where the tableau has them: the slots of stages
        self.slots = self.book.slots & measured(type(self))

    # -- a solve -------------------------------------------------------------------------------------------------------

    def integrate(self, t: Any) -> Any:
        host: Any = super()
        return self._noted(lambda: host.integrate(t))

    def integrate_until_event(self, t0: Any, event_fn: Any) -> Any:
        if self.book.even_steps:
            raise ValueError("even_steps needs an end time, and an event has none: make a method without even_steps")
        host: Any = super()
        self.event = True
        return self._noted(lambda: host.integrate_until_event(t0, event_fn))

    def _noted(self, run: Callable[[], Any]) -> Any:
        """Run a solve and enter it in the book, whether it ends well or not."""
        backwards, adjoint = self.func.wrapped
        self.solve, self.sign = Solve(adjoint), -1.0 if backwards else 1.0
        self.key: Any = None
        self.after_first, self.rejected = math.nan, 0
        done = False
        try:
            found = run()
            done = True
            return found
        except AssertionError as problem:
            if isinstance(problem, SolveFailed) or not str(problem).startswith("max_num_steps"):
                raise
            raise self._failed(f"{problem}: the option max_num_steps allows no more attempts") from None
        finally:
            self.solve.nfev = self.func.calls
            self.book.ended(self.solve, self.key, self.after_first if done else math.nan)

    def _failed(self, why: str) -> SolveFailed:
        self.solve.failure = why
        error = SolveFailed(f"torchdiffeq under controller {shown(self.book.controller.name)}: {why}")
        error.solve = self.solve
        return error

    def _before_integrate(self, t: Any) -> None:
        self_, book, host = _any(self), self.book, _any(super())
        start = _number(t[0])
        self.end = math.nan if self.event else _number(t[-1])
        self.t_end: Any = None if self.event else t[-1].detach()
        self.span = self.end - start
        if self.event:
            fit(book.controller, "torchdiffeq's odeint_event", measured(type(self)) - ENDS)
        self.asked = book.asked.anew()
        if book.warm_start:
            tolerances = tuple(float(x.max()) for x in (self_.rtol, self_.atol))
            # neither how large the batch is nor when it ends says much of the first step
            shape = tuple(self_.y0.shape[1:] if self_.y0.ndim > 1 else self_.y0.shape)
            self.key = (shape, self_.y0.dtype, self.sign, start, self.event, *tolerances)
            size = book.begun(self.key)
            if size is not None:
                size = size if self.event else min(size, abs(self.span))
                self.first_step = torch.as_tensor(size, dtype=self_.dtype, device=self_.y0.device)
        self.func.limit = self.t_end if book.even_steps else None
        host._before_integrate(t)
        self.func.limit = None
        state = self.rk_state
        if not bool(torch.isfinite(state.f1).all() & torch.isfinite(state.y1).all()):
            what = "func is" if bool(torch.isfinite(state.y1).all()) else "y0 is"
            raise self._failed(f"{what} not finite at the start, t = {self.sign * start:g}")
        size = _number(state.dt)
        if self.first_step is None:
            own = self.asked.first(size)
            if own != size:
                size = own
                self.rk_state = state._replace(dt=torch.full_like(state.dt.detach(), own))
        if not math.isfinite(size):
            raise self._failed("no first step size was found (func is huge at the start): give options first_step")
        self.solve.times.append(self.sign * start)

    # -- an attempt ----------------------------------------------------------------------------------------------------

    def _adaptive_step(self, rk_state: Any) -> Any:
        """One attempt, as torchdiffeq's own but for the decision."""
        self_, func = _any(self), self.func
        y0, f0, _, t0, dt, interp_coeff = rk_state
        dt = dt.clamp(self_.min_step, self_.max_step)
        now, want = _number(t0), _number(dt)
        dt, t1, cut = self._even(t0, dt, now, want) if self.book.even_steps else (dt, t0 + dt, False)
        func.callback_step(t0, y0, dt)
        if not t1 > t0:
            raise self._failed(self._underflow(now, want))
        t1, dt, passed, shortened = self._stops(t0, t1, dt)
        cut = cut or shortened

        calls = func.calls
        y1, f1, error, k = impl("rk_common")._runge_kutta_step(func, y0, f0, t0, dt, t1, tableau=self_.tableau)
        seen = self._seen(y0, y1, f1, error, k, dt)
        h = _number(dt)
        seen |= {
            rec.H: h, rec.H_FREE: want, rec.ORDER: float(self_.order), rec.TRUNCATED: float(cut),
            rec.RTOL: self.rtol_seen, rec.NF: float(func.calls - calls),
            rec.T_LEFT: self.end - now, rec.SPAN: self.span,
        }  # fmt: skip
        accept, factor = self._decide(seen, h, now)

        if accept:
            func.callback_accept_step(t0, y0, dt)
            coeff, f1 = self_._interp_fit(y0, y1, k, dt), self._pass(passed, t1, y1, f1)
            begin, t, y, f = t0, t1, y1, f1
        else:
            func.callback_reject_step(t0, y0, dt)
            coeff, begin, t, y, f = interp_coeff, t0, t0, y0, f0
        size = torch.as_tensor((want if accept and cut else h) * factor, dtype=self_.dtype, device=y0.device)
        size = size.clamp(self_.min_step, self_.max_step)
        if accept:
            self._accepted(_number(t), h, seen[rec.ERR], float(size))
        return impl("rk_common")._RungeKuttaState(y, f, begin, t, size, coeff)

    def _decide(self, seen: dict[int, float], h: float, now: float) -> tuple[bool, float]:
        """Whether the attempt is accepted, and the factor of the size.  `SolveFailed` where nothing can go on."""
        out = self.asked(seen)
        self.finite = seen[rec.FINITE] == 1.0
        accept = self.finite and bool(out[ACCEPT] > 0.5)
        self.solve.nfallback += bool(out[FALLBACK] > 0.5)
        with np.errstate(all="ignore"):
            factor = float(np.exp(out[LOG_FACTOR]))
        if not math.isfinite(factor):
            raise self._failed(f"the controller answered a step factor of {factor} at t = {self.sign * now:g}")
        if not accept and h <= float(_any(self).min_step):
            if not self.finite:
                raise self._failed(f"the step of size min_step, {h:g}, at t = {self.sign * now:g} is not finite")
            accept = True
            self.solve.nforced += 1
        self.rejected = 0 if accept else self.rejected + 1
        self.solve.nreject += not accept
        if self.rejected >= MOST_REJECTED:
            raise self._failed(f"{MOST_REJECTED} attempts in a row were rejected at t = {self.sign * now:g}")
        return accept, factor

    def _accepted(self, t: float, h: float, error: float, size: float) -> None:
        solve = self.solve
        if not solve.naccept:
            self.after_first = min(size, self.span) if self.span > 0.0 else size
        solve.naccept += 1
        solve.times.append(self.sign * t)
        solve.steps.append(h)
        solve.errors.append(error)

    def _underflow(self, now: float, want: float) -> str:
        why = "func or the state is not finite there" if self.rejected and not self.finite else (
            "the error stays above the tolerance however short the step: func jumps or grows without bound there, or "
            "rtol and atol are below what the dtype resolves"
        )  # fmt: skip
        return f"underflow in dt {want:g} at t = {self.sign * now:.17g}: {why}"

    def _even(self, t0: Any, dt: Any, now: float, want: float) -> tuple[Any, Any, bool]:
        """Size and end of the attempt under `even_steps`, and whether it is shorter than asked for to land."""
        left = self.end - now
        # rounding must not add a step where the size divides what is left
        count = math.ceil(left / want * (1.0 - 1e-10)) if want > left * 1e-15 else math.inf
        if count <= 1:
            # of the value of the end time, and with the gradient that t0 + (a size without one) has
            return self.t_end - t0.detach(), self.t_end + (t0 - t0.detach()), want > left
        dt = torch.full_like(dt.detach(), left / count if math.isfinite(count) else want)
        return dt, t0 + dt, False

    def _stops(self, t0: Any, t1: Any, dt: Any) -> tuple[Any, Any, str | None, bool]:
        """End and size of the attempt, whether it ends at a "step" or "jump" that the options prescribe, and whether it
        was cut for that.

        A step that ends there by itself counts too: torchdiffeq would go on with the slope from before the jump, and
        look for that time for ever.
        """
        self_, passed, cut = _any(self), None, False
        for kind, stops, at in (
            ("step", self_.step_t, self_.next_step_index), ("jump", self_.jump_t, self_.next_jump_index)
        ):  # fmt: skip
            if len(stops):
                near = 1e-12 * (t1.detach() - t0.detach())
                if t0 < stops[at] <= t1 + near:
                    cut = bool(stops[at] < t1 - near) or cut
                    t1, dt, passed = stops[at], stops[at] - t0, kind
        return t1, dt, passed, cut

    def _pass(self, passed: str | None, t1: Any, y1: Any, f1: Any) -> Any:
        """Go on to the next prescribed time where one was reached.  Returns the slope there: after a jump a new one."""
        self_ = _any(self)
        for stops, name in ((self_.step_t, "next_step_index"), (self_.jump_t, "next_jump_index")):
            while getattr(self_, name) < len(stops) - 1 and stops[getattr(self_, name)] <= t1:
                setattr(self_, name, getattr(self_, name) + 1)
        if passed == "jump":
            return self.func(t1, y1, perturb=impl("misc").Perturb.NEXT)
        return f1

    @torch.no_grad()
    def _seen(self, y0: Any, y1: Any, f1: Any, error: Any, k: Any, dt: Any) -> dict[int, float]:
        """What the attempt itself shows: ERR, FINITE and the slots of norms and stages that the controller reads."""
        self_, slots = _any(self), self.slots
        ratio = impl("misc")._compute_error_ratio(error, self_.rtol, self_.atol, y0, y1, self_.norm)
        found = {rec.ERR: ratio.reshape(()), rec.FINITE: y1.abs().amax() + f1.abs().amax()}
        row = (1, -1)
        if slots & NORMS:
            scale = self_.atol + self_.rtol * torch.maximum(y0.abs(), y1.abs())
            found |= norms(slots, error.reshape(row), y0.reshape(row), scale.reshape(row))
        if rec.CURV in slots:
            found[rec.CURV] = curvature(k[..., 0].reshape(row), k[..., -1].reshape(row))
        if rec.HS in slots:
            size = dt.to(y0.abs().dtype)
            inner = y0 + torch.sum(k[..., :-2] * (self_.tableau.beta[-2] * size), dim=-1).view_as(y0)
            pair = (k[..., -2].reshape(row), k[..., -1].reshape(row))
            found[rec.HS] = stiffness(size, pair, (inner.reshape(row), y1.reshape(row)))
        values = torch.stack([value.reshape(()).double() for value in found.values()]).tolist()
        seen = dict(zip(found, values, strict=True))
        seen[rec.FINITE] = float(math.isfinite(seen[rec.ERR]) and math.isfinite(seen[rec.FINITE]))
        return seen


def _number(value: Any) -> float:
    """A 0-d tensor as a float, without its graph."""
    return float(value.detach())


def _any(value: Any) -> Any:
    """`value`, whose attributes are torchdiffeq's."""
    return value
