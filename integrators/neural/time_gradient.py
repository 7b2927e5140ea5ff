"""Gradients in the times of a solve.

An output at t_i moves along the solution, and a solution that starts later has lost what it would have gained:

    dy(t_i)/dt_i = f(t_i, y(t_i)),        dy/dt_0 = -dy/dy_0 f(t_0, y_0).

Both are added to a solution that was computed with constant times, and change no number of it.  func is evaluated in
the backward pass alone, once an output, and only where a time wants a gradient.  There are no second derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor
#: func(t, y) of a 0-d t and a vector y
Slope = Callable[[Tensor, Tensor], Tensor]


def start_at(t0: Tensor, y0: Tensor, slope: Slope) -> Tensor:
    """y0 (D,), with the gradient that a start at the time t0 (0-d) brings."""
    return _Start.apply(t0, y0, slope) if _wanted(t0) else y0


def outputs_at(t: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """Outputs y (T, D), with the gradient of all rows but the first in their times t (T,)."""
    return _Outputs.apply(t, y, slope) if _wanted(t) else y


def state_at(t: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """A state y (D,), with the gradient in its time t (0-d)."""
    return _Outputs.apply(torch.stack([t.detach(), t]), torch.stack([y.detach(), y]), slope)[1] if _wanted(t) else y


def _wanted(t: Tensor) -> bool:
    return t.requires_grad and torch.is_grad_enabled()


def _dot(slope: Slope, t: Tensor, y: Tensor, g: Tensor) -> Tensor:
    """f(t, y) . g in t's dtype, 0-d."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "gradients in t have no second derivatives (create_graph=True): pass t.detach() for those in y0 and in the "
            "parameters, or a fixed-grid method"
        )
    return (slope(t.to(y.dtype), y) * g).sum().to(t.dtype)


class _Start(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t0: Tensor, y0: Tensor, slope: Slope) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(t0, y0)
        return y0.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        t0, y0 = ctx.saved_tensors
        return -_dot(ctx.slope, t0, y0, g), g, None


class _Outputs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, t: Tensor, y: Tensor, slope: Slope) -> Tensor:
        ctx.slope = slope
        ctx.save_for_backward(t, y)
        return y.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:
        t, y = ctx.saved_tensors
        rows = [
            _dot(ctx.slope, t[i], y[i], g[i]) if bool(g[i].any()) else t.new_zeros(()) for i in range(1, len(t))
        ]
        return torch.stack([t.new_zeros(()), *rows]), g, None


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
