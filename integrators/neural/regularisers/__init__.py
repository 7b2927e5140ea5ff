"""Regularisers of neural differential equations, by name.

Each turns a problem into a plan and reads a penalty off the solution (`plan`).  Regularisers add up and take weights:
`er + 0.1 * sr`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from ...core.names import unknown
from ...core.options import check_names
from .kinetic import Frobenius, Kinetic, rnode
from .local import Local
from .plan import Plan, Regulariser, Solver, Sum, Term
from .steer import Steer
from .steps import StepRegulariser
from .taylor import Taylor

_MAKERS: dict[str, Callable[..., Regulariser]] = {
    f"{quantity}_{reduction}": partial(StepRegulariser, quantity, reduction)
    for quantity, reductions in (("er", "sum mean max"), ("er2", "sum mean"), ("sr", "sum mean max"))
    for reduction in reductions.split()
} | {
    "local_unbiased": partial(Local, "uniform"),
    "local_biased": partial(Local, "steps"),
    "steer": Steer,
    "kinetic": Kinetic,
    "frobenius": Frobenius,
    "rnode": rnode,
    "taylor2": partial(Taylor, 2),
    "taylor3": partial(Taylor, 3),
}
#: names that `regulariser` knows
REGULARISERS = tuple(_MAKERS)


def regulariser(name: str, **options: Any) -> Regulariser:
    """The regulariser called `name`, one of REGULARISERS, with its options.

    Raises ValueError for an unknown name, naming the nearest, and for options that it does not take.
    """
    if not isinstance(name, str) or name not in _MAKERS:
        raise unknown("regulariser", name, REGULARISERS)
    parameters = inspect.signature(_MAKERS[name]).parameters
    check_names(f"regulariser {name!r}", options, parameters)
    for wanted, parameter in parameters.items():
        if parameter.default is parameter.empty and wanted not in options:
            raise ValueError(f"regulariser {name!r} needs {wanted}: regulariser({name!r}, {wanted}=...)")
    return _MAKERS[name](**options)


def checked_regulariser(given: Any) -> Regulariser | None:
    """The regulariser that `given` is, or names; None for None.  ValueError for anything else."""
    if isinstance(given, str):
        return regulariser(given)
    if given is not None and not isinstance(given, Regulariser):
        raise ValueError(f"regulariser must be a name, a Regulariser or None; got {type(given).__name__}")
    return given


__all__ = [
    "REGULARISERS",
    "Frobenius",
    "Kinetic",
    "Local",
    "Plan",
    "Regulariser",
    "Solver",
    "Steer",
    "StepRegulariser",
    "Sum",
    "Taylor",
    "Term",
    "checked_regulariser",
    "regulariser",
    "rnode",
]
