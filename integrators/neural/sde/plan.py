"""What is to be solved, and what a pass leaves of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ...methods.sde import SDEMethod
from ..totals import Pass
from .attempt import Field, Start, Step
from .brownian import Source
from .estimates import Scale

Tensor = torch.Tensor


@dataclass(frozen=True)
class Plan:
    """What is to be solved; every option has been checked.

    method, noise   the method, and the kind of noise.
    f, g            drift and diffusion over rows.
    t               (T,) float64, increasing: the start, the output times and the end.
    controller      an object of the controller contract; None for steps of given size.
    rtol, atol      tolerances.
    coupled         one step for the whole batch.
    source          where increments come from.
    first_step      size of the first attempt; None for the automatic choice.
    min_step, max_step   limits of an attempt's size; None for none.
    step_size       of steps of given size; None with a controller.
    max_steps       attempts that a lane may make.
    revisit         steps end at the times that rejected attempts have looked at (`ahead`).
    heuristics      E and S of the accepted steps are wanted.
    graph           which of them are wanted with gradient: "", "E", "S" or "ES".
    differentiate   a gradient is wanted.
    keep_states     the states that accepted steps begin at are wanted.
    check           what looks at the fields once, given the start (rows), drift and diffusion there, and which rows
                    are finite; None for nothing.
    """

    method: SDEMethod
    noise: str
    f: Field
    g: Field
    t: np.ndarray
    controller: Any
    rtol: float
    atol: float
    coupled: bool
    source: Source
    first_step: float | None
    min_step: float | None
    max_step: float | None
    step_size: float | None
    max_steps: int
    revisit: bool
    heuristics: bool
    graph: str
    differentiate: bool
    keep_states: bool = False
    check: Callable[[Tensor, Start, Tensor], None] | None = None

    @property
    def scale(self) -> Scale:
        """How errors are scaled."""
        return Scale(self.method, self.rtol, self.atol, self.coupled)

    @property
    def span(self) -> float:
        """Length of the whole interval."""
        return float(self.t[-1] - self.t[0])

    def held(self, h: np.ndarray) -> np.ndarray:
        """Sizes h (lanes,) between the limits."""
        h = h if self.max_step is None else np.minimum(h, self.max_step)
        return h if self.min_step is None else np.maximum(h, self.min_step)

    @staticmethod
    def step(t: np.ndarray, h: np.ndarray, w: Tensor, levy: Tensor | None, y: Tensor) -> Step:
        """A step (lanes,) as attempts take it; w, levy float64."""
        times, sizes = (torch.from_numpy(np.ascontiguousarray(x)).to(y) for x in (t, h))
        return Step(times, sizes, w.to(y.dtype), None if levy is None else levy.to(y.dtype))


@dataclass
class Taken:
    """What a pass leaves.

    done      statuses, counts, the grid of accepted steps.
    y, path   (T, samples, width) outputs and (T, samples, noises) float64 the Brownian motion at them; y with its
              gradient where the pass has one.
    err, stiff   (steps, lanes) E and S with gradient; None where the pass has none of it.
    w, levy   (steps, samples, noises) increments of the accepted steps, zero behind a sample's last; None where they
              are not wanted.
    drawn     evaluations of the diffusion that each lane needed, (lanes,).
    states    (steps, samples, width) where the accepted steps began, without gradient; None where it is not wanted.
    """

    done: Pass
    y: Tensor
    path: Tensor
    err: Tensor | None
    stiff: Tensor | None
    w: Tensor | None
    levy: Tensor | None
    drawn: np.ndarray
    states: Tensor | None = None
