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
from .scheme import graph_bytes
from .settings import Settings
from .step import Step, Stepper
from .totals import Pass
from .watch import Attempt, Watch

Tensor = torch.Tensor


def direct(field: Field, set_: Settings, y0: Tensor, budget: float | None = None) -> tuple[Pass, Replay | None]:
    """Solve from y0 (1, width) with gradient; the pass, and its outputs and heuristics.

    budget: bytes that the graph may take.  Where it would take more it is let go, the pass goes on without it, and in
    the place of what has a gradient comes None.
    """
    watch = _Heuristics(set_, budget)

    def slope(t: Tensor, y: Tensor) -> Tensor:
        with torch.set_grad_enabled(not watch.over):
            return field(t, y)

    with torch.no_grad():
        done = adaptive_pass(slope, set_, y0, want_output=True, watch=watch, stepper_type=_GraphStepper)
    if watch.over:
        done.y = None
        return done, None
    assert done.y is not None
    wanted = zip("ES", (watch.err, watch.stiff), strict=True)
    err, stiff = (_rows(rows, y0) if name in set_.graph else None for name, rows in wanted)
    return done, Replay(done.y, err, stiff, watch.slopes)


def _rows(rows: list[Tensor], y0: Tensor) -> Tensor:
    """One number a step as (n_steps, 1)."""
    return torch.stack(rows) if rows else y0.new_zeros((0, 1))


class _GraphStepper(Stepper):
    """Takes attempts that are differentiable, and measured like others."""

    graph = True

    def attempt(self, t: np.ndarray, h: np.ndarray, y: Tensor, k1: Tensor) -> Step:
        if not self.graph:
            return super().attempt(t, h, y, k1)
        with torch.enable_grad():
            step = self.step(t, h, y, k1)
        last = self.tableau.stages - 1
        torch.mul(step.ks[last], step.h, out=self.rows[last])
        return step

    def extend(self, step: Step) -> None:
        if not self.graph:
            super().extend(step)
            return
        with torch.enable_grad():
            self.extend_step(step)

    def dense(self, step: Step, lane: np.ndarray, theta: np.ndarray) -> Tensor:
        if not self.graph:
            return super().dense(step, lane, theta)
        with torch.enable_grad():
            return self.dense_step(step, lane, theta)


class _Heuristics(Watch):
    """Collects E and S of the accepted steps, with gradient, and keeps account of what the graph takes.

    budget   bytes that the graph may take; None: any.
    over     whether it would take more.
    """

    def __init__(self, set_: Settings, budget: float | None) -> None:
        self.set, self.budget, self.over = set_, budget, False
        self.steps, self.step_bytes = 0, 0
        self.err: list[Tensor] = []
        self.stiff: list[Tensor] = []
        self.slopes: list[Tensor | None] | None = [] if set_.slopes else None

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        if self.over or not at.accept.all():
            return
        with torch.enable_grad():
            if "E" in self.set.graph:
                self.err.append(scaled_error(step, stepper.errors(step), self.set.rtol, self.set.atol, self.set.hooks))
            if "S" in self.set.graph:
                self.stiff.append(stiffness(step, stepper.tableau.stiffness))
        if self.slopes is not None:
            self.slopes += self._slopes(step, float(at.t[0]), float(at.end[0]))
        if self.budget is not None:
            self._account(stepper, step)

    def _slopes(self, step: Step, t: float, end: float) -> list[Tensor | None]:
        """The slopes at the outputs in the step from t to `end`: that of dense output, and func's own at its end."""
        due, dense = self.set.t * self.set.sign, self.set.tableau.P
        inside = self.set.t[(due > t * self.set.sign) & (due <= end * self.set.sign)]
        found: list[Tensor | None] = []
        for theta in (inside - t) / (end - t):
            if theta == 1.0 or len(step.ks) < len(dense):
                found.append(None if step.k_end is None else step.k_end[0].detach())
                continue
            degrees = np.arange(1, dense.shape[1] + 1)
            weights = torch.from_numpy(dense @ (degrees * theta ** (degrees - 1))).to(step.y1)
            found.append(weights @ torch.stack([k.detach()[0] for k in step.ks]))
        return found

    def _account(self, stepper: Stepper, step: Step) -> None:
        self.steps += 1
        if self.step_bytes == 0:
            self.step_bytes = graph_bytes([step.y1, *step.ks, *self.err, *self.stiff])
        if self.steps * self.step_bytes > (self.budget or 0.0):
            self.over, stepper.graph = True, False
            self.err, self.stiff = [], []
            # what follows is computed without gradient, and what was kept of it is let go with the pass
            step.y1 = step.y1.detach()
            step.k_end = None if step.k_end is None else step.k_end.detach().clone()
