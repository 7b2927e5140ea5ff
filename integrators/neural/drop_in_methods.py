"""torchdiffeq's names of methods, and this package's own of explicit pairs.

Adaptive ones are tableaus here, those on a grid have rules of their own, and one name stands for SciPy's solvers.
"""

from __future__ import annotations

from typing import Any

from ..methods.explicit.tableau import ExplicitTableau
from ..methods.tableaus import get as get_tableau
from . import fixed, implicit
from .adams import Adams

#: methods on a grid
GRID: dict[str, fixed.Method] = {
    **fixed.RULES,
    "explicit_adams": Adams("explicit_adams", implicit=False),
    "implicit_adams": Adams("implicit_adams", implicit=True),
    "fixed_adams": Adams("fixed_adams", implicit=True),
    **implicit.METHODS,
}
SCIPY = "scipy_solver"


def method_of(method: Any) -> ExplicitTableau | str:
    """A tableau, or a name in GRID, or SCIPY, for torchdiffeq's name; ValueError for what is unknown."""
    if method is None:
        return get_tableau("dopri5")
    if isinstance(method, str):
        if method in GRID or method == SCIPY:
            return method
        if hasattr(method, "book"):
            raise ValueError("method was made by for_torchdiffeq, for torchdiffeq itself: here pass the method's name, "
                             'and options={"controller": ...}')
    return get_tableau(method, (*GRID, SCIPY))
