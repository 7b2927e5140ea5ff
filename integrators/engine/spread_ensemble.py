"""An ensemble in parts, by an executor: `solve_ensemble(..., executor=...)`.

A trajectory depends on nothing but itself, so that the parts put together are what one solve of all of them gives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import methods
from ..core import options, tolerance_scale
from ..core.follow_options import Follow, stops
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..problems.batches import given_batch
from ..problems.problem import Batch
from . import follow_ensemble, reduce
from .ensemble import longest, solve_ensemble
from .ensemble_solution import EnsembleSolution
from .solve import check_controller
from .spread import EACH, spread, workers


@dataclass(frozen=True)
class _Solve:
    """What all parts have in common."""

    method: Any
    controller: Any
    first_step: float | None
    max_steps: int
    threads: int | None
    output: Any
    chunk: int | None
    follow: Follow
    span: float


def solve_spread_ensemble(
    batch: Any,
    method: Any,
    controller: Any,
    rtol: Any,
    atol: Any,
    t_eval: Any,
    first_step: float | None,
    max_steps: int,
    threads: int | None,
    output: Any,
    chunk: int | None,
    report: Callable[[int], None] | None,
    *,
    follow: Follow,
    executor: Executor,
) -> EnsembleSolution:
    """`ensemble.solve_ensemble`, or with `follow` `follow_ensemble.solve_followed_ensemble`, in parts.

    threads: of one part, None for one.  chunk: trajectories of a part; None: four parts for each worker.  report: is
    called with the number of trajectories in the parts that are done.  `stats.wall_s` is the sum over the parts.
    Raises OptionError on bad input, before anything is sent.
    """
    batch = given_batch(batch)
    count, n = batch.y0.shape
    options.count("chunk", chunk, none=True)
    what = reduce.kept(output, t_eval)
    tolerances(rtol, atol, (count, n), batch.y0, tolerance_scale.of(controller))
    grid = output_grid(t_eval, batch.t0, batch.t1)
    stops(follow.tstops, batch.t0, batch.t1)
    size = checked_step(first_step, span := longest(batch))
    solve = _Solve(method, controller, size, max_steps, threads, output, chunk, follow, span)
    checked_limit(max_steps)
    options.count("threads", threads, none=True)
    check_controller(controller, methods.get(method), batch)
    if count == 0:
        return _part(solve, (batch, rtol, atol, t_eval, follow.tstops))
    each = chunk or max(-(-count // (EACH * workers(executor))), 1)
    each = each if chunk or each <= reduce.ROUND else -(-each // reduce.ROUND) * reduce.ROUND
    starts = range(0, count, each)
    parts = [
        _rows(batch, rtol, atol, t_eval, follow.tstops, np.arange(lo, min(lo + each, count))) for lo in starts
    ]
    done = 0

    def taken(i: int, sol: EnsembleSolution) -> None:
        nonlocal done
        done += len(sol.status)
        if report is not None:
            report(done)

    found = spread(
        _part, parts, executor, shared=solve, what="part", taken=taken,
        named=lambda i: f"trajectories {starts[i]} to {min(starts[i] + each, count) - 1}",
    )  # fmt: skip
    return _together(found, count, each, what, None if t_eval is None or not what.evaluates else grid, follow)


def _rows(batch: Batch, rtol: Any, atol: Any, t_eval: Any, tstops: Any, rows: np.ndarray) -> tuple[Any, ...]:
    """The part of the trajectories `rows`: what holds for each of them by itself is cut out."""
    count = len(batch)

    def cut(value: Any, ndim: int) -> Any:
        array = np.asarray(value, dtype=float) if value is not None else None
        own = array is not None and array.ndim == ndim and len(array) == count
        return array[rows] if own and array is not None else value

    return batch[rows], cut(rtol, 1), cut(atol, 2), cut(t_eval, 2), cut(tstops, 2)


def _part(solve: _Solve, part: tuple[Any, ...]) -> EnsembleSolution:
    """The solution of one part."""
    batch, rtol, atol, t_eval, tstops = part
    given = (
        batch, solve.method, solve.controller, rtol, atol, t_eval, solve.first_step, solve.max_steps, solve.threads,
        solve.output, solve.chunk, None,
    )  # fmt: skip
    if not solve.follow.asked:
        return solve_ensemble(*given, span=solve.span)
    follow = dataclasses.replace(solve.follow, tstops=tstops)
    return follow_ensemble.solve_followed_ensemble(*given, follow, span=solve.span)


def _made(sol: EnsembleSolution) -> Any:
    """What a part's worker has made of its trajectories."""
    return sol.output


def _together(
    found: list[EnsembleSolution], count: int, size: int, what: reduce.Kept, t_eval: Any, follow: Follow
) -> EnsembleSolution:
    """The solution of all trajectories from those of the parts."""
    reduced = what.reducer is not None
    joint = dataclasses.replace(what, reducer=_made if reduced else None)
    sol = reduce.in_chunks(lambda lo, hi: found[lo // size], count, size, joint, t_eval)
    return follow_ensemble.whole(sol, found, not reduced) if follow.asked else sol
