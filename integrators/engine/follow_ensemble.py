"""Ensembles with events, dense output, stops or bounds on the step: `solve_followed_ensemble`, the other half of
`ensemble.solve_ensemble`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from .. import methods
from ..compile.cache import discard_damaged
from ..compile.prepared import prepared
from ..compile.progress import solver, whose
from ..core import options, tolerance_scale
from ..core.errors import OptionError
from ..core.follow_options import Follow
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..kernels import layout
from ..problems.batches import given_batch
from ..problems.foreign import reraise
from . import followed as following
from . import ragged
from .dense_output import EnsembleDense
from .ensemble import longest, shared_out
from .ensemble_solution import EnsembleSolution, from_kernel
from .explained import explained
from .followed import Budget, Followed, Logs, made_ready
from .reduce import Reducer, chunk_size, in_chunks, kept
from .solve import check_controller, slots_of
from .tally import Tally


def solve_followed_ensemble(
    batch: Any,
    method: Any,
    controller: Any,
    rtol: Any,
    atol: Any,
    t_eval: Any,
    first_step: float | None,
    max_steps: int,
    threads: int | None,
    output: str | Reducer | None,
    chunk: int | None,
    report: Callable[[int], None] | None,
    follow: Follow,
    *,
    span: float | None = None,
) -> EnsembleSolution:
    """`ensemble.solve_ensemble` with the options `follow`.  tstops: (k,) for all, or (B, k).

    Dense output of all trajectories together takes `followed.DENSE_BYTES` at most: OptionError beyond.  With a function
    in `output` it is that chunk's alone, and is not kept.
    """
    from ..kernels.build import lanes_for

    meth = methods.get(methods.named(method))
    given = given_batch(batch)
    try:
        source = prepared(given)
    except Exception as error:
        raise explained(error, given) from None
    count, n = given.y0.shape
    if follow.save_every != 1:
        raise OptionError("save_every belongs to solve: an ensemble keeps no accepted steps (t_eval, dense)")
    scale = tolerance_scale.of(controller)
    r, a = tolerances(rtol, atol, (count, n), given.y0, scale)
    tgrid = output_grid(t_eval, given.t0, given.t1)
    size, limit = checked_step(first_step, longest(given) if span is None else span), checked_limit(max_steps)
    options.count("threads", threads, none=True)
    what = kept(output, t_eval)
    grid = tgrid if what.evaluates else np.empty((1, 0))
    per_chunk = chunk_size(chunk, what, count, (grid.shape[1] + 1) * n)
    check_controller(controller, meth, given)
    if count == 0:
        follow = replace(follow, events=())
    try:
        ready = made_ready(given, source, meth, controller, slots_of(controller), follow, lanes_for(n))
    except Exception as error:
        raise explained(error, given) from None
    own, times = ready.source, None if t_eval is None or not what.evaluates else grid
    found: list[EnsembleSolution] = []
    budget = Budget("fewer trajectories, or chunk=... with a function in output, which gets one chunk's at a time")

    def part(lo: int, hi: int) -> EnsembleSolution:
        rows, held = slice(lo, hi), hi - lo
        yend, stat = np.empty((held, n)), np.empty((held, layout.N_STATS))
        at = grid if len(grid) == 1 else grid[rows]
        yout = np.full((held, grid.shape[1], n), np.nan)
        args = (
            own.y0[rows], own.p[rows], own.t0[rows], own.t1[rows], r[rows], a[rows],
            np.full(held, np.nan if size is None else size), at, yout, float(limit), yend, stat,
        )  # fmt: skip
        here = ready if len(ready.stops) == 1 else replace(ready, stops=ready.stops[rows])
        tally = None if report is None else Tally(report, ready.kernel.width, lo)
        try:
            said = f"{solver(meth, controller)} for ensembles of {whose(given)} with events or stops"
            logs, wall = _run(here, controller.params, args, held, threads, tally, budget, said)
        except OptionError:
            raise
        except Exception as error:
            if not discard_damaged(ready.kernel.module.run_followed):
                raise explained(error, source, ready.events) from None
            logs, wall = _run(here, controller.params, args, held, threads, tally, budget, "")
        reraise(given, threads=True)
        ready.reraise(threads=True)
        sol = from_kernel(stat, yend, wall, None if times is None else at, None if times is None else yout, scale)
        sol = _with_logs(sol, ready, follow, logs, given[rows])
        if what.reducer is None:
            found.append(sol)
        else:
            found.append(replace(sol, dense=None, y_eval=None))
            budget.free()
        return sol

    sol = in_chunks(part, count, per_chunk, what, times)
    return whole(sol, found, what.reducer is None)


def _run(
    ready: Followed, params: np.ndarray, args: tuple, count: int, threads: int | None, tally: Tally | None,
    budget: Budget, what: str,
) -> tuple[Logs, float]:  # fmt: skip
    """The logs of all trajectories, and seconds."""
    following.warm(ready, params, args, what)
    every: list[Logs] = []

    def work(span: tuple[int, int], stop: threading.Event) -> None:
        logs = Logs()
        every.append(logs)
        under_way = None if tally is None else lambda place: tally.under_way(span, place)
        following.run(ready, params, args, span, logs, stop=stop, under_way=under_way, kept=budget.take)
        if tally is not None and not stop.is_set():
            tally.finished(span)

    wall = shared_out(work, count, ready.kernel.width, threads) if count else 0.0
    whole = Logs()
    for logs in every:
        whole.events += logs.events
        whole.pieces += logs.pieces
    return whole, wall


def _by_instance(rows: np.ndarray) -> np.ndarray:
    """Logged rows in the order of their instances; those of one stay in theirs."""
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _with_logs(sol: EnsembleSolution, ready: Followed, follow: Follow, logs: Logs, batch: Any) -> EnsembleSolution:
    """The solution with events and dense output of one chunk."""
    count, n = batch.y0.shape
    changed: dict[str, Any] = {}
    if ready.events or follow.events:
        rows = _by_instance(following.joined(logs.events, 3 + n))
        times, states = [], []
        for k in range(len(follow.events)):
            mine = rows[rows[:, 1] == k]
            counts = np.bincount(mine[:, 0].astype(np.int64), minlength=count)
            times.append(ragged.Ragged(mine[:, 2].copy(), counts))
            states.append(ragged.Ragged(mine[:, 3:].copy(), counts))
        changed |= {"t_events": tuple(times), "y_events": tuple(states)}
    if follow.dense:
        rows = _by_instance(following.joined(logs.pieces, 3 + (ready.degree + 1) * n))
        ends = np.concatenate([[0], np.cumsum(np.bincount(rows[:, 0].astype(np.int64), minlength=count))])
        outputs = [
            following.dense_output(ready, rows[a:b], batch.t0[i], batch.y0[i], batch.state)
            for i, (a, b) in enumerate(zip(ends, ends[1:], strict=False))
        ]
        changed["dense"] = EnsembleDense(outputs)
    return replace(sol, **changed) if changed else sol


def whole(sol: EnsembleSolution, found: list[EnsembleSolution], dense: bool) -> EnsembleSolution:
    """The solution of all chunks with the events and the dense output of each."""
    changed: dict[str, Any] = {"dense": None}
    for name in ("t_events", "y_events"):
        parts = [getattr(part, name) for part in found]
        if parts and parts[0] is not None:
            changed[name] = tuple(ragged.joined(list(each)) for each in zip(*parts, strict=True))
    if dense and found and found[0].dense is not None:
        changed["dense"] = EnsembleDense([output for part in found if part.dense for output in part.dense.outputs])
    return replace(sol, **changed)
