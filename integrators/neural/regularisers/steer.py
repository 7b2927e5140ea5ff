"""STEER: the end time is drawn anew for every solve.

    t1' ~ U(t1 - b, t1 + b),    loss taken on y(t1')

A. Ghosh, H. Behl, E. Dupont, P. Torr, V. Namboodiri, STEER: Simple Temporal Regularization For Neural ODEs, NeurIPS
2020 (arXiv:2006.10711).  There is no penalty: as in the paper the task's loss is computed on the state at the drawn
time, so the last output in training mode is y(t1').  The outputs before it stay at the user's times; b must therefore
be smaller than the last interval.
"""

from __future__ import annotations

from typing import Any

import torch

from ...core import options
from .draws import uniform
from .plan import Func, Reading, Regulariser, Solver, Term

Tensor = torch.Tensor


class Steer(Regulariser):
    """b: half the width of the interval from which the end time is drawn, positive, in t's unit; paper: from .124 to .5
    of [0, 1]."""

    name = "steer"
    ends_early = True

    def __init__(self, b: float) -> None:
        self.b = options.positive("steer: b", b)

    def end(self, t: Tensor, generator: torch.Generator | None) -> Tensor:
        last = float((t[-1] - t[-2]).abs())
        if not self.b < last:
            raise ValueError(f"steer: b = {self.b:g} must be smaller than the last interval of t, {last:g}")
        drawn = t.clone()
        drawn[-1] += self.b * (2.0 * float(uniform((), generator)) - 1.0)
        return drawn

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        return Term(_nothing)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "b": self.b}


def _nothing(reading: Reading) -> Tensor:
    return reading.y.new_zeros(())
