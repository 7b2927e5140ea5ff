"""The time at which an event function changes its sign, and the gradient of that time.

Several events, an event function with several numbers, are one: every number is multiplied by its sign at the start,
and the event is where the least of them is no longer positive.  Within the step that passes it, it is looked for on the
dense output by Brent's method, which halves the interval where the function jumps, to the resolution of the step.
A function that changes its sign twice within a step has no event there.

With g(t*, y(t*)) = 0 the implicit function theorem gives, for whatever y and g depend on,

    dt* = -dg / (dg/dt + dg/dy . f(t*, y*)).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from scipy.optimize import brentq
from torch.autograd.function import once_differentiable

from .field import lent

Tensor = torch.Tensor
#: event(t, y) of a 0-d t and a vector y
EventFunction = Callable[[Tensor, Tensor], Any]


#: what stands for zero where a sign is looked for
TINY = 1e-300
def numbers(function: EventFunction, t: Tensor, y: Tensor) -> Tensor:
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


class Crossing:
    """An event function over vectors, with the signs that it has at the start (t0, y0).

    Attributes
        t       the time of the event, NaN until it is found.
        start   whether the event is at the start itself.

    Raises ValueError where the function returns no tensor of real numbers, or NaN.
    """

    def __init__(self, function: EventFunction, t0: float, y0: Tensor) -> None:
        self.function, self.like = function, y0.detach()
        self.t = math.nan
        with torch.no_grad():
            self.signs = torch.sign(self.values(self.time(t0), self.like))
        self.start = bool((self.signs == 0).any())
        if self.start:
            self.t = t0

    def time(self, t: float) -> Tensor:
        """t as the functions get it: 0-d, in the state's dtype."""
        return torch.tensor(t, dtype=self.like.dtype, device=self.like.device)

    def values(self, t: Tensor, y: Tensor) -> Tensor:
        """The event function's numbers at (t, y), (n,)."""
        found = numbers(self.function, t, y).reshape(-1)
        if bool(torch.isnan(found.detach()).any()):
            raise ValueError(f"event_fn is NaN at t = {float(t):g}")
        return found

    def least(self, t: Tensor, y: Tensor) -> Tensor:
        """The one number whose sign says whether the event is past, 0-d: positive before it."""
        return (self.values(t, y) * self.signs).min()

    def within(self, t: float, end: float, y1: Tensor, dense: Callable[[float], Tensor]) -> float | None:
        """As `hooks.Event` says; `t` of this object is set where the event is found."""
        with torch.no_grad():
            last = float(self.least(self.time(end), y1))
            if last > 0.0:
                return None

            def at(theta: float) -> float:
                if theta == 1.0:
                    return last or -TINY
                # a function may be zero from its event on
                return float(self.least(self.time(t + theta * (end - t)), dense(theta))) or -TINY

            theta = 1.0
            if at(0.0) > 0.0 and (last < 0.0 or at(1.0 - 1e-9) < 0.0):
                theta = brentq(at, 0.0, 1.0, xtol=1e-15, rtol=1e-15, maxiter=200)
        self.t = end if theta == 1.0 else t + theta * (end - t)
        return theta

    def timed(self, like: Tensor, y: Tensor, slope: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The event's time, 0-d in the dtype of `like`, with the gradient that it has through the state y (D,) there
        and through what the event function closes over."""
        t = torch.tensor(self.t, dtype=like.dtype, device=like.device)
        if not torch.is_grad_enabled():
            return t
        at = self.time(self.t)
        value = self.least(at, y)
        if not value.requires_grad:
            return t

        def rate(at: Tensor, y: Tensor) -> Tensor:
            """How fast the least number falls along the solution."""
            with torch.enable_grad():
                t_, y_ = at.clone().requires_grad_(), y.clone().requires_grad_()
                least = self.least(t_, y_)
            by_t, by_y = torch.autograd.grad(least, (t_, y_), allow_unused=True, materialize_grads=True)
            return by_t + (by_y * slope(at, y)).sum()

        return ImplicitTime.apply(t, value, rate, torch.ones_like(value, dtype=torch.bool), at, y.detach())


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
