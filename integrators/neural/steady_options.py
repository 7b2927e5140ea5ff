"""The options of `steady_state`, checked before anything is solved."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..core import options, tolerance_scale
from ..core.errors import OptionError
from ..core.solver_options import checked_limit, one_tolerance_each
from ..engine import trained_method
from ..methods.tableaus import ExplicitTableau
from ..methods.tableaus import get as get_tableau
from . import checks, fixed, resolution
from .clock import Clock
from .module_options import ON_FAILURE
from .settings import Settings
from .steady_pass import END

GRADIENTS = ("gmres", "fixed_point")


@dataclass(frozen=True)
class SteadyOptions:
    """What `steady_state` takes besides func, z0 and x, checked; `checked` makes it."""

    rtol: float
    atol: float
    tableau: ExplicitTableau
    controller: Any
    solver_rtol: float
    solver_atol: float
    first_step: float
    max_steps: int
    compact: bool
    gradient: str
    gradient_tol: float
    gradient_max_iter: int
    on_failure: str

    def settings(self, dtype: torch.dtype, check_start: Callable[..., None] | None) -> Settings:
        """The settings of the pass for states of this dtype; a UserWarning where it does not resolve the tolerance."""
        scale = tolerance_scale.of(self.controller)
        said = "" if scale == 1.0 else f"tolerance_scale {scale:g} of the controller times solver_"
        rtol, atol = one_tolerance_each(scale * self.solver_rtol, scale * self.solver_atol, said)
        least = resolution.floor(dtype, self.tableau.order)
        if 0.0 < rtol < least:
            resolution.warn_of_floor(rtol, dtype, self.tableau.order, scale, "solver_rtol")
        return Settings(
            self.tableau,
            self.controller,
            np.array([0.0, END]),
            max(rtol, least),
            atol,
            self.first_step,
            self.max_steps,
            self.compact,
            heuristics=False,
            clock=Clock(torch.float64),  # f knows no time
            watch_draws=True,
            check_start=check_start,
        )


def checked(
    tol: Any,
    *,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    method: Any,
    controller: Any,
    solver_rtol: Any,
    solver_atol: Any,
    first_step: Any,
    compact: Any,
    gradient: Any,
    gradient_tol: Any,
    gradient_max_iter: Any,
    on_failure: Any,
    resolve: Callable[[str], object] | None,
    public: str,
) -> SteadyOptions:
    """Check the options; `public` is the name of what they belong to.

    Raises OptionError (a ValueError) for values that they do not take, ValueError for a method that does not fit, and
    TypeError for a controller that is none.
    """
    tol = options.number("tol", tol, 0.0, 1.0)
    rtol, atol = one_tolerance_each(tol if rtol is None else rtol, tol if atol is None else atol)
    solver_rtol, solver_atol = one_tolerance_each(solver_rtol, solver_atol, "solver_")
    tableau = _tableau(method)
    controller = checks.controller(controller, resolve, tableau, public)
    trained_method.warn_once(controller, tableau.name)
    return SteadyOptions(
        rtol,
        atol,
        tableau,
        controller,
        solver_rtol,
        solver_atol,
        options.positive("first_step", first_step),
        checked_limit(max_steps),
        options.flag("compact", compact),
        options.choice("gradient", gradient, GRADIENTS),
        options.number("gradient_tol", gradient_tol, above=0.0, below=1.0),
        options.count("gradient_max_iter", gradient_max_iter),
        options.choice("on_failure", on_failure, ON_FAILURE),
    )


def _tableau(method: Any) -> ExplicitTableau:
    """The coefficients of `method`; ValueError where it has no error estimate, or no slope at the new state."""
    if isinstance(method, str) and method in fixed.RULES:
        raise OptionError(f"method {method!r} takes the steps of a grid: use one that chooses its steps, as 'tsit5'")
    tableau = get_tableau(method)
    if not tableau.fsal:
        raise OptionError(
            f"method {tableau.name!r} does not end a step with the slope at the new state, by which a steady state is "
            "told: use 'tsit5', 'dopri5' or 'bs32'"
        )
    return tableau
