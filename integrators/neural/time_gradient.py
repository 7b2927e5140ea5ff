"""Gradients in the times of a solve of one vector: `time_rows` for one lane.

func is evaluated in the backward pass alone, once an output, and only where a time wants a gradient.  Where the solve
knows the slopes at its outputs, they serve instead (`moved`): that of dense output is the derivative of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from . import events, time_rows

Tensor = torch.Tensor
#: func(t, y) of a 0-d t, in the dtype of the times, and a vector y
Slope = Callable[[Tensor, Tensor], Tensor]


def start_at(t0: Tensor, y0: Tensor, slope: Slope) -> Tensor:
    """y0 (D,), with the gradient that a start at the time t0 (0-d) brings."""
    return time_rows.start_at(t0, y0[None], _rows(slope))[0]


def outputs_at(t: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """Outputs y (T, D), with the gradient of all rows but the first in their times t (T,)."""
    return time_rows.outputs_at(t, y[:, None], _rows(slope))[:, 0]


def state_at(t: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """A state y (D,), with the gradient in its time t (0-d)."""
    return time_rows.state_at(t[None], y[None], _rows(slope))[0]


def event_at(event: events.LaneEvents, t0: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """The event's time, 0-d in the dtype of the start time t0 (0-d), with the gradient that it has through the state
    y (D,) there and through what the event function closes over."""
    return events.timed(event, y[None], _rows(slope), t0)[0]


def _rows(slope: Slope) -> time_rows.Slope:
    return lambda t, y: slope(t[0], y[0])[None]


def moved(t: Tensor, y: Tensor, known: list[Tensor | None], slope: Slope) -> Tensor:
    """Outputs y (n, D) with the gradient in their times t (n,), by the slopes (D,) that are `known` or else func's."""
    return _Moved.apply(t, y, known, slope)


class _Moved(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, y: Tensor, known: list[Tensor | None], slope: Slope) -> Tensor:
        ctx.known, ctx.slope = known, slope
        ctx.save_for_backward(t, y)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        t, y = ctx.saved_tensors
        time_rows.refuse_second()
        slopes = [ctx.slope(t[i], y[i]) if k is None else k for i, k in enumerate(ctx.known)]
        return (torch.stack(slopes) * g).sum(1).to(t.dtype), g, None, None


class _Zeros(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *params: Tensor) -> Tensor:
        ctx.like = [(p.shape, p.dtype, p.device) for p in params]
        return y.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        return g, *(torch.zeros(shape, dtype=dtype, device=device) for shape, dtype, device in ctx.like)


def zeros_for(y: Tensor, params: tuple[Tensor, ...]) -> Tensor:
    """y, in whose backward pass every one of `params` gets a gradient: zero where it has no other."""
    return _Zeros.apply(y, *params) if params and torch.is_grad_enabled() else y
