"""Many trajectories in lock-step SIMD lanes on all cores: `solve_ensemble(batch, method, controller, ...)`."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import numpy as np

from .. import methods
from ..checks import jacobian_check, mass_check, rhs_check, second_order
from ..compile.cache import Recent, compiled, discard_damaged
from ..compile.prepared import prepared
from ..compile.progress import solver, whose
from ..core import options, tolerance_scale
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..kernels import layout
from ..methods.tableaus import ExplicitTableau
from ..problems.batches import given_batch
from ..problems.foreign import reraise
from ..problems.problem import Batch, Problem
from .cores import available_cores
from .ensemble_solution import EnsembleSolution, EnsembleStats, from_kernel
from .explained import explained
from .pace import Pace
from .reduce import Reducer, chunk_size, in_chunks, kept
from .solve import check_controller, slots_of
from .tally import Tally

__all__ = [
    "EnsembleSolution",
    "EnsembleStats",
    "available_cores",
    "ensemble_kernel",
    "longest",
    "run_ranges",
    "solve_ensemble",
]

_KERNELS = Recent()


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="stepsmith")


if hasattr(os, "register_at_fork"):  # the threads of a pool do not exist in a forked process
    os.register_at_fork(after_in_child=_pool.cache_clear)


def ensemble_kernel(source: Any, method: methods.Method, controller: Any, width: int | None = None) -> Any:
    """The ensemble kernel for a Problem or Batch `source`; loaded from the disk cache where it was compiled before."""
    from ..kernels import build, drivers

    width = width or build.lanes_for(source.n)
    slots = slots_of(controller)
    structure = (controller.key, getattr(controller, "known", ()), controller.n_state)
    key = (method.name, method.key(source), source.n, source.m, structure, slots, width)

    def make() -> Any:
        rhs_check.check(source, method)
        mass_check.check_index(source)
        if jacobian_check.concerns(source, method):
            jacobian_check.warn_once(source)
        parts = method.parts(source, slots)
        return build.build(parts, source.n, source.m, controller, width, drivers.ensemble_source)

    return _KERNELS.made(key, make)


def longest(batch: Batch) -> float:
    """Length of the longest span."""
    return float(np.abs(batch.t1 - batch.t0).max(initial=0.0))


def solve_ensemble(
    batch: Batch | Problem | Sequence[Problem],
    method: str | ExplicitTableau,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    threads: int | None = None,
    output: str | Reducer | None = None,
    chunk: int | None = None,
    report: Callable[[int], None] | None = None,
    *,
    span: float | None = None,
) -> EnsembleSolution:
    """Integrate every instance of `batch`: a `Batch`, a list or tuple of `Problem`s of one kind (`Batch.of`), or one
    `Problem`.

    method: a name or an `ExplicitTableau`. rtol: scalar or (B,); atol: scalar, (n,), (B, 1) or (B, n).  A controller
    with a `tolerance_scale` works at that many times rtol and atol.  t_eval: (k,) or (B, k).  max_steps: attempts a
    trajectory.  threads: None for all cores.  A trajectory that fails (status below 0) keeps its last good state and
    touches no other.

    output: what is kept beside the final state.

        None         `y_eval` (B, k, n) where t_eval is given
        "final"      nothing; t_eval is checked and not used
        "t_eval"     `y_eval`; t_eval must be given
        "max"        the largest value of every component over the times in t_eval, `output` (B, n), NaN where a
                     trajectory did not reach all of them
        "min"        the smallest
        a function   `output(sol)` gets the EnsembleSolution of one chunk of trajectories, in their order, and returns
                     an array whose first axis is theirs; put together, `output` (B, ...)

    chunk: trajectories that are solved and reduced at a time, which changes no result.  None: all of them where nothing
    is reduced, else as many as keep their states at t_eval below 256 MB.  report: called with the number of
    trajectories done so far, by the thread that has done some, never by two at once.  span: the longest span, which
    first_step must not exceed, of the trajectories that these are a part of; None: of these.

    Raises OptionError on bad input.
    """
    meth = methods.get(method)
    own = given_batch(batch)
    try:
        batch = prepared(own)
    except Exception as error:
        raise explained(error, own) from None
    count, n = batch.y0.shape
    scale = tolerance_scale.of(controller)
    r, a = tolerances(rtol, atol, (count, n), batch.y0, scale)
    tgrid = output_grid(t_eval, batch.t0, batch.t1)
    size, limit = checked_step(first_step, longest(batch) if span is None else span), checked_limit(max_steps)
    options.count("threads", threads, none=True)
    what = kept(output, t_eval)
    grid = tgrid if what.evaluates else np.empty((1, 0))
    per_chunk = chunk_size(chunk, what, count, (grid.shape[1] + 1) * n)
    check_controller(controller, meth, batch)
    kernel = ensemble_kernel(batch, meth, controller)
    second_order.check(own, meth)
    given = None if t_eval is None or not what.evaluates else grid
    params = controller.params

    def part(lo: int, hi: int) -> EnsembleSolution:
        rows, held = slice(lo, hi), hi - lo
        h0 = np.full(held, np.nan if size is None else size)
        yend, stat = np.empty((held, n)), np.empty((held, layout.N_STATS))
        times = grid if len(grid) == 1 else grid[rows]
        yout = np.full((held, grid.shape[1], n), np.nan)
        args = (
            batch.y0[rows], batch.p[rows], batch.t0[rows], batch.t1[rows], r[rows], a[rows], h0, times, yout,
            float(limit), yend, stat,
        )  # fmt: skip
        tally = None if report is None else Tally(report, kernel.width, lo)
        try:
            said = f"{solver(meth, controller)} for ensembles of {whose(batch)}"
            wall = run_ranges(kernel, params, args, held, threads, tally, said)
        except Exception as error:
            if not discard_damaged(kernel.module.run):
                raise explained(error, batch) from None
            wall = run_ranges(kernel, params, args, held, threads, tally)
        reraise(own, threads=True)
        t_kept, y_kept = (None, None) if given is None else (times, yout)
        return from_kernel(stat, yend, wall, t_kept, y_kept, scale)

    return in_chunks(part, count, per_chunk, what, given)


def run_ranges(
    kernel: Any,
    params: np.ndarray,
    args: tuple,
    count: int,
    threads: int | None,
    tally: Tally | None = None,
    said: str = "an ensemble",
) -> float:
    """Run trajectories 0..count-1 of a kernel, in ranges of at least four blocks shared out over threads; seconds,
    without compilation.  tally: counts what is done, or None.  said: what is said to be compiled.
    """
    from ..kernels.build import aligned
    from ..kernels.drivers import PLACE

    if count == 0:
        return 0.0
    run = kernel.module.run

    def work(span: tuple[int, int], stop: threading.Event) -> None:
        block, place, pace = aligned(kernel.layout.size), np.zeros(len(PLACE), np.int64), Pace()
        while run(block, params, *args, *span, place, pace.most) and not stop.is_set():
            pace.more()
            if tally is not None:
                tally.under_way(span, place)
        if tally is not None and not stop.is_set():
            tally.finished(span)

    if not run.overloads:  # before the threads ask for it, and before the clock starts
        place = np.zeros(len(PLACE), np.int64)
        compiled(run, aligned(kernel.layout.size), params, *args, 0, 1, place, 1, what=said)
    return shared_out(work, count, kernel.width, threads)


def shared_out(
    work: Callable[[tuple[int, int], threading.Event], None], count: int, width: int, threads: int | None
) -> float:
    """Call `work(range, stop)` for ranges of trajectories 0..count-1, of at least four blocks of `width` lanes each,
    in threads; it ends early where `stop` is set.  Returns the seconds it took.
    """
    cores = threads or available_cores()
    chunk = max(4 * width, -(-count // (4 * cores)))
    ranges = [(lo, min(lo + chunk, count)) for lo in range(0, count, chunk)] if cores > 1 else [(0, count)]
    stop = threading.Event()
    start = time.perf_counter()
    if len(ranges) == 1:
        work(ranges[0], stop)
    else:
        pool = _pool(cores)
        futures = [pool.submit(work, span, stop) for span in ranges]
        try:
            for future in futures:
                future.result()
        except BaseException:  # an interrupt, too: the threads stop at their next return to Python
            stop.set()
            for future in futures:
                future.cancel()
            wait(futures)
            raise
    return time.perf_counter() - start
