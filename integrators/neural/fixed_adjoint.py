"""The continuous adjoint on a grid: the state, its cotangent and the parameters' integral solved for backwards.

From the last output to the first, with a = dL/dy,

    dy/dt = f(t, y),      da/dt = -(df/dy)^T a,      dg/dt = -(df/dtheta)^T a,

each interval beginning from the forward solution's output.  Memory does not grow with the steps.  The gradient is that
of the exact solution up to both solves' errors, which no error estimate watches here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .fixed import Grid, integrate

Tensor = torch.Tensor
Slope = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Backwards:
    """A problem y' = slope(t, y) to be differentiated.

    forward   y0 (D,) -> outputs (T, D) and their times (T,), without gradient.
    grid      what the backward solve is asked for.
    """

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    slope: Slope
    grid: Grid


def solve(task: Backwards, y0: Tensor, params: tuple[Tensor, ...]) -> Tensor:
    """The outputs (T, D) from y0 (D,), with gradient in y0 and in `params`; times are constants."""
    return _Adjoint.apply(task, y0, *params)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, task: Backwards, y0: Tensor, *params: Tensor) -> Tensor:
        y, t = task.forward(y0.detach())
        ctx.task = task
        ctx.save_for_backward(y, t, *params)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        y, t, *params = ctx.saved_tensors
        width, task = y.shape[1], ctx.task
        slope = _augmented(task.slope, params, width)
        a, integral = g[-1], torch.cat([y.new_zeros(0), *(y.new_zeros(p.numel()) for p in params)])
        with torch.no_grad():
            for i in range(len(t) - 1, 0, -1):
                z = integrate(task.grid, slope, torch.cat([y[i], a, integral]), t[[i, i - 1]])[1]
                a, integral = z[width : 2 * width] + g[i - 1], z[2 * width :]
        parts = integral.split([p.numel() for p in params])
        return None, a, *(part.view(p.shape).to(p.dtype) for part, p in zip(parts, params, strict=True))


def _augmented(slope: Slope, params: list[Tensor], width: int) -> Slope:
    """The slope of (y, a, integral) as one vector."""

    def augmented(t: Tensor, z: Tensor) -> Tensor:
        a = z[width : 2 * width]
        with torch.enable_grad():
            y = z[:width].detach().requires_grad_()
            f = slope(t, y)
        pulled: Any = (None,) * (1 + len(params))
        if f.requires_grad:
            pulled = torch.autograd.grad(f, (y, *params), -a, allow_unused=True)
        zeros = [z.new_zeros(n) for n in (width, *(p.numel() for p in params))]
        parts = [
            zero if p is None else p.reshape(-1).to(z.dtype) for p, zero in zip(pulled, zeros, strict=True)
        ]
        return torch.cat([f.detach(), *parts])

    return augmented
