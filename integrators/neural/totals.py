"""What becomes of every lane of a pass: `Totals` is filled attempt by attempt, and `Pass` is the result."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..core.contract import FALLBACK
from ..kernels.layout import BAD_START, IDLE, MAX_STEPS, NON_FINITE, RUNNING, SUCCESS, UNDERFLOW
from .events import LaneEvents
from .grid import Grid

Tensor = torch.Tensor


@dataclass
class Pass:
    """Result of the adaptive pass.  Arrays have the shape (lanes,) where nothing else is said.

    grid         the accepted steps.
    status       how each lane ended (`integrators/kernels/layout.py`).
    t_last       time of each lane's last good state; `y_last` (lanes, width) is that state.
    naccept, nreject, nfallback   accepted and rejected attempts, and answers that the controller's fallback gave.
    nfev         evaluations that the lane itself needed.
    start_ok     whether the lane's start was finite.
    h_next       the size that the controller proposed last.
    h_first      the size that it proposed after the first accepted step; NaN where no step was accepted.
    y            (T, lanes, width) the outputs, or None where they come from the replay.
    checks       evaluations that only looked at func (`rows`, `clock`).
    events       the events that lanes have met; None where there is none to meet.
    """

    grid: Grid
    status: np.ndarray
    t_last: np.ndarray
    y_last: Tensor
    naccept: np.ndarray
    nreject: np.ndarray
    nfallback: np.ndarray
    nfev: np.ndarray
    start_ok: np.ndarray
    h_next: np.ndarray
    h_first: np.ndarray
    y: Tensor | None
    checks: int = 0
    events: LaneEvents | None = None

    @property
    def event_t(self) -> np.ndarray | None:
        """Times of the events, infinite where a lane has met none; None where there is none to meet."""
        return None if self.events is None else self.events.times


class Totals:
    """A pass's account of all its lanes.  Arrays have the shape (lanes,), and `Pass` says what they hold.

    t0: the start times.  start_ok: whether a lane's start was finite.  spent: evaluations before the first attempt.
    active: which lanes are to be solved; None: all.
    """

    def __init__(self, t0: np.ndarray, start_ok: np.ndarray, spent: int, active: np.ndarray | None) -> None:
        lanes = len(start_ok)
        self.start_ok, self.status = start_ok, np.where(start_ok, RUNNING, BAD_START)
        if active is not None:
            self.status[~active] = IDLE
        self.t_last = t0.copy()
        self.naccept, self.nreject, self.nfallback = (np.zeros(lanes, dtype=np.int64) for _ in range(3))
        self.nfev = np.full(lanes, spent, dtype=np.int64)
        self.before = np.zeros(lanes, dtype=np.int64)
        self.h_next, self.h_first = np.full(lanes, np.nan), np.full(lanes, np.nan)

    def arrive(self, done: np.ndarray) -> None:
        """The lanes that are `done`, (lanes,), have arrived before their first attempt, if they were to be solved."""
        self.status[done & (self.status == RUNNING)] = SUCCESS

    def underflow(self, ids: np.ndarray, finite: np.ndarray) -> None:
        """The lanes `ids` end for want of a size; `finite`, of the shape of `ids`: whether their last attempt was
        finite."""
        self.status[ids] = np.where(finite, UNDERFLOW, NON_FINITE)

    def lose(self, ids: np.ndarray, lost: np.ndarray, cost: np.ndarray) -> None:
        """The `lost` ones of the lanes `ids` end with this attempt, of `cost` evaluations; all of one shape."""
        self.status[ids[lost]] = NON_FINITE
        self.nreject[ids] += lost
        self.nfev[ids] += np.where(lost, cost, 0)

    def count(
        self,
        ids: np.ndarray,
        run: np.ndarray,
        accept: np.ndarray,
        reject: np.ndarray,
        cost: np.ndarray,
        out: list[np.ndarray],
    ) -> None:
        """Count an attempt that the `run` ones of the lanes `ids` took part in.

        accept, reject: the lanes whose attempt was accepted or rejected; cost: its evaluations; out: the controller's
        answer.  All have the shape of `ids`.
        """
        self.naccept[ids] += accept
        self.nreject[ids] += reject
        self.nfev[ids] += np.where(run, cost, 0)
        self.nfallback[ids] += np.where(run, out[FALLBACK] > 0.5, False)

    def begin_anew(self, ids: np.ndarray) -> None:
        """Count the attempts of the lanes `ids`, for their limit, from after the one that is under way."""
        self.before[ids] = (self.naccept + self.nreject)[ids] + 1

    def end(self, ids: np.ndarray, run: np.ndarray, done: np.ndarray, max_steps: int) -> np.ndarray:
        """End the lanes that are `done`, and those that have made `max_steps` attempts since their count began; which
        lanes still run."""
        over = run & ~done & (self.naccept[ids] + self.nreject[ids] - self.before[ids] >= max_steps)
        if not (done.any() or over.any()):
            return run
        self.status[ids[done]], self.status[ids[over]] = SUCCESS, MAX_STEPS
        return run & ~done & ~over

    def result(
        self, grid: Grid, y_last: Tensor, y: Tensor | None, checks: int, events: LaneEvents | None = None
    ) -> Pass:
        """The pass's result, when no lane runs any more."""
        if events is not None:
            self.t_last = np.where(np.isfinite(events.times), events.times, self.t_last)
        return Pass(
            grid=grid,
            status=self.status,
            t_last=self.t_last,
            y_last=y_last,
            naccept=self.naccept,
            nreject=self.nreject,
            nfallback=self.nfallback,
            nfev=self.nfev,
            start_ok=self.start_ok,
            h_next=self.h_next,
            h_first=self.h_first,
            y=y,
            checks=checks,
            events=events,
        )
