"""One trajectory with events, dense output, stops or bounds on the step: `solve_followed`, `solve`'s other half."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from .. import methods
from ..checks import jacobian_check
from ..compile import separate
from ..compile.cache import discard_damaged
from ..compile.prepared import prepared
from ..compile.progress import solver, whose
from ..core import options, tolerance_scale
from ..core.errors import OptionError, shown
from ..core.follow_options import Follow
from ..core.solver_options import checked_limit, checked_step, output_times, tolerances
from ..kernels import layout
from ..kernels.followed import RECORD_COLUMNS
from ..problems.foreign import reraise
from ..problems.problem import Problem
from . import followed as following
from . import stiff
from .explained import explained
from .followed import Logs, made_ready
from .solution import COUNTS, Solution, Stats
from .solve import check_controller, slots_of


def solve_followed(
    problem: Problem,
    method: Any,
    controller: Any,
    rtol: Any,
    atol: Any,
    t_eval: Any,
    first_step: float | None,
    max_steps: int,
    log: bool,
    follow: Follow,
) -> Solution:
    """`solve.solve` with the options `follow`: `t_events`, `y_events` and `sol` of the solution.

    Without t_eval the states after every `save_every`-th accepted step are kept, those at the start, at stops and
    events, before and after a reset, and at the end.
    """
    log = options.flag("log", log)
    meth = methods.get(methods.named(method))
    check_controller(controller, meth, problem)
    given = problem
    try:
        problem = prepared(problem)
        scale = tolerance_scale.of(controller)
        r, a = tolerances(rtol, atol, (1, problem.n), problem.y0, scale)
        t0, t1 = problem.t_span
        tgrid = np.empty((1, 0)) if t_eval is None else output_times(t_eval, t0, t1)
        size, limit = checked_step(first_step, abs(t1 - t0)), checked_limit(max_steps)
        ready = made_ready(given, problem, meth, controller, slots_of(controller, log), follow, 1)
    except Exception as error:
        raise explained(error, given) from None
    source = ready.source
    yout, yend = np.full((1, tgrid.shape[1], problem.n), np.nan), np.empty((1, problem.n))
    stat = np.empty((1, layout.N_STATS))
    args = (
        source.y0[None], source.p[None], np.array([t0]), np.array([t1]), r, a,
        np.array([np.nan if size is None else size]), tgrid, yout, float(limit), yend, stat,
    )  # fmt: skip
    logs, wall = _run(ready, controller.params, args, t_eval is None, log, problem, solver(meth, controller))
    reraise(given)
    ready.reraise()
    sol = _solution(given, ready, follow, stat[0], yend[0], tgrid, yout[0], t_eval is None, logs, log, wall, scale)
    sol.method, sol.controller = meth.name, str(controller.name)
    _hints(sol, given, problem, meth, t_eval is None and follow.save_every == 1)
    return sol


def _run(
    ready: following.Followed, params: np.ndarray, args: tuple, states: bool, log: bool, problem: Problem, name: str
) -> tuple[Logs, float]:
    """The logs, and seconds of the run, compilation not counted."""
    what = f"{name} for {whose(problem)} with events or stops"
    for attempt in range(2):
        logs = Logs()
        try:
            following.warm(ready, params, args, what)
            start = time.perf_counter()
            budget = following.Budget("or shorter spans")
            following.run(ready, params, args, (0, 1), logs, states, log, kept=budget.take)
            return logs, time.perf_counter() - start
        except OptionError:
            raise
        except Exception as error:
            if attempt == 0 and discard_damaged(ready.kernel.module.run_followed):
                continue
            raise explained(error, problem, ready.events) from None
    raise AssertionError("unreachable")


def _solution(
    given: Problem, ready: following.Followed, follow: Follow, stat: np.ndarray, yend: np.ndarray, tgrid: np.ndarray,
    yout: np.ndarray, kept: bool, logs: Logs, log: bool, wall: float, scale: float,
) -> Solution:  # fmt: skip
    n, t_last = given.n, float(stat[layout.STATS.index("t")])
    status = int(stat[layout.STATS.index("status")])
    if kept:
        rows = following.joined(logs.states, 2 + n)
        t, y = rows[:, 1].copy(), rows[:, 2:].copy()
    else:
        grid = tgrid[0]
        reached = grid <= t_last if given.t_span[1] >= given.t_span[0] else grid >= t_last
        t, y = grid[reached], yout[reached]
    counts = [int(stat[layout.STATS.index(name)]) for name in COUNTS]
    stats = Stats(*counts, wall)  # type: ignore[call-arg]
    if status in (layout.INCONSISTENT, layout.HIGH_INDEX) and stats.naccept == 0:
        raise OptionError(f"problem {shown(given.name)}: {layout.MESSAGES[status]}")
    sol = Solution(
        t, y, status in layout.SUCCESSES, status, layout.message(status, stats.naccept_over, scale), stats,
        following.joined(logs.records, RECORD_COLUMNS) if log else None, tolerance_scale=scale,
    )  # fmt: skip
    rows = following.joined(logs.events, 3 + n)
    sol.t_events, sol.y_events = following.event_lists(ready, rows, given.state)
    if follow.dense:
        pieces = following.joined(logs.pieces, 3 + (ready.degree + 1) * n)
        sol.sol = following.dense_output(ready, pieces, given.t_span[0], given.y0, given.state)
    return sol


def _hints(sol: Solution, given: Problem, problem: Problem, method: methods.Method, steps_kept: bool) -> None:
    """What the message says beside the status, as `solve` has it.  steps_kept: the times are those of all steps."""
    if sol.status < 0 and jacobian_check.concerns(problem, method) and len(sol.t):
        sol.message += jacobian_check.suspicion(problem, float(sol.t[-1]), sol.y[-1])
    if sol.status in (layout.NON_FINITE, layout.BAD_START) and problem is not given:
        sol.message += separate.hint(given, problem)
    attempts = sol.stats.naccept + sol.stats.nreject
    if steps_kept and attempts >= stiff.LEAST and len(sol.t) > 1:
        steps = [step for step in stiff.spread(sol.t, sol.y) if step[2] != 0.0]
        sol.message += stiff.message(given, method, steps, attempts)
