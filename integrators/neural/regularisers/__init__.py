"""Regularisers of neural differential equations, by name.

Each turns a problem into a plan and reads a penalty off the solution (`plan`); they add up and take weights: `er + 0.1 * sr`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ...names import unknown
from .plan import Plan, Regulariser, Solver, Sum, Term
from .steps import StepRegulariser

_MAKERS: dict[str, Callable[..., Regulariser]] = {
    f"{quantity}_{reduction}": partial(StepRegulariser, quantity, reduction)
    for quantity, reductions in (("er", "sum mean max"), ("er2", "sum mean"), ("sr", "sum mean max"))
    for reduction in reductions.split()
}
#: names that `regulariser` knows
REGULARISERS = tuple(_MAKERS)


def regulariser(name: str, **options: Any) -> Regulariser:
    """The regulariser called `name`, one of REGULARISERS, with its options.

    Raises ValueError for an unknown name, naming the nearest, and for options that it does not take.
    """
    if name not in _MAKERS:
        raise unknown("regulariser", name, REGULARISERS)
    try:
        return _MAKERS[name](**options)
    except TypeError as error:
        raise ValueError(f"regulariser {name!r}: {error}") from error


__all__ = ["REGULARISERS", "Plan", "Regulariser", "Solver", "StepRegulariser", "Sum", "Term", "regulariser"]
