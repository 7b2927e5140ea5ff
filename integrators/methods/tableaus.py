"""Coefficients of one-step methods, one file a method.

`get(name)` loads an explicit Runge-Kutta pair, `NAMES` lists them; a pair of one's own is an `ExplicitTableau`, which
every `method=` takes in the place of a name.  `implicit(name)` loads a method for stiff problems (Rosenbrock, ESDIRK or
Radau), `IMPLICIT` lists those.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import TYPE_CHECKING

from ..core.errors import OptionError, refuse
from ..core.names import unknown
from .explicit.tableau import ExplicitTableau
from .places import ALIASES, PLACES

if TYPE_CHECKING:
    from .esdirk.tableau import EsdirkTableau
    from .radau.radau5 import RadauTableau
    from .rosenbrock.tableau import RosenbrockTableau

NAMES = tuple(name for name, place in PLACES.items() if place == "explicit")
IMPLICIT = tuple(name for name, place in PLACES.items() if place in ("rosenbrock", "esdirk", "radau"))

#: the modules of tableaus were in a package of this name (see `core.moved`)
__path__: list[str] = []

__all__ = ["IMPLICIT", "NAMES", "ExplicitTableau", "get", "implicit"]


def get(name: str | ExplicitTableau, others: Iterable[str] = ()) -> ExplicitTableau:
    """The tableau called `name`, one of `NAMES` (lower case) or of their aliases, the same object on every call; or the
    one given, if it can be solved with.

    others: methods that the caller takes besides, which an error lists too.

    Raises ValueError for an unknown name, listing the nearest, for what is neither, and for a tableau without an error
    estimate.
    """
    if isinstance(name, ExplicitTableau):
        if name.order < 1 or name.embedded_order < 1:
            raise OptionError(
                f"method {name.name!r} has no error estimate (embedded_order is 0), which the choice of step sizes "
                "needs"
            )
        return name
    if isinstance(name, str):
        name = ALIASES.get(name, name)
    if isinstance(name, str) and name not in NAMES:
        from . import of_caller

        own = of_caller(name)
        if own is not None and own.tableau is not None:
            return own.tableau
    if not isinstance(name, str):
        known = ", ".join((*NAMES, *others))
        raise refuse("method", f"a method's name ({known}) or an ExplicitTableau", name)
    return import_module(f"..explicit.{_known(name, NAMES, 'explicit Runge-Kutta', others)}", __name__).TABLEAU


def implicit(name: str) -> RosenbrockTableau | EsdirkTableau | RadauTableau:
    """The tableau called `name`, one of `IMPLICIT` (lower case); the same object on every call.

    Raises ValueError for an unknown name, listing the nearest.
    """
    found = _known(name, IMPLICIT, "implicit")
    return import_module(f"..{PLACES[found]}.{found}", __name__).TABLEAU


def _known(name: str, names: tuple[str, ...], kind: str, others: Iterable[str] = ()) -> str:
    if not isinstance(name, str) or name not in names:
        raise unknown("method", name, (*names, *others), f"{kind} method")
    return name
