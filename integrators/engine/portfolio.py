"""`solve` with a portfolio of methods: one trajectory, in the kernel of one method after the other.

Each method has a kernel of its own (`kernels.member`).  A kernel runs until the trajectory ends, fails, or is asked to
go on with another method; Python is at work once a switch, not once a step.

A method that fails where it took over, or later, hands the trajectory to the next one that has not been tried since the
last accepted step, which is counted as a fallback.  Where none is left the solve has failed.  So each hand-over has an
accepted step before it or a method less to try, and a policy that asks for a switch at every step, for one that does
not exist, or for NaN, cannot make an endless loop.
"""

from __future__ import annotations

import time
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import jacobian_check, mass_check, rhs_check
from ..compile import digest
from ..compile.cache import Recent, compiled
from ..compile.discard import discard_damaged
from ..compile.prepared import prepared
from ..compile.progress import whose
from ..compile.watch import Watch
from ..core import contract, options, record
from ..core.errors import OptionError, shown
from ..core.solver_options import checked_limit, checked_step, output_times, tolerances
from ..kernels import layout
from ..kernels.build import Kernel
from ..kernels.member import CARRY
from ..methods import OPTIONAL
from ..problems import mass, sparsity
from ..problems.foreign import reraise
from ..problems.problem import Problem
from . import trained_method
from .explained import explained
from .pace import FIRST, Pace
from .solution import COUNTS, Solution, Stats
from .solve import problem_of

_KERNELS = Recent()
_NONE = np.empty((1, 0))
_N_PACK = len(layout.PACK)
_HEAD = _N_PACK + layout.N_STATS
_MOST, _STEPS, _RECORDS, _STARTED, _T = (layout.AT[name] for name in ("most", "steps", "records", "started", "t"))
_STATUS, _ACCEPTED, _FALLBACKS, _NEXT = (
    layout.AT[name] for name in ("status", "naccept", "nfallback", "h_next")
)  # fmt: skip
#: what another method may do better with
CURABLE = (layout.UNDERFLOW, layout.NON_FINITE, layout.BAD_RADIUS)
_NEXT_OUT, _METHOD = (CARRY.index(name) for name in ("next", "method"))


def slots_of(face: Any, log: bool = False) -> frozenset[int]:
    """Optional record slots that the law and the rule of a method read (all of them with `log`)."""
    return OPTIONAL if log else (face.needs | face.slots) & OPTIONAL


def check(source: Any, controller: Any) -> None:
    """Raise where the portfolio cannot solve the Problem or Batch `source`."""
    for method, face in zip(controller.portfolio.methods, controller.faces, strict=True):
        mass_check.check_method(source, method)
        rhs_check.check(source, method)
        if jacobian_check.concerns(source, method):
            jacobian_check.warn_once(source)
        trained_method.warn_once(face.law, method.name, implicit=method.implicit)
        if face.needs & record_scales():
            raise OptionError(f"a criterion of N-body problems cannot drive a method of a portfolio, got {face.name!r}")
    mass_check.check_index(source)


def record_scales() -> frozenset[int]:
    """Slots that only methods for N-body problems fill."""
    from ..methods import TIME_SCALES

    return TIME_SCALES


def kernels(source: Any, controller: Any, width: int, log: bool = False) -> list[Kernel]:
    """A kernel for each method of the controller's portfolio, for a Problem or Batch; `width` lanes a block."""
    return [_kernel(source, controller, k, width, log) for k in range(len(controller.portfolio))]


def _kernel(source: Any, controller: Any, k: int, width: int, log: bool) -> Kernel:
    method, face = controller.portfolio.methods[k], controller.faces[k]
    slots = slots_of(face, log)
    key = (method.name, method.key(source), source.n, source.m, face.key, face.known, slots, width)

    def make() -> Kernel:
        from ..kernels.member import member_kernel

        return member_kernel(source, method, face, k, face.count, width, slots)

    own = tuple(digest.identity(fn) for fn in face.functions)
    return _KERNELS.made((*key, own), make)


_RESOLVED: dict[tuple, tuple[Any, Any, Watch]] = {}


def resolved(problem: Problem, controller: Any, log: bool) -> tuple[list[Kernel], list[np.ndarray]]:
    """Kernels and parameters for single solves, checks included; for short solves the last answer for the same objects
    is remembered, as long as nothing has changed that the problem's functions name.
    """
    heavy = None if problem.mass is None else mass.key(problem.mass)
    own = problem.rhs, problem.jac, problem.spectral_radius
    key = (id(controller), log, *own, sparsity.key(problem.sparsity), heavy, problem.n, problem.m)
    known = _RESOLVED.get(key)
    if known is not None and known[0]() is controller and known[2].same():
        return known[1]
    check(problem, controller)
    watch = Watch()
    for fn in (*own, *(fn for face in controller.faces for fn in face.functions)):
        if callable(fn):
            watch.extend(digest.watched(fn)[1])
    made = kernels(problem, controller, 1, log), [face.params for face in controller.faces]
    if len(_RESOLVED) > 256:
        _RESOLVED.clear()
    _RESOLVED[key] = (weakref.ref(controller), made, watch)
    return made


@dataclass
class Route:
    """Which method a trajectory is in, and which have failed since its last accepted step."""

    count: int
    here: int = 0
    failed: frozenset[int] = frozenset()
    accepted: float = -1.0

    def after(self, status: int, asked: int, accepted: float) -> int | None:
        """The next method, or None where the trajectory is done; `fallback` where it had to be replaced."""
        if status == layout.SWITCH:
            self.here, self.failed = asked, frozenset()
            return asked
        if status not in CURABLE:
            return None
        if accepted != self.accepted:
            self.failed = frozenset()
        self.failed |= {self.here}
        self.accepted = accepted
        left = [k for k in range(self.count) if k not in self.failed]
        if not left:
            return None
        self.here = left[0]
        return self.here



class _Run:
    """One trajectory on its way through the kernels.

    pack: as `engine.solve` fills it; `bounds`: (rtol, atol) of each method, (1,) and (1, n).
    """

    def __init__(
        self, problem: Problem, controller: Any, pack: np.ndarray, tgrid: np.ndarray, yout: np.ndarray,
        bounds: list[tuple[np.ndarray, np.ndarray]], log: bool, keep: bool,
    ) -> None:  # fmt: skip
        self.problem, self.controller, self.pack = problem, controller, pack
        self.tgrid, self.yout, self.bounds = tgrid, yout, bounds
        n = problem.n
        self.ts, self.ys = (np.empty(128), np.empty((128, n))) if keep else (np.empty(0), np.empty((0, n)))
        self.rows = np.empty((256 if log else 0, record.N_RECORD + contract.N_OUT))
        self.kernels, self.params = resolved(problem, controller, log)
        self.blocks: dict[int, np.ndarray] = {}
        self.carry = np.full((1, len(CARRY) + max(face.rule_rows for face in controller.faces)), -1.0)
        self.switches: list[tuple[float, str]] = []
        self.pace: Pace | None = None

    def through(self) -> float:
        """Run to the end; seconds, without compilation."""
        route, pack = Route(len(self.kernels)), self.pack
        names = self.controller.portfolio.names
        spent, here = 0.0, 0
        self.switches.append((float(pack[layout.AT["t0"]]), names[0]))
        while True:
            spent += self.stretch(here)
            self.carry[0, _NEXT_OUT] = max(self.carry[0, _NEXT_OUT], 0.0)
            status = int(pack[_STATUS])
            if status == layout.BAD_START and len(self.switches) > 1:
                status = layout.NON_FINITE
                pack[_STATUS] = status
            there = route.after(status, int(self.carry[0, _METHOD]), pack[_ACCEPTED])
            if there is None:
                return spent
            if status != layout.SWITCH:
                pack[_FALLBACKS] += 1.0
                pack[_NEXT] = np.nan  # the size that failed says nothing
            here = there
            self.switches.append((float(pack[_T]), names[here]))

    def stretch(self, k: int) -> float:
        """Run in method k until it ends there, and the seconds it took."""
        pack, n = self.pack, self.problem.n
        if k not in self.blocks:
            self.blocks[k] = np.zeros(self.kernels[k].layout.size)
        block = self.blocks[k]
        run = self.kernels[k].module.run_single
        (rtol,), (atol,) = self.bounds[k]
        pack[layout.AT["rtol"]], pack[_HEAD + n : _HEAD + 2 * n] = rtol, atol
        pack[_STARTED], pack[_MOST] = 0.0, FIRST if self.pace is None else self.pace.most
        face = self.controller.faces[k]
        start = time.perf_counter()
        while True:
            args = (block, self.params[k], pack, self.carry, self.tgrid, self.yout, self.ts, self.ys, self.rows)
            try:
                if not run.overloads:
                    said = f"{self.controller.portfolio.names[k]} under {face.name} for {whose(self.problem)}"
                    compiled(run, *args, what=said)
                    start = time.perf_counter()
                full = run(*args)
            except Exception:
                if discard_damaged(run):
                    continue
                raise
            if not full:
                return time.perf_counter() - start
            if full == 2:  # an interrupt would have come through here
                self.pace = self.pace or Pace(start)
                pack[_MOST] = self.pace.more()
                continue
            if len(self.ts) and pack[_STEPS] >= len(self.ts):
                self.ts = np.concatenate([self.ts, np.empty_like(self.ts)])
                self.ys = np.concatenate([self.ys, np.empty_like(self.ys)])
            if len(self.rows) and pack[_RECORDS] >= len(self.rows):
                self.rows = np.concatenate([self.rows, np.empty_like(self.rows)])

    def solution(self, wall: float, t_eval: Any) -> Solution:
        """What a finished run found."""
        pack, (t0, t1), n = self.pack, self.problem.t_span, self.problem.n
        if t_eval is None:
            steps = int(pack[_STEPS])
            t, y = self.ts[:steps], self.ys[:steps]
        else:
            grid, last = self.tgrid[0], pack[_T]
            reached = grid <= last if t1 >= t0 else grid >= last
            t, y = grid[reached], self.yout[0, reached]
        counts = {name: int(pack[layout.AT[name]]) for name in COUNTS}
        stats = Stats(**counts, wall_s=wall, nswitch=len(self.switches) - 1)
        status = int(pack[_STATUS])
        if status in (layout.INCONSISTENT, layout.HIGH_INDEX):
            raise OptionError(f"problem {shown(self.problem.name)}: {layout.MESSAGES[status]}")
        scale = max(self.controller.scales)
        message = layout.message(status, stats.naccept_over, scale)
        if status < 0 and any(jacobian_check.concerns(self.problem, m) for m in self.controller.portfolio.methods):
            last = pack[_HEAD + 2 * n : _HEAD + 3 * n].copy()
            message += jacobian_check.suspicion(self.problem, float(pack[_T]), last)
        rows = self.rows[: int(pack[_RECORDS])] if len(self.rows) else None
        sol = Solution(t, y, status == layout.SUCCESS, status, message, stats, rows, tolerance_scale=scale)
        sol.method, sol.controller = self.controller.portfolio.name, self.controller.name
        sol.switches = self.switches
        return sol


def solve_portfolio(
    problem: Problem,
    controller: Any,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    log: bool = False,
) -> Solution:
    """Integrate one trajectory with a portfolio.

    controller: a `controllers.switching.Switching`, which holds the portfolio.  The other arguments are those of
    `engine.solve.solve`.  The solution's `switches` says from which time on which method was at work; `stats.nswitch`
    counts the changes.  Raises ValueError on bad input; a solve that goes wrong returns the last good state with its
    status.
    """
    given = problem_of(problem)
    try:
        problem = prepared(problem) if problem.special else problem
    except Exception as error:
        raise explained(error, given) from None
    n, m = problem.y0.size, problem.p.size
    t0, t1 = problem.t_span
    tgrid = _NONE if t_eval is None else output_times(t_eval, t0, t1)
    yout = np.full((1, tgrid.shape[1], n), np.nan)
    size = np.nan if first_step is None else checked_step(first_step, abs(t1 - t0))
    limit, log = checked_limit(max_steps), options.flag("log", log)
    bounds = [tolerances(rtol, atol, (1, n), problem.y0, scale) for scale in controller.scales]
    pack = np.empty(_HEAD + 3 * n + m)
    pack[:_N_PACK] = t0, t1, np.nan, size, limit, 0.0, 0.0, 0.0, FIRST
    pack[_HEAD : _HEAD + n] = problem.y0
    pack[_HEAD + 3 * n :] = problem.p
    run = _Run(problem, controller, pack, tgrid, yout, bounds, log, t_eval is None)
    try:
        wall = run.through()
    except Exception as error:
        raise explained(error, problem) from None
    if problem is not given:
        reraise(given)
    return run.solution(wall, t_eval)
