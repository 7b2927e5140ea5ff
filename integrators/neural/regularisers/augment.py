"""Columns added to the state, each the integral of a quantity along the trajectory.

    z = (y, c_1, ..., c_m),    y' = f(t, y),    c_i' = sign(t1 - t0) g_i(t, y),    c_i(t0) = 0

so that c_i(t1) is the integral of g_i over the interval, positive whichever way time runs.  z is (B, D + m): y's
features flattened, and one number a sample for each column.  The solver controls the error of the columns as of every
other component: they belong to its error norm, and the penalty is as accurate as the state.  So a solve with columns
may take other steps than the plain one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from ..field import call

Tensor = torch.Tensor
Func = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Integrand:
    """What a column integrates.

    value     value(func, t, y, dy) -> (B,), with dy = func(t, y).
    reverse   dy must carry a graph back to y even where gradients are off.
    """

    value: Callable[[Func, Tensor, Tensor, Tensor], Tensor]
    reverse: bool = False


class Augmented(torch.nn.Module):
    """The slope of a state with columns.  t is 0-d, (B, 1) or (B,), and handed on to func with y's number of axes."""

    def __init__(self, func: Func, shape: tuple[int, ...], integrands: Sequence[Integrand], sign: float) -> None:
        super().__init__()
        self.inner = func
        self._shape, self._integrands, self._sign = shape, tuple(integrands), sign
        self._reverse = any(g.reverse for g in integrands)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        m, grad = len(self._integrands), torch.is_grad_enabled()
        y = z[:, :-m].reshape(-1, *self._shape)
        if t.dim() > 0:
            t = t.reshape(-1, *(1,) * (y.dim() - 1))
        if self._reverse and not (grad and y.requires_grad):
            y = y.detach().requires_grad_()
        with torch.set_grad_enabled(grad or self._reverse):
            dy = call(self.inner, t, y)
        columns = [self._sign * g.value(self.inner, t, y, dy) for g in self._integrands]
        out = torch.cat([dy.reshape(len(y), -1), torch.stack(columns, 1)], 1)
        return out if grad else out.detach()


class Single(torch.nn.Module):
    """One system's func, which takes y (D,), for a batch of one, y (1, D); t has any shape with one number."""

    def __init__(self, func: Func) -> None:
        super().__init__()
        self.inner = func

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return call(self.inner, t.reshape(()), y[0])[None]


def batch_of_one(func: Func, y0: Tensor) -> tuple[Func, Tensor]:
    """(func, y0) of one system, y0 (D,), as a batch of one."""
    one = Single(func)
    return (one if isinstance(func, torch.nn.Module) else lambda t, y: one(t, y)), y0[None]


def augment(func: Func, y0: Tensor, integrands: Sequence[Integrand], sign: float) -> tuple[Func, Tensor]:
    """(func, y0) with a column for each integrand; unchanged without any.

    sign: the direction of time.  A Module stays one, with the same parameters.
    """
    if not integrands:
        return func, y0
    wide = Augmented(func, tuple(y0.shape[1:]), integrands, sign)
    flat = y0.reshape(len(y0), -1)
    z0 = torch.cat([flat, flat.new_zeros((len(flat), len(integrands)))], 1)
    # a plain function must not pass for a Module without parameters: whoever needs them has to be told
    return (wide if isinstance(func, torch.nn.Module) else lambda t, z: wide(t, z)), z0
