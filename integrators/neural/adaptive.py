"""The adaptive pass: solve without gradient, let the controller choose the steps, and record the grid of accepted
steps.

The rules of the loop (size underflow, truncation at the end, what a non-finite attempt means, statuses) are those of
the compiled engine, `integrators/kernels/pieces/`.  With `Settings.even`, which that engine has not, a step is the
largest of equal ones that are no longer than the controller asks for and end at the end time,

    h = left / ceil(left / want),

where truncation would leave a last step of any size, however short (DVERK of T. E. Hull, W. H. Enright and K. R.
Jackson, 1976, does so for the last two steps).  Everything of size (lanes,) is kept in NumPy float64 on the host,
whatever the dtype and device of the state: times in float64 cost nothing there, and one small transfer an attempt is
all the synchronisation there is.

Without FSAL the slope at a step's start is evaluated when the step is first attempted, of all lanes where one has
accepted, if dense output has not evaluated it at the end of the step before.  A lane whose slope there is not finite,
but which dense output needs, ends where that step began.

Lanes that are done stay where they are, with h = 0.  With `Settings.compact` they leave the batch instead, so that they
cost nothing; func must then treat every row alike, whatever the number of rows.
"""

from __future__ import annotations

import functools

import numpy as np
import torch

from ..core import record as rec
from ..core.contract import ACCEPT, LOG_FACTOR
from ..core.runner import Runner, slots_read
from ..kernels.layout import RUNNING
from .clock import Clock
from .estimates import measure
from .grid import GridLog
from .outputs import Outputs, rows_of
from .rows import Draws
from .settings import Settings
from .sizes import Sizes, choose, record_of, resolved
from .start import first_step
from .step import Slope, Step, Stepper
from .totals import Pass, Totals
from .watch import Attempt, Watch

Tensor = torch.Tensor


def adaptive_pass(
    field: Slope,
    set_: Settings,
    y0: Tensor,
    want_output: bool,
    watch: Watch | None = None,
    active: np.ndarray | None = None,
    stepper_type: type[Stepper] = Stepper,
) -> Pass:
    """Solve from y0 (lanes, width), without gradient unless `stepper_type` makes one.

    want_output: evaluate the outputs too (else they come from the replay).  watch: what is told of every attempt.
    active: which lanes (lanes,) are to be solved; the others rest where they are, with the status IDLE.  None: all.
    """
    loop = Loop(field, set_, y0, want_output, watch, active, stepper_type)
    while loop.step():
        pass
    return loop.result()


class Loop:
    """A pass under way.  What becomes of all lanes is in `totals`; these arrays are of the lanes in the batch:

    ids      the lanes' numbers; all arrays below are in this order.
    y, k1    (lanes in the batch, width) state, and the slope there.
    t, h     time of the state, and the size to attempt next, positive.
    t_end, sign, span   where the lane's solve ends, in which direction, and how long it is.
    run      whether the lane still runs.
    stuck    whether its last attempt was rejected.
    finite   whether its last attempt was finite.
    lacking  without FSAL, or where the field jumps: whether k1 is not the slope at y yet.
    owing    likewise: whether the lane's next attempt pays for that slope.
    """

    def __init__(
        self,
        field: Slope,
        set_: Settings,
        y0: Tensor,
        want_output: bool,
        watch: Watch | None,
        active: np.ndarray | None,
        stepper_type: type[Stepper],
    ) -> None:
        lanes, tableau = len(y0), set_.tableau
        self.field, self.set, self.y0, self.watch = field, set_, y0, watch
        self.want_output, self.dense = want_output, watch is not None and watch.dense
        ends = set_.t[0], set_.t[-1], set_.sign
        self.t0, self.t_end, self.sign = (np.broadcast_to(x, (lanes,)).astype(np.float64) for x in ends)
        self.span = np.abs(self.t_end - self.t0)
        #: slopes may be lacking at the start of a step
        self.lazy = not tableau.fsal or (set_.stops is not None and len(set_.stops.jumps) > 0)
        self.slots = slots_read(set_.controller)
        if set_.heuristics and tableau.stiffness is not None:
            self.slots = self.slots | {rec.HS}
        self.clock = Clock(y0.dtype, self.t0, self.t_end - self.t0) if set_.clock is None else set_.clock

        self.k1, h, start_ok, spent = first_step(field, set_, y0, self.sign, self.clock)
        self.checks = 0
        if set_.check_start is not None:
            set_.check_start(self._slope_at_start, y0, self.k1, torch.from_numpy(start_ok).to(y0.device))
        self.control = Runner(set_.controller, lanes)
        self.h = self.control.first(h) if set_.first_step is None else h
        self.stepper = stepper_type(tableau, field, lanes, y0.shape[1], y0.dtype, y0.device)
        self.stepper.stops = set_.stops
        self.draws = Draws(y0.device) if set_.watch_draws else None
        # without FSAL the pass looks at the outputs too when the replay gives them: they need a slope that must be
        # finite
        self.events = None if set_.event is None else set_.event.begin(self.t0, self.sign, y0, self.clock)
        event_t = None if self.events is None else self.events.times
        looks = want_output or not tableau.fsal or set_.between
        self.outputs = Outputs(set_.t, lanes, event_t) if looks else None
        self.log = GridLog(lanes)
        self.totals = Totals(self.t0, start_ok, spent, active)
        if event_t is not None:
            self.totals.arrive(event_t == self.t0)

        self.ids, self.y, self.y_last, self.t = np.arange(lanes), y0, y0, self.t0.copy()
        self.run, self.stuck = self.totals.status == RUNNING, np.zeros(lanes, dtype=bool)
        self.finite = np.ones(lanes, dtype=bool)
        self.lacking, self.owing = np.zeros(lanes, dtype=bool), np.zeros(lanes, dtype=bool)

    def _slope_at_start(self, y: Tensor) -> Tensor:
        self.checks += 1
        return self.field(self._asked_at(self.t0), y)

    def _asked_at(self, t: np.ndarray) -> Tensor:
        """The times t (lanes in the batch,), at which steps begin, as func receives them."""
        return self.set.times(t, t, self.sign, self.clock, self.y0.device)

    def step(self) -> bool:
        """One attempt of every lane that runs.  False, and no attempt, where no lane does."""
        set_, hmin = self.set, resolved(self.t)
        self._end_stuck(hmin)
        if not self.run.any():
            return False
        if set_.compact and 4 * np.count_nonzero(self.run) <= 3 * len(self.ids):
            hmin = hmin[self._take_out()]
        hooks, sign = set_.hooks.of(self.ids), self.sign
        goal = self.t_end if set_.stops is None else set_.stops.next(self.t, self.t_end, sign)
        sizes = choose(self.t, hooks.held(self.h), hmin, goal, sign, set_.even)
        fsal = set_.tableau.fsal
        anew = self.lazy and self._first_slopes()
        cost = set_.tableau.stages - 1 + self.owing
        if self.lazy:
            self.owing = self.owing & ~self.run
        if hooks.step is not None:
            hooks.step(float(self.t[0]), self.y[0], float(sizes.size[0]))
        step = self._attempt(sizes)
        seen = measure(self.stepper, step, set_.rtol, set_.atol, self.slots, hooks)
        order, rtol = set_.tableau.embedded_order + 1, hooks.rtol(set_.rtol)
        out = self.control.decide(record_of(seen, sizes, order, cost, rtol, self.span))

        self.finite = seen[rec.FINITE] == 1.0
        accept = self.run & self.finite & ((out[ACCEPT] > 0.5) | hooks.forced(sizes.size))
        end = np.where(sizes.lands, goal, self.t + sign * sizes.size)
        reach, past = accept, self._past(accept, end, step)
        if not fsal:
            accept, reach = self._end_slopes(step, accept, end, cost, past)
        some = bool(accept.any())
        if some:
            if self.events is not None:
                past = past & accept
                self.events.locate(self.ids, past, self.t, end, step.y1, functools.partial(self.stepper.dense, step))
            self._keep(step, seen, accept, end, sizes.size)
            sizes.lands = (sizes.lands & (goal == self.t_end)) | past
        if self.watch is not None:
            attempt = Attempt(self.ids, self.t, end, sign * sizes.size, self.run, self.finite, accept, anew)
            self.watch.attempt(self.stepper, step, attempt)
        hooks.decided(accept, self.t, self.y, sizes.size)
        if some:
            self._advance(step, accept, reach, end)
        self._decided(out, sizes, accept, end, cost)
        return True

    # -- before the attempt --------------------------------------------------------------------------------------------

    def _end_stuck(self, hmin: np.ndarray) -> None:
        """End the lanes whose size fell below what the time variable resolves (`hmin`) after a rejection, or is no
        number."""
        large = self.h >= hmin
        if large.all():
            return
        ended = self.run & ~large & (self.stuck | (self.h != self.h))
        if ended.any():
            self.totals.underflow(self.ids[ended], self.finite[ended])
            self.run = self.run & ~ended

    def _take_out(self) -> np.ndarray:
        """Take the lanes that are done out of the batch.  Returns the positions of those that stay."""
        keep = np.flatnonzero(self.run)
        index = torch.from_numpy(keep).to(self.y0.device)
        if self.y_last is self.y0:
            self.y_last = self.y0.detach().clone()
        self.y_last[torch.from_numpy(self.ids).to(self.y0.device)] = self.y
        with torch.set_grad_enabled(self.stepper.graph):
            self.y, self.k1 = self.y[index], self.k1[index]
        for name in ("ids", "t", "h", "run", "stuck", "finite", "lacking", "owing", "t_end", "sign", "span"):
            setattr(self, name, getattr(self, name)[keep])
        self.control.take(keep)
        if self.watch is not None:
            self.watch.take(keep)
        self.stepper = self.stepper.resized(len(keep))
        return keep

    def _first_slopes(self) -> bool:
        """Evaluate the slopes at the start of the step where they are lacking.  Returns whether they were."""
        if not (self.lacking & self.run).any():
            return False
        slope = self.field(self._asked_at(self.t), self.y)
        # func may use its result as a buffer; what a graph holds is not written again
        slope = slope if self.stepper.graph else slope.clone()
        if not self.lacking.all():
            with torch.set_grad_enabled(self.stepper.graph):
                slope = torch.where(torch.from_numpy(self.lacking).to(self.y0.device)[:, None], slope, self.k1)
        self.k1 = slope
        self.lacking = np.zeros_like(self.lacking)  # the graph holds the old one's numbers
        return True

    def _attempt(self, sizes: Sizes) -> Step:
        """Take the trial step.  Lanes that do not run take one of size zero."""
        clock, stepper = self.clock, self.stepper
        h = np.where(self.run, self.sign * sizes.size, 0.0)
        if clock.watches:
            self.k1 = clock.look(self.field, self.t, h, self.run, self.y, self.k1, (self.set.rtol, self.set.atol))
        stepper.wide = clock.wide
        step = stepper.attempt(self.t, h, self.y, self.k1)
        if step.k_end is not None and not stepper.graph:
            # the next step's first slope; func may use its result as a buffer
            step.k_end = step.k_end.clone()
        if self.draws is not None:
            self.draws.warn()
            self.draws = None
        return step

    # -- after the decision --------------------------------------------------------------------------------------------

    def _past(self, accept: np.ndarray, end: np.ndarray, step: Step) -> np.ndarray:
        """Which of the lanes that accept are past their event at the step's `end`."""
        return np.zeros_like(accept) if self.events is None else self.events.past(self.ids, accept, end, step.y1)

    def _end_slopes(
        self, step: Step, accept: np.ndarray, end: np.ndarray, cost: np.ndarray, past: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Without FSAL: evaluate the dense stages where accepted steps need them, those that are `past` an event for
        instance, and end lanes whose slope at the end is not finite.

        Returns which lanes accept after that, and which of those that accepted before needed the dense stages.
        """
        assert self.outputs is not None  # not FSAL
        reach = accept if self.dense else accept & self.outputs.within(self.ids, end) | past
        if reach.any():
            self.stepper.extend(step)
        if step.k_end is None:
            return accept, reach
        lost = reach & ~torch.isfinite(step.k_end.detach()).all(1).cpu().numpy()
        self.totals.lose(self.ids, lost, cost + self.set.tableau.dense_stages)
        self.run = self.run & ~lost
        return accept & ~lost, reach

    def _keep(
        self, step: Step, seen: dict[int, np.ndarray], accept: np.ndarray, end: np.ndarray, size: np.ndarray
    ) -> None:
        """Log the steps of the lanes that accept, and take the outputs that they pass."""
        ids, t, nfev, dense_stages = self.ids, self.t, self.totals.nfev, self.set.tableau.dense_stages
        # without S the column is not read
        self.log.add(ids, accept, t, end, self.sign * size, seen[rec.ERR], seen.get(rec.HS, size))
        if self.dense:
            self.stepper.extend(step)
            nfev[ids[accept]] += dense_stages
        if self.outputs is None:
            return
        rows = np.flatnonzero(accept)
        for output, position, theta in self.outputs.groups(ids[rows], t[rows], end[rows]):
            at = rows[position]
            if self.set.between:
                self.totals.begin_anew(ids[at])
            if self.want_output:
                with torch.set_grad_enabled(self.stepper.graph):
                    values = rows_of(step.y1, at) if theta is None else self.stepper.dense(step, at, theta)
                self.outputs.add(output, ids[at], values)
            if theta is not None and not self.dense:
                nfev[ids[np.unique(at)]] += dense_stages

    def _advance(self, step: Step, accept: np.ndarray, reach: np.ndarray, end: np.ndarray) -> None:
        """Move the lanes that accept to the end of the step; `reach` as of `_end_slopes`."""
        k_end = self.k1 if step.k_end is None else step.k_end
        if accept.all():
            self.y, self.k1 = step.y1, k_end
        else:
            mask = torch.from_numpy(accept).to(self.y.device)[:, None]
            with torch.set_grad_enabled(self.stepper.graph):
                self.y, self.k1 = torch.where(mask, step.y1, self.y), torch.where(mask, k_end, self.k1)
        if not self.set.tableau.fsal:
            self.owing = self.owing | (accept & ~(reach & (step.k_end is not None)))
            if step.k_end is None:
                self.lacking = self.lacking | accept
        if self.lazy and self.set.stops is not None:
            jumps = accept & self.set.stops.at_jump(end)
            self.lacking, self.owing = self.lacking | jumps, self.owing | jumps

    def _decided(
        self, out: list[np.ndarray], sizes: Sizes, accept: np.ndarray, end: np.ndarray, cost: np.ndarray
    ) -> None:
        """Take over times and next sizes, count the attempt, and end the lanes that have arrived or used up their
        attempts."""
        ids, run, totals = self.ids, self.run, self.totals
        with np.errstate(all="ignore"):
            # a step that was shortened for the end says nothing of the size that the controller would go on with
            base = np.where(accept & sizes.truncated, sizes.want, sizes.size)
            self.h = np.where(run, base * np.exp(out[LOG_FACTOR]), self.h)
        self.t = np.where(accept, end, self.t)
        self.stuck = run & ~accept
        fresh = accept & (totals.naccept[ids] == 0)
        totals.h_first[ids[fresh]] = self.h[fresh]
        totals.count(ids, run, accept, self.stuck, cost, out)
        self.run = totals.end(ids, run, accept & sizes.lands, self.set.max_steps)
        totals.t_last[ids], totals.h_next[ids] = self.t, self.h

    def result(self) -> Pass:
        """What the pass gives when no lane runs any more."""
        y_last = self.y.detach()
        if len(self.ids) < len(self.y0):
            self.y_last[torch.from_numpy(self.ids).to(self.y0.device)] = self.y
            y_last = self.y_last
        with torch.set_grad_enabled(self.stepper.graph):
            y = self.outputs.assemble(self.y0) if self.outputs is not None and self.want_output else None
        grid = self.log.grid(self.t0, rec.HS in self.slots)
        return self.totals.result(grid, y_last, y, self.checks + self.clock.calls, self.events)
