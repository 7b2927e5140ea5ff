"""Gradients in the times of a solve, with one time for all lanes or one a lane.

An output at t_i moves along the solution, and a solution that starts later has lost what it would have gained:

    dy(t_i)/dt_i = f(t_i, y(t_i)),        dy/dt_0 = -dy/dy_0 f(t_0, y_0).

E and S of the steps are those of a solve whose sizes are held: their gradient in t_0 is that of a start moved back
along the solution.  Outputs that are not finite, of samples that failed, have no part.  There are no second
derivatives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Tensor = torch.Tensor
#: slope of rows: (t (lanes,) in the dtype of the times, y (lanes, width)) -> (lanes, width)
Slope = Callable[[Tensor, Tensor], Tensor]


def start_at(t0: Tensor, y0: Tensor, slope: Slope) -> Tensor:
    """y0 (lanes, width), with the gradient that a start at the times t0 (0-d, or (lanes,)) brings."""
    return _Start.apply(t0, y0, slope) if _wanted(t0) else y0


def outputs_at(t: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """Outputs y (T, lanes, width), with the gradient of all but the first in their times t (T,) or (T, lanes)."""
    return _Outputs.apply(t, y, slope) if _wanted(t) else y


def state_at(t: Tensor, y: Tensor, slope: Slope) -> Tensor:
    """States y (lanes, width), with the gradient in their times t (lanes,)."""
    if not _wanted(t):
        return y
    return _Outputs.apply(torch.stack([t.detach(), t]), torch.stack([y.detach(), y]), slope)[1]


def _wanted(t: Tensor) -> bool:
    return t.requires_grad and torch.is_grad_enabled()


def refuse_second() -> None:
    """RuntimeError in a backward pass that is to be differentiated."""
    if torch.is_grad_enabled():
        raise RuntimeError(
            "gradients in t have no second derivatives (create_graph=True): pass t.detach() for those in y0 and in the "
            "parameters, or a fixed-grid method"
        )


def _dot(slope: Slope, t: Tensor, y: Tensor, g: Tensor) -> Tensor:
    """f(t, y) . g, summed over what has the time t: 0-d or (lanes,), in t's shape and dtype."""
    refuse_second()
    at = t.expand(len(y)).contiguous()
    good = torch.isfinite(y).all(1) & torch.isfinite(at) & (g != 0).any(1)
    if not bool(good.any()):
        return torch.zeros_like(t)
    # rows without a part lend one that has one, at which func is finite
    one = int(good.int().argmax())
    f = slope(torch.where(good, at, at[one]), torch.where(good[:, None], y, y[one]))
    found = torch.where(good, (f * g).sum(1), 0.0)
    return (found.sum() if t.dim() == 0 else found).to(t.dtype)


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
        rows = [_dot(ctx.slope, t[i], y[i], g[i]) for i in range(1, len(t))]
        return torch.stack([torch.zeros_like(t[0]), *rows]), g, None
