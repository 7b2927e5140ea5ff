"""Reference solutions by Gragg-Bulirsch-Stoer extrapolation, independent of the engine's methods.

One step of size H: Gragg's modified midpoint rule with n_j = 2, 4, ..., 16 substeps gives increments d_j whose error
expands in even powers of H/n_j; Aitken-Neville in (H/n_j)^2,

    T_{j,k+1} = T_{j,k} + (T_{j,k} - T_{j-1,k}) / ((n_j / n_{j-k})^2 - 1),

yields T_{8,8} of order 16, and T_{8,8} - T_{8,7} drives the step. Increments, not states, are extrapolated, and they are
added with Kahan's compensation, so that round-off stays near one unit in the last place over thousands of steps.
In a close encounter the difference of two positions loses digits; for N-body problems the force is therefore evaluated from
states and increments kept apart, where it loses none. What rounding remains shows in the distance of two runs.
Source: W. B. Gragg, SIAM J. Numer. Anal. 2 (1965) 384; R. Bulirsch and J. Stoer, Numer. Math. 8 (1966) 1; Hairer, Norsett,
Wanner, "Solving ODEs I", section II.9.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..checks import rhs_check
from ..problems.problem import Batch, Problem

TIGHT, LOOSE = 1e-15, 1e-14  # rtol of the reference and of the run that checks it
MAX_STEPS = 200_000
_VERSION = 1  # part of the disk cache's key: raise it when the numbers may change

_KERNEL = '''
COLUMNS = 8
NOISE = 1e-9  # corrections above this, relative to the state, are never put down to rounding

@numba.njit(error_model="numpy", nogil=True, cache=True)
def solve(y0, p, t0, times, rtol, max_steps, out):
    """Fill out (nt, n) with the solution at `times`; True if every time was reached."""
    n = y0.size
    y = y0.copy()
    lost = np.zeros(n)      # what rounding took from y so far
    f0 = np.empty(n)
    f = np.empty(n)
    z = np.empty(n)
    e = np.empty(n)         # what is added to y, kept apart from it
    d_old = np.empty(n)
    d = np.empty(n)
    before = np.empty(n)    # the last correction but one
    table = np.empty((COLUMNS, n))
    big = np.empty(2)       # largest increment among positions and among velocities
    out[:] = np.nan
    t = t0
    t_lost = 0.0
    t_end = times[-1]
    if not np.all(np.isfinite(y)):
        return False
    force(t, y, lost, p, z, f0)
    sign = 1.0 if t_end >= t0 else -1.0
    h = abs(t_end - t0)
    y_max = np.max(np.abs(y))
    f_max = np.max(np.abs(f0))
    if f_max > 0.0 and y_max > 0.0:
        h = min(h, 0.1*y_max/f_max)
    steps = 0
    for k in range(times.size):
        while True:
            left = sign*((times[k] - t) - t_lost)
            if left <= 0.0:
                break
            if steps >= max_steps:
                return False
            steps += 1
            last = left <= 1.0000001*h
            size = left if last else min(h, 0.5*left) if h > 0.9*left else h
            step = sign*size
            if size < 4e-16*max(abs(t), abs(times[k])) and not last:
                return False
            for c in range(COLUMNS):
                m = 2*(c + 1)
                q = step/m
                for i in range(n):
                    d_old[i] = 0.0
                    d[i] = q*f0[i]
                    e[i] = d[i] + lost[i]
                for s in range(1, m):
                    force(t + (t_lost + s*q), y, e, p, z, f)
                    for i in range(n):
                        new = d_old[i] + 2.0*q*f[i]
                        d_old[i] = d[i]
                        d[i] = new
                        e[i] = new + lost[i]
                for i in range(n):
                    high = d[i]
                    for r in range(c):
                        low = table[r, i]
                        table[r, i] = high
                        ratio = (c + 1.0)/(c - r)
                        high = high + (high - low)/(ratio*ratio - 1.0)
                    if c == COLUMNS - 2:
                        before[i] = high - table[c - 1, i]
                    table[c, i] = high
            big[0] = 0.0
            big[1] = 0.0
            for i in range(n):
                g = 1 if i >= GROUP else 0
                big[g] = max(big[g], abs(table[COLUMNS - 1, i]))
            err = 0.0
            err_before = 0.0
            for i in range(n):
                inc = abs(table[COLUMNS - 1, i]) + 0.01*big[1 if i >= GROUP else 0]
                scale = rtol*inc + 2e-17*abs(y[i]) + 1e-300
                gap = abs(table[COLUMNS - 1, i] - table[COLUMNS - 2, i])/scale
                if not gap <= err:  # also carries NaN on
                    err = gap
                err_before = max(err_before, abs(before[i])/scale)
            # The table no longer converges: what is left is the rounding of the right-hand side itself (differences
            # of nearly equal positions in a close encounter), which no smaller step would lower.
            noise = err < NOISE/rtol and err > 0.3*err_before
            factor = 4.0
            if not np.isfinite(err):
                factor = 0.1
            elif err > 0.0:
                factor = min(4.0, max(0.1, 0.8*err**(-1.0/(2*COLUMNS - 1))))
            if noise:
                factor = max(factor, 1.5 if err <= 1.0 else 1.0)
            elif not err <= 1.0:
                h = size*min(factor, 0.8)
                if h < 4e-16*abs(t) or h < 1e-300:
                    return False
                continue
            for i in range(n):
                add = table[COLUMNS - 1, i] + lost[i]
                new = y[i] + add
                lost[i] = add - (new - y[i])
                y[i] = new
            if last:
                t = times[k]
                t_lost = 0.0
                h = max(h, size*factor) if size < h else size*factor
            else:
                add = step + t_lost
                new = t + add
                t_lost = add - (new - t)
                t = new
                h = size*factor
            force(t + t_lost, y, lost, p, z, f0)
        for i in range(n):
            out[k, i] = y[i]
    return True
'''


_HEAD = """
import math
import numba
import numpy as np
"""

_CALL = """
@numba.njit(error_model="numpy", cache=True)
def call(t, y, p, f):
    force(t, y, np.zeros(y.size), p, np.empty(y.size), f)
"""

_PLAIN = '''
@_inline
def force(t, y, e, p, z, f):
    """f at the state y + e, by the problem's own right-hand side."""
    for i in range(y.size):
        z[i] = y[i] + e[i]
    rhs(t, z, p, f)
'''

_NBODY = '''
@_inline
def force(t, y, e, p, z, f):
    """Gravity at y + e. y_j - y_i is exact for close pairs: their distance keeps its relative precision."""
    half = BODIES*DIM
    for k in range(half):
        f[k] = y[half + k] + e[half + k]
        f[half + k] = 0.0
    for i in range(BODIES):
        for j in range(i + 1, BODIES):
            r2 = 0.0
            for k in range(DIM):
                a = i*DIM + k
                b = j*DIM + k
                z[k] = (y[b] - y[a]) + (e[b] - e[a])
                r2 += z[k]*z[k]
            w = p[0]/(r2*math.sqrt(r2))
            for k in range(DIM):
                f[half + i*DIM + k] += p[j + 1]*w*z[k]
                f[half + j*DIM + k] -= p[i + 1]*w*z[k]
'''


class Reference(NamedTuple):
    """y: (B, nt, n) states at the output times; ok: (B,) bool; self_error: (B,) relative distance of two runs."""

    y: np.ndarray
    ok: np.ndarray
    self_error: np.ndarray


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

    fractions: non-decreasing, each in 0..1, at least one.  bound: instances whose two runs (relative tolerances 1e-15 and
    1e-14) differ by more than this, in the 2-norm over `components` relative to the state's at any output
    time, are not ok; nor are those that blow up, underflow or need more than `max_steps` steps (their self_error is
    inf, states not reached are NaN).  cache: keep results on disk, keyed by everything that determines them.
    floor: least size of a state that differences are taken relative to.  Raises ValueError on bad arguments.
    """
    batch, fractions = checked(batch, fractions, bound, max_steps)
    pick = _components(components, batch.n)
    rhs_check.check(batch)
    path = _cache_file(batch, fractions, max_steps) if cache else None
    stored = _load(path, (len(batch), fractions.size, batch.n))
    if stored is None:
        times = batch.times(fractions)
        stored = _solve(batch, times, TIGHT, max_steps), _solve(batch, times, LOOSE, max_steps)
        _store(path, *stored)
    return compared(stored[0], stored[1], pick, bound, floor)


def checked(
    batch: Batch | Problem, fractions: Sequence[float] | np.ndarray, bound: float, max_steps: int
) -> tuple[Batch, np.ndarray]:
    """The arguments of `reference` as a batch and an array (nt,). Raises ValueError, naming what is wrong."""
    batch = batch.batch() if isinstance(batch, Problem) else batch
    fractions = np.array(fractions, dtype=np.float64, ndmin=1)
    if fractions.ndim != 1 or fractions.size == 0:
        raise ValueError("fractions must be a non-empty sequence of numbers")
    if not np.all((fractions >= 0) & (fractions <= 1)) or np.any(np.diff(fractions) < 0):
        raise ValueError("fractions must be non-decreasing numbers in 0..1")
    if not bound > 0:
        raise ValueError(f"bound must be positive, got {bound!r}")
    if not isinstance(max_steps, (int, np.integer)) or max_steps < 1:
        raise ValueError(f"max_steps must be a positive whole number, got {max_steps!r}")
    return batch, fractions


def compared(tight: np.ndarray, loose: np.ndarray, pick: Any, bound: float, floor: float = 0.0) -> Reference:
    """Reference `tight` (B, nt, n) with its 2-norm distance from `loose` over the components `pick`, relative to its size or, where that is
    larger, to `floor`; ok up to `bound`."""
    with np.errstate(all="ignore"):
        gap, size = np.linalg.norm((tight - loose)[..., pick], axis=-1), np.linalg.norm(tight[..., pick], axis=-1)
        ratio = np.where(gap == 0.0, 0.0, gap / np.maximum(size, floor))
        error = np.max(np.where(np.isfinite(ratio), ratio, np.inf), axis=1)
    return Reference(tight, error <= bound, error)


def _components(components: Sequence[int] | None, n: int) -> Any:
    if components is None:
        return slice(None)
    pick = np.asarray(components)
    if pick.ndim != 1 or pick.size == 0 or pick.dtype.kind not in "iu" or pick.min() < 0 or pick.max() >= n:
        raise ValueError(f"components must be indices in 0..{n - 1}, got {components!r}")
    return pick


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
        return load_module(_HEAD + _NBODY + _KERNEL, objects).solve
    objects = {"rhs": batch.rhs, "GROUP": batch.n // 2 if batch.accel else batch.n}
    return load_module(_HEAD + array_guards(objects, batch.n, batch.m) + _PLAIN + _KERNEL, objects).solve


def _newtonian(batch: Batch, bodies: int, dim: int) -> bool:
    """Whether the right-hand side is bare Newtonian gravity (softening or other forces need the plain kernel)."""
    from ..compile.cache import load_module
    from ..kernels.calls import array_guards

    split = load_module(_HEAD + _NBODY + _CALL, {"BODIES": bodies, "DIM": dim}).call
    guards = array_guards({"rhs": batch.rhs}, batch.n, batch.m)
    own = load_module(_HEAD + guards + _PLAIN + _CALL, {"rhs": batch.rhs}).call
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
    h = hashlib.sha256((head + f" {TIGHT} {LOOSE} {batch.nbody}" + _PLAIN + _NBODY + _KERNEL).encode())
    for array in (batch.y0, batch.p, batch.t0, batch.t1, fractions):
        h.update(array.tobytes())
    return _folder() / f"{h.hexdigest()[:32]}.npz"


def _folder() -> Path:
    from ..compile.cache import cache_dir

    folder = cache_dir().parent / "references"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _load(path: Path | None, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """The stored pair, or None where there is none or the file is damaged (it is then written afresh)."""
    if path is None or not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            pair = file["tight"], file["loose"]
    except Exception:  # a truncated archive raises any of half a dozen types
        return None
    return pair if all(y.shape == shape and y.dtype == np.float64 for y in pair) else None


def _store(path: Path | None, tight: np.ndarray, loose: np.ndarray) -> None:
    if path is None:
        return
    fd, tmp = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    with os.fdopen(fd, "wb") as file:
        np.savez(file, tight=tight, loose=loose)
    os.replace(tmp, path)
