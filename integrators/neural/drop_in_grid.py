"""torchdiffeq's options of methods on a grid, and of SciPy's solvers, in this package's terms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from scipy.integrate import OdeSolver

from ..core import options
from ..core.errors import OptionError
from . import drop_in_options, fixed
from .adams import FEWEST, ORDER, Adams
from .drop_in_methods import GRID, SCIPY
from .drop_in_options import FIXED
from .fixed import Grid
from .implicit import Implicit
from .pytree import Layout
from .scipy_solver import SOLVERS, Scipy

Tensor = torch.Tensor
#: what torchdiffeq takes for other methods and drops here without a word
_DROPPED = {"norm"}
_DROPPED_BY_SCIPY = {"norm", "grid_points", "eps"}


def grid(
    method: str,
    value: Any,
    func: Any,
    y0: Any,
    tolerances: tuple[Any, Any],
    step: Any = None,
    name: str = "options",
) -> Grid:
    """The options in the dict `value` of a method on a grid.

    func, y0: what a grid constructor gets besides the times.  tolerances: rtol and atol, for methods that iterate up to
    them.  step: the callback of every step, or None.  name: what the dict is called in errors.
    """
    chosen = GRID[method]
    own = {"max_iters"} if isinstance(chosen, Implicit) else set()
    if isinstance(chosen, Adams):
        own = {"max_order", "max_iters", "implicit"} if chosen.implicit else {"max_order"}
    found = drop_in_options.given(name, _without(value, _DROPPED), FIXED | own, method)
    size, make = fixed.step_size(found.get("step_size")), found.get("grid_constructor")
    if make is not None and size is not None:
        raise OptionError("step_size and grid_constructor are two ways to say the same: pass one of them")
    if make is not None and not callable(make):
        raise options.refuse("grid_constructor", "a function (func, y0, t) -> times, or None", make)
    return Grid(
        method,
        _told(chosen, found, tolerances, name),
        size,
        None if make is None else lambda t: make(func, y0, t),
        options.choice("interp", found.get("interp", "linear"), fixed.INTERPOLATIONS),
        options.flag("perturb", found.get("perturb", False)),
        step,
    )


def _without(value: Any, names: set[str]) -> Any:
    return {key: item for key, item in value.items() if key not in names} if isinstance(value, Mapping) else value


def _told(chosen: fixed.Method, found: Mapping[str, Any], tolerances: tuple[Any, Any], name: str) -> fixed.Method:
    """The method with its own options and tolerances."""
    if isinstance(chosen, Implicit):
        return replace(chosen, most=options.count("max_iters", found.get("max_iters", chosen.most)))
    if not isinstance(chosen, Adams):
        return chosen
    order = options.count("max_order", found.get("max_order", chosen.order), 1, ORDER)
    if order <= FEWEST:
        fixed.warn(f"{name}['max_order'] = {order} leaves too few past slopes for {chosen.name!r}: all steps are those "
                   'of "rk4"')
    return replace(
        chosen,
        implicit=chosen.implicit and options.flag("implicit", found.get("implicit", True)),
        order=order,
        most=options.count("max_iters", found.get("max_iters", chosen.most)),
        rtol=tolerances[0],
        atol=tolerances[1],
    )


def scipy(value: Any, tolerances: tuple[Any, Any], name: str = "options") -> Scipy:
    """The options in the dict `value` of SciPy's solvers."""
    found = drop_in_options.given(
        name, _without(value, _DROPPED_BY_SCIPY), {"solver", "min_step", "max_step"}, SCIPY
    )
    solver = found.get("solver", "LSODA")
    if not (inspect.isclass(solver) and issubclass(solver, OdeSolver)):
        solver = options.choice("solver", solver, SOLVERS)
    low = options.number("min_step", found.get("min_step", 0.0), 0.0)
    if low > 0.0 and solver != "LSODA":
        fixed.warn_unused(f"{SCIPY} ({solver if isinstance(solver, str) else solver.__name__})", {"min_step"})
        low = 0.0
    return Scipy(solver, low, drop_in_options.largest(found.get("max_step"), low), *tolerances)


def exact_tolerances(rtol: Any, atol: Any, layout: Layout) -> tuple[Any, Any]:
    """rtol and atol, checked, as two numbers or as two tensors (D,)."""
    r, a, each = drop_in_options.tolerances(rtol, atol, layout, 1.0)
    if each is not None:
        return each
    return (
        options.number("rtol", r, 0.0, below=1.0),
        options.number("atol", a, 0.0),
    )


def plain_tolerances(rtol: Any, atol: Any) -> tuple[float, float]:
    """Those of a backward solve, two numbers."""
    return options.number("adjoint_rtol", rtol, 0.0, below=1.0), options.number("adjoint_atol", atol, 0.0)
