"""The adaptive pass of an SDE: the controller chooses the steps, and rejected attempts keep what they have drawn.

The rules of the loop (size underflow, non-finite attempts, statuses) are those of `neural.adaptive`.  There is no dense
output: a step ends at every output time, which is exact, where an interpolant would smooth the path.  Sizes and times
of lanes are kept in NumPy float64 on the host; a lane is what a step size belongs to, a sample or the whole batch.

With one step for the whole batch the pass itself may hold the graph (`Plan.graph`): an attempt is accepted or rejected
as a whole, so that the graph of the accepted ones is the discrete adjoint's.  With steps per sample the accepted steps
are logged, with their increments, and `replay` takes them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...core import record as rec
from ...core.contract import ACCEPT, LOG_FACTOR
from ...core.runner import Runner, slots_read
from ...kernels.layout import RUNNING
from ..grid import GridLog
from ..outputs import Outputs, rows_of
from ..rows import Draws
from ..sizes import choose, record_of, resolved
from ..totals import Totals
from .ahead import Ahead
from .attempt import Start, Step, Trial, attempt
from .estimates import measure
from .plan import Plan, Taken
from .start import first_size

Tensor = torch.Tensor


class Loop:
    """A pass under way from y0 (samples, width); arrays of lanes as in `neural.adaptive.Loop`."""

    def __init__(self, plan: Plan, y0: Tensor, noises: int) -> None:
        self.plan, self.y0, self.samples = plan, y0, len(y0)
        self.lanes = 1 if plan.coupled else self.samples
        self.order: Any = plan.method.order(plan.noise)
        self.direct = plan.coupled and plan.differentiate
        self.slots = slots_read(plan.controller)
        if plan.heuristics and plan.method.stiffness is not None:
            self.slots = self.slots | {rec.HS}
        self.ids, self.rows = np.arange(self.lanes), np.arange(self.samples)
        self.t, self.span = np.full(self.lanes, plan.t[0]), np.full(self.lanes, plan.span)
        self.y = self.before = y0 if self.direct else y0.detach()
        self.start: Start | None = self._fields()
        self.draws: Draws | None = Draws(y0.device)
        ok = self._finite(y0, *self.start)
        if plan.check is not None:
            plan.check(y0.detach(), self.start, torch.from_numpy(self.wide(ok).copy()).to(y0.device))
        with torch.no_grad():
            guess = np.full(self.lanes, plan.first_step) if plan.first_step is not None else self._automatic(ok)
        self.control = Runner(plan.controller, self.lanes)
        self.h = np.minimum(self.control.first(guess) if plan.first_step is None else guess, plan.span)
        self.totals = Totals(self.t, ok, 1 + (plan.first_step is None), None)
        self.drawn = np.ones(self.lanes, dtype=np.int64)
        self.run, self.stuck = self.totals.status == RUNNING, np.zeros(self.lanes, dtype=bool)
        self.finite, self.known = np.ones(self.lanes, dtype=bool), np.ones(self.lanes, dtype=bool)
        self.ahead, self.log, self.outputs = Ahead(self.lanes), GridLog(self.lanes), Outputs(plan.t, self.samples)
        self.at = torch.zeros(self.samples, noises, dtype=torch.float64, device=y0.device)
        self.paths = Outputs(plan.t, self.samples)
        self.err: list[Tensor] = []
        self.stiff: list[Tensor] = []
        #: which samples accept at each attempt, and what is kept of it
        self.took: list[np.ndarray] = []
        self.kept: list[tuple[Tensor, Tensor | None]] = []
        self.states: list[Tensor] = []

    # -- before the first attempt --------------------------------------------------------------------------------------

    def _fields(self) -> Start:
        """Drift and diffusion at the present times and states."""
        with torch.set_grad_enabled(self.direct):
            t = torch.from_numpy(self.t).to(self.y)
            return self.plan.f(t, self.y), self.plan.g(t, self.y)

    def _finite(self, *rows: Tensor) -> np.ndarray:
        """Lanes (lanes,) of which all numbers are finite."""
        lanes = torch.stack([self.plan.scale.lanes(torch.isfinite(x.detach())).all(1) for x in rows])
        return lanes.all(0).cpu().numpy()

    def _automatic(self, ok: np.ndarray) -> np.ndarray:
        plan = self.plan
        assert self.start is not None  # evaluated before
        start = self.start[0].detach(), self.start[1].detach()
        t = torch.from_numpy(self.t).to(self.y)
        size = first_size(plan.f, t, self.y.detach(), start, plan.scale, self.order, plan.span)
        return np.where(ok & np.isfinite(size), size, plan.span)

    def wide(self, x: np.ndarray) -> np.ndarray:
        """Numbers of lanes as numbers of samples."""
        return np.broadcast_to(x, (self.samples,))

    # -- an attempt ----------------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """One attempt of every lane that runs.  False, and no attempt, where no lane does."""
        plan = self.plan
        hmin = np.maximum(resolved(self.t), plan.source.finest)
        self._end_stuck(hmin)
        if not self.run.any():
            return False
        goal = plan.t[np.minimum(self.outputs.next[self.ids], len(plan.t) - 1)]
        sizes = choose(self.t, plan.held(self.h), hmin, goal, np.ones(self.lanes), False)
        end, limited = self._end(sizes.size, sizes.lands, goal)
        sizes.lands, sizes.size = end == goal, np.where(self.run, end - self.t, plan.span)
        # a step that was rounded down by the source is no shortened one
        sizes.left, sizes.truncated = plan.t[-1] - self.t, sizes.truncated | (limited & (end < self.t + sizes.want))
        w, levy = plan.source.increment(self.wide(self.t), self.wide(end), self.wide(self.run))
        trial = self._try(plan.step(self.t, sizes.size, w, levy, self.y))
        if self.draws is not None:
            self.draws.warn()
            self.draws = None
        with torch.no_grad():
            seen = measure(plan.scale, trial, self.y, self.before, sizes.size, self.slots)
        cost = plan.method.nf - self.known.astype(np.int64)
        out = self.control.decide(record_of(seen, sizes, self.order, cost, plan.rtol, self.span))
        self.finite = seen[rec.FINITE] == 1.0
        forced = False if plan.min_step is None else sizes.size <= plan.min_step * (1.0 + 1e-10)
        accept = self.run & self.finite & ((out[ACCEPT] > 0.5) | forced)
        self.drawn = self.drawn + np.where(self.run, plan.method.ng - self.known, 0)
        if accept.any():
            self._keep(trial, seen, accept, end, sizes.size, w, levy)
            plan.source.accept(self.wide(accept))
        if plan.revisit:
            self.ahead.reached(accept, end)
            self.ahead.keep(self.run & ~accept, end)
        self._decided(out, sizes.size, np.where(sizes.truncated & accept, sizes.want, sizes.size), accept, end, cost)
        return True

    def _end_stuck(self, hmin: np.ndarray) -> None:
        """End the lanes whose size fell below `hmin` after a rejection, or is no number."""
        ended = self.run & ((self.stuck & ~(self.h >= hmin)) | np.isnan(self.h))
        if ended.any():
            self.totals.underflow(self.ids[ended], self.finite[ended])
            self.run = self.run & ~ended

    def _end(self, size: np.ndarray, lands: np.ndarray, goal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where attempts end, and which of them are limited by what was looked at before; each (lanes,)."""
        source, end, limited = self.plan.source, np.where(lands, goal, self.t + size), np.zeros(self.lanes, dtype=bool)
        stop = goal
        if self.plan.revisit:
            end, limited = self.ahead.limited(end)
            stop = np.minimum(goal, self.ahead.nearest())
        snapped = source.snapped(self.t, end)
        # what is left to the next stop must not be too short for the source
        snapped = np.where(stop - snapped < 0.5 * source.finest, stop, snapped)
        return np.where(lands | limited, end, snapped), limited

    def _try(self, step: Step) -> Trial:
        """The trial step, with its graph where the pass has one."""
        with torch.set_grad_enabled(self.direct):
            trial = attempt(self.plan.method, self.plan.f, self.plan.g, step, self.y, self.start)
        self.start = trial.start
        return trial

    # -- after the decision --------------------------------------------------------------------------------------------

    def _keep(
        self,
        trial: Trial,
        seen: dict[int, np.ndarray],
        accept: np.ndarray,
        end: np.ndarray,
        size: np.ndarray,
        w: Tensor,
        levy: Tensor | None,
    ) -> None:
        """Log the steps that are accepted, take the outputs at their ends, and move on."""
        plan, device = self.plan, self.y.device
        self.log.add(self.ids, accept, self.t, end, size, seen[rec.ERR], seen.get(rec.HS, size))
        wide = self.wide(accept)
        mask = torch.from_numpy(wide.copy()).to(device)[:, None]
        self.took.append(wide)
        if not plan.coupled and plan.differentiate:
            self.kept.append((w, levy))
        if plan.keep_states:
            self.states.append(self.y.detach())
        with torch.set_grad_enabled(self.direct):
            if self.direct and "E" in plan.graph:
                self.err.append(plan.scale.error(trial, self.y, self.before))
            if self.direct and "S" in plan.graph:
                self.stiff.append(plan.scale.stiffness(trial))
            whole = bool(accept.all())
            self.y = trial.y1 if whole else torch.where(mask, trial.y1, self.y)
            self.before = trial.other if whole else torch.where(mask, trial.other, self.before)
        self.at = self.at + torch.where(mask, w, 0.0)
        rows = np.flatnonzero(wide)
        start, until = (self.wide(x)[rows] for x in (self.t, end))
        for output, position, _ in self.outputs.groups(rows, start, until):
            self.outputs.add(output, rows[position], rows_of(self.y, rows[position]))
            self.paths.add(output, rows[position], rows_of(self.at, rows[position]))
        self.start = None

    def _decided(
        self,
        out: list[np.ndarray],
        size: np.ndarray,
        base: np.ndarray,
        accept: np.ndarray,
        end: np.ndarray,
        cost: np.ndarray,
    ) -> None:
        """Take over times and next sizes, count the attempt, and end the lanes that have arrived or used up their
        attempts.  base: what the controller's factor multiplies."""
        run, totals = self.run, self.totals
        with np.errstate(all="ignore"):
            self.h = np.where(run, np.minimum(base * np.exp(out[LOG_FACTOR]), self.plan.span), self.h)
        self.t = np.where(accept, end, self.t)
        self.stuck = run & ~accept
        self.known = self.stuck
        fresh = accept & (totals.naccept == 0)
        totals.h_first[fresh] = self.h[fresh]
        totals.count(self.ids, run, accept, self.stuck, cost, out)
        self.run = totals.end(self.ids, run, accept & (end == self.plan.t[-1]), self.plan.max_steps)
        totals.t_last, totals.h_next = self.t.copy(), self.h.copy()

    def result(self) -> Taken:
        """What the pass gives when no lane runs any more."""
        plan, lead = self.plan, torch.zeros_like(self.at)
        with torch.set_grad_enabled(self.direct):
            y = self.outputs.assemble(self.y0 if self.direct else self.y0.detach())
            err, stiff = (
                None if name not in plan.graph or not self.direct else _stacked(rows, self.y0)
                for name, rows in (("E", self.err), ("S", self.stiff))
            )
        grid = self.log.grid(np.full(self.lanes, plan.t[0]), rec.HS in self.slots)
        done = self.totals.result(grid, self.y.detach(), None, 0)
        w = levy = states = None
        if self.kept:
            w = self._in_steps([dw for dw, _ in self.kept], torch.zeros_like(self.at))
            levies = [dh for _, dh in self.kept if dh is not None]
            levy = self._in_steps(levies, torch.zeros_like(self.at)) if levies else None
        if plan.keep_states:
            states = self._in_steps(self.states, self.y0.detach())
        return Taken(done, y, self.paths.assemble(lead), err, stiff, w, levy, self.drawn, states)

    def _in_steps(self, rows: list[Tensor], blank: Tensor) -> Tensor:
        """What was kept of attempts in which some accepted, each (samples, k), in the order of each sample's steps:
        (steps, samples, k), `blank` (samples, k) behind its last one."""
        count = np.zeros(self.samples, dtype=np.int64)
        index = np.full((len(rows), self.samples), len(rows))
        for i, accept in enumerate(self.took):
            some = np.flatnonzero(accept)
            index[count[some], some] = i
            count[some] += 1
        whole = torch.stack([*rows, blank])
        step, sample = index[: count.max(initial=0)], np.arange(self.samples)
        return whole[torch.from_numpy(step).to(whole.device), torch.from_numpy(sample).to(whole.device)]


def _stacked(rows: list[Tensor], y0: Tensor) -> Tensor:
    """Numbers of one lane as (steps, 1)."""
    return torch.stack(rows) if rows else y0.new_zeros((0, 1))
