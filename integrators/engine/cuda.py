"""Many trajectories on a GPU, one a thread: `solve_ensemble(batch, method, controller, ...)`, as
`ensemble.solve_ensemble` on a CPU.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import methods
from ..checks import rhs_check, second_order
from ..compile.cache import Recent
from ..compile.prepared import moved_to_p
from ..core import options, tolerance_scale
from ..core.errors import OptionError
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..kernels import layout
from ..methods.tableaus import ExplicitTableau
from ..problems.batches import given_batch
from ..problems.foreign import callback_of
from ..problems.problem import Batch, Problem
from .ensemble import longest
from .ensemble_solution import EnsembleSolution, from_kernel
from .explained import explained
from .reduce import Reducer, chunk_size, in_chunks, kept
from .solve import check_controller, slots_of

_KERNELS = Recent()
#: how often progress is reported at most, and trajectories between two reports at least
REPORTS, LEAST_REPORTED = 16, 65_536


def missing() -> str | None:
    """What stands between this process and a GPU, in one line; None where nothing does.  Numba's simulator counts as a
    GPU.
    """
    try:
        from numba import cuda
    except ImportError as error:
        return f"numba cannot be imported ({error})"
    from ..kernels import cuda as kernels  # points Numba to libNVVM

    if kernels.SIMULATOR or cuda.is_available():
        return None
    from numba.cuda.cudadrv import nvvm

    reason = cuda.cuda_error()
    if reason is not None:
        return f"no usable NVIDIA driver ({' '.join(str(reason).split())[:200]})"
    if not nvvm.is_available():
        return "libNVVM is not found; pip install 'stepsmith[cuda]', or set CUDA_HOME to a CUDA toolkit"
    return "numba.cuda.is_available() is False: the driver lists no GPU" + (
        f" (CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']!r})"
        if "CUDA_VISIBLE_DEVICES" in os.environ
        else ""
    )


def ensemble_kernel(source: Any, method: methods.Method, controller: Any) -> Any:
    """The device kernel for a Problem or Batch `source`; it is compiled when it is first launched.  Needs no GPU."""
    from ..kernels import cuda as kernels

    slots = slots_of(controller)
    key = (method.name, method.key(source), source.n, source.m, controller.key, controller.n_state, slots)

    def make() -> Any:
        rhs_check.check(source, method)
        if "cuda" not in method.devices:
            why = "is implicit: such methods run" if method.implicit else "runs"
            raise ValueError(f"method {method.name!r} {why} on the CPU only")
        return kernels.build(method.parts(source, slots), source.n, source.m, controller)

    return _KERNELS.made(key, make)


def solve_ensemble(
    batch: Batch | Problem | Sequence[Problem],
    method: str | ExplicitTableau,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    block: int = 64,
    output: str | Reducer | None = None,
    chunk: int | None = None,
    report: Callable[[int], None] | None = None,
) -> EnsembleSolution:
    """Integrate every instance of `batch` on the current CUDA device, in float64.

    batch, output, chunk: as in `ensemble.solve_ensemble`; a chunk also bounds the device's memory.  report: called with
    the number of trajectories done after each chunk; where it is given, an automatic chunk is a sixteenth at most.
    rtol: scalar or (B,); atol: scalar, (n,), (B, 1) or (B, n).  t_eval: (k,) or (B, k).  max_steps: attempts a
    trajectory.  block: threads a block, 1 to 1024.  The answer and its statuses are those of the CPU engine to
    rounding; `stats.wall_s` includes the transfers to and from the device, not compilation.  Raises ValueError on bad
    input and RuntimeError naming what is missing where there is no GPU.
    """
    meth = methods.get(method)
    own = given_batch(batch)
    if callback_of(own.rhs) is not None or callback_of(own.jac) is not None:
        raise OptionError("a right-hand side with compiled=False runs on device 'cpu' only: a GPU cannot call Python")
    batch = moved_to_p(own)
    count, n = batch.y0.shape
    scale = tolerance_scale.of(controller)
    r, a = tolerances(rtol, atol, (count, n), batch.y0, scale)
    tgrid = output_grid(t_eval, batch.t0, batch.t1)
    size, limit = checked_step(first_step, longest(batch)), checked_limit(max_steps)
    options.count("block", block, 1, 1024)
    what = kept(output, t_eval)
    grid = tgrid if what.evaluates else np.empty((1, 0))
    given = None if t_eval is None or not what.evaluates else grid
    per_chunk = chunk_size(chunk, what, count, (grid.shape[1] + 1) * n)
    if report is not None and chunk is None:
        per_chunk = min(per_chunk, max(-(-count // REPORTS), LEAST_REPORTED))
    check_controller(controller, meth, batch)
    lack = missing()
    if lack is not None:
        raise RuntimeError(f"device 'cuda' cannot be used: {lack}")
    from numba import cuda

    from ..kernels import cuda as kernels

    run = ensemble_kernel(batch, meth, controller).module.run
    second_order.check(own, meth)
    if not kernels.SIMULATOR:
        try:
            run.compile(kernels.SIGNATURE.args)
        except Exception as error:
            raise explained(error, batch) from None
    h0 = np.full(count, np.nan if size is None else size)
    law, columns = controller.params, (batch.y0, batch.p, batch.t0, batch.t1, r, a, h0)

    def part(lo: int, hi: int) -> EnsembleSolution:
        rows, held = slice(lo, hi), hi - lo
        times = grid if len(grid) == 1 else grid[rows]
        inputs = [np.ascontiguousarray(x, dtype=np.float64) for x in (law, *(x[rows] for x in columns), times)]
        yend, stat = np.empty((held, n)), np.empty((held, layout.N_STATS))
        yout = np.full((held, grid.shape[1], n), np.nan)
        start = time.perf_counter()
        if held:
            *on_device, d_yout, d_yend, d_stat = (
                *map(cuda.to_device, inputs), *(cuda.device_array(x.shape) for x in (yout, yend, stat))
            )  # fmt: skip
            run[-(-held // block), block](*on_device, d_yout, float(limit), d_yend, d_stat)
            for there, here in ((d_yend, yend), (d_stat, stat), (d_yout, yout)):
                there.copy_to_host(here)  # waits for the kernel
        wall = time.perf_counter() - start
        if report is not None:
            report(hi)
        t_kept, y_kept = (None, None) if given is None else (times, yout)
        return from_kernel(stat, yend, wall, t_kept, y_kept, scale)

    return in_chunks(part, count, per_chunk, what, given)
