"""One trajectory: `solve(problem, method, controller, ...)`."""

from __future__ import annotations

import functools
import operator
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import methods
from ..checks import jacobian_check, mass_check, rhs_check, second_order
from ..compile import digest, separate
from ..compile.cache import Recent, compiled, discard_damaged
from ..compile.prepared import prepared
from ..compile.progress import whose
from ..compile.watch import Watch
from ..core import contract, elsewhere, options, record, tolerance_scale
from ..core.errors import OptionError, shown
from ..core.solver_options import checked_limit, checked_step, output_times, plain, tolerances, unmet
from ..kernels import layout
from ..methods.tableaus import ExplicitTableau
from ..problems import mass, sparsity
from ..problems.foreign import reraise
from ..problems.problem import Batch, Problem
from . import stiff, trained_method
from .explained import explained
from .pace import FIRST, Pace
from .solution import COUNTS
from .solution import RECORD_NAMES as RECORD_NAMES
from .solution import Solution as Solution
from .solution import Stats as Stats

_NONE = np.empty((1, 0))
_KERNELS = Recent()


def problem_of(problem: Any) -> Problem:
    """The problem; ValueError for anything else."""
    if isinstance(problem, Problem):
        return problem
    hint = ": solve_ensemble takes a Batch" if isinstance(problem, Batch) else ""
    hint = ": write ss.Problem(rhs, y0, t_span, p=...)" if callable(problem) else hint
    raise ValueError(f"problem must be a Problem, got {type(problem).__name__}{hint}")


def slots_of(controller: Any, extra: bool = False) -> frozenset[int]:
    """Optional record slots a controller reads (all of them with `extra`)."""
    if extra:
        return methods.OPTIONAL
    needs = frozenset(getattr(controller, "needs", {record.ERR}))
    return (needs | frozenset(getattr(controller, "slots", ()))) & methods.OPTIONAL


def check_controller(controller: Any, method: methods.Method, source: Any) -> None:
    """ValueError for what is no controller, and where it needs what the method cannot report on the Problem or Batch
    `source`; a warning where it was trained with another method.
    """
    if contract.missing(controller):
        said = elsewhere.of_object("controller", controller)  # another library's, as diffrax.PIDController
        raise ValueError(
            f"not a controller: {controller!r}; stepsmith.solve takes a name, a path or a controller object"
            + (f"; {said}" if said else "")
        )
    mass_check.check_method(source, method)
    if missing := unmet(controller, method.fills):
        raise ValueError(
            f"controller {controller.name!r} needs {missing}, which method {method.name!r} does not report"
        )
    if source.nbody is None and methods.TIME_SCALES & frozenset(getattr(controller, "needs", ())):
        raise ValueError(
            f"controller {controller.name!r} needs an N-body problem (nbody=(bodies, dimension)); {source.name!r} is "
            "none"
        )
    trained_method.warn_once(controller, method.name, implicit=method.implicit)


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
    """The kernel and the method, checks included.  For solves of a few microseconds the last answer for the same
    objects is remembered, as long as nothing has changed that the problem's functions name.
    """
    heavy = None if problem.mass is None else mass.key(problem.mass)
    pattern = sparsity.key(problem.sparsity), heavy
    sizes = (problem.y0.size, problem.p.size, problem.nbody)
    own = problem.rhs, problem.jac, problem.accel, problem.spectral_radius
    key = (method, *own, pattern, sizes, id(controller), log)
    known = _RESOLVED.get(key)
    if known is not None and known[0]() is controller and known[2].same():
        return known[1]
    meth = methods.get(method)
    check_controller(controller, meth, problem)
    rhs_check.check(problem, meth)
    mass_check.check_index(problem)
    watch = _watched(*(fn for fn in own if callable(fn)), *getattr(controller, "functions", ()))
    if jacobian_check.concerns(problem, meth):
        jacobian_check.warn_once(problem)
    kernel = single_kernel(problem, meth, controller, slots_of(controller, log))
    if len(_RESOLVED) > 256:
        _RESOLVED.clear()
    _RESOLVED[key] = (weakref.ref(controller), (kernel, meth), watch)
    return kernel, meth


@functools.cache
def _no_output(n: int) -> np.ndarray:
    return np.empty((1, 0, n))


_N_PACK = len(layout.PACK)
_HEAD = _N_PACK + layout.N_STATS
# places in a pack, and of a count or a status among the statistics in it
_MOST, _STEPS, _RECORDS, _T = (layout.AT[name] for name in ("most", "steps", "records", "t"))
_STATUS = layout.STATS.index("status")
_counts = operator.itemgetter(*(layout.STATS.index(name) for name in COUNTS))

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

    method: a name or an `ExplicitTableau`. controller: an object of the controller contract.  rtol: relative tolerance;
    atol: absolute, scalar or (n,).  t_eval: (k,) output times along the span, by dense output; None keeps every
    accepted step.  first_step: initial size, at most the span (None: Hairer's automatic choice).  max_steps: limit on
    attempts.  log: keep every attempt's record.  A controller with a `tolerance_scale` works at that many times rtol
    and atol.  Raises ValueError on bad input; a solve that goes wrong returns the last good state with its status.
    Values that rhs names (globals, what it closes over) are those of this call.
    """
    given = problem_of(problem)
    if problem.special:
        try:
            problem = prepared(problem)
        except Exception as error:
            raise explained(error, given) from None
    n, m = problem.y0.size, problem.p.size
    t0, t1 = problem.t_span
    scale = tolerance_scale.of(controller)
    if scale == 1.0 and plain(rtol, atol):
        r, a = rtol, atol
    else:
        (r,), (a,) = tolerances(rtol, atol, (1, n), problem.y0, scale)
    tgrid = _NONE if t_eval is None else output_times(t_eval, t0, t1)
    yout = _no_output(n) if t_eval is None else np.full((1, tgrid.shape[1], n), np.nan)
    size = np.nan if first_step is None else checked_step(first_step, abs(t1 - t0))
    limit = checked_limit(max_steps)
    if log is not True and log is not False:
        log = options.flag("log", log)
    method = method if type(method) is str else methods.named(method)
    kernel, meth = _resolve(problem, method, controller, log)
    if meth.uses != "rhs":
        second_order.check(given, meth)
    pack = np.empty(_HEAD + 3 * n + m)
    pack[:_N_PACK] = t0, t1, r, size, limit, 0.0, 0.0, 0.0, FIRST
    pack[_HEAD : _HEAD + n] = problem.y0
    pack[_HEAD + n : _HEAD + 2 * n] = a
    pack[_HEAD + 3 * n :] = problem.p
    room = _kept(n) if t_eval is None else _nothing(n)
    if log:
        room = (*room[:2], np.empty((256, record.N_RECORD + 4)))
    paused: list[stiff.Step] | None = None if t_eval is None else []
    name = method if isinstance(method, str) else method.name
    ts, ys, rows, wall = _integrate(
        kernel, problem, controller.params, pack, tgrid, yout, room, paused, f"{name} under {controller.name}"
    )
    if problem is not given:
        reraise(given)
    if t_eval is None:
        steps = int(pack[_STEPS])
        t, y = ts[:steps], ys[:steps]
    else:
        grid, t_last = tgrid[0], pack[_T]
        reached = grid <= t_last if t1 >= t0 else grid >= t_last
        t, y = (grid, yout[0]) if reached.all() else (grid[reached], yout[0, reached])
    sol = _solution(problem, method, pack, t, y, rows[: int(pack[_RECORDS])] if log else None, wall, scale)
    sol.method, sol.controller = name, str(controller.name)
    if sol.status in (layout.NON_FINITE, layout.BAD_START) and problem is not given:
        sol.message += separate.hint(given, problem)
    attempts = sol.stats.naccept + sol.stats.nreject
    if attempts >= stiff.LEAST:
        looked_at = stiff.spread(t, y) if paused is None else stiff.some(paused)
        sol.message += stiff.message(given, methods.get(method), looked_at, attempts)
    return sol


def _integrate(
    kernel: Any,
    problem: Problem,
    params: np.ndarray,
    pack: np.ndarray,
    tgrid: np.ndarray,
    yout: np.ndarray,
    room: tuple[np.ndarray, np.ndarray, np.ndarray],
    paused: list[stiff.Step] | None,
    what: str,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Run the kernel to its end: room for steps' times, their states and records, grown as it was needed, and the
    seconds it took.  paused: a list that takes the time, the state and the next step wherever the kernel returned to
    Python before the end, and there.  what: the method's name and the controller's.
    """
    block = np.zeros(kernel.layout.size)
    ts, ys, rows = room
    run, pace = kernel.module.run_single, None
    start = time.perf_counter()
    while True:
        try:
            if not run.overloads:
                compiled(run, block, params, pack, tgrid, yout, ts, ys, rows, what=f"{what} for {whose(problem)}")
                start = time.perf_counter()
            full = run(block, params, pack, tgrid, yout, ts, ys, rows)
        except Exception as error:
            if discard_damaged(run):
                continue
            raise explained(error, problem) from None
        if not full:
            wall = time.perf_counter() - start
            if paused:
                stiff.note(paused, _place(kernel, block, problem.n))
            return ts, ys, rows, wall
        if full == 2:  # an interrupt would have come through here
            if paused is not None:
                stiff.note(paused, _place(kernel, block, problem.n))
            pace = pace or Pace(start)
            pack[_MOST] = pace.more()
            continue
        if len(ts) and pack[_STEPS] >= len(ts):
            ts, ys = np.concatenate([ts, np.empty_like(ts)]), np.concatenate([ys, np.empty_like(ys)])
        if len(rows) and pack[_RECORDS] >= len(rows):
            rows = np.concatenate([rows, np.empty_like(rows)])


def _place(kernel: Any, block: np.ndarray, n: int) -> stiff.Step:
    """Where a single solve stands, from its block of one lane: the time, the state, the step that comes next."""
    rows = kernel.layout.rows
    step = float(block[rows["DIR"]] * block[rows["H"]])
    return float(block[rows["T"]]), block[rows["Y"] : rows["Y"] + n].copy(), step


def _solution(
    problem: Problem,
    method: str | ExplicitTableau,
    pack: np.ndarray,
    t: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray | None,
    wall: float,
    scale: float,
) -> Solution:
    """The answer of a finished run: times and states that are given back, and what stands in its `pack`.  scale: of the
    controller's tolerances."""
    found = pack[_N_PACK:_HEAD].tolist()
    stats = Stats(*map(int, _counts(found)), wall)  # type: ignore[call-arg]
    status = int(found[_STATUS])
    if status in (layout.INCONSISTENT, layout.HIGH_INDEX):
        raise OptionError(f"problem {shown(problem.name)}: {layout.MESSAGES[status]}")
    message = layout.message(status, stats.naccept_over, scale) if stats.naccept_over else layout.MESSAGES[status]
    if status < 0 and jacobian_check.concerns(problem, methods.get(method)):
        last = pack[_HEAD + 2 * problem.n : _HEAD + 3 * problem.n].copy()
        message += jacobian_check.suspicion(problem, float(pack[_T]), last)
    return Solution(t, y, status == layout.SUCCESS, status, message, stats, rows, tolerance_scale=scale)
