"""States at the starts of accepted steps, found by taking the steps before them once more, without gradient.

The solver keeps no states between its outputs.  A biased local regulariser wants one of them, half of the solve's steps
away on average: taking those again costs at most the f-evaluations of the accepted steps, and no memory.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from ..clock import Clock
from ..field import Field
from ..settings import Settings
from ..step import Stepper

Tensor = torch.Tensor


def states_at(
    func: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    set_: Settings,
    start: np.ndarray,
    h: np.ndarray,
    chosen: np.ndarray,
    coupled: bool,
) -> Tensor:
    """y (B, *features) at the start of step chosen[i] of every lane i; start, h (n_steps, lanes) float64, h
    positive."""
    field = Field(func, (-1, *y0.shape[1:]), coupled)
    lanes = len(chosen)
    y = y0.reshape(lanes, -1).contiguous()
    if not (chosen > 0).any():
        return y0
    stepper = Stepper(set_.tableau, field, lanes, y.shape[1], y.dtype, y.device)
    clock = Clock(y.dtype, start[h > 0], h[h > 0])
    with torch.no_grad():
        k1: Tensor | None = clock.settle(field, np.full(lanes, set_.t[0]), y).clone()
        stepper.wide = clock.wide
        for j in range(int(chosen.max())):
            moving = j < chosen
            if k1 is None:
                k1 = field(clock.times(start[j], y.device), y).clone()
            step = stepper.attempt(start[j], np.where(moving, set_.sign * h[j], 0.0), y, k1)
            mask = torch.from_numpy(moving).to(y.device)[:, None]
            y = torch.where(mask, step.y1, y)
            # a lane that has arrived is not moved by its slope
            k1 = step.k_end
    return y.reshape(y0.shape)
