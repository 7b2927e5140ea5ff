"""The replay: the recorded grid taken again with gradient, step sizes being constants.

This is the discrete adjoint of the solve.  The adaptive pass has found the grid; autograd through the same steps on
that grid gives the exact gradient of the numerical solution with frozen step sizes, rejected attempts leave nothing
behind, and the error and stiffness estimates of every step carry gradient too.  With checkpoints only some states are
kept, and the steps between are evaluated again in the backward pass (`recompute`).

A lane that has finished, or that failed, must not reach the others' gradients.  Its inputs are cut from the graph
(`where` on the way in), its results are dropped (`where` on the way out), and in between func sees the lane's last good
state, at which it is known to be finite: a zero gradient times an infinite derivative would be NaN whatever is selected
afterwards.  A method that is not FSAL has not evaluated func at a lane's last state, so there such a lane lends
another's.  With `compact` such lanes are not evaluated at all.

Memory and exactness of the replayed discrete adjoint: X. Zhuang et al., Adaptive checkpoint adjoint method for gradient
estimation in neural ODE, ICML 2020 (arXiv:2006.02493).  Heuristics with gradient: A. Pal, Y. Ma, V. Shah, C.
Rackauckas, ICML 2021 (PMLR 139).
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.checkpoint import checkpoint

from . import recompute
from .behind import Foreign
from .clock import Clock
from .estimates import scaled_error, stiffness
from .field import Field
from .outputs import Outputs, rows_of
from .recompute import Results, Task
from .scheme import Chosen, Scheme
from .settings import Settings
from .step import Step, Stepper, lend
from .totals import Pass

Tensor = torch.Tensor


@dataclass
class Replay:
    """y (T, lanes, width), and (n_steps, lanes) E and S with gradient (None where not asked for or not defined).

    slopes: of a pass with one lane that was asked for them, those (width,) at the outputs but the first, without
    gradient; None where the step has not got one.
    """

    y: Tensor
    err: Tensor | None
    stiff: Tensor | None
    slopes: list[Tensor | None] | None = None


@dataclass
class _Segment:
    """Lanes `ids` take steps start..stop-1 of the grid; `live` (steps, len(ids)) says which of them do."""

    ids: np.ndarray
    start: int
    stop: int
    live: np.ndarray


def replay(field: Field, set_: Settings, done: Pass, y0: Tensor, scheme: Scheme) -> Replay:
    """Take the steps of `done.grid` from y0 (lanes, width), with gradient; `scheme`: which states are kept for it."""
    try:
        return _replay(field, set_, done, y0, scheme, foreign=False)
    except Foreign:
        return _replay(field, set_, done, y0, scheme, foreign=True)


def _replay(field: Field, set_: Settings, done: Pass, y0: Tensor, scheme: Scheme, foreign: bool) -> Replay:
    """`replay`; foreign: func uses what is computed outside of the solve, or its own earlier results."""
    lanes = len(y0)
    outputs = Outputs(set_.t, lanes, done.event_t)
    if len(done.grid.t) == 0:
        # nobody moved: func is not evaluated, and there is nothing to differentiate but y0
        empty = y0.new_zeros((0, lanes))
        err, stiff = (empty if name in set_.graph else None for name in "ES")
        return Replay(outputs.assemble(y0), err, stiff)
    work = _Work(field, set_, done, outputs, foreign)
    (y,) = lend(done.start_ok, y0)
    k1: Tensor | None = None
    start, before = 0, np.arange(lanes)
    for ids, stop in _batches(done.grid.count, len(done.grid.t), set_.compact):
        if len(ids) < len(y):
            index = torch.from_numpy(np.searchsorted(before, ids)).to(y.device)
            y, k1 = y[index], None if k1 is None else k1[index]
        before = ids
        while start < stop:
            chosen = scheme.next(stop - start, len(done.grid.t) - start)
            segment = _Segment(ids, start, start + chosen.steps, _live(done.grid.count[ids], start, chosen.steps))
            y, k1 = work.run(segment, y, k1, chosen)
            start = segment.stop
    return Replay(outputs.assemble(y0), work.heuristic(work.err, lanes), work.heuristic(work.stiff, lanes))


def _live(count: np.ndarray, start: int, steps: int) -> np.ndarray:
    return np.arange(start, start + steps)[:, None] < count


def _batches(count: np.ndarray, steps: int, compact: bool) -> Iterator[tuple[np.ndarray, int]]:
    """(lanes, the step at which they stop) of the parts of a replay, lanes with `count` (lanes,) steps each.

    All lanes in one part, or with `compact` those that are left, until a quarter of them is done.
    """
    ids, start = np.arange(len(count)), 0
    while start < steps:
        stop = steps
        if compact:
            keep = np.flatnonzero(count[ids] > start)
            if 4 * len(keep) <= 3 * len(ids) or (start == 0 and len(keep) < len(ids)):
                ids = ids[keep]
            stop = max(int(np.sort(count[ids])[len(ids) // 4]), start + 1)
        yield ids, stop
        start = stop


class _Work:
    """Runs segments and keeps what they yield, in the order of the steps."""

    def __init__(self, field: Field, set_: Settings, done: Pass, outputs: Outputs, foreign: bool) -> None:
        self.field, self.set, self.done, self.outputs, self.foreign = field, set_, done, outputs, foreign
        self.clock = Clock(done.y_last.dtype) if set_.clock is None else set_.clock
        self.stepper: Stepper | None = None
        self.err: list[tuple[np.ndarray, Tensor]] = []
        self.stiff: list[tuple[np.ndarray, Tensor]] = []

    def run(self, seg: _Segment, y: Tensor, k1: Tensor | None, chosen: Chosen) -> tuple[Tensor, Tensor | None]:
        """Take the steps of `seg` from y, k1; state and slope at their end."""
        lanes, width = y.shape
        if self.stepper is None:
            self.stepper = Stepper(self.set.tableau, self.field, lanes, width, y.dtype, y.device)
            self.stepper.wide, self.stepper.stops = self.clock.wide, self.set.stops
        elif self.stepper.lanes != lanes:
            self.stepper = self.stepper.resized(lanes)
        steps = _Steps(self.field, self.set, self.done, self.clock, self.stepper, seg, self._plan(seg))
        if chosen.block is None:
            parts = [steps.run(seg.start, seg.stop, y, k1)]
            chosen.taken([x for x in (*parts[0][:4], *parts[0][4]) if x is not None])
        else:
            task = Task(steps.run, seg.start, seg.stop, chosen.block, chosen.slots, steps.planned)
            parts = self._again(task, y, k1)
        for (_, output, ids, _, _), value in zip(steps.plan, (v for part in parts for v in part[4]), strict=True):
            self.outputs.add(output, ids, value)
        for _, _, err, stiff, _ in parts:
            if err is not None:
                self.err.append((seg.ids, err))
            if stiff is not None:
                self.stiff.append((seg.ids, stiff))
        return parts[-1][:2]

    def _again(self, task: Task, y: Tensor, k1: Tensor | None) -> list[Results]:
        """The results of steps that the backward pass takes again."""
        if not self.foreign:
            return [recompute.taken(task, y, k1)]
        parts: list[Results] = []
        for first, last in zip(task.firsts(), task.firsts()[1:], strict=False):
            parts.append(checkpoint(task.run, first, last, y, k1, use_reentrant=False))
            y, k1 = parts[-1][:2]
        return parts

    def _plan(self, seg: _Segment) -> list:
        """(step, output, lane ids, rows, theta or None) for every group of outputs the segment passes."""
        grid, plan = self.done.grid, []
        for j in range(seg.start, seg.stop):
            rows = np.flatnonzero(seg.live[j - seg.start])
            ids = seg.ids[rows]
            for output, lane, theta in self.outputs.groups(ids, grid.t[j, ids], grid.end[j, ids]):
                plan.append((j, output, ids[lane], rows[lane], theta))
        return plan

    def heuristic(self, parts: list[tuple[np.ndarray, Tensor]], lanes: int) -> Tensor | None:
        """Segments' values as one (n_steps, lanes) tensor; lanes that a segment left out are zero."""
        if not parts:
            return None
        rows = []
        for ids, value in parts:
            if len(ids) < lanes:
                index = torch.from_numpy(ids).to(value.device)
                value = value.new_zeros((len(value), lanes)).index_copy(1, index, value)
            rows.append(value)
        return torch.cat(rows)


class _Steps:
    """The steps of a segment as a pure function of a state, its slope, and func's parameters.

    It keeps nothing of what it yields: the backward pass holds it, and what it would hold would hold the graph.
    """

    def __init__(
        self, field: Field, set_: Settings, done: Pass, clock: Clock, stepper: Stepper, seg: _Segment, plan: list
    ) -> None:
        self.field, self.set, self.grid, self.clock = field, set_, done.grid, clock
        self.stepper, self.seg, self.plan, self.planned = stepper, seg, plan, [item[0] for item in plan]

    def run(self, first: int, last: int, y: Tensor, k1: Tensor | None) -> Results:
        """Take the steps first..last-1.

        Returns state and slope at the end (None: not known yet), E and S of the steps (None: not wanted), each
        (steps, lanes), and the values of the outputs in the plan.
        """
        grid, set_, seg, stepper = self.grid, self.set, self.seg, self.stepper
        errs: list[Tensor] = []
        stiffs: list[Tensor] = []
        values: list[Tensor] = []
        if k1 is None and set_.tableau.fsal:
            begin = np.broadcast_to(set_.t[0], self.grid.count.shape)[seg.ids]
            k1 = self.field(self._asked_at(begin, y), y)
        todo = iter(self.plan[slice(*(bisect.bisect_left(self.planned, j) for j in (first, last)))])
        due = next(todo, None)
        for j in range(first, last):
            live = seg.live[j - seg.start]
            mask = None if live.all() else torch.from_numpy(live).to(y.device)[:, None]
            start, y_in, k_in = self._inputs(j, live, mask, y, k1)
            step = stepper.step(start, grid.h[j, seg.ids], y_in, k_in)
            self._estimate(step, mask, errs, stiffs)
            # without FSAL: the lanes that dense stages may be evaluated for
            goes_on = None if set_.tableau.fsal else grid.count[seg.ids] > j + 1
            while due is not None and due[0] == j:
                _, _, _, rows, theta = due
                if goes_on is not None and theta is not None:
                    goes_on[rows] = True
                at_end = theta is None
                values.append(rows_of(step.y1, rows) if at_end else stepper.dense_step(step, rows, theta, goes_on))
                due = next(todo, None)
            y, k1 = self._end(step, mask, y, k1)
        return y, k1, torch.stack(errs) if errs else None, torch.stack(stiffs) if stiffs else None, values

    def _inputs(
        self, j: int, live: np.ndarray, mask: Tensor | None, y: Tensor, k1: Tensor | None
    ) -> tuple[np.ndarray, Tensor, Tensor]:
        """Start times, states and first slopes of step j: lanes that rest are cut from the graph, or lent another's.

        live: which lanes take the step; mask: the same as a column, None where all do.
        """
        start = self.grid.t[j, self.seg.ids]
        if self.set.tableau.fsal:
            assert k1 is not None  # the last step's
            if j > 0:
                k1 = self._after_jump(start, live, y, k1)
            if mask is None:
                return start, y, k1
            return start, torch.where(mask, y, y.detach()), torch.where(mask, k1, k1.detach())
        start = np.where(live, start, start[int(np.argmax(live))])
        (y,) = lend(live, y)
        if k1 is None or self._jumped(start, live).any():
            k1 = self.field(self._asked_at(start, y), y)
        (k1,) = lend(live, k1)
        return start, y, k1

    def _asked_at(self, start: np.ndarray, y: Tensor) -> Tensor:
        """The times at which steps of the segment's lanes begin, as func receives them; y: their states."""
        sign = np.broadcast_to(self.set.sign, self.grid.count.shape)[self.seg.ids]
        return self.set.times(start, start, sign, self.clock, y.device)

    def _jumped(self, start: np.ndarray, live: np.ndarray) -> np.ndarray:
        """Which of the lanes that take the step begin it where the field jumps."""
        return live & (False if self.set.stops is None else self.set.stops.at_jump(start))

    def _after_jump(self, start: np.ndarray, live: np.ndarray, y: Tensor, k1: Tensor) -> Tensor:
        """The first slopes k1, evaluated anew where the field jumps at the start of the step."""
        jumped = self._jumped(start, live)
        if not jumped.any():
            return k1
        rest = torch.from_numpy(~live).to(y.device)[:, None]
        anew = self.field(self._asked_at(start, y), torch.where(rest, y.detach(), y))
        return torch.where(torch.from_numpy(jumped).to(y.device)[:, None], anew, k1)

    def _estimate(
        self, step: Step, mask: Tensor | None, errs: list[Tensor], stiffs: list[Tensor]
    ) -> None:
        """Append E and S of the step where they are wanted, zero for lanes that rest."""
        set_ = self.set
        if "E" in set_.graph:
            hooks = set_.hooks.of(self.seg.ids)
            err = scaled_error(step, self.stepper.errors(step), set_.rtol, set_.atol, hooks)
            errs.append(err if mask is None else torch.where(mask[:, 0], err, 0.0))
        if "S" in set_.graph:
            stiff = stiffness(step, set_.tableau.stiffness)
            stiffs.append(stiff if mask is None else torch.where(mask[:, 0], stiff, 0.0))

    def _end(self, step: Step, mask: Tensor | None, y: Tensor, k1: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """State and slope after the step; lanes that rest keep y and k1."""
        if mask is None:
            return step.y1, step.k_end
        y = torch.where(mask, step.y1, y)
        if not self.set.tableau.fsal:
            return y, step.k_end  # of lanes that go on; the others lend
        assert step.k_end is not None and k1 is not None  # FSAL
        return y, torch.where(mask, step.k_end, k1)
