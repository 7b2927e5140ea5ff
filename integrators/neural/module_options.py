"""What the constructor of a NeuralODE is given, checked before anything is solved, as keywords for `odeint`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..core import options
from ..core.solver_options import numbers
from ..methods.tableaus import get as get_tableau
from . import checks, fixed, on_grid
from .adjoint import CONTINUOUS, parameters_of
from .api import DEFAULTS, refuse_step_size
from .fit import check_early_end, check_fit, check_grid, check_widened, heuristics_for
from .regularisers import Regulariser
from .shaping import Shaping
from .strength import Strength, constant

Tensor = torch.Tensor
#: what a NeuralODE does where samples fail
ON_FAILURE = ("raise", "warn", "mask")
#: how it comes to the sizes of its steps
STEPS = ("plain", "auto")


def keywords(given: Mapping[str, Any], regulariser: Regulariser | None) -> dict[str, Any]:
    """The keywords of `odeint` that stay the same from solve to solve, without func, y0, t, per_sample, norm and
    event_fn, which the module holds itself.

    given: the arguments of the constructor by name, the regulariser as it was checked.  Raises ValueError for what
    `odeint` would refuse at the first solve, and for a regulariser that does not fit.
    """
    method = given["method"]
    on_a_grid = isinstance(method, str) and method in fixed.RULES
    return _of_grid(given, regulariser) if on_a_grid else _adaptive(given, regulariser)


def checked_strength(given: Any, regulariser: Regulariser | None) -> Strength | None:
    """A strength, or a number as a constant one; ValueError for anything else, and where there is no penalty."""
    if given is None:
        return None
    if regulariser is None:
        raise ValueError("strength multiplies the penalty of a regulariser, and there is none: pass regulariser too")
    return given if isinstance(given, Strength) else constant(options.number("strength", given, 0.0))


def _of_grid(given: Mapping[str, Any], regulariser: Regulariser | None) -> dict[str, Any]:
    """The keywords of a method on a grid."""
    method, adjoint = given["method"], given["adjoint"]
    defaults = {**DEFAULTS, "warm_start": False, "steps": "plain"}
    asked = {**given, "heuristics": True if given["heuristics"] is None else given["heuristics"]}
    on_grid.refuse_unused(method, {name: asked[name] for name in defaults}, defaults)
    params = checks.parameters(given["adjoint_params"])
    size = on_grid.checked(method, adjoint, params, given["step_size"])
    if adjoint in CONTINUOUS:
        parameters_of(given["func"], params)
    if regulariser is not None:
        check_grid(regulariser, method, size)
        check_fit(regulariser, adjoint, True, False)
    return {"method": method, "adjoint": adjoint, "adjoint_params": params, "step_size": size}


def _adaptive(given: Mapping[str, Any], regulariser: Regulariser | None) -> dict[str, Any]:
    """The keywords of a method that chooses its steps."""
    refuse_step_size(given["step_size"])
    tableau = get_tableau(given["method"], fixed.RULES)
    rtol, atol = _tolerance("rtol", given["rtol"]), _tolerance("atol", given["atol"])
    plain = {
        name: given[name]
        for name in (
            "adjoint", "first_step", "max_steps", "checkpoint_every", "checkpoint", "checkpoint_mb", "compact",
            "even_steps", "adjoint_params", "adjoint_rtol", "adjoint_atol",
        )
    }  # fmt: skip
    own = given["heuristics"]
    plain["heuristics"] = heuristics_for(regulariser) if own is None else own
    largest = {"rtol": _largest(rtol), "atol": _largest(atol)}
    asked = checks.solver_options(tableau, given["per_sample"], None, **largest, **plain)
    if asked.adjoint in CONTINUOUS:
        parameters_of(given["func"], asked.adjoint_params)
    checks.controller(given["controller"], given["resolve"], tableau, "NeuralODE")
    shape = Shaping(**{name: given[name] for name in Shaping.__dataclass_fields__})
    limits = shape.checked()
    shape.check_norm(given["per_sample"])
    if regulariser is not None:
        check_fit(regulariser, asked.adjoint, plain["heuristics"], asked.compact)
        if given["event_fn"] is not None:
            check_early_end(regulariser)
        if regulariser.integrates:
            check_widened(regulariser, rtol, atol, given["norm"])
    if given["steps"] == "auto" and (given["warm_start"] or asked.even_steps):
        raise ValueError('steps="auto" decides on warm_start and even_steps, which were given too: leave them out')
    return plain | {
        "method": given["method"],
        "controller": given["controller"],
        # two numbers as they were checked
        "rtol": asked.rtol if rtol is given["rtol"] else rtol,
        "atol": asked.atol if atol is given["atol"] else atol,
        "first_step": given["first_step"] if asked.first_step is None else asked.first_step,
        "max_steps": asked.max_steps,
        "checkpoint_every": asked.checkpoint_every,
        "compact": asked.compact,
        "even_steps": asked.even_steps,
        "adjoint_params": asked.adjoint_params,
        "resolve": given["resolve"],
        **limits,
    }


def _tolerance(name: str, value: Any) -> Any:
    """A tolerance as it was given; of components, with its numbers checked and its tensors without a graph."""
    if not several(value):
        return value
    most = 1.0 if name == "rtol" else np.inf

    def part(x: Any) -> Any:
        if getattr(x, "ndim", 0) == 0:
            return options.number(name, x, 0.0, most)
        try:
            found = numbers(name, x.detach().cpu() if isinstance(x, Tensor) else x)
        except NotImplementedError:  # a tensor that holds no values
            found = np.zeros(0)
        if found.size == 0:
            raise options.refuse(name, "a number or numbers", x)
        if not (np.isfinite(found) & (found >= 0.0) & (found <= most)).all():
            raise options.refuse(name, f"finite, at least 0{' and at most 1' if name == 'rtol' else ''}", x)
        return torch.from_numpy(found)

    return tree.tree_map(part, value)


def several(value: Any) -> bool:
    """Whether a tolerance is more than one number."""
    return isinstance(value, (tuple, list, dict)) or getattr(value, "ndim", 0) > 0


def _largest(value: Any) -> Any:
    """The largest number of a tolerance of components; what is one value as it is."""
    if not several(value):
        return value
    return max((float(torch.as_tensor(x).max()) for x in tree.tree_leaves(value)), default=0.0)


def shown(value: Any) -> str:
    """A tolerance for `repr`."""
    return f"{value:g}" if isinstance(value, float) else options.shown(value)
