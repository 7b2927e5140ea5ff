"""The continuous adjoint by any method: state, cotangent and the parameters' integral solved for backwards as one.

From the last output to the first, with a = dL/dy,

    dy/dt = f(t, y),      da/dt = -(df/dy)^T a,      dg/dt = -(df/dtheta)^T a,

each interval beginning from the forward solution's output.  Memory does not grow with the steps.  The gradient is that
of the exact solution up to both solves' errors, which on a grid no error estimate watches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from .adjoint import warn_of_drift
from .failures import SolveFailed
from .fixed import Grid, Method, Slope, Steps

Tensor = torch.Tensor
#: (system, z, t): the vector z at t[0] -> that at t[1]
Interval = Callable[["Augmented", Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Backwards:
    """A problem y' = slope(t, y) to be differentiated.

    forward   y0 (D,) -> outputs (T, D) and their times (T,), without gradient.
    interval  takes the vector (y, a, integral) from one output to the one before.
    watched   tolerances rtol and atol, by which the state that is solved back is compared with the forward solution;
              None where it is not.
    """

    forward: Callable[[Tensor], tuple[Tensor, Tensor]]
    slope: Slope
    interval: Interval
    watched: tuple[float, float] | None = None


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
    def backward(ctx: Any, g: Tensor) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError("odeint_adjoint has no second derivatives (create_graph=True): use odeint")
        y, t, *params = ctx.saved_tensors
        width, task = y.shape[1], ctx.task
        system = Augmented(task.slope, tuple(params), width)
        a, integral = g[-1], system.nothing(y)
        with torch.no_grad():
            for i in range(len(t) - 1, 0, -1):
                if not bool(torch.isfinite(a).all()):
                    # a loss that is not finite: say so in every gradient, as backpropagation would
                    a, integral = torch.full_like(a, torch.nan), torch.full_like(integral, torch.nan)
                    break
                try:
                    z = task.interval(system, torch.cat([y[i], a, integral]), t[[i, i - 1]])
                except SolveFailed as error:
                    raise RuntimeError(
                        f"the backward solve from t = {float(t[i]):g} to t = {float(t[i - 1]):g} failed: {error}"
                    ) from None
                if task.watched is not None:
                    rtol, atol = task.watched
                    warn_of_drift(rtol, atol, z[None, :width], y[i - 1][None], t[[i, i - 1]].double().cpu().numpy())
                a, integral = z[width : 2 * width] + g[i - 1], z[2 * width :]
        parts = integral.split([p.numel() for p in params])
        return None, a, *(part.view(p.shape).to(p.dtype) for part, p in zip(parts, params, strict=True))


@dataclass(frozen=True)
class Back:
    """A method on a grid as it takes the steps of an adjoint system."""

    method: Method

    def steps(self, grid: Grid, system: Any) -> Steps:
        return self.method.steps_back(grid, system)

    steps_back = steps


@dataclass(frozen=True)
class Augmented:
    """The slope of (y, a, integral) as one vector, for states of the given width."""

    slope: Slope
    params: tuple[Tensor, ...]
    width: int

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        a = z[self.width : 2 * self.width]
        with torch.enable_grad():
            y = z[: self.width].detach().requires_grad_()
            f = self.slope(t, y)
        by_y, integral = z.new_zeros(self.width), self.nothing(z)
        if f.requires_grad:
            pulled = torch.autograd.grad(f, (y, *self.params), -a, allow_unused=True)
            by_y, integral = by_y if pulled[0] is None else pulled[0], self._flat(pulled[1:], z)
        return torch.cat([f.detach(), by_y, integral])

    def pulled(self, f: Tensor, a: Tensor) -> Tensor:
        """What the cotangents `a` of slopes f, which have their graph, are in the parameters, as one vector."""
        if not f.requires_grad or not self.params:
            return self.nothing(a)
        return self._flat(torch.autograd.grad(f, self.params, a, allow_unused=True), a)

    def nothing(self, like: Tensor) -> Tensor:
        """An integral of zero."""
        return like.new_zeros(sum(p.numel() for p in self.params))

    def _flat(self, found: Any, like: Tensor) -> Tensor:
        parts = [
            like.new_zeros(p.numel()) if g is None else g.reshape(-1).to(like.dtype)
            for g, p in zip(found, self.params, strict=True)
        ]
        return torch.cat([like.new_zeros(0), *parts])
