"""Events that end the solve of a lane: every sample its own, or the one of a batch with one step size.

An event is where the event function of a lane changes its sign.  Of several numbers a lane the first to change its sign
is the event: every number is multiplied by its sign at the start, and the event is where the least of them is no longer
positive.  Within the step that passes it, it is looked for on the dense output of all these lanes at once, by
Chandrupatla's method, which takes an inverse quadratic step where that is safe and halves the interval elsewhere.  A
function that changes its sign twice within a step has no event there.

With g(t*, y(t*)) = 0 the implicit function theorem gives, for whatever y and g depend on,

    dt* = -dg / (dg/dt + dg/dy . f(t*, y*)).

T. R. Chandrupatla, A new hybrid quadratic/bisection algorithm for finding the zero of a nonlinear function without
using derivatives, Advances in Engineering Software 28 (1997) 145-149.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from .clock import Clock
from .field import lent

Tensor = torch.Tensor
Slope = Callable[[Tensor, Tensor], Tensor]
#: halvings and faster steps within one step; 60 halvings alone reach the last bit of a fraction
MOST = 80


def numbers(function: Callable[[Tensor, Tensor], Any], t: Tensor, y: Tensor) -> Tensor:
    """What an event function gives at (t, y).

    Raises ValueError where that is no tensor of real numbers, and where the function writes to t or y.
    """
    given, written = lent(t, y)
    found = function(*given)
    if written():
        raise ValueError("event_fn must not modify t or y, which are the solver's own: begin with y = y.clone()")
    if not isinstance(found, Tensor) or found.is_complex() or found.numel() == 0:
        raise ValueError(f"event_fn must return a tensor of real numbers, got {type(found).__name__}")
    if found.dtype == torch.bool:
        raise ValueError("event_fn must return real numbers, whose change of sign is the event; got truth values")
    return found


@dataclass(frozen=True)
class EventFunction:
    """The caller's event function over rows.

    call      (t (lanes,), rows (lanes, width)) -> a tensor of real numbers, lanes first; with `coupled`, of any shape.
    coupled   one lane is the whole state.
    """

    call: Callable[[Tensor, Tensor], Any]
    coupled: bool

    def values(self, t: Tensor, rows: Tensor) -> Tensor:
        """The event function's numbers (lanes, n) at the times t (lanes,).

        Raises ValueError where the function returns no real numbers, or not for every sample, and where it writes to
        the times or the states.
        """
        found = numbers(self.call, t, rows)
        if self.coupled:
            return found.reshape(1, -1)
        if found.dim() == 0 or len(found) != len(rows):
            raise ValueError(
                f"with steps per sample event_fn must return one number a sample, ({len(rows)},), or several, "
                f"({len(rows)}, n); got shape {tuple(found.shape)}"
            )
        return found.reshape(len(found), -1)

    def begin(self, t0: np.ndarray, sign: np.ndarray, y0: Tensor, clock: Clock) -> LaneEvents:
        """The events of a solve from (t0, y0) in the direction `sign`; the function gets the times that func gets."""
        return LaneEvents(self, t0, sign, y0, clock)


class LaneEvents:
    """The events of a solve under way.

    times   (lanes,) float64: where a lane's event is; infinite, in the direction of time, until it is found.
    signs   (lanes, n): of the function's numbers at the start.
    at_start   (lanes,): there is a zero among them, and so the lane's event is the start itself.
    """

    def __init__(self, function: EventFunction, t0: np.ndarray, sign: np.ndarray, y0: Tensor, clock: Clock) -> None:
        self.function, self.clock = function, clock
        with torch.no_grad():
            start = function.values(self.asked(t0, y0), y0.detach())
        if bool(torch.isnan(start).any()):
            lane = int(torch.isnan(start).any(1).int().argmax())
            raise ValueError(f"event_fn is NaN at the start, t = {float(t0[lane]):g}")
        self.signs = torch.sign(start)
        self.at_start = (self.signs == 0).any(1).cpu().numpy()
        self.times = np.where(self.at_start, t0, sign * np.inf)

    def begin(self, *_: Any) -> LaneEvents:
        """Itself, in the place of an event function that is to begin with the solve."""
        return self

    def asked(self, t: np.ndarray, rows: Tensor) -> Tensor:
        """The times t (lanes,) as the function gets them with these rows."""
        return self.clock.times(np.ascontiguousarray(t), rows.device)

    def least(self, t: Tensor, rows: Tensor, ids: np.ndarray | None = None) -> Tensor:
        """The number (lanes in the batch,) whose sign says whether a lane is past its event: positive before it.

        t (lanes,), rows (lanes, width): of the lanes `ids`; None: of all lanes.
        """
        some = ids is not None and len(ids) < len(self.signs)
        signs = self.signs[torch.from_numpy(ids).to(rows.device)] if some else self.signs
        return (self.function.values(t, rows) * signs).amin(1)

    def _least(self, ids: np.ndarray, t: np.ndarray, rows: Tensor) -> np.ndarray:
        with torch.no_grad():
            return self.least(self.asked(t, rows), rows, ids).double().cpu().numpy()

    def past(self, ids: np.ndarray, accept: np.ndarray, end: np.ndarray, y1: Tensor) -> np.ndarray:
        """Which of the lanes that `accept` are past their event at the times `end`, with the states y1 (lanes, width);
        all arrays have the shape of `ids`.  ValueError where the event function is NaN."""
        least = self._least(ids, end, y1.detach())
        if np.isnan(least[accept]).any():
            raise ValueError(f"event_fn is NaN at t = {float(end[accept & np.isnan(least)][0]):g}")
        return accept & (least <= 0.0)

    def locate(
        self,
        ids: np.ndarray,
        past: np.ndarray,
        t: np.ndarray,
        end: np.ndarray,
        y1: Tensor,
        dense: Callable[[np.ndarray, np.ndarray], Tensor],
    ) -> None:
        """Find the events of the lanes that are `past` theirs, in the step from t to `end`.

        All arrays have the shape of `ids`.  dense: (positions, fractions of the step), each (p,) -> states (p, width).
        """
        at, y1 = np.flatnonzero(past), y1.detach()
        if not len(at):
            return
        index = torch.from_numpy(at).to(y1.device)

        def least(theta: np.ndarray) -> np.ndarray:
            rows, times = y1.clone(), end.copy()
            rows[index] = dense(at, theta).detach()
            times[at] = t[at] + theta * (end[at] - t[at])
            found = self._least(ids, times, rows)[at]
            if np.isnan(found).any():
                raise ValueError(f"event_fn is NaN at t = {float(times[at][np.isnan(found)][0]):g}")
            return _signed(found)

        last = self._least(ids, end, y1)[at]
        theta = crossing(least, least(np.zeros(len(at))), _signed(last))
        if (last == 0.0).any():
            # at the end itself, unless the function is zero from its event on
            theta = np.where((last == 0.0) & (least(np.full(len(at), 1.0 - 1e-9)) > 0.0), 1.0, theta)
        self.times[ids[at]] = np.where(theta == 1.0, end[at], t[at] + theta * (end[at] - t[at]))


def _signed(values: np.ndarray) -> np.ndarray:
    """Numbers whose zeros are negative: a function may be zero from its event on."""
    return np.where(values == 0.0, -1e-300, values)


def crossing(function: Callable[[np.ndarray], np.ndarray], at_0: np.ndarray, at_1: np.ndarray) -> np.ndarray:
    """Where in [0, 1] functions, called with all their arguments (p,) at once, change the sign from `at_0` to `at_1`,
    (p,), to the last bits; 1 where they do not."""
    a, b, fa, fb = np.ones_like(at_0), np.zeros_like(at_0), at_1.copy(), at_0.copy()
    share = np.full_like(a, 0.5)
    changes = (fa < 0.0) & (fb > 0.0)
    for _ in range(MOST):
        width = np.abs(b - a)
        if not (changes & (width > 4e-16) & (fa != 0.0) & (fb != 0.0)).any():
            break
        x = a + share * (b - a)
        fx = function(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        with np.errstate(all="ignore"):
            xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
            quick = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
            step = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
            low = np.minimum(4e-16 / np.abs(b - a), 0.5)
        share = np.clip(np.where(quick & np.isfinite(step), step, 0.5), low, 1.0 - low)
    nearest = np.where(np.abs(fa) < np.abs(fb), a, b)
    return np.where(changes, nearest, 1.0)


def timed(events: LaneEvents, y: Tensor, slope: Slope, t0: Tensor) -> Tensor:
    """The events' times (lanes,) in the dtype of the start times t0 (0-d, or (lanes,)); NaN where there is none.

    Their gradient is that through the states y (lanes, width) there, through what the event function closes over, and,
    where the event is the start itself, in t0.
    """
    times, known = events.times, np.isfinite(events.times)
    t = torch.from_numpy(np.where(known, times, np.nan)).to(t0)
    if not torch.is_grad_enabled() or not known.any():
        return t
    if events.at_start.any():
        t = torch.where(torch.from_numpy(events.at_start).to(t.device), t0, t)
        known = known & ~events.at_start
    if not known.any():
        return t
    mask, one = torch.from_numpy(known).to(y.device), int(np.argmax(known))
    at = events.asked(np.where(known, times, times[one]), y)
    # lanes without an event lend one that has one, at which the functions are finite
    y = torch.where(mask[:, None], y, y[one].detach())
    value = events.least(at, y)
    if not value.requires_grad:
        return t

    def rate(at: Tensor, y: Tensor) -> Tensor:
        """How fast the least numbers change along the solution."""
        with torch.enable_grad():
            t_, y_ = at.clone().requires_grad_(), y.clone().requires_grad_()
            low = events.least(t_, y_).sum()
        by_t, by_y = torch.autograd.grad(low, (t_, y_), allow_unused=True, materialize_grads=True)
        return (by_t + (by_y * slope(at, y)).sum(1)).to(y)

    return ImplicitTime.apply(t, value, rate, mask, at, y.detach())


class ImplicitTime(torch.autograd.Function):
    """The times t of events, with the gradient that they have through the event function's value there.

    rate: (at, y) -> how fast that changes in time, asked for in the backward pass.  Where a time is not `known`
    to come from the function it has the gradient of t.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, value: Tensor, rate: Any, known: Tensor, at: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(known, at, y)
        ctx.dtype, ctx.rate = value.dtype, rate
        return t.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        known, at, y = ctx.saved_tensors
        rate = ctx.rate(at, y)
        direct = torch.where(known, 0.0, g)
        g = torch.where(known, g.to(ctx.dtype), 0.0)
        if bool(((rate == 0.0) & (g != 0.0)).any()):
            raise RuntimeError("the event function touches zero without passing through it: its time has no derivative")
        return direct, -(g / torch.where(rate == 0.0, 1.0, rate)), None, None, None, None
