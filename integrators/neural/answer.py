"""What `odeint` returns, made of the pass and of what carries gradient: outputs, counts, heuristics, the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..core import tolerance_scale
from ..kernels.layout import MESSAGES, SUCCESS, message
from .adjoint import CONTINUOUS
from .events import timed
from .solution import Heuristics, NeuralSolution, NeuralStats
from .solving import Solved
from .time_rows import state_at
from .totals import Pass

Tensor = torch.Tensor


def solution_of(solved: Solved, t: Any, wall_s: float, back: Callable[[Tensor], Any] = lambda y: y) -> NeuralSolution:
    """The NeuralSolution of what was solved; t: the times as the caller gave them; wall_s: seconds so far; back: states
    in the caller's form."""
    problem, done = solved.problem, solved.done
    scale = tolerance_scale.of(problem.controller)
    t = torch.as_tensor(t)
    event_t, event_y, met = _event(solved, t)
    y_last = done.y_last if event_y is None else torch.where(event_y.isnan(), done.y_last, event_y.detach())
    count = len(problem.times)
    return NeuralSolution(
        t=t,
        y=back(solved.y[:count].reshape(count, *problem.y0.shape)),
        success=bool((done.status == SUCCESS).all()),
        message=_message(done, problem.batch if problem.per_sample else None, scale) + met,
        t_last=_spread(done.t_last, problem.batch),
        y_last=back(y_last.reshape(problem.y0.shape).clone()),
        stats=_stats(solved, wall_s),
        heuristics=_heuristics(solved) if solved.settings.heuristics else None,
        tolerance_scale=scale,
        event_t=event_t if event_t is None or problem.per_sample else event_t[0],
        event_y=None if event_y is None else back(event_y.reshape(problem.y0.shape)),
    )


def _event(solved: Solved, t: Tensor) -> tuple[Tensor | None, Tensor | None, str]:
    """The events' times (lanes,) and states (lanes, width) with their gradient, and what the message says of them."""
    problem, events = solved.problem, solved.done.events
    if events is None:
        return None, None, ""
    y = solved.y[-1]
    t0 = (t if t.is_floating_point() else t.to(problem.y0.dtype)).to(y.device)[0]
    found = timed(events, y, solved.slope, t0)
    many = int(np.isfinite(events.times).sum())
    whole = "; event met" if many else "; no event met"
    met = f"; {many} of {len(events.times)} met the event" if problem.per_sample else whole
    return found, state_at(found, y, solved.slope), met


def _spread(per_lane: np.ndarray, batch: int) -> np.ndarray:
    """Numbers of lanes as numbers of samples, (batch,)."""
    return np.broadcast_to(per_lane, (batch,)).copy()


def _stats(solved: Solved, wall_s: float) -> NeuralStats:
    done, batch = solved.done, solved.problem.batch
    over = _over(done)
    return NeuralStats(
        nfev=solved.forward.calls,
        nfev_check=done.checks,
        naccept=int(done.naccept.sum()),
        nreject=int(done.nreject.sum()),
        nfallback=int(done.nfallback.sum()),
        status=_spread(done.status, batch),
        nfev_per_sample=_spread(done.nfev, batch),
        naccept_per_sample=_spread(done.naccept, batch),
        nreject_per_sample=_spread(done.nreject, batch),
        nfallback_per_sample=_spread(done.nfallback, batch),
        naccept_over=int(over.sum()),
        naccept_over_per_sample=_spread(over, batch),
        wall_s=wall_s,
        first_step=_spread(done.h_first, batch),
        _gradient_calls=solved.backward.count,
        _continuous=solved.problem.asked.adjoint in CONTINUOUS,
    )


def _heuristics(solved: Solved) -> Heuristics:
    """E and S of the accepted steps: with gradient where `solved.again` has them, else the numbers of the pass."""
    grid, rows, tableau, again = solved.done.grid, solved.rows, solved.problem.tableau, solved.again

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device=rows.device, dtype=rows.dtype)

    def lanes(x: Tensor) -> Tensor:
        return x if solved.problem.per_sample else x[:, 0]

    size = np.abs(grid.h)
    err, stiff = (None, None) if again is None else (again.err, again.stiff)
    if err is None:
        err = tensor(grid.err)
    if stiff is None and tableau.stiffness is not None and grid.hs is not None:
        stiff = tensor(grid.hs / np.where(size > 0, size, 1.0))
    start = torch.from_numpy(grid.t.copy()).to(rows.device)
    some_stiff = None if stiff is None else lanes(stiff)
    return Heuristics(lanes(start), lanes(tensor(size)), lanes(err), some_stiff, tableau.name, tableau)


def _over(done: Pass) -> np.ndarray:
    """Accepted steps of each lane whose scaled error exceeded 1, (lanes,)."""
    return np.count_nonzero(done.grid.err > 1.0, axis=0)


def _message(done: Pass, batch: int | None, scale: float) -> str:
    """One line on how the solve ended; batch: the number of samples, None with one step size for all; scale: of the
    controller's tolerances."""
    failed = done.status[done.status != SUCCESS]
    if len(failed) == 0:
        return message(SUCCESS, int(_over(done).sum()), scale)
    first = MESSAGES[int(failed[0])]
    return first if batch is None else f"{len(failed)} of {batch} samples failed; the first: {first}"
