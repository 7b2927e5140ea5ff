"""Many trajectories on a GPU, one a thread: `solve_ensemble(batch, method, controller, ...)`, as
`ensemble.solve_ensemble` on a CPU.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

from .. import methods
from ..checks import rhs_check
from ..compile.cache import Recent
from ..compile.lift import lifted
from ..core import options
from ..core.solver_options import checked_limit, checked_step, output_grid, tolerances
from ..kernels import layout
from ..methods.tableaus import ExplicitTableau
from ..problems.problem import Batch
from .ensemble import EnsembleSolution, check_batch, counted, longest
from .explained import explained
from .solve import check_controller, slots_of

_KERNELS = Recent()


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
    batch: Batch,
    method: str | ExplicitTableau,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    block: int = 64,
) -> EnsembleSolution:
    """Integrate every instance of `batch` on the current CUDA device, in float64.

    rtol: scalar or (B,); atol: scalar, (n,), (B, 1) or (B, n).  t_eval: (k,) or (B, k).  max_steps: attempts a
    trajectory.  block: threads a block, 1 to 1024.  The answer and its statuses are those of the CPU engine to
    rounding; `stats.wall_s` includes the transfers to and from the device, not compilation.  Raises ValueError on bad
    input and RuntimeError naming what is missing where there is no GPU.
    """
    meth = methods.get(method)
    check_batch(batch)
    batch = lifted(batch)
    count, n = batch.y0.shape
    r, a = tolerances(rtol, atol, (count, n), batch.y0)
    tgrid = output_grid(t_eval, batch.t0, batch.t1)
    size, limit = checked_step(first_step, longest(batch)), checked_limit(max_steps)
    options.count("block", block, 1, 1024)
    check_controller(controller, meth, batch)
    lack = missing()
    if lack is not None:
        raise RuntimeError(f"device 'cuda' cannot be used: {lack}")
    from numba import cuda

    from ..kernels import cuda as kernels

    run = ensemble_kernel(batch, meth, controller).module.run
    if not kernels.SIMULATOR:
        try:
            run.compile(kernels.SIGNATURE.args)
        except Exception as error:
            raise explained(error, batch) from None
    h0 = np.full(count, np.nan if size is None else size)
    given = (controller.params, batch.y0, batch.p, batch.t0, batch.t1, r, a, h0, tgrid)
    inputs = [np.ascontiguousarray(x, dtype=np.float64) for x in given]
    yend, stat = np.empty((count, n)), np.empty((count, layout.N_STATS))
    yout = np.full((count, tgrid.shape[1], n), np.nan)
    start = time.perf_counter()
    if count:
        *on_device, d_yout, d_yend, d_stat = (
            *map(cuda.to_device, inputs), *(cuda.device_array(x.shape) for x in (yout, yend, stat))
        )  # fmt: skip
        run[-(-count // block), block](*on_device, d_yout, float(limit), d_yend, d_stat)
        for there, here in ((d_yend, yend), (d_stat, stat), (d_yout, yout)):
            there.copy_to_host(here)  # waits for the kernel
    wall = time.perf_counter() - start
    stats = counted(stat, wall)
    return EnsembleSolution(
        stat[:, 4].copy(), yend, stat[:, 0].astype(np.int8), stats, None if t_eval is None else tgrid,
        None if t_eval is None else yout, stat[:, layout.STATS.index("h_next")].copy()
    )

