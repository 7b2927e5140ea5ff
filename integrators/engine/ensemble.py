"""Many trajectories in lock-step SIMD lanes on all cores: `solve_ensemble(batch, method, controller, ...)`."""

from __future__ import annotations

import functools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import methods
from ..checks import jacobian_check, rhs_check
from ..compile.cache import Recent, compiled, discard_damaged
from ..compile.lift import lifted
from ..core import options
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..kernels import layout
from ..methods.tableaus import ExplicitTableau
from ..problems.problem import Batch, Problem
from .explained import explained
from .pace import Pace
from .solve import check_controller, slots_of

_KERNELS = Recent()


@dataclass(frozen=True)
class EnsembleStats:
    """Per trajectory, int64 (B,): nfev, naccept, nreject, nfallback, njev, nlu, nsolve; naccept_over, accepted attempts
    whose scaled error estimate exceeded 1.  wall_s: seconds for the whole ensemble, without compilation.
    """

    nfev: np.ndarray
    naccept: np.ndarray
    nreject: np.ndarray
    nfallback: np.ndarray
    wall_s: float
    njev: np.ndarray
    nlu: np.ndarray
    nsolve: np.ndarray
    naccept_over: np.ndarray


@dataclass(frozen=True)
class EnsembleSolution:
    """t (B,) times reached; y (B, n) states there; status (B,), success (B,).  y_eval (B, k, n) at `t_eval`, NaN where
    a trajectory did not get that far, or None.  h_next (B,): the step size that would have come next, or None.
    """

    t: np.ndarray
    y: np.ndarray
    status: np.ndarray
    stats: EnsembleStats
    t_eval: np.ndarray | None = None
    y_eval: np.ndarray | None = field(default=None, repr=False)
    h_next: np.ndarray | None = field(default=None, repr=False)

    @property
    def success(self) -> np.ndarray:
        """(B,) bool."""
        return self.status == layout.SUCCESS

    def message(self, i: int) -> str:
        """What happened to trajectory i."""
        return layout.message(int(self.status[i]), int(self.stats.naccept_over[i]))


def counted(stat: np.ndarray, wall: float) -> EnsembleStats:
    """Statistics of an ensemble from the kernel's columns `layout.STATS` (B, N_STATS)."""
    by = {name: stat[:, i].astype(np.int64) for i, name in enumerate(layout.STATS) if name.startswith("n")}
    return EnsembleStats(wall_s=wall, **by)


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="stepsmith")


if hasattr(os, "register_at_fork"):  # the threads of a pool do not exist in a forked process
    os.register_at_fork(after_in_child=_pool.cache_clear)


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ensemble_kernel(source: Any, method: methods.Method, controller: Any, width: int | None = None) -> Any:
    """The ensemble kernel for a Problem or Batch `source`; loaded from the disk cache where it was compiled before."""
    from ..kernels import build, drivers

    width = width or build.lanes_for(source.n)
    slots = slots_of(controller)
    structure = (controller.key, getattr(controller, "known", ()), controller.n_state)
    key = (method.name, method.key(source), source.n, source.m, structure, slots, width)

    def make() -> Any:
        rhs_check.check(source, method)
        if jacobian_check.concerns(source, method):
            jacobian_check.warn_once(source)
        parts = method.parts(source, slots)
        return build.build(parts, source.n, source.m, controller, width, drivers.ensemble_source)

    return _KERNELS.made(key, make)


def check_batch(batch: Any) -> None:
    """ValueError for what is no Batch."""
    if not isinstance(batch, Batch):
        hint = ": solve takes one, and problem.batch() makes a Batch of it" if isinstance(batch, Problem) else ""
        raise ValueError(f"batch must be a Batch, got {type(batch).__name__}{hint}")


def longest(batch: Batch) -> float:
    """Length of the longest span."""
    return float(np.abs(batch.t1 - batch.t0).max(initial=0.0))


def solve_ensemble(
    batch: Batch,
    method: str | ExplicitTableau,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    threads: int | None = None,
) -> EnsembleSolution:
    """Integrate every instance of `batch`.

    method: a name or an `ExplicitTableau`. rtol: scalar or (B,); atol: scalar, (n,), (B, 1) or (B, n).  t_eval: (k,) or
    (B, k).  max_steps: attempts a trajectory.  threads: None for all cores.  A trajectory that fails (status below 0)
    keeps its last good state and touches no other.
    """
    meth = methods.get(method)
    check_batch(batch)
    batch = lifted(batch)
    count, n = batch.y0.shape
    r, a = tolerances(rtol, atol, (count, n), batch.y0)
    tgrid = output_grid(t_eval, batch.t0, batch.t1)
    size, limit = checked_step(first_step, longest(batch)), checked_limit(max_steps)
    options.count("threads", threads, none=True)
    check_controller(controller, meth, batch)
    kernel = ensemble_kernel(batch, meth, controller)
    h0 = np.full(count, np.nan if size is None else size)
    yend, stat = np.empty((count, n)), np.empty((count, layout.N_STATS))
    yout = np.full((count, tgrid.shape[1], n), np.nan)
    args = (batch.y0, batch.p, batch.t0, batch.t1, r, a, h0, tgrid, yout, float(limit), yend, stat)
    params = controller.params
    try:
        wall = run_ranges(kernel, params, args, count, threads, f"{meth.name} for ensembles of {batch.name}")
    except Exception as error:
        if not discard_damaged(kernel.module.run):
            raise explained(error, batch) from None
        wall = run_ranges(kernel, params, args, count, threads)
    stats = counted(stat, wall)
    return EnsembleSolution(
        stat[:, 4].copy(), yend, stat[:, 0].astype(np.int8), stats, None if t_eval is None else tgrid,
        None if t_eval is None else yout, stat[:, layout.STATS.index("h_next")].copy()
    )


def run_ranges(
    kernel: Any, params: np.ndarray, args: tuple, count: int, threads: int | None, what: str = "an ensemble"
) -> float:
    """Run trajectories 0..count-1 of a kernel, in ranges of at least four blocks shared out over threads; seconds,
    without compilation.  what: what is said to be compiled.
    """
    from ..kernels.build import aligned
    from ..kernels.drivers import PLACE

    cores = threads or available_cores()
    chunk = max(4 * kernel.width, -(-count // (4 * cores)))
    ranges = [(lo, min(lo + chunk, count)) for lo in range(0, count, chunk)] if cores > 1 else [(0, count)]
    if count == 0:
        return 0.0
    run, stop = kernel.module.run, threading.Event()

    def work(span: tuple[int, int]) -> None:
        block, place, pace = aligned(kernel.layout.size), np.zeros(len(PLACE), np.int64), Pace()
        while run(block, params, *args, *span, place, pace.most) and not stop.is_set():
            pace.more()

    if not run.overloads:  # before the threads ask for it, and before the clock starts
        place = np.zeros(len(PLACE), np.int64)
        compiled(run, aligned(kernel.layout.size), params, *args, *ranges[0], place, 1, what=what)
    start = time.perf_counter()
    if len(ranges) == 1:
        work(ranges[0])
    else:
        pool = _pool(cores)
        futures = [pool.submit(work, span) for span in ranges]
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
