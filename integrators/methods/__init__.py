"""Methods by name, and explicit ones of a caller's own by their tableau.

Adding one: a file that defines `METHOD` (`method.Method`), and a line in `places.PLACES`; outside the package,
`register(METHOD)`.
"""

from __future__ import annotations

import functools
import importlib
from dataclasses import fields
from typing import Any

from ..core import elsewhere
from ..core.errors import OptionError, refuse, shown
from ..core.names import unknown
from ..core.options import text
from . import tableaus
from .explicit.tableau import ExplicitTableau
from .method import DEVICES, OPTIONAL, TIME_SCALES, Method
from .places import ALIASES, PLACES

__all__ = ["DEVICES", "OPTIONAL", "TIME_SCALES", "Method", "get", "named", "names", "register", "registered"]

_REGISTERED: dict[str, Method] = {}


def of_caller(name: str) -> Method | None:
    """The method that a caller registered under the name, or None."""
    return _REGISTERED.get(name)


def names() -> list[str]:
    """First names of all methods, those that were registered last."""
    return [*PLACES, *_REGISTERED]


def register(method: Method) -> Method:
    """Let `method.name` name a method of a caller's own wherever a method is named in this process; returns it.

    The same tableau may be registered again (a notebook's cell that runs twice).  OptionError for what is no `Method`,
    and for a name that is taken: kernels are kept by a method's name.
    """
    if not isinstance(method, Method):
        raise refuse("method", "a stepsmith.integrators.methods.Method", method)
    text("method.name", method.name)
    if method.tableau is not None and method.tableau.name != method.name:
        raise OptionError(
            f"a method and its tableau have one name, got {shown(method.name)} and {shown(method.tableau.name)}"
        )
    known = _REGISTERED.get(method.name)
    if method.name in (*PLACES, *ALIASES) or (known is not None and known is not method and not _same(known, method)):
        raise OptionError(f"there is a method {method.name!r} already: give this one another name")
    _REGISTERED[method.name] = method
    _built.cache_clear()
    return method


def _same(known: Method, other: Method) -> bool:
    """Whether two methods of explicit tableaus are the same in all that they say, and their kernels are made by the
    same code.
    """
    said = [f.name for f in fields(Method) if f.name not in ("parts", "key")]
    alike = all(getattr(known, name) == getattr(other, name) for name in said)
    return alike and known.tableau is not None and _made_by(known.parts) == _made_by(other.parts)


def _made_by(fn: Any) -> Any:
    """What a function does: its code and what it closes over; itself where it has no code."""
    code = getattr(fn, "__code__", None)
    return fn if code is None else (code, [cell.cell_contents for cell in fn.__closure__ or ()])


def get(method: str | ExplicitTableau) -> Method:
    """The method called `method`, or that of an ExplicitTableau; ValueError naming the nearest where there is none, and
    for what is neither.
    """
    return _built(named(method))


@functools.lru_cache(maxsize=256)
def _built(method: str | ExplicitTableau) -> Method:
    if isinstance(method, ExplicitTableau):
        from .explicit.method import explicit

        return explicit(method, own=True)
    return (
        _REGISTERED[method]
        if method in _REGISTERED
        else importlib.import_module(f".{PLACES[method]}.{method}", __name__).METHOD
    )


def named(method: Any) -> str | ExplicitTableau:
    """`method` as every host passes it on, checked: the first name of a method, or a caller's own tableau (a shipped
    one's becomes its name).
    """
    if isinstance(method, ExplicitTableau):
        shipped = method.name in tableaus.NAMES and method == tableaus.get(method.name)
        return method.name if shipped else tableaus.get(method)
    if not isinstance(method, str):
        error = refuse("method", f"a method's name ({', '.join(names())}) or an ExplicitTableau", method)
        said = elsewhere.of_object("method", method, names())  # another library's solver, as SciPy's class RK45
        raise OptionError(f"{error}; {said}") if said else error
    if method in ALIASES:
        return ALIASES[method]
    if method not in PLACES and method not in _REGISTERED:
        from . import sde

        if "+" in method:
            raise OptionError(
                f"method {method!r} is a portfolio, which stepsmith.solve, solve_ensemble and fit take: one method here"
            )

        if method in sde.NAMES:
            raise ValueError(
                f"method {method!r} is for stochastic differential equations: stepsmith.solve_sde takes it, "
                f"stepsmith.neural.sdeint, and the environment stepsmith/SDE-v0; here: {', '.join(names())}"
            )
        raise unknown("method", method, [*names(), *ALIASES])
    return method


def registered(method: Any) -> str:
    """The name of a method that has one, for what is written down under it: comparisons, tuned laws, training runs."""
    name = named(method)
    if not isinstance(name, str):
        raise OptionError(
            f"method must be a name here ({', '.join(names())}), for results are kept under it; got {name!r}"
        )
    return name
