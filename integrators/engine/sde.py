"""Paths of a stochastic differential equation, compiled end to end: `solve_sde(problem, paths, method, ...)`.

Every path has its own clock, its own Brownian motion, which depends on the seed and its number alone, and its own
status; a path that fails touches no other.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from ..checks import rhs_check
from ..compile import digest
from ..compile.cache import Recent, compiled, discard_damaged
from ..compile.prepared import prepared
from ..core import contract, options, tolerance_scale
from ..core.errors import OptionError
from ..core.solver_options import checked_limit, checked_size, checked_step, output_times, tolerances, unmet
from ..methods import sde as sde_methods
from ..noise.normal import keys as path_keys
from ..problems.foreign import reraise
from ..problems.problem import Problem
from ..problems.sde.problem import SDEProblem, told
from . import trained_method
from .ensemble import shared_out
from .explained import explained
from .pace import Pace
from .sde_checks import check_noise, warn_of_rejections
from .sde_solution import SDESolution, SDEStats, counted

__all__ = ["SOURCES", "SDESolution", "SDEStats", "sde_kernel_of", "solve_sde"]

#: where the Brownian motion comes from
SOURCES = ("memory", "tree")
ROLES = ("drift", "diffusion")
#: paths that a thread takes at least
LEAST = 16

_KERNELS = Recent()


def sde_kernel_of(parts: dict[str, Problem], noise: str, method: sde_methods.SDEMethod, controller: Any) -> Any:
    """The kernel of prepared "drift" and "diffusion"; loaded from the disk cache where it was compiled before.

    controller: an object of the contract, or None for steps of a given size.
    """
    from ..kernels.sde import build

    law = build.NONE if controller is None else controller
    functions = {role: parts[role].rhs for role in ROLES}
    n, sizes = parts["drift"].n, (parts["drift"].m, parts["diffusion"].m)
    structure = (law.key, getattr(law, "known", ()), law.n_state, controller is None)
    told_apart = (method.name, method.estimate)
    key = (told_apart, noise, *(digest.identity(fn) for fn in functions.values()), n, sizes, structure)

    def make() -> Any:
        for role in ROLES:
            try:
                rhs_check.check(parts[role])
            except ValueError as error:
                raise told(error, role) from None
        return build.sde_kernel(method, noise, functions, n, sizes, law)

    return _KERNELS.made(key, make)


def check_law(controller: Any, method: sde_methods.SDEMethod) -> None:
    """OptionError for what is no controller, and where it needs what the method cannot report; a warning where it was
    trained with another method."""
    from ..kernels.sde import build

    if contract.missing(controller):
        raise OptionError(
            f"not a controller: {controller!r}; stepsmith.solve_sde takes a name, a path or a controller object"
        )
    if missing := unmet(controller, build.fills(method)):
        raise OptionError(
            f"controller {controller.name!r} needs {missing}, which method {method.name!r} does not report"
        )
    trained_method.warn_once(controller, method.name)


def solve_sde(
    problem: SDEProblem,
    paths: int = 1000,
    method: str = "sosri",
    controller: Any = None,
    rtol: float = 1e-2,
    atol: Any = 1e-2,
    seed: int = 0,
    t_eval: Any = None,
    step_size: float | None = None,
    first_step: float | None = None,
    max_steps: int = 100_000,
    source: str = "memory",
    threads: int | None = None,
    estimate: str = "published",
) -> SDESolution:
    """Integrate `paths` independent paths of a problem.

    method: a name of `stepsmith.integrators.methods.sde.NAMES`.  controller: an object of the controller contract; None
    with `step_size`.  rtol: relative tolerance of a step; atol: absolute, scalar or (n,).  seed: whole number from 0;
    path i of a seed has the same Brownian motion whatever `paths` is.  t_eval: (k,) output times along the span; steps
    end there.  step_size: steps of this size (the last one, and those before an output, may be shorter), without an
    error estimate.  first_step: size of the first attempt, at most the span.  max_steps: attempts a path.

    source: "memory" draws the motion as steps ask for it, and keeps what rejected attempts have seen; "tree" makes it a
    function of seed, path and time, the same for every method, controller and tolerance, at a higher cost; its step
    ends are rounded to a grid an eighth of the step wide or finer, and output times to 2^-50 of the span.  threads:
    None for all cores.  estimate: "published", or "difference" to an embedded solution of lower order, which differs
    from it with sosri, sriw1 and sra1 (`methods.sde.method`).

    Raises OptionError on bad input; warns where rejections may spoil the limit (`sde_checks.warn_of_rejections`).  A
    path that goes wrong keeps its last good state and says so (`message(i)`).
    """
    if not isinstance(problem, SDEProblem):
        raise OptionError(f"problem must be a stepsmith.SDEProblem, got {type(problem).__name__}")
    count = options.count("paths", paths)
    meth = sde_methods.get(method, estimate)
    adaptive = step_size is None
    sde_methods.check(meth, problem.noise, problem.interpretation, adaptive)
    options.choice("source", source, SOURCES)
    options.count("threads", threads, none=True)
    t0, t1 = problem.t_span
    span = t1 - t0
    size = checked_step(first_step, span) if adaptive else checked_size(step_size, t0, t1)
    if not adaptive and size > span > 0.0:
        raise OptionError(f"step_size must not exceed the span, {span:g} long, got {size:g}")
    if not adaptive:
        other = None if estimate == "published" else estimate
        given = {"controller": controller, "first_step": first_step, "estimate": other}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise OptionError(f"{' and '.join(wrong)} would have no effect with step_size: leave one of them out")
    else:
        check_law(controller, meth)
        # one kernel for all laws of a form: their coefficients are data, and an attempt costs far more than they do
        controller = controller.general() if hasattr(controller, "general") else controller
    scale = tolerance_scale.of(controller)
    (r,), (a,) = tolerances(rtol, atol, (1, problem.n), problem.y0, scale)
    tgrid = np.array([t1]) if t_eval is None else output_times(t_eval, t0, t1)[0]
    if source == "tree" and (np.diff(_cells(problem, np.unique([t0, *tgrid, t1]))) < 1).any():
        raise OptionError("t_eval holds times closer to each other or to the span's ends than source='tree' resolves")
    seed = options.count("seed", seed, low=0)
    opts = np.array([
        t0, t1, r, np.nan if size is None or not adaptive else size, np.nan if adaptive else size,
        checked_limit(max_steps), SOURCES.index(source), 0.0,
    ])  # fmt: skip
    check_noise(problem, meth)
    sol = run_paths(problem, meth, controller, opts, a, path_keys(seed, np.arange(count)), tgrid, threads, scale)
    if adaptive:
        rejected, accepted = int(sol.stats.nreject.sum()), int(sol.stats.naccept.sum())
        warn_of_rejections(problem, meth, rejected, rejected + accepted)
    return sol


def _cells(problem: SDEProblem, t: np.ndarray) -> np.ndarray:
    """The tree's cells (k,) that times t (k,) are rounded to."""
    from ..kernels.sde.build import CELLS

    t0, t1 = problem.t_span
    return np.rint((t - t0) / ((t1 - t0) or 1.0) * CELLS).astype(np.int64)


def prepared_parts(problem: SDEProblem) -> dict[str, Problem]:
    """ "drift" and "diffusion" as kernels take them."""
    parts = {}
    for role in ROLES:
        own = problem.part(role)
        try:
            parts[role] = prepared(own) if own.special else own
        except Exception as error:
            raise told(explained(error, own), role) from None
    return parts


def rows_of(part: Problem, values: np.ndarray | None) -> np.ndarray:
    """Parameters of a prepared function, (1, m): its own; or (paths, m): `values`, and behind them what was added to
    its own."""
    if values is None:
        return part.p[None]
    more = np.broadcast_to(part.p[values.shape[1] :], (len(values), part.m - values.shape[1]))
    return np.ascontiguousarray(np.hstack([values, more]))


def run_paths(
    problem: SDEProblem,
    method: sde_methods.SDEMethod,
    controller: Any,
    opts: np.ndarray,
    atol: np.ndarray,
    keys: np.ndarray,
    tgrid: np.ndarray,
    threads: int | None,
    scale: float,
    starts: np.ndarray | None = None,
    values: np.ndarray | None = None,
) -> SDESolution:
    """Run the paths of keys (paths,) with checked options, `build.OPTIONS`.

    starts (paths, n), values (paths, m): every path's own start and parameters; None: the problem's.
    """
    from ..kernels.build import aligned
    from ..kernels.sde import build

    parts = prepared_parts(problem)
    kernel = sde_kernel_of(parts, problem.noise, method, controller)
    count, n, d = len(keys), problem.n, problem.motions
    y, w, h = (np.full((count, len(tgrid), size), np.nan) for size in (n, d, d))
    y_end, stat = np.empty((count, n)), np.empty((count, len(build.STATS)))
    params = np.zeros(0) if controller is None else controller.params
    args = (
        params, problem.y0[None] if starts is None else starts, *(rows_of(parts[role], values) for role in ROLES), atol,
        keys, opts, tgrid, _cells(problem, tgrid), y, w, h, y_end, stat,
    )  # fmt: skip
    run = kernel.module.run

    def room() -> tuple[np.ndarray, ...]:
        return (
            aligned(kernel.layout.size), np.zeros(len(build.NUMBERS), np.int64),
            np.zeros((2 * build.DEPTH, 1 + 2 * d)), np.zeros((2 * build.DEPTH, 3), np.int64),
        )  # fmt: skip

    def work(part: tuple[int, int], stop: threading.Event) -> None:
        own, pace = room(), Pace()
        while run(*own, *args, *part, pace.most) and not stop.is_set():
            pace.more()

    def all_of_them() -> float:
        if not run.overloads:
            compiled(run, *room(), *args, 0, 1, 1, what=f"{method.name} for paths of {problem.name}")
        return shared_out(work, count, LEAST, threads)

    try:
        wall = all_of_them()
    except Exception as error:
        if not discard_damaged(run):
            raise _in_words(error, problem, parts) from None
        wall = all_of_them()
    for role in ROLES:
        reraise(problem.part(role), threads=True)
    by = {name: stat[:, i] for i, name in enumerate(build.STATS)}
    return SDESolution(
        tgrid, y, w, h, by["t"].copy(), y_end, by["status"].astype(np.int8), counted(stat, wall), scale
    )  # fmt: skip


def _in_words(error: Exception, problem: SDEProblem, parts: dict[str, Problem]) -> Exception:
    """An error of the compiler's as one about the function that it is about."""
    for role in ROLES:
        said = explained(error, parts[role])
        if said is error:
            return error
        if "the kernel of" not in str(said):
            return told(said, role)
    return said
