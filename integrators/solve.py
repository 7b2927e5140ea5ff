"""One trajectory: `solve(problem, method, controller, ...)`."""

from __future__ import annotations

import functools
import time
import warnings
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from . import jacobian_check, methods, record, sparsity
from .cache import discard_damaged
from .errors import explained
from .kernels import layout
from .problem import Batch, Problem

_EPS = 2.220446049250313e-16
RECORD_NAMES = (*record.NAMES, "accept", "log_factor", "flags", "fallback")
_NONE = np.empty((1, 0))
_KERNELS: dict[tuple, Any] = {}


@dataclass(slots=True)
class Stats:
    """Counts of one solve: right-hand sides (all of them, those of Jacobians by differences too), accepted and rejected attempts,
    Jacobians, LU factorisations, back-substitutions, answers of the controller that were replaced by its base law, and seconds inside
    the compiled solve, the controller's own evaluation included and compilation not."""

    nfev: int
    naccept: int
    nreject: int
    njev: int
    nlu: int
    nsolve: int
    nfallback: int
    wall_s: float


@dataclass(slots=True, eq=False)
class Solution:
    """t (k,), y (k, n): accepted steps, or the outputs at `t_eval` that were reached.  `success`, `status` (see
    `kernels.layout.MESSAGES`), `message`, `stats`.  `record`: (attempts, slots) log of attempt records, columns `record_names`, or None.
    """

    t: np.ndarray
    y: np.ndarray
    success: bool
    status: int
    message: str
    stats: Stats
    record: np.ndarray | None = field(default=None, repr=False)

    record_names = RECORD_NAMES  # a plain class attribute, not a field


def _plain(rtol: Any, atol: Any) -> bool:
    """Two numbers that need no further checks."""
    return type(rtol) is float and type(atol) is float and 100 * _EPS <= rtol < np.inf and 0.0 <= atol < np.inf


def tolerances(rtol: Any, atol: Any, shape: tuple[int, ...], y0: Any = None) -> tuple[Any, Any]:
    """Checked tolerances broadcast to `shape` (instances, n): rtol (instances,), atol (instances, n).

    Raises ValueError on negative, NaN or mis-shaped values and where a component has neither; warns near machine precision, of `atol`
    alone by the size of the states y0, (instances, n) or (n,), if they are given.
    """
    count, n = shape
    if _plain(rtol, atol):
        return np.full(count, rtol), np.full((count, n), atol)
    r, a = _numbers("rtol", rtol), _numbers("atol", atol)
    for name, v in (("rtol", r), ("atol", a)):
        if not np.all(v >= 0) or not np.all(np.isfinite(v)):
            raise ValueError(f"{name} must be finite and not negative, got {v.tolist() if v.size < 9 else v[~(v >= 0)][:3].tolist()}")
    if r.shape not in ((), (count,)):
        raise ValueError(f"rtol must be a number or have shape ({count},), got shape {r.shape}")
    if a.shape not in ((), (n,), (count, n), (count, 1)):
        raise ValueError(f"atol must be a number or have shape ({n},), ({count}, 1) or ({count}, {n}), got shape {a.shape}")
    r = np.ascontiguousarray(np.broadcast_to(r, (count,)))
    a = np.ascontiguousarray(np.broadcast_to(a, (count, n)))
    if np.any((r == 0)[:, None] & (a == 0)):
        raise ValueError("rtol and atol are both 0 for at least one component: the error has no scale")
    if np.any((r < 100 * _EPS) & (r > 0)):
        warnings.warn(f"rtol {float(r[r > 0].min()):.2g} is near the precision of float64 ({_EPS:.2g}): errors are then round-off",
                      stacklevel=3)  # fmt: skip
    if y0 is not None and np.any(low := (r == 0)[:, None] & (a < 100 * _EPS * np.abs(y0))):
        warnings.warn(f"atol {float(a[low].min()):.2g} is near the precision of float64 at the initial state's size: errors are then "
                      "round-off", stacklevel=3)  # fmt: skip
    return r, a


def _numbers(name: str, value: Any) -> np.ndarray:
    raw = np.asarray(value)
    if raw.dtype.kind not in "fiub":
        raise ValueError(f"{name} must hold real numbers, got {value!r}")
    return raw.astype(np.float64)


def output_times(t_eval: Any, t0: float, t1: float) -> np.ndarray:
    """`t_eval` as a (1, nt) float64 array; ValueError where it leaves the span or is not ordered along it."""
    t = np.atleast_1d(_numbers("t_eval", t_eval))
    if t.ndim != 1:
        raise ValueError(f"t_eval must be one-dimensional, got shape {t.shape}")
    lo, hi = min(t0, t1), max(t0, t1)
    if not np.all((t >= lo) & (t <= hi)):
        raise ValueError(f"t_eval must lie within the span [{lo}, {hi}]")
    if np.any(np.diff(t) * (1.0 if t1 >= t0 else -1.0) < 0):
        raise ValueError("t_eval must be ordered along the direction of integration")
    return t[None]


def slots_of(controller: Any, extra: bool = False) -> frozenset[int]:
    """Optional record slots a controller reads (all of them with `extra`)."""
    if extra:
        return methods.OPTIONAL
    needs = frozenset(getattr(controller, "needs", {record.ERR}))
    return (needs | frozenset(getattr(controller, "slots", ()))) & methods.OPTIONAL


def check_controller(controller: Any, method: methods.Method, source: Any) -> None:
    """ValueError for what is no controller, and where it needs what the method cannot report on the Problem or Batch `source`."""
    if not all(hasattr(controller, part) for part in ("name", "params", "n_state", "phases", "key")):
        raise ValueError(f"not a controller: {controller!r}; stepsmith.solve takes a name, a path or a controller object")
    needs = frozenset(getattr(controller, "needs", ()))
    missing = ", ".join(sorted(record.NAMES[i] for i in needs - method.fills))
    if missing:
        raise ValueError(f"controller {controller.name!r} needs {missing}, which method {method.name!r} does not report")
    if source.nbody is None and needs & methods.TIME_SCALES:
        raise ValueError(f"controller {controller.name!r} needs an N-body problem (nbody=(bodies, dimension)); {source.name!r} is none")


def compiled(function: Any, *args: Any) -> None:
    """Compile a kernel's `function` for `args`, or load its machine code, without running it: what a clock then times is the run."""
    from numba import typeof

    function.compile(tuple(typeof(a) for a in args))


def _kernel(problem: Problem, method: methods.Method, controller: Any, slots: frozenset[int]) -> Any:
    structure = (controller.key, getattr(controller, "known", ()), controller.n_state)
    key = (method.name, method.key(problem), problem.n, problem.m, structure, slots)
    kernel = _KERNELS.get(key)
    if kernel is None:
        from .kernels import build, drivers

        parts = method.parts(problem, slots)
        kernel = _KERNELS[key] = build.build(parts, problem.n, problem.m, controller, 1, drivers.single_source)
    return kernel


_RESOLVED: dict[tuple, tuple[Any, Any]] = {}


def _resolve(problem: Problem, method: str, controller: Any, log: bool) -> Any:
    """The kernel, checks included; the last answer for the same objects is remembered, for solves of a few microseconds."""
    pattern = sparsity.key(problem.sparsity)
    key = (method, problem.rhs, problem.jac, pattern, problem.y0.size, problem.p.size, problem.nbody, problem.accel, id(controller), log)
    known = _RESOLVED.get(key)
    if known is not None and known[0]() is controller:
        return known[1]
    meth = methods.get(method)
    check_controller(controller, meth, problem)
    if jacobian_check.concerns(problem, meth):
        jacobian_check.warn_once(problem, stacklevel=5)  # the caller of stepsmith.solve
    kernel = _kernel(problem, meth, controller, slots_of(controller, log))
    if len(_RESOLVED) > 256:
        _RESOLVED.clear()
    _RESOLVED[key] = (weakref.ref(controller), kernel)
    return kernel


@functools.cache
def _no_output(n: int) -> np.ndarray:
    return np.empty((1, 0, n))


_NO_ROWS = np.empty((0, record.N_RECORD + 4))
_NO_TIMES = np.empty(0)


def _kept(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Room for accepted steps, none for records."""
    return np.empty(128), np.empty((128, n)), _NO_ROWS


@functools.cache
def _nothing(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return _NO_TIMES, np.empty((0, n)), _NO_ROWS


def solve(
    problem: Problem,
    method: str,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    log: bool = False,
) -> Solution:
    """Integrate one trajectory.

    controller: an object of the controller contract.  rtol: relative tolerance; atol: absolute, scalar or (n,).  t_eval: (k,) output
    times along the span, by dense output; None keeps every accepted step.  first_step: initial size (None: Hairer's automatic choice).
    max_steps: limit on attempts.  log: keep every attempt's record.  Raises ValueError on bad input; a solve that goes wrong returns
    the last good state with its status.
    """
    if not isinstance(problem, Problem):
        hint = ": solve_ensemble takes a Batch" if isinstance(problem, Batch) else ""
        raise ValueError(f"problem must be a Problem, got {type(problem).__name__}{hint}")
    n, m = problem.y0.size, problem.p.size
    t0, t1 = problem.t_span
    if _plain(rtol, atol):
        r, a = rtol, atol
    else:
        (r,), (a,) = tolerances(rtol, atol, (1, n), problem.y0)
    tgrid = _NONE if t_eval is None else output_times(t_eval, t0, t1)
    yout = _no_output(n) if t_eval is None else np.full((1, tgrid.shape[1], n), np.nan)
    if first_step is not None and not 0 < first_step < np.inf:
        raise ValueError(f"first_step must be a positive number, got {first_step}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    kernel = _resolve(problem, method, controller, log)
    head = 8 + layout.N_STATS
    pack = np.empty(head + 3 * n + m)
    pack[:8] = t0, t1, r, np.nan if first_step is None else first_step, max_steps, 0.0, 0.0, 0.0
    pack[head : head + n] = problem.y0
    pack[head + n : head + 2 * n] = a
    pack[head + 3 * n :] = problem.p
    block = np.zeros(kernel.layout.size)
    ts, ys, rows = _kept(n) if t_eval is None else _nothing(n)
    if log:
        rows = np.empty((256, record.N_RECORD + 4))
    params = controller.params
    run = kernel.module.run_single
    start = time.perf_counter()
    while True:
        try:
            if not run.overloads:
                compiled(run, block, params, pack, tgrid, yout, ts, ys, rows)
                start = time.perf_counter()
            full = run(block, params, pack, tgrid, yout, ts, ys, rows)
        except Exception as error:
            if discard_damaged(run):
                continue
            raise explained(error, problem) from None
        if not full:
            break
        if t_eval is None and pack[5] >= len(ts):
            ts, ys = np.concatenate([ts, np.empty_like(ts)]), np.concatenate([ys, np.empty_like(ys)])
        if log and pack[6] >= len(rows):
            rows = np.concatenate([rows, np.empty_like(rows)])
    wall = time.perf_counter() - start
    steps, records, _, status, nacc, nrej, nfev, t_last, nfall = pack[5:14].tolist()
    njev, nlu, nsolve = pack[16:19].tolist()
    stats = Stats(int(nfev), int(nacc), int(nrej), int(njev), int(nlu), int(nsolve), int(nfall), wall)
    if t_eval is None:
        t, y = ts[: int(steps)], ys[: int(steps)]
    else:
        grid = tgrid[0]
        reached = grid <= t_last if t1 >= t0 else grid >= t_last
        t, y = (grid, yout[0]) if reached.all() else (grid[reached], yout[0, reached])
    status = int(status)
    message = layout.MESSAGES[status]
    if status < 0 and jacobian_check.concerns(problem, methods.get(method)):
        message += jacobian_check.suspicion(problem, t_last, pack[head + 2 * n : head + 3 * n].copy())
    return Solution(t, y, status == layout.SUCCESS, status, message, stats, rows[: int(records)] if log else None)
