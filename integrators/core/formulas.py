"""The functions that formulas are written with, in NumPy; elsewhere `bind` puts another library's in their place.

    from stepsmith.integrators.core.formulas import formula, log, where

    @formula
    def log_size(state, record):
        return log(record[H])

A formula is branch-free: it computes with `where` and these functions alone, on numbers or on rows of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from .namespaces import NUMPY

F = TypeVar("F", bound=Callable[..., Any])

where, minimum, maximum = NUMPY["where"], NUMPY["minimum"], NUMPY["maximum"]
fabs, sqrt, exp, log = NUMPY["fabs"], NUMPY["sqrt"], NUMPY["exp"], NUMPY["log"]
tanh, atan, sin, cos, pow_ = NUMPY["tanh"], NUMPY["atan"], NUMPY["sin"], NUMPY["cos"], NUMPY["pow_"]


def formula(fn: F) -> F:
    """Mark a function outside the package as a part of formulas: `bind` goes into it, as it does into the package's
    own.
    """
    fn.formula = True  # type: ignore[attr-defined]
    return fn
