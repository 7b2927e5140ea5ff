"""One trajectory: `solve(problem, method, controller, ...)`."""

from __future__ import annotations

import functools
import operator
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import methods
from ..checks import jacobian_check, rhs_check
from ..compile import digest
from ..compile.cache import Recent, compiled, discard_damaged
from ..compile.lift import lifted
from ..compile.watch import Watch
from ..core import contract, options, record
from ..core.errors import OptionError
from ..kernels import layout
from ..methods.tableaus import ExplicitTableau
from ..problems import sparsity
from ..problems.problem import Batch, Problem
from . import trained_method
from .explained import explained
from .pace import FIRST, Pace

_EPS = 2.220446049250313e-16
RECORD_NAMES = (*record.NAMES, "accept", "log_factor", "flags", "fallback")
_NONE = np.empty((1, 0))
_KERNELS = Recent()


@dataclass(slots=True)
class Stats:
    """Counts of one solve: right-hand sides (all of them, those of Jacobians by differences too), accepted and rejected attempts,
    Jacobians, LU factorisations, back-substitutions, answers of the controller that were replaced by its base law, and seconds inside
    the compiled solve, the controller's own evaluation included and compilation not.  naccept_over: accepted attempts whose scaled error
    estimate exceeded 1, the tolerance: the controller let them pass."""

    nfev: int
    naccept: int
    nreject: int
    njev: int
    nlu: int
    nsolve: int
    nfallback: int
    naccept_over: int
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


#: families go up to 1, an error as large as the state, and an environment's pool is solved a factor 10 beyond its range
LARGEST_RTOL = 10.0 * (1.0 + 1e-9)


def _plain(rtol: Any, atol: Any) -> bool:
    """Two numbers that need no further checks."""
    return type(rtol) is float and type(atol) is float and 100 * _EPS <= rtol <= 1.0 and 0.0 <= atol < np.inf


def tolerances(rtol: Any, atol: Any, shape: tuple[int, ...], y0: Any = None) -> tuple[Any, Any]:
    """Checked tolerances broadcast to `shape` (instances, n): rtol (instances,), atol (instances, n).

    Raises OptionError (a ValueError) on negative, NaN or mis-shaped values, on rtol above `LARGEST_RTOL` and where a component has neither;
    warns near machine precision, of `atol` alone by the size of the states y0, (instances, n) or (n,), if given.
    """
    count, n = shape
    if _plain(rtol, atol):
        return np.full(count, rtol), np.full((count, n), atol)
    r, a = _numbers("rtol", rtol), _numbers("atol", atol)
    for name, v in (("rtol", r), ("atol", a)):
        if not np.all(v >= 0) or not np.all(np.isfinite(v)):
            raise OptionError(f"{name} must be finite and not negative, got {v.tolist() if v.size < 9 else v[~(v >= 0)][:3].tolist()}")
    if np.any(r > LARGEST_RTOL):
        raise OptionError(f"rtol must be at most {LARGEST_RTOL:g}, an error far larger than the state itself, got {r.max():g}")
    if r.shape not in ((), (count,)):
        raise OptionError(f"rtol must be a number or have shape ({count},), got shape {r.shape}")
    if a.shape not in ((), (n,), (count, n), (count, 1)):
        raise OptionError(f"atol must be a number or have shape ({n},), ({count}, 1) or ({count}, {n}), got shape {a.shape}")
    r = np.ascontiguousarray(np.broadcast_to(r, (count,)))
    a = np.ascontiguousarray(np.broadcast_to(a, (count, n)))
    if np.any((r == 0)[:, None] & (a == 0)):
        raise OptionError("rtol and atol are both 0 for at least one component: the error has no scale")
    if np.any((r < 100 * _EPS) & (r > 0)):
        warnings.warn(f"rtol {float(r[r > 0].min()):.2g} is near the precision of float64 ({_EPS:.2g}): errors are then round-off",
                      stacklevel=3)  # fmt: skip
    if y0 is not None and np.any(low := (r == 0)[:, None] & (a < 100 * _EPS * np.abs(y0))):
        warnings.warn(f"atol {float(a[low].min()):.2g} is near the precision of float64 at the initial state's size: errors are then "
                      "round-off", stacklevel=3)  # fmt: skip
    return r, a


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        raw = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged, or an object that refuses to become an array
        raise options.refuse(name, "a real number or an array of them", value) from None
    if raw.dtype.kind not in "fiu":
        raise options.refuse(name, "a real number or an array of them", value)
    return raw.astype(np.float64)


def checked_step(first_step: Any, longest: float) -> float | None:
    """`first_step` as a positive float or None; OptionError where it is neither, or exceeds the `longest` span."""
    if first_step is None:
        return None
    size = options.positive("first_step", first_step)
    if size > longest > 0.0:
        raise OptionError(f"first_step must not exceed the span, {longest:g} long, got {size:g}")
    return size


def checked_limit(max_steps: Any) -> int:
    """`max_steps` as a whole number of at least 1."""
    return max_steps if type(max_steps) is int and 0 < max_steps <= 1_000_000 else options.count("max_steps", max_steps)


def output_times(t_eval: Any, t0: float, t1: float) -> np.ndarray:
    """`t_eval` as a (1, nt) float64 array; ValueError where it leaves the span or is not ordered along it."""
    t = np.atleast_1d(_numbers("t_eval", t_eval))
    if t.ndim != 1:
        raise OptionError(f"t_eval must be one-dimensional, got shape {t.shape}")
    lo, hi = min(t0, t1), max(t0, t1)
    if not np.all((t >= lo) & (t <= hi)):
        raise OptionError(f"t_eval must lie within the span [{lo}, {hi}]")
    if np.any(np.diff(t) * (1.0 if t1 >= t0 else -1.0) < 0):
        raise OptionError("t_eval must be ordered along the direction of integration")
    return t[None]


def slots_of(controller: Any, extra: bool = False) -> frozenset[int]:
    """Optional record slots a controller reads (all of them with `extra`)."""
    if extra:
        return methods.OPTIONAL
    needs = frozenset(getattr(controller, "needs", {record.ERR}))
    return (needs | frozenset(getattr(controller, "slots", ()))) & methods.OPTIONAL


def check_controller(controller: Any, method: methods.Method, source: Any) -> None:
    """ValueError for what is no controller, and where it needs what the method cannot report on the Problem or Batch `source`; a warning
    where it was trained with another method."""
    if contract.missing(controller):
        raise ValueError(f"not a controller: {controller!r}; stepsmith.solve takes a name, a path or a controller object")
    needs = frozenset(getattr(controller, "needs", ()))
    missing = ", ".join(sorted(record.NAMES[i] for i in needs - method.fills))
    if missing:
        raise ValueError(f"controller {controller.name!r} needs {missing}, which method {method.name!r} does not report")
    if source.nbody is None and needs & methods.TIME_SCALES:
        raise ValueError(f"controller {controller.name!r} needs an N-body problem (nbody=(bodies, dimension)); {source.name!r} is none")
    trained_method.warn_once(controller, method.name)


def single_kernel(problem: Problem, method: methods.Method, controller: Any, slots: frozenset[int]) -> Any:
    """The kernel of single solves for a Problem; loaded from the disk cache where it was compiled before."""
    structure = (controller.key, getattr(controller, "known", ()), controller.n_state)
    key = (method.name, method.key(problem), problem.n, problem.m, structure, slots)

    def make() -> Any:
        from ..kernels import build, drivers

        parts = method.parts(problem, slots)
        return build.build(parts, problem.n, problem.m, controller, 1, drivers.single_source)

    return _KERNELS.made(key, make)


_RESOLVED: dict[tuple, tuple[Any, Any, Watch]] = {}


def _watched(*functions: Callable | None) -> Watch:
    watch = Watch()
    for fn in functions:
        watch.extend(digest.watched(fn)[1])
    return watch


def _resolve(problem: Problem, method: str | ExplicitTableau, controller: Any, log: bool) -> Any:
    """The kernel, checks included.  For solves of a few microseconds the last answer for the same objects is remembered, as long as
    nothing has changed that the problem's functions name."""
    pattern = sparsity.key(problem.sparsity)
    key = (method, problem.rhs, problem.jac, pattern, problem.y0.size, problem.p.size, problem.nbody, problem.accel, id(controller), log)
    known = _RESOLVED.get(key)
    if known is not None and known[0]() is controller and known[2].same():
        return known[1]
    meth = methods.get(method)
    check_controller(controller, meth, problem)
    rhs_check.check(problem, meth)
    watch = _watched(problem.rhs, problem.jac, problem.accel, *getattr(controller, "functions", ()))
    if jacobian_check.concerns(problem, meth):
        jacobian_check.warn_once(problem)
    kernel = single_kernel(problem, meth, controller, slots_of(controller, log))
    if len(_RESOLVED) > 256:
        _RESOLVED.clear()
    _RESOLVED[key] = (weakref.ref(controller), kernel, watch)
    return kernel


@functools.cache
def _no_output(n: int) -> np.ndarray:
    return np.empty((1, 0, n))


_N_PACK = len(layout.PACK)
_HEAD = _N_PACK + layout.N_STATS
_MOST, _STEPS, _RECORDS = (layout.PACK.index(name) for name in ("most", "steps", "records"))
_STATUS, _T = (layout.STATS.index(name) for name in ("status", "t"))
_counts = operator.itemgetter(*(layout.STATS.index(name) for name in Stats.__dataclass_fields__ if name != "wall_s"))  # the last field

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
    method: str | ExplicitTableau,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    log: bool = False,
) -> Solution:
    """Integrate one trajectory.

    method: a name or an `ExplicitTableau`.
    controller: an object of the controller contract.  rtol: relative tolerance; atol: absolute, scalar or (n,).  t_eval: (k,) output
    times along the span, by dense output; None keeps every accepted step.  first_step: initial size, at most the span (None: Hairer's
    automatic choice).  max_steps: limit on attempts.  log: keep every attempt's record.  Raises ValueError on bad input; a solve that goes
    wrong returns the last good state with its status.  Values that rhs names (globals, what it closes over) are those of this call.
    """
    if not isinstance(problem, Problem):
        hint = ": solve_ensemble takes a Batch" if isinstance(problem, Batch) else ""
        raise ValueError(f"problem must be a Problem, got {type(problem).__name__}{hint}")
    if getattr(problem.rhs, "__closure__", None) is not None:
        problem = lifted(problem)
    n, m = problem.y0.size, problem.p.size
    t0, t1 = problem.t_span
    if _plain(rtol, atol):
        r, a = rtol, atol
    else:
        (r,), (a,) = tolerances(rtol, atol, (1, n), problem.y0)
    tgrid = _NONE if t_eval is None else output_times(t_eval, t0, t1)
    yout = _no_output(n) if t_eval is None else np.full((1, tgrid.shape[1], n), np.nan)
    size = None if first_step is None else checked_step(first_step, abs(t1 - t0))
    limit = checked_limit(max_steps)
    if log is not True and log is not False:
        log = options.flag("log", log)
    method = method if type(method) is str else methods.named(method)
    kernel = _resolve(problem, method, controller, log)
    head, pace = _HEAD, None
    pack = np.empty(head + 3 * n + m)
    pack[:_N_PACK] = t0, t1, r, np.nan if size is None else size, limit, 0.0, 0.0, 0.0, FIRST
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
        if full == 2:  # an interrupt would have come through here
            pace = pace or Pace(start)
            pack[_MOST] = pace.more()
            continue
        if t_eval is None and pack[_STEPS] >= len(ts):
            ts, ys = np.concatenate([ts, np.empty_like(ts)]), np.concatenate([ys, np.empty_like(ys)])
        if log and pack[_RECORDS] >= len(rows):
            rows = np.concatenate([rows, np.empty_like(rows)])
    wall = time.perf_counter() - start
    steps, records = pack[_STEPS], pack[_RECORDS]
    found = pack[_N_PACK:head].tolist()
    status, t_last = found[_STATUS], found[_T]
    stats = Stats(*map(int, _counts(found)), wall)  # type: ignore[call-arg]
    if t_eval is None:
        t, y = ts[: int(steps)], ys[: int(steps)]
    else:
        grid = tgrid[0]
        reached = grid <= t_last if t1 >= t0 else grid >= t_last
        t, y = (grid, yout[0]) if reached.all() else (grid[reached], yout[0, reached])
    status = int(status)
    message = layout.message(status, stats.naccept_over) if stats.naccept_over else layout.MESSAGES[status]
    if status < 0 and jacobian_check.concerns(problem, methods.get(method)):
        message += jacobian_check.suspicion(problem, t_last, pack[head + 2 * n : head + 3 * n].copy())
    return Solution(t, y, status == layout.SUCCESS, status, message, stats, rows[: int(records)] if log else None)
