"""The adaptive pass: solve without gradient, let the controller choose the steps, and record the grid.

The rules of the loop (size underflow, truncation at the end, what a non-finite attempt means, statuses) are those of the compiled
engine, `integrators/kernels/blocks.py`.  With `even`, which that engine has not, a step is the largest of equal ones that are no longer
than the controller asks for and end at the end time,

    h = left / ceil(left / want),

where truncation would leave a last step of any size, however short (DVERK of T. E. Hull, W. H. Enright and K. R. Jackson, 1976, does so
for the last two steps).  Everything of size (lanes,) is kept in NumPy float64 on the host, whatever the dtype and
device of the state: times in float64 cost nothing there, and one small transfer an attempt is all the synchronisation there is.

Without FSAL the slope at a step's start is evaluated when the step is first attempted, of all lanes where one has accepted, if dense
output has not evaluated it at the end of the step before.  A lane whose slope there is not finite, but which dense output needs, ends
where that step began.

Lanes that are done stay where they are, with h = 0.  With `compact` they are taken out of the batch instead, so that they cost
nothing; func must then treat every row alike, whatever the number of rows.

A `Watch` sees every attempt from within: the continuous adjoints keep what they need of a step that way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core import record as rec
from ..core.contract import ACCEPT, FALLBACK, LOG_FACTOR
from ..core.runner import Runner, slots_read
from ..kernels.layout import BAD_START, IDLE, MAX_STEPS, NON_FINITE, RUNNING, SUCCESS, UNDERFLOW
from ..methods.explicit.tableau import ExplicitTableau
from .clock import Clock
from .outputs import Outputs, rows_of
from .rows import Draws
from .step import Slope, Step, Stepper

Tensor = torch.Tensor


@dataclass(frozen=True)
class Settings:
    """What a solve is asked for; `t` (T,) float64 strictly monotone, sizes positive.

    first_step: one size, one a lane (NaN: not known), or None: the automatic choice.  heuristics: E and S are wanted; graph: which of
    them with gradient ("", "E", "S", "ES").  even: equal steps to the end, as the module says.  clock: the dtype of func's times, one
    object for a solve and its replay; None: a new one.  watch_draws: warn where func draws random numbers in every call.  check_start:
    called with (slope at the start as a function of y, y0, its slope, which lanes (lanes,) are finite).
    """

    tableau: ExplicitTableau
    controller: Any
    t: np.ndarray
    rtol: float
    atol: float
    first_step: float | np.ndarray | None
    max_steps: int
    compact: bool
    heuristics: bool
    graph: str = ""
    even: bool = False
    clock: Clock | None = None
    watch_draws: bool = False
    check_start: Callable[..., None] | None = None


@dataclass
class Grid:
    """Accepted steps.  Padded arrays (n_steps, lanes): start `t`, end `end`, signed size `h`, scaled error `err`, h*S `hs` (or None).

    `count` (lanes,) steps each lane has; behind them h is 0 and t, end are the lane's last time.
    """

    t: np.ndarray
    end: np.ndarray
    h: np.ndarray
    err: np.ndarray
    hs: np.ndarray | None
    count: np.ndarray


@dataclass
class Pass:
    """Result of the adaptive pass; per-lane arrays (lanes,), `y_last` (lanes, width) the last good states.

    h_next is the size that the controller proposed last, h_first what it proposed after the first accepted step (NaN without one);
    checks counts the evaluations that only looked at func (`rows`, `clock`).
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


class Watch:
    """Follows a pass from within.  `dense`: it wants the dense stages of accepted steps evaluated.  This one looks away."""

    dense = False

    def take(self, keep: np.ndarray) -> None:
        """Lanes at the positions `keep` stay in the batch, the others leave it."""

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        """An attempt was made and decided; buffers of `stepper` still hold its slopes."""


@dataclass
class Attempt:
    """An attempt's lanes `ids` and, each (len(ids),): start, end, signed size, and whether a lane took part, was finite, accepted.
    anew: the first slopes were evaluated for this attempt."""

    ids: np.ndarray
    t: np.ndarray
    end: np.ndarray
    h: np.ndarray
    run: np.ndarray
    finite: np.ndarray
    accept: np.ndarray
    anew: bool = False


class _Log:
    """Attempts that at least one lane accepted, each a row over all lanes."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.rows: list[np.ndarray] = []

    def add(self, ids, accept, *columns) -> None:
        row = np.zeros((1 + len(columns), self.lanes))
        row[0, ids] = accept
        for i, column in enumerate(columns):
            row[1 + i, ids] = np.where(accept, column, 0.0)
        self.rows.append(row)

    def grid(self, t_start: float, stiff: bool) -> Grid:
        if not self.rows:
            empty = np.zeros((0, self.lanes))
            return Grid(empty, empty, empty, empty, empty if stiff else None, np.zeros(self.lanes, dtype=np.int64))
        table = np.stack(self.rows, axis=1)
        accepted = table[0] == 1.0
        count = accepted.sum(0)
        order = np.argsort(~accepted, axis=0, kind="stable")[: count.max()]
        t, end, h, err, hs = (np.take_along_axis(column, order, axis=0) for column in table[1:])
        pad = np.arange(len(order))[:, None] >= count
        last = np.where(count > 0, np.take_along_axis(end, np.maximum(count - 1, 0)[None], axis=0)[0], t_start)
        t, end = np.where(pad, last, t), np.where(pad, last, end)
        return Grid(t, end, np.where(pad, 0.0, h), np.where(pad, 0.0, err), np.where(pad, 0.0, hs) if stiff else None, count)


def first_step(
    field: Slope, set_: Settings, y0: Tensor, sign: float, clock: Clock
) -> tuple[Tensor, np.ndarray, np.ndarray, int]:
    """First slope, first size (lanes,), whether a lane's start is finite, evaluations.

    Hairer, Norsett & Wanner I, II.4 as in SciPy's select_initial_step, with the exponent 1/(embedded order + 1).  A component at zero
    without an absolute tolerance has no scale, and no say in the size, as in the compiled engine.
    """
    lanes, width = y0.shape
    span = abs(set_.t[-1] - set_.t[0])

    def times(h: np.ndarray) -> Tensor:
        return clock.times(set_.t[0] + sign * h, y0.device)

    def scaled(x: Tensor) -> Tensor:
        return x / scale if set_.atol >= 1e-30 else torch.where(blank, 0.0, x / scale)

    def rms(x: Tensor) -> np.ndarray:
        # in float64: a slope of 1e15 over a scale of 1e-9 squares to infinity in float32
        return (torch.linalg.vector_norm(x, dim=1, dtype=torch.float64) / width**0.5).cpu().numpy()

    zero = np.zeros(lanes)
    k1 = field(times(zero), y0)
    if not k1.requires_grad:
        # func may use its result as a buffer, and this one is needed beyond the next call
        k1 = k1.clone()
    scale = set_.atol + set_.rtol * y0.abs()
    blank = scale <= max(1e-300, torch.finfo(y0.dtype).tiny)
    with np.errstate(all="ignore"):
        ok = np.isfinite(rms(y0)) & np.isfinite(rms(k1))
        given = np.broadcast_to(np.nan if set_.first_step is None else set_.first_step, (lanes,))
        if np.isfinite(given).all():
            return k1, np.minimum(given, span), ok, 1
        d0, d1 = rms(scaled(y0)), rms(scaled(k1))
        h0 = np.where((d0 < 1e-5) | (d1 < 1e-5), 1e-6, 0.01 * d0 / d1)
        h0 = np.minimum(h0, span)
        h0 = np.where(h0 > 0, h0, 0.0)
        step = torch.from_numpy(sign * h0).to(device=y0.device, dtype=y0.dtype)[:, None]
        d2 = rms(scaled(field(times(h0), y0 + step * k1) - k1)) / h0
        d2 = np.where(np.isfinite(d2), d2, 0.0)
        dm = np.maximum(d1, d2)
        power = 1.0 / (set_.tableau.embedded_order + 1)
        h1 = np.where(dm <= 1e-15, np.maximum(1e-6, h0 * 1e-3), (0.01 / np.maximum(dm, 1e-300)) ** power)
        h = np.minimum(100.0 * h0, h1)
        return k1, np.minimum(np.where(np.isfinite(given), given, h), span), ok, 2


def adaptive_pass(
    field: Slope, set_: Settings, y0: Tensor, want_output: bool, watch: Watch | None = None, active: np.ndarray | None = None,
    stepper_type: type[Stepper] = Stepper,
) -> Pass:  # fmt: skip
    """Solve from y0 (lanes, width), without gradient unless `stepper_type` makes one.

    want_output: evaluate the outputs too (else they come from the replay).  active: lanes (lanes,) that are to be solved; the others
    rest where they are, with the status IDLE.
    """
    lanes, width = y0.shape
    t0, t_end = float(set_.t[0]), float(set_.t[-1])
    sign = 1.0 if t_end > t0 else -1.0
    tab, stages = set_.tableau, set_.tableau.stages
    slots = slots_read(set_.controller)
    if set_.heuristics and tab.stiffness is not None:
        slots = slots | {rec.HS}

    clock = Clock(y0.dtype, t0, t_end - t0) if set_.clock is None else set_.clock
    k1, h, ok, spent = first_step(field, set_, y0, sign, clock)
    checks = 0
    if set_.check_start is not None:

        def at_start(y: Tensor) -> Tensor:
            nonlocal checks
            checks += 1
            return field(clock.times(np.full(lanes, t0), y.device), y)

        set_.check_start(at_start, y0, k1, torch.from_numpy(ok).to(y0.device))
    control = Runner(set_.controller, lanes)
    if set_.first_step is None:
        h = control.first(h)
    stepper = stepper_type(tab, field, lanes, width, y0.dtype, y0.device)
    draws = Draws(y0.device) if set_.watch_draws else None
    # without FSAL the pass looks at the outputs too when the replay gives them: they need a slope that must be finite
    outputs = Outputs(set_.t, lanes) if want_output or not tab.fsal else None
    dense = watch is not None and watch.dense
    log = _Log(lanes)

    status = np.where(ok, RUNNING, BAD_START)
    if active is not None:
        status[~active] = IDLE
    t_last, y_last = np.full(lanes, t0), y0
    nacc, nrej, nfall = (np.zeros(lanes, dtype=np.int64) for _ in range(3))
    nfev = np.full(lanes, spent, dtype=np.int64)

    ids, y, t = np.arange(lanes), y0, np.full(lanes, t0)
    h_next, h_first = np.full(lanes, np.nan), np.full(lanes, np.nan)
    run, stuck, finite = status == RUNNING, np.zeros(lanes, dtype=bool), np.ones(lanes, dtype=bool)
    # lanes whose k1 is not that of y yet, and lanes whose next attempt pays for it
    lacking, owing = np.zeros(lanes, dtype=bool), np.zeros(lanes, dtype=bool)
    while True:
        # the size of this attempt
        left = np.abs(t_end - t)
        hmin = np.maximum(2.220446049250313e-15 * np.abs(t), 1e-300)
        ended = run & (((h < hmin) & stuck) | (h != h))
        if ended.any():
            status[ids[ended]] = np.where(finite, UNDERFLOW, NON_FINITE)[ended]
            run = run & ~ended
        if not run.any():
            break
        if set_.compact and 4 * np.count_nonzero(run) <= 3 * len(ids):
            keep = np.flatnonzero(run)
            index = torch.from_numpy(keep).to(y0.device)
            if y_last is y0:
                y_last = y0.clone()
            y_last[torch.from_numpy(ids).to(y0.device)] = y
            y, k1 = y[index], k1[index]
            ids, t, h, left, hmin, stuck, lacking, owing = (a[keep] for a in (ids, t, h, left, hmin, stuck, lacking, owing))
            run = np.ones(len(keep), dtype=bool)
            control.take(keep)
            if watch is not None:
                watch.take(keep)
            stepper = stepper_type(tab, field, len(keep), width, y0.dtype, y0.device)
        want = np.where(h >= hmin, h, hmin)
        lands = sign * ((t + sign * want) - t_end) >= 0.0
        size = np.where(lands, left, want)
        if set_.even:
            # rounding must not add a step where the size divides what is left, as one that a dead band keeps does
            count = np.ceil(left / want * (1.0 - 1e-10))
            lands |= count <= 1.0
            size = np.where(lands, left, left / np.maximum(count, 1.0))
        truncated = lands & (want > left)

        # the attempt and its record
        anew = bool((lacking & run).any())
        if anew:
            slope = field(clock.times(t, y0.device), y)
            # func may use its result as a buffer; what a graph holds is not written again
            slope = slope if stepper.graph else slope.clone()
            k1 = slope if lacking.all() else torch.where(torch.from_numpy(lacking).to(y0.device)[:, None], slope, k1)
            lacking[:] = False
        spent_now = stages - 1 + owing
        owing = owing & ~run
        h_now = np.where(run, sign * size, 0.0)
        if clock.watches:
            k1 = clock.look(field, t, h_now, run, y, k1, (set_.rtol, set_.atol))
        stepper.wide = clock.wide
        step = stepper.attempt(t, h_now, y, k1)
        if step.k_end is not None and not stepper.graph:
            # the next step's first slope; func may use its result as a buffer
            step.k_end = step.k_end.clone()
        if draws is not None:
            draws.warn()
            draws = None
        seen = stepper.measure(step, set_.rtol, set_.atol, slots)
        record = _record(seen, size, want, truncated, left, tab.embedded_order + 1, spent_now, set_.rtol)
        out = control.decide(record)

        # the decision carried out
        finite = seen[rec.FINITE] == 1.0
        accept = run & finite & (out[ACCEPT] > 0.5)
        end = np.where(lands, t_end, t + sign * size)
        if not tab.fsal:
            assert outputs is not None
            reach = accept if dense else accept & outputs.within(ids, end)
            if reach.any():
                stepper.extend(step)
            if step.k_end is not None:
                lost = reach & ~torch.isfinite(step.k_end.detach()).all(1).cpu().numpy()
                status[ids[lost]] = NON_FINITE
                nrej[ids] += lost
                nfev[ids] += np.where(lost, spent_now + tab.dense_stages, 0)
                accept, run = accept & ~lost, run & ~lost
        if accept.any():
            hs = seen[rec.HS] if rec.HS in seen else size
            log.add(ids, accept, t, end, sign * size, seen[rec.ERR], hs)
            if dense:
                stepper.extend(step)
                nfev[ids[accept]] += tab.dense_stages
            if outputs is not None:
                rows = np.flatnonzero(accept)
                for output, pos, theta in outputs.groups(ids[rows], t[rows], end[rows]):
                    at = rows[pos]
                    if want_output:
                        outputs.add(output, ids[at], rows_of(step.y1, at) if theta is None else stepper.dense(step, at, theta))
                    if theta is not None and not dense:
                        nfev[ids[np.unique(at)]] += tab.dense_stages
        if watch is not None:
            watch.attempt(stepper, step, Attempt(ids, t, end, sign * size, run, finite, accept, anew))
        if accept.any():
            y, k1 = _advance(accept, step, y, k1)
            if not tab.fsal:
                owing = owing | (accept & ~(reach & (step.k_end is not None)))
                if step.k_end is None:
                    lacking = lacking | accept
        with np.errstate(all="ignore"):
            h = np.where(run, np.where(accept & truncated, want, size) * np.exp(out[LOG_FACTOR]), h)
        t = np.where(accept, end, t)
        stuck = run & ~accept
        fresh = accept & (nacc[ids] == 0)
        h_first[ids[fresh]] = h[fresh]
        nacc[ids] += accept
        nrej[ids] += stuck
        nfev[ids] += np.where(run, spent_now, 0)
        nfall[ids] += np.where(run, out[FALLBACK] > 0.5, False)
        done = accept & lands
        over = run & ~done & (nacc[ids] + nrej[ids] >= set_.max_steps)
        if done.any() or over.any():
            status[ids[done]], status[ids[over]] = SUCCESS, MAX_STEPS
            run = run & ~done & ~over
        t_last[ids], h_next[ids] = t, h
    if len(ids) < lanes:
        y_last[torch.from_numpy(ids).to(y0.device)] = y
    else:
        y_last = y.detach()
    grid = log.grid(t0, rec.HS in slots)
    with torch.set_grad_enabled(stepper.graph):
        answer = outputs.assemble(y0) if outputs is not None and want_output else None
    return Pass(grid, status, t_last, y_last, nacc, nrej, nfall, nfev, ok, h_next, h_first, answer, checks + clock.calls)


def _record(seen, size, want, truncated, left, order, nf, rtol) -> list[np.ndarray]:
    lanes = len(size)
    record = [np.full(lanes, np.nan)] * rec.N_RECORD
    record[rec.H], record[rec.H_FREE], record[rec.T_LEFT] = size, want, left
    record[rec.ORDER], record[rec.NF] = np.full(lanes, float(order)), nf.astype(np.float64)
    record[rec.TRUNCATED], record[rec.RTOL] = truncated.astype(np.float64), np.full(lanes, rtol)
    for slot, value in seen.items():
        record[slot] = value
    return record


def _advance(accept: np.ndarray, step: Step, y: Tensor, k1: Tensor) -> tuple[Tensor, Tensor]:
    k_end = k1 if step.k_end is None else step.k_end
    if accept.all():
        return step.y1, k_end
    mask = torch.from_numpy(accept).to(y.device)[:, None]
    return torch.where(mask, step.y1, y), torch.where(mask, k_end, k1)
