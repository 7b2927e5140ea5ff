"""The adaptive pass with gradient: accepted steps keep their graph, rejected attempts are dropped, nothing is replayed.

This is possible where an attempt is accepted or rejected as a whole, that is for a batch with one step size: the graph
is then exactly the replay's, for half of its evaluations.  With steps per sample an accepted attempt holds other
samples' rejected, possibly NaN, stages; those solves are replayed.
"""

from __future__ import annotations

import numpy as np
import torch

from .adaptive import adaptive_pass
from .estimates import scaled_error, stiffness
from .field import Field
from .replay import Replay
from .settings import Settings
from .step import Step, Stepper
from .totals import Pass
from .watch import Attempt, Watch

Tensor = torch.Tensor


def direct(field: Field, set_: Settings, y0: Tensor) -> tuple[Pass, Replay]:
    """Solve from y0 (1, width) with gradient; the pass, and its outputs and heuristics."""

    def slope(t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            return field(t, y)

    watch = _Heuristics(set_)
    with torch.no_grad():
        done = adaptive_pass(slope, set_, y0, want_output=True, watch=watch, stepper_type=_GraphStepper)
    assert done.y is not None
    wanted = zip("ES", (watch.err, watch.stiff), strict=True)
    return done, Replay(done.y, *(_rows(rows, y0) if name in set_.graph else None for name, rows in wanted))


def _rows(rows: list[Tensor], y0: Tensor) -> Tensor:
    """One number a step as (n_steps, 1)."""
    return torch.stack(rows) if rows else y0.new_zeros((0, 1))


class _GraphStepper(Stepper):
    """Takes attempts that are differentiable, and measured like others."""

    graph = True

    def attempt(self, t: np.ndarray, h: np.ndarray, y: Tensor, k1: Tensor) -> Step:
        with torch.enable_grad():
            step = self.step(t, h, y, k1)
        last = self.tableau.stages - 1
        torch.mul(step.ks[last], step.h, out=self.rows[last])
        return step

    def extend(self, step: Step) -> None:
        with torch.enable_grad():
            self.extend_step(step)

    def dense(self, step: Step, lane: np.ndarray, theta: np.ndarray) -> Tensor:
        with torch.enable_grad():
            return self.dense_step(step, lane, theta)


class _Heuristics(Watch):
    """Collects E and S of the accepted steps, with gradient."""

    def __init__(self, set_: Settings) -> None:
        self.set = set_
        self.err: list[Tensor] = []
        self.stiff: list[Tensor] = []

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        if not (self.set.graph and at.accept.all()):
            return
        with torch.enable_grad():
            if "E" in self.set.graph:
                self.err.append(scaled_error(step, stepper.errors(step), self.set.rtol, self.set.atol, self.set.hooks))
            if "S" in self.set.graph:
                self.stiff.append(stiffness(step, stepper.tableau.stiffness))
