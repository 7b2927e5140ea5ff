"""Times at which steps must end, and those of them where the field jumps.

A step never goes beyond the next such time of its lane.  A field that jumps there is asked inside the step alone: at
its end a little before the jump, and at the start of the step that follows a little after it, for which the slope is
evaluated anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core import options

Tensor = torch.Tensor


@dataclass(frozen=True)
class Stops:
    """times   (S,) float64, increasing: where steps end.
    jumps   (J,) float64, increasing: those of them where the field jumps.
    """

    times: np.ndarray
    jumps: np.ndarray

    @staticmethod
    def of(step_t: tuple[float, ...], jump_t: tuple[float, ...]) -> Stops | None:
        """The stops at these times, None for none; ValueError where one is named twice."""
        if not (step_t or jump_t):
            return None
        every = np.array(sorted((*step_t, *jump_t)))
        if (np.diff(every) == 0.0).any():
            raise ValueError("step_t and jump_t must not hold a time twice")
        return Stops(every, np.array(sorted(jump_t)))

    def next(self, t: np.ndarray, t_end: np.ndarray, sign: np.ndarray) -> np.ndarray:
        """Where the next step from t must end at the latest, each (lanes,): the next stop in the direction `sign`, or
        `t_end` before it."""
        padded = np.concatenate([[-np.inf], self.times, [np.inf]])
        later = padded[np.searchsorted(self.times, t, side="right") + 1]
        earlier = padded[np.searchsorted(self.times, t, side="left")]
        return np.where(sign > 0.0, np.minimum(later, t_end), np.maximum(earlier, t_end))

    def at_jump(self, t: np.ndarray) -> np.ndarray:
        """Whether the field jumps at t, (lanes,)."""
        return np.isin(t, self.jumps)

    def inside(self, times: Tensor, start: np.ndarray, sign: Any) -> Tensor:
        """Times (..., lanes) of steps that begin at `start` (lanes,) and go in the direction `sign`, moved off the
        jumps at both ends of the step by the least that their dtype can tell apart."""
        if not len(self.jumps):
            return times
        padded = np.concatenate([[-np.inf], self.jumps, [np.inf]])
        right, left = (np.searchsorted(self.jumps, start, side=side) for side in ("right", "left"))
        high = np.where(sign > 0.0, right, left) + 1
        low, up = (torch.from_numpy(padded[i]).to(times) for i in (high - 1, high))
        far = torch.full_like(low, torch.inf)
        return torch.minimum(torch.maximum(times, torch.nextafter(low, far)), torch.nextafter(up, -far))

    def moved(self, t: Tensor, dtype: torch.dtype, sign: Any, at_end: bool) -> Tensor:
        """Times t (lanes,) at which steps in the direction `sign` end, or begin, in another dtype and off the jumps:
        inside these steps."""
        start = t.detach().double().cpu().numpy()
        sign = np.broadcast_to(sign, start.shape)
        return self.inside(t.to(dtype), np.nextafter(start, -sign * np.inf) if at_end else start, sign)


def stop_times(name: str, value: Any) -> tuple[float, ...]:
    """Times that steps end at, as numbers; none for None.  OptionError, with the option's `name`, for what is none."""
    if value is None:
        return ()
    try:
        found = np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError):  # what is no array, or a tensor that holds no values
        found = np.array(np.nan)
    if found.ndim != 1 or not np.isfinite(found).all():
        raise options.refuse(name, "a 1-D tensor, array or list of finite times", value)
    return tuple(found.tolist())
