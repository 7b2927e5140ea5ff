"""SciPy's face: `solve_ivp` with its signature, its methods' names and its result, on this engine.

A script that calls `scipy.integrate.solve_ivp` changes one import.  Functions are compiled where they can be; those
that cannot run as plain Python, which a warning says once.  The solvers are this engine's: a method's name stands for
the same pair or family here (`METHODS`), under the method's own law, so that steps are not SciPy's.

What differs: an event whose value is zero at the start is no event there; times outside the span of dense output are
refused; a `reset` of an event changes the state (see `problems.events`).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.optimize import OptimizeResult

from .. import methods
from ..compile.digest import UndigestibleError
from ..core.errors import OptionError, UncompiledWarning, outside, shown
from ..core.names import unknown
from ..kernels import layout
from ..problems.problem import Problem
from .dense_output import DenseOutput
from .solution import Solution

#: SciPy's names, and the method of each here
METHODS = {"RK23": "bs32", "RK45": "dopri5", "DOP853": "dop853", "Radau": "radau5",
           "BDF": "bdf", "LSODA": "bdf"}
#: options of SciPy's solvers, and which of its methods have them where not all do
IMPLICIT_OPTIONS = ("jac", "jac_sparsity", "lband", "uband")
STEP_OPTIONS = ("first_step", "max_step", "controller", "tstops", "max_steps")
FAR = 1e300
MOST_STEPS = 10_000_000

REACHED = "The solver successfully reached the end of the integration interval."
STOPPED = "A termination event occurred."


class OdeResult(OptimizeResult):
    """t (k,), y (n, k), sol, t_events, y_events, nfev, njev, nlu, status (0: end of the span, 1: a terminal event, -1:
    failure), message, success, as SciPy has them; `solution`, this engine's `Solution`.
    """


class OdeSolution:
    """Dense output as SciPy has it: `sol(t)` is (n,) for a number and (n, k) for t (k,)."""

    def __init__(self, dense: DenseOutput) -> None:
        self.dense = dense
        self.ts = np.concatenate([[dense.t0], dense.end])
        self.t_min, self.t_max = dense.t_min, dense.t_max

    def __call__(self, t: Any) -> np.ndarray:
        return np.moveaxis(self.dense(t), 0, -1) if np.ndim(t) else self.dense(t)


def method_of(method: Any) -> Any:
    """This engine's method for one of SciPy's, by name or as its class, or for one of its own names."""
    if isinstance(method, type) and method.__name__ in METHODS:
        method = method.__name__
    if isinstance(method, str) and method in METHODS:
        return METHODS[method]
    if isinstance(method, str) and method not in methods.names():
        raise unknown("method", method, [*METHODS, *methods.names()])
    return method


def solve_ivp(
    solve: Callable[..., Solution],
    fun: Callable[..., Any],
    t_span: Any,
    y0: Any,
    method: Any,
    t_eval: Any,
    dense_output: Any,
    events: Any,
    vectorized: Any,
    args: Any,
    options: Mapping[str, Any],
) -> OdeResult:
    """`stepsmith.solve_ivp`; solve: `stepsmith.solve`."""
    if not callable(fun):
        raise OptionError(f"fun must be a function fun(t, y), got {shown(fun)}")
    if args is not None:
        try:
            args = tuple(args)
        except TypeError:
            raise TypeError(
                f"Supplied 'args' cannot be unpacked. Give a tuple of further arguments, args=({shown(args)},)"
            ) from None
    start = np.asarray(y0)
    if start.ndim != 1:
        raise ValueError("`y0` must be 1-dimensional.")
    if start.dtype.kind in "fc" and not np.all(np.isfinite(start)):
        raise ValueError("All components of the initial state `y0` must be finite.")
    how = _Options(method_of(method), dict(options))
    if events is not None:  # up to an event, however late: the largest span is far beyond all clocks
        t_span = [min(max(float(t), -FAR), FAR) if np.ndim(t) == 0 else t for t in t_span]
    given: dict[str, Any] = {"t_eval": t_eval, "events": events, "dense": bool(dense_output), **how.solve}
    try:
        # a script solves one problem a few times: compiling in a fraction of a second counts, nanoseconds a call do not
        problem = _problem(fun, start, t_span, args, how, "apart")
        sol = solve(problem, **given)
    except (UndigestibleError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        try:
            problem = _problem(fun, start, t_span, args, how, False)
        except ValueError as again:
            raise (again.__cause__ or again) from None
        _say_once(fun, error)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UncompiledWarning)
            sol = solve(problem, **given)
    return _result(sol, events is not None, how.jac is None or callable(how.jac))


class _Options:
    """SciPy's options as this engine takes them: those of `solve`, those of the problem."""

    def __init__(self, method: Any, options: dict[str, Any]) -> None:
        found = methods.get(methods.named(method))
        if found.uses != "rhs":
            raise OptionError(
                f"method {found.name!r} computes with accelerations, which solve_ivp does not take: call "
                "stepsmith.solve with a Problem that has accel=, or nbody="
            )
        self.solve: dict[str, Any] = {"method": method, "max_steps": MOST_STEPS}
        rtol = options.pop("rtol", 1e-3)
        # one of each component's own: the strictest holds for all
        self.solve |= {"rtol": rtol if np.ndim(rtol) == 0 else float(np.min(rtol)), "atol": options.pop("atol", 1e-6)}
        for name in STEP_OPTIONS:
            if name in options:
                self.solve[name] = options.pop(name)
        least = options.pop("min_step", None)
        if least:
            self.solve["min_step"] = least
        self.jac, pattern = options.pop("jac", None), options.pop("jac_sparsity", None)
        lower, upper = options.pop("lband", None), options.pop("uband", None)
        for name in options:
            others = ("min_step", "t_eval", "dense_output", "events", "vectorized", "args")
            raise unknown("option", name, list(dict.fromkeys([*IMPLICIT_OPTIONS, *self.solve, *STEP_OPTIONS, *others])))
        self.sparsity = pattern
        if lower is not None or upper is not None:
            self.sparsity = (int(lower or 0), int(upper or 0))
        if not found.implicit and (self.jac is not None or self.sparsity is not None):
            warnings.warn(
                f"jac, jac_sparsity, lband and uband have no relevance for method {found.name!r}, which solves no "
                "linear systems",
                stacklevel=outside(),
            )
            self.jac = self.sparsity = None


def _problem(fun: Any, y0: np.ndarray, t_span: Any, args: Any, how: _Options, compiled: bool | str) -> Problem:
    jac = how.jac
    if jac is not None and not callable(jac):
        matrix = np.ascontiguousarray(jac.toarray() if hasattr(jac, "toarray") else jac, dtype=np.float64)
        if matrix.shape != (y0.size, y0.size):
            raise OptionError(f"jac must have shape ({y0.size}, {y0.size}), got {matrix.shape}")

        def jac(t: Any, y: Any) -> Any:
            return matrix
    elif jac is not None and not compiled:
        jac = _dense_jacobian(jac, args)
    start = y0.astype(np.complex128 if y0.dtype.kind == "c" else np.float64) if y0.dtype.kind in "fiubc" else y0
    name = str(getattr(fun, "__name__", "user"))
    return Problem(fun, start, t_span, args=args, jac=jac, sparsity=how.sparsity, name=name, compiled=compiled)


def _dense_jacobian(jac: Callable[..., Any], args: Any) -> Callable[..., Any]:
    """A Jacobian that may return a sparse matrix as one that returns an array."""

    def dense(found: Any) -> Any:
        return found.toarray() if hasattr(found, "toarray") else found

    def without(t: Any, y: Any) -> Any:
        return dense(jac(t, y))

    def called(t: Any, y: Any, *args: Any) -> Any:
        return dense(jac(t, y, *args))

    return without if args is None else called


_SAID: set[Any] = set()


def _say_once(fun: Any, error: Exception) -> None:
    key = getattr(fun, "__code__", None) or id(fun)
    if key in _SAID:
        return
    _SAID.add(key)
    why = str(error).partition("\n")[0]
    warnings.warn(
        f"{getattr(fun, '__qualname__', type(fun).__name__)} runs as plain Python, which is slow, for it could not be "
        f"compiled: {why}",
        UncompiledWarning,
        stacklevel=outside(),
    )


def _result(sol: Solution, events: bool, evaluated: bool) -> OdeResult:
    """SciPy's result of a solution.  evaluated: whether Jacobians were, and not given as a constant."""
    status = {layout.SUCCESS: 0, layout.EVENT: 1}.get(sol.status, -1)
    message = {0: REACHED, 1: STOPPED}.get(status, sol.message)
    return OdeResult(
        t=sol.t,
        y=np.ascontiguousarray(sol.y.T),
        sol=None if sol.sol is None else OdeSolution(sol.sol),
        t_events=(sol.t_events or []) if events else None,
        y_events=[y if len(y) else np.empty(0) for y in sol.y_events or ()] if events else None,
        nfev=sol.stats.nfev,
        njev=sol.stats.njev if evaluated else 0,
        nlu=sol.stats.nlu,
        status=status,
        message=message,
        success=status >= 0,
        solution=sol,
    )
