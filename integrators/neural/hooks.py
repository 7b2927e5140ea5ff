"""What a caller may hang into an adaptive pass: a norm, limits of the step size, and callbacks.

Callbacks are for a pass with one lane, which the faces of other libraries make.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

Tensor = torch.Tensor
#: (t, y, h) of an attempt: its start time, the state there (width,), and its positive size
Callback = Callable[[float, Tensor, float], None]


@dataclass(frozen=True)
class Hooks:
    """Hooks of one pass, each None for none.

    norm      error ratios (lanes, width) -> their norms (lanes,), in the place of the root mean square.
    min_step  least size of an attempt; one of that size is accepted whatever its error, if it is finite.
    max_step  largest size of an attempt.
    step      called before every attempt; `accept`, `reject` after it.
    each      rtol and atol of every component, each (width,), or of every lane, (lanes, width) or (lanes, 1), in the
              place of the settings' two numbers.
    """

    norm: Callable[[Tensor], Tensor] | None = None
    min_step: float | None = None
    max_step: float | None = None
    step: Callback | None = None
    accept: Callback | None = None
    reject: Callback | None = None
    each: tuple[Tensor, Tensor] | None = None

    def of(self, ids: np.ndarray) -> Hooks:
        """The hooks of the lanes `ids` of the pass, whose tolerances may be their own."""
        if self.each is None or all(x.dim() == 1 or len(x) == len(ids) for x in self.each):
            return self
        index = torch.from_numpy(ids).to(self.each[0].device)
        r, a = (x if x.dim() == 1 else x[index] for x in self.each)
        return replace(self, each=(r, a))

    def rtol(self, rtol: float) -> float | np.ndarray:
        """What the attempt record has for the relative tolerance: `rtol`, or where lanes have their own the largest of
        each, (lanes,)."""
        if self.each is None or self.each[0].dim() == 1:
            return rtol
        return self.each[0].amax(1).double().cpu().numpy()

    def held(self, h: np.ndarray) -> np.ndarray:
        """Sizes h (lanes,) between the limits."""
        if self.min_step is None and self.max_step is None:
            return h
        return np.clip(h, self.min_step, self.max_step)

    def forced(self, size: np.ndarray) -> np.ndarray | bool:
        """Whether attempts of `size` (lanes,) are accepted whatever their error."""
        return False if self.min_step is None else size <= self.min_step

    def decided(self, accept: np.ndarray, t: np.ndarray, y: Tensor, size: np.ndarray) -> None:
        """Call `accept` or `reject` for an attempt of `size` from (t, y)."""
        told = self.accept if accept[0] else self.reject
        if told is not None:
            told(float(t[0]), y[0], float(size[0]))


NO_HOOKS = Hooks()
