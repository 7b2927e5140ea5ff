"""Reference solutions by Gragg-Bulirsch-Stoer extrapolation, independent of the engine's methods.

One step of size H: Gragg's modified midpoint rule with n_j = 2, 4, ..., 16 substeps gives increments d_j whose error
expands in even powers of H/n_j; Aitken-Neville in (H/n_j)^2,

    T_{j,k+1} = T_{j,k} + (T_{j,k} - T_{j-1,k}) / ((n_j / n_{j-k})^2 - 1),

yields T_{8,8} of order 16, and T_{8,8} - T_{8,7} drives the step. Increments, not states, are extrapolated, and they
are added with Kahan's compensation, so that round-off stays near one unit in the last place over thousands of steps. In
a close encounter the difference of two positions loses digits; for N-body problems the force is therefore evaluated
from states and increments kept apart, where it loses none. What rounding remains shows in the distance of two runs.
Source: W. B. Gragg, SIAM J. Numer. Anal. 2 (1965) 384; R. Bulirsch and J. Stoer, Numer. Math. 8 (1966) 1; Hairer,
Norsett, Wanner, "Solving ODEs I", section II.9.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import rhs_check
from ..problems.problem import Batch, Problem
from .gbs_kernel import CALL, HEAD, KERNEL, NBODY, PLAIN
from .pair import Reference, checked, chosen, compared, file_of, load, store

TIGHT, LOOSE = 1e-15, 1e-14  # rtol of the reference and of the run that checks it
MAX_STEPS = 200_000
_VERSION = 1  # part of the disk cache's key: raise it when the numbers may change


def reference(
    batch: Batch | Problem,
    fractions: Sequence[float] | np.ndarray,
    bound: float = 1e-8,
    components: Sequence[int] | None = None,
    max_steps: int = MAX_STEPS,
    cache: bool = True,
    floor: float = 0.0,
) -> Reference:
    """Reference states of every instance at t0 + fractions * (t1 - t0).

    fractions: non-decreasing, each in 0..1, at least one.  bound: instances whose two runs (relative tolerances 1e-15
    and 1e-14) differ by more than this, in the 2-norm over `components` relative to the state's at any output time, are
    not ok; nor are those that blow up, underflow or need more than `max_steps` steps (their self_error is inf, states
    not reached are NaN).  cache: keep results on disk, keyed by everything that determines them. floor: least size of a
    state that differences are taken relative to.  Raises ValueError on bad arguments.
    """
    batch, fractions = checked(batch, fractions, bound, max_steps)
    pick = chosen(components, batch.n)
    rhs_check.check(batch)
    path = _cache_file(batch, fractions, max_steps) if cache else None
    stored = load(path, (len(batch), fractions.size, batch.n))
    if stored is None:
        times = batch.times(fractions)
        stored = _solve(batch, times, TIGHT, max_steps), _solve(batch, times, LOOSE, max_steps)
        store(path, *stored)
    return compared(stored[0], stored[1], pick, bound, floor)


def _solve(batch: Batch, times: np.ndarray, rtol: float, max_steps: int) -> np.ndarray:
    """States (B, nt, n) at `times` (B, nt); NaN from the first time that was not reached."""
    solve = _kernel(batch)
    out = np.full((len(batch), times.shape[1], batch.n), np.nan)

    def one(i: int) -> None:
        solve(batch.y0[i], batch.p[i], batch.t0[i], times[i], rtol, max_steps, out[i])

    if len(batch) == 0:
        return out
    one(0)  # compiles, in this thread only
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, range(1, len(batch))))
    return out


def _kernel(batch: Batch) -> Any:
    from ..compile.cache import load_module
    from ..kernels.calls import array_guards

    if batch.nbody is not None and _newtonian(batch, *batch.nbody):
        objects: dict[str, Any] = {"BODIES": batch.nbody[0], "DIM": batch.nbody[1], "GROUP": batch.n // 2}
        return load_module(HEAD + NBODY + KERNEL, objects).solve
    from ..compile.unrolled import unrolled

    objects = {"rhs": unrolled(batch).rhs, "GROUP": batch.n // 2 if batch.accel else batch.n}
    return load_module(HEAD + array_guards(objects, batch.n, batch.m) + PLAIN + KERNEL, objects).solve


def _newtonian(batch: Batch, bodies: int, dim: int) -> bool:
    """Whether the right-hand side is bare Newtonian gravity (softening or other forces need the plain kernel)."""
    from ..compile.cache import load_module
    from ..kernels.calls import array_guards

    split = load_module(HEAD + NBODY + CALL, {"BODIES": bodies, "DIM": dim}).call
    guards = array_guards({"rhs": batch.rhs}, batch.n, batch.m)
    own = load_module(HEAD + guards + PLAIN + CALL, {"rhs": batch.rhs}).call
    dy, plain = np.empty(batch.n), np.empty(batch.n)
    offset = np.sin(1.0 + np.arange(batch.n))  # away from the start too, where two laws may agree by chance
    for start, p, t in zip(batch.y0, batch.p, batch.t0, strict=True):
        size = np.max(np.abs(start))
        for y in (start, start + 0.3 * size * offset, start - 0.2 * size * offset):
            split(t, y, p, dy)
            own(t, y, p, plain)
            if not np.allclose(dy, plain, rtol=1e-9, atol=1e-9 * np.max(np.abs(plain)), equal_nan=True):
                return False
    return True


def _cache_file(batch: Batch, fractions: np.ndarray, max_steps: int) -> Path:
    from ..compile.cache import function_key

    head = f"{_VERSION} {function_key(batch.rhs)} {batch.y0.shape} {batch.p.shape} {fractions.size} {max_steps}"
    h = hashlib.sha256((head + f" {TIGHT} {LOOSE} {batch.nbody}" + PLAIN + NBODY + KERNEL).encode())
    for array in (batch.y0, batch.p, batch.t0, batch.t1, fractions):
        h.update(array.tobytes())
    return file_of(h.hexdigest())
