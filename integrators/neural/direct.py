"""The adaptive pass with gradient: accepted steps keep their graph, rejected attempts are dropped, nothing is replayed.

Where an attempt is accepted or rejected as a whole, that is with one lane, the graph is exactly the replay's, for half
of its evaluations.  With steps per lane an accepted attempt holds other lanes' rejected stages too, and `guarded` looks
at what the gradient makes of those.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .adaptive import adaptive_pass
from .behind import Foreign, leaves_behind
from .estimates import scaled_error, stiffness
from .field import Field
from .replay import Replay
from .scheme import graph_bytes
from .settings import Settings
from .step import Step, Stepper
from .totals import Pass
from .watch import Attempt, Watch

Tensor = torch.Tensor


def direct(
    field: Field, set_: Settings, y0: Tensor, budget: float | None = None, since: int | None = None
) -> tuple[Pass, Replay | None]:
    """Solve from y0 (lanes, width) with gradient; the pass, and its outputs and heuristics.

    budget: bytes that the graph may take.  Where it would take more it is let go, the pass goes on without it, and in
    the place of what has a gradient comes None.  since: None for one lane; else the graph is let go too where an
    attempt of a lane is not finite, or where the first step leads to a node older than this number (`behind`).
    """
    watch = _Heuristics(set_, budget, since, y0.grad_fn)

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
    err, stiff = (watch.of_steps(rows, y0) if name in set_.graph else None for name, rows in wanted)
    return done, Replay(done.y, err, stiff, watch.slopes)


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
    since    as for `direct`.
    start    the node that makes the pass's first state, behind which nobody looks.
    over     whether the graph was let go.
    err, stiff   of every attempt of which lanes were accepted, (lanes in the batch,); `where`, their numbers and which.
    """

    def __init__(self, set_: Settings, budget: float | None, since: int | None, start: Any) -> None:
        self.set, self.budget, self.since, self.start, self.over = set_, budget, since, start, False
        self.steps, self.step_bytes = 0, 0
        self.err: list[Tensor] = []
        self.stiff: list[Tensor] = []
        self.where: list[tuple[np.ndarray, np.ndarray]] = []
        self.slopes: list[Tensor | None] | None = [] if set_.slopes else None

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        if self.over:
            return
        if self.since is not None and self._hopeless(step, at):
            self._let_go(stepper, step)
        if self.over or not at.accept.any():
            return
        with torch.enable_grad():
            if "E" in self.set.graph:
                set_ = self.set
                hooks = set_.hooks.of(at.ids)
                self.err.append(scaled_error(step, stepper.errors(step), set_.rtol, set_.atol, hooks))
            if "S" in self.set.graph:
                self.stiff.append(stiffness(step, stepper.tableau.stiffness))
        self.where.append((at.ids, at.accept))
        if self.slopes is not None:
            self.slopes += self._slopes(step, float(at.t[0]), float(at.end[0]))
        self.steps += 1
        if self.budget is not None:
            self._account(stepper, step)

    def _hopeless(self, step: Step, at: Attempt) -> bool:
        """Whether a graph of this attempt could not be used: lanes did not start, or are not finite, or the first
        attempt leads to a node that is older than the solve."""
        if (at.run & ~at.finite).any():
            return True
        if self.steps > 0:
            return False
        try:
            leaves_behind([step.y1, *step.ks], self.since or 0, self.start)
        except Foreign:
            return True
        return not at.run.all()

    def of_steps(self, values: list[Tensor], y0: Tensor) -> Tensor:
        """`values`, those of `err` or `stiff`, as (n_steps, lanes), zero behind a lane's last step."""
        lanes = len(y0)
        if not values:
            return y0.new_zeros((0, lanes))
        if all(len(accept) == lanes and accept.all() for _, accept in self.where):
            return torch.stack(values)
        count, first, places = np.zeros(lanes, dtype=np.int64), 0, []
        for ids, accept in self.where:
            places.append((count[ids[accept]], ids[accept], first + np.flatnonzero(accept)))
            count[ids] += accept
            first += len(ids)
        index = np.full((count.max(), lanes), first)
        for step, lane, place in places:
            index[step, lane] = place
        whole = torch.cat([*values, y0.new_zeros(1)])
        return whole[torch.from_numpy(index.reshape(-1)).to(y0.device)].view(index.shape)

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
        """Let the graph go where it takes more than the budget."""
        if self.step_bytes == 0:
            self.step_bytes = graph_bytes([step.y1, *step.ks, *self.err, *self.stiff])
        if self.steps * self.step_bytes > (self.budget or 0.0):
            self._let_go(stepper, step)

    def _let_go(self, stepper: Stepper, step: Step) -> None:
        """What follows is computed without gradient, and what was kept of the graph is let go with the pass."""
        self.over, stepper.graph = True, False
        self.err, self.stiff = [], []
        step.y1 = step.y1.detach()
        step.k_end = None if step.k_end is None else step.k_end.detach().clone()
