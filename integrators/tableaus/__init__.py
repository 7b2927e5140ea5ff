"""Explicit Runge-Kutta tableaus, one file a method.  `get(name)` loads one, `NAMES` lists them."""

from difflib import get_close_matches
from importlib import import_module

from .tableau import ExplicitTableau

NAMES = ("bs32", "dopri5", "tsit5", "dop853")

__all__ = ["NAMES", "ExplicitTableau", "get"]


def get(name: str) -> ExplicitTableau:
    """The tableau called `name`, one of `NAMES` (lower case); the same object on every call.

    Raises ValueError for an unknown name, listing the nearest.
    """
    if not isinstance(name, str) or name not in NAMES:
        near = get_close_matches(str(name).lower(), NAMES, n=3, cutoff=0.5) or NAMES
        raise ValueError(f"unknown explicit Runge-Kutta method {name!r}; nearest: {', '.join(near)}")
    return import_module(f".{name}", __name__).TABLEAU
