"""`solve_ensemble` with a portfolio of methods: trajectories wait in a queue for each method, and each method's kernel
works its queue off in lanes.

Lanes of one kernel are all in the same method.  A lane that switches is stored like one that is done, and its place is
refilled, so that no lane waits for one in another method; what this costs is that a trajectory's start in a method
(slopes, the Jacobian) is not shared with others in lock-step.  Python is at work once a queue.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..compile.cache import compiled
from ..compile.discard import discard_damaged
from ..compile.prepared import prepared
from ..compile.progress import whose
from ..core import options
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..kernels import layout
from ..kernels.build import Kernel, aligned, lanes_for
from ..kernels.drivers import PLACE
from ..kernels.member import CARRY
from ..problems.batches import given_batch
from ..problems.foreign import reraise
from ..problems.problem import Batch, Problem
from .ensemble import longest, shared_out
from .ensemble_solution import EnsembleSolution, from_kernel
from .explained import explained
from .pace import Pace
from .portfolio import CURABLE, check, kernels
from .reduce import Reducer, chunk_size, in_chunks, kept

_STATUS, _ACCEPTED, _FALLBACKS, _H_NEXT = (
    layout.STATS.index(name) for name in ("status", "naccept", "nfallback", "h_next")
)  # fmt: skip
_METHOD = CARRY.index("method")


def solve_portfolio_ensemble(
    batch: Batch | Problem | Sequence[Problem],
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    threads: int | None = None,
    output: str | Reducer | None = None,
    chunk: int | None = None,
    *,
    report: Callable[[int], None] | None = None,
    span: float | None = None,
) -> EnsembleSolution:
    """Integrate every instance of `batch` with a portfolio.

    controller: a `controllers.switching.Switching`, which holds the portfolio.  The other arguments are those of
    `engine.ensemble.solve_ensemble`.  `stats.nswitch` (B,) counts the changes of the method; `method` (B,) is the
    index of the one that ended.  OptionError on bad input.
    """
    own = given_batch(batch)
    try:
        batch = prepared(own)
    except Exception as error:
        raise explained(error, own) from None
    count, n = batch.y0.shape
    bounds = [tolerances(rtol, atol, (count, n), batch.y0, scale) for scale in controller.scales]
    tgrid = output_grid(t_eval, batch.t0, batch.t1)
    size, limit = checked_step(first_step, longest(batch) if span is None else span), checked_limit(max_steps)
    options.count("threads", threads, none=True)
    what = kept(output, t_eval)
    grid = tgrid if what.evaluates else np.empty((1, 0))
    per_chunk = chunk_size(chunk, what, count, (grid.shape[1] + 1) * n)
    check(batch, controller)
    made = kernels(batch, controller, lanes_for(n))
    given = None if t_eval is None or not what.evaluates else grid
    scale = max(controller.scales)

    def part(lo: int, hi: int) -> EnsembleSolution:
        rows = slice(lo, hi)
        times = grid if len(grid) == 1 else grid[rows]
        yout = np.full((hi - lo, grid.shape[1], n), np.nan)
        h0 = np.full(hi - lo, np.nan if size is None else size)
        parts = [(r[rows], a[rows]) for r, a in bounds]
        work = _Queues(batch, rows, controller, made, parts, h0, times, yout, float(limit), threads)
        try:
            wall = work.through(None if report is None else lambda done: report(lo + done))
        except Exception as error:
            raise explained(error, batch) from None
        reraise(own, threads=True)
        t_kept, y_kept = (None, None) if given is None else (times, yout)
        sol = from_kernel(work.stat, work.yend, wall, t_kept, y_kept, scale)
        return work.told(sol)

    return in_chunks(part, count, per_chunk, what, given)


class _Queues:
    """Trajectories of one part, each in the queue of a method."""

    def __init__(
        self, batch: Batch, rows: slice, controller: Any, made: list[Kernel], bounds: list, h0: np.ndarray,
        tgrid: np.ndarray, yout: np.ndarray, limit: float, threads: int | None,
    ) -> None:  # fmt: skip
        self.batch, self.controller, self.kernels, self.bounds = batch, controller, made, bounds
        self.start = (batch.y0[rows], batch.p[rows], batch.t0[rows], batch.t1[rows])
        count, n = self.start[0].shape
        self.h0, self.tgrid, self.yout, self.limit, self.threads = h0, tgrid, yout, limit, threads
        self.yend, self.stat = self.start[0].copy(), np.zeros((count, layout.N_STATS))
        self.stat[:, layout.STATS.index("t")] = self.start[2]
        width = len(CARRY) + max(face.rule_rows for face in controller.faces)
        self.carry = np.full((count, width), -1.0)
        self.here = np.zeros(count, np.int64)
        self.switches = np.zeros(count, np.int64)
        # of the fallbacks: the methods that failed since the last accepted step, as bits, and what was accepted then
        self.failed, self.accepted = np.zeros(count, np.int64), np.full(count, -1.0)

    def through(self, report: Callable[[int], None] | None) -> float:
        """Run all to the end; seconds, without compilation."""
        waiting = np.arange(len(self.here))
        spent = 0.0
        while len(waiting):
            for k in range(len(self.kernels)):
                queue = waiting[self.here[waiting] == k]
                if len(queue):
                    spent += self.run(k, queue)
                    going = self.route(k, queue)
                    waiting = np.setdiff1d(waiting, queue[~going], assume_unique=True)
                    if report is not None:
                        report(len(self.here) - len(waiting))
        return spent

    def run(self, k: int, queue: np.ndarray) -> float:
        """The queue in method k; the seconds it took."""
        kernel, (rtol, atol) = self.kernels[k], self.bounds[k]
        run, params = kernel.module.run, self.controller.faces[k].params
        args = (*self.start, rtol, atol, self.h0, self.tgrid, self.yout, self.limit, self.yend, self.stat, self.carry)

        def work(span: tuple[int, int], stop: threading.Event) -> None:
            block, place, pace = aligned(kernel.layout.size), np.zeros(len(PLACE), np.int64), Pace()
            while run(block, params, *args, queue, *span, place, pace.most) and not stop.is_set():
                pace.more()

        name = self.controller.portfolio.names[k]
        said = f"{name} under {self.controller.faces[k].name} for ensembles of {whose(self.batch)}"
        for last in (False, True):
            try:
                if not run.overloads:
                    nobody = np.zeros(0, np.int64)
                    block, place = aligned(kernel.layout.size), np.zeros(len(PLACE), np.int64)
                    compiled(run, block, params, *args, nobody, 0, 0, place, 1, what=said)
                return shared_out(work, len(queue), kernel.width, self.threads)
            except Exception:
                if last or not discard_damaged(run):
                    raise
        raise AssertionError

    def route(self, k: int, queue: np.ndarray) -> np.ndarray:
        """Which of the queue go on, in the method that `here` then says (`portfolio.Route` for many)."""
        stat, carry, count = self.stat, self.carry, len(self.kernels)
        status = stat[queue, _STATUS]
        late = (status == layout.BAD_START) & (self.switches[queue] > 0)
        stat[queue[late], _STATUS] = status[late] = layout.NON_FINITE
        going = status == layout.SWITCH
        self.here[queue[going]] = carry[queue[going], _METHOD].astype(np.int64)
        self.failed[queue[going]] = 0
        self.switches[queue[going]] += 1
        for i in queue[np.isin(status, CURABLE)]:
            if stat[i, _ACCEPTED] != self.accepted[i]:
                self.failed[i] = 0
            self.failed[i] |= 1 << k
            self.accepted[i] = stat[i, _ACCEPTED]
            left = [j for j in range(count) if not self.failed[i] >> j & 1]
            if left:
                self.here[i], stat[i, _H_NEXT] = left[0], np.nan
                stat[i, _FALLBACKS] += 1.0
                self.switches[i] += 1
                going[queue == i] = True
        return going

    def told(self, sol: EnsembleSolution) -> EnsembleSolution:
        """The solution with what a portfolio has beside."""
        return replace(sol, stats=replace(sol.stats, nswitch=self.switches), method=self.here)
