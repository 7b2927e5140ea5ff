"""Stepsmith: step-size controllers trained by reinforcement learning inside real numerical integrators.

    import stepsmith as ss
    problem = ss.problems.make("three_body", seed=3)
    sol = ss.solve(problem, method="tsit5", controller="pi34", rtol=1e-6, atol=1e-9)

Names of controllers and problems are resolved here; heavy parts (numba, torch) load when they are first used.
"""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any

import gymnasium as _gym

from .envs import specs as _specs
from .integrators.core import moved as _moved
from .integrators.core.errors import OptionError
from .integrators.core.options import choice, flag, named

if TYPE_CHECKING:
    from .integrators.engine.ensemble_solution import EnsembleSolution
    from .integrators.engine.sde_solution import SDESolution
    from .integrators.engine.solve import Solution

__version__ = "0.2.0"

_moved.install()

_LAZY = {
    "problems": (".integrators.problems", None),
    "Problem": (".integrators.problems.problem", "Problem"),
    "Batch": (".integrators.problems.problem", "Batch"),
    "Family": (".integrators.problems.families", "Family"),
    "Solution": (".integrators.engine.solve", "Solution"),
    "Portfolio": (".integrators.methods.portfolio", "Portfolio"),
    "portfolio": (".controllers.switching.made", "portfolio"),
    "SDEProblem": (".integrators.problems.sde.problem", "SDEProblem"),
    "sdes": (".integrators.problems.sde", None),
    "load_controller": (".controllers.file", "load_controller"),
    "consistent_start": (".integrators.engine.consistent", "consistent_start"),
    "check_jacobian": (".integrators.checks.jacobian_check", "check_jacobian"),
    "family": (".train.fit.own", "family"),
    "fit": (".train.fit.search", "fit"),
    "online": (".controllers.online", "online"),
    "settings": (".train.fit.settings_file", "settings"),
    "compare": (".train.evaluate.compare", "compare"),
    "envs": (".envs", None),
    "controllers": (".controllers", None),
    "integrators": (".integrators", None),
    "policies": (".policies", None),
    "train": (".train", None),
    "neural": (".neural", None),
    "flows": (".flows", None),
}

__all__ = ["controller", "solve", "solve_ensemble", "solve_ivp", "solve_sde", *_LAZY]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'stepsmith' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    loaded = importlib.import_module(module, __name__)
    value = loaded if attribute is None else getattr(loaded, attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])


@functools.cache  # an import statement costs as much as a short solve's own Python
def _solver() -> Any:
    from .integrators.engine.solve import solve

    return solve


@functools.cache
def _chosen() -> Any:
    from .integrators.engine import chosen

    return chosen


@functools.cache
def _batches() -> Any:
    from .integrators.problems import batches

    return batches.given_batch


@functools.cache
def _resolver() -> Any:
    from .controllers.resolve import controller

    return controller


def controller(name_or_object: Any, family: str | None = None, method: str | None = None) -> Any:
    """A controller object from a law's name, "auto" (the method's own law), "tuned" (needs the family), a zoo name, the
    path of a controller file, or itself.

    Raises ValueError naming the nearest where nothing has the name.
    """
    if not isinstance(name_or_object, (str, os.PathLike)):
        return name_or_object
    return _resolver()(os.fspath(name_or_object), family, method)


@named
def solve(
    problem: Any,
    method: str = "tsit5",
    controller: Any = None,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    *,
    first_step: float | None = None,
    max_steps: int = 100_000,
    log: bool = False,
    events: Any = None,
    dense: bool = False,
    max_step: float | None = None,
    min_step: float | None = None,
    tstops: Any = None,
    save_every: int = 1,
) -> Solution:
    """Integrate one problem; `controller` may be a name, a path or an object; None or "auto" is the method's own law
    ("universal_law" of explicit methods, see `docs/methods.md`).  method: a name, or several with "+" between them, a
    portfolio, between which a rule switches ("tsit5+rodas5p", see `docs/portfolios.md`).

    events: a function g(t, y, p) or a list of them, whose zeros are found; attributes `terminal`, `direction` and
    `reset` (see `docs/events.md`).  dense: whether the solution can be called, `sol(t)`.  max_step, min_step: bounds on
    the step; a solve that would need a smaller one fails.  tstops: (k,) times that are hit exactly, where the solve
    begins anew: where f jumps, or does something that steps could miss.  save_every: accepted steps to a state that is
    kept.  The rest: `stepsmith.integrators.engine.solve.solve`.
    """
    if getattr(problem, "state", None) is not None:
        atol = problem.state.scales(atol)
    law = _controller(controller, problem, method)
    given = (problem, method, law, rtol, atol, t_eval, first_step, max_steps, log)
    plain = events is None and not dense and max_step is min_step is tstops is None and save_every == 1
    follow = None if plain else _chosen().follow(events, dense, max_step, min_step, tstops, save_every)
    if hasattr(law, "portfolio"):
        sol = _chosen().with_portfolio(problem, law, follow, *given[3:])
    elif plain:
        sol = _solver()(*given)
    else:
        sol = _chosen().followed(*given, follow)
    if problem.state is not None:
        sol.y = problem.state.shaped(sol.y)
    return sol


def solve_ivp(
    fun: Any,
    t_span: Any,
    y0: Any,
    method: Any = "RK45",
    t_eval: Any = None,
    dense_output: bool = False,
    events: Any = None,
    vectorized: bool = False,
    args: Any = None,
    **options: Any,
) -> Any:
    """`scipy.integrate.solve_ivp` on this engine: a script changes one import.

    fun: fun(t, y, *args), compiled where it can be; where not it runs as plain Python, which is said once.  method:
    SciPy's names ("RK45", "Radau", ...) stand for the same pair or family here, this engine's names ("tsit5", ...) for
    themselves.  options: rtol (1e-3), atol (1e-6), first_step, max_step, min_step, jac, jac_sparsity, lband, uband, and
    of this engine controller, tstops and max_steps.  Returns SciPy's result: t, y (n, k), sol, t_events, y_events,
    nfev, njev, nlu, status, message, success; `solution` is this engine's.  The differences:
    `stepsmith.integrators.engine.scipy_face`.
    """
    from .integrators.engine import scipy_face

    return scipy_face.solve_ivp(
        solve, fun, t_span, y0, method, t_eval, dense_output, events, vectorized, args, options
    )


@named
def solve_ensemble(
    batch: Any,
    method: str = "tsit5",
    controller: Any = None,
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    t_eval: Any = None,
    device: str = "cpu",
    *,
    first_step: float | None = None,
    max_steps: int = 100_000,
    threads: int | None = None,
    block: int | None = None,
    output: Any = None,
    chunk: int | None = None,
    progress: bool = False,
    events: Any = None,
    dense: bool = False,
    max_step: float | None = None,
    min_step: float | None = None,
    tstops: Any = None,
    executor: Any = None,
) -> EnsembleSolution:
    """Integrate every instance of a batch, in SIMD lanes on all cores (device "cpu") or on a GPU ("cuda").

    batch: a `Batch`, a list or tuple of `Problem`s of one kind (`Batch.of`), or one `Problem`.  controller: as for
    `solve`.  threads: of the CPU, None for all cores.  block: threads a block on the GPU, None for 64.
    output: what is kept beside the final states; None: `y_eval` where t_eval is given.  "final": nothing, "t_eval":
    `y_eval`, "max", "min": the largest or smallest value of each component over the times in t_eval, or a function
    `output(sol)` of the solution of one chunk of trajectories, which returns an array with a row for each of them.  The
    last three make `output` (B, ...) of the answer, and `y_eval` is not kept.
    chunk: trajectories that are solved and reduced at a time; it changes no result.  None: as many as keep their states
    at t_eval below 256 MB where these are reduced, else all.
    progress: whether a line on standard error says how many trajectories are done, how many a second, and the time
    left.
    events, dense, max_step, min_step, tstops: as for `solve`, on the CPU; tstops may be (B, k) too.
    executor: a `concurrent.futures.Executor` (processes, threads, Dask, MPI, Ray) that solves parts of the ensemble, to
    the same numbers (`docs/many_machines.md`); chunk is then the size of a part, and threads are those of a part, None
    for one.
    See `stepsmith.integrators.engine.ensemble.solve_ensemble` and `stepsmith.integrators.engine.cuda.solve_ensemble`.
    """
    choice("device", device, ("cpu", "cuda"))
    follow = _chosen().follow(events, dense, max_step, min_step, tstops, 1)
    batch = _batches()(batch)
    law = _controller(controller, batch, method)
    atol = atol if batch.state is None else batch.state.scales(atol)
    run: Any
    own: Any
    if device == "cuda":
        from .integrators.engine import cuda

        if hasattr(law, "portfolio"):
            raise OptionError(f"a portfolio of methods runs on device 'cpu', got {law.portfolio.name!r} on 'cuda'")

        if follow.asked:
            raise OptionError("events, dense, max_step, min_step and tstops are for device 'cpu'")
        if threads is not None:
            raise OptionError(f"threads belongs to device 'cpu', not to 'cuda' (use block), got {threads!r}")
        if executor is not None:
            raise OptionError("executor is for device 'cpu': a GPU is used by this process")
        run, own = cuda.solve_ensemble, 64 if block is None else block
    else:
        if block is not None:
            raise OptionError(f"block belongs to device 'cuda', not to 'cpu' (use threads), got {block!r}")
        run, own = _chosen().ensemble(law, follow, executor), threads
    kept = output if batch.state is None or not callable(output) else lambda sol: output(sol.shaped(batch.state))
    given = (batch, method, law, rtol, atol, t_eval, first_step, max_steps, own, kept, chunk)
    if flag("progress", progress):
        from .train.run.trajectories import reported

        with reported(len(batch)) as report:
            sol = run(*given, report=report)
    else:
        sol = run(*given, report=None)
    _chosen().said_if_stiff(batch, method, law, sol)
    return sol if batch.state is None else sol.shaped(batch.state, output in ("max", "min"))


@named
def solve_sde(
    problem: Any,
    paths: int = 1000,
    method: str = "sosri",
    controller: Any = None,
    rtol: Any = 1e-2,
    atol: Any = 1e-2,
    seed: int = 0,
    t_eval: Any = None,
    step_size: float | None = None,
    max_steps: int = 100_000,
    source: str = "memory",
    *,
    first_step: float | None = None,
    threads: int | None = None,
    estimate: str = "published",
) -> SDESolution:
    """Integrate independent paths of a stochastic differential equation, an `SDEProblem`, compiled end to end.

    controller: as for `solve`; None: "pi34", or none with `step_size`, a given size of all steps.  estimate: that of
    the error, "published" or "difference".  Arrays of the answer are (paths, times, ...).  See `docs/sde_ensembles.md`
    and `stepsmith.integrators.engine.sde.solve_sde`.
    """
    from .integrators.engine import sde

    if (controller is None and step_size is None) or (isinstance(controller, str) and controller == "auto"):
        controller = "pi34"
    if isinstance(controller, (str, os.PathLike)):
        if controller == "tuned":
            raise OptionError("there are no tuned laws of stochastic differential equations: name a law or a file")
        controller = _resolver()(os.fspath(controller), getattr(problem, "family", None), method)
    return sde.solve_sde(
        problem, paths, method, controller, rtol, atol, seed, t_eval, step_size, first_step, max_steps, source, threads,
        estimate,
    )  # fmt: skip


@functools.cache
def _method() -> Any:
    from .integrators.methods import get

    return get


def _controller(value: Any, source: Any, method: Any) -> Any:
    if type(method) is not str or "+" in method:
        from .controllers.switching.made import of_method

        found = of_method(method, value, getattr(source, "family", None))
        if found is not None:
            return found
    if value is None:
        value = _method()(method).own_law()
    if not isinstance(value, (str, os.PathLike)):
        return value
    return controller(value, getattr(source, "family", None), method)


_specs.register_all(_gym.register)
