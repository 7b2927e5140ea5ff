"""A portfolio: methods that share one state, between which a controller may switch at accepted steps.

Written "tsit5+rodas5p" wherever a method is named: the first one begins.  A trajectory that switches keeps its time,
its state and the size that comes next.  What belongs to a method alone begins anew: slopes, Jacobian and factors, and
the history of methods of several steps; the evaluations that this takes are counted.

A composite of an explicit and an implicit method whose rule looks at stiffness goes back to L. Petzold, SIAM J. Sci.
Stat. Comput. 4 (1983) 136 (LSODA).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..core import options
from ..core.errors import OptionError, refuse, shown
from . import get, named
from .method import Method

#: what stands between the names
AND = "+"
#: the most methods of a portfolio: the flags of a decision hold the index
MOST = 16


class Portfolio:
    """Methods in their order; the first begins.

    given   names of methods, or one text with "+" between them

    Attributes: `names` (tuple of str), `methods` (tuple of `Method`), `name` ("a+b").  Two portfolios are equal where
    their names are.  OptionError for fewer than two methods or more than 16, for a method that is there twice, and for
    one that cannot share a state with the others: fixed-step methods (without an error estimate), and methods of
    second-order systems.
    """

    __slots__ = ("methods", "name", "names")

    name: str
    names: tuple[str, ...]
    methods: tuple[Method, ...]

    def __init__(self, given: str | Iterable[str] | Portfolio) -> None:
        if isinstance(given, Portfolio):
            given = given.names
        if isinstance(given, str):
            given = [part.strip() for part in given.split(AND)]
        elif not isinstance(given, Iterable):
            raise refuse("portfolio", "names of methods, as 'tsit5+rodas5p'", given)
        names = tuple(_name(one) for one in given)
        if not 2 <= len(names) <= MOST:
            raise OptionError(f"a portfolio holds 2 to {MOST} methods, got {len(names)}: {AND.join(names) or 'none'}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise OptionError(f"a portfolio holds a method once; {twice[0]!r} is there {names.count(twice[0])} times")
        found = tuple(get(name) for name in names)
        for method in found:
            if method.uses != "rhs":
                raise OptionError(
                    f"method {shown(method.name)} is for second-order systems, and cannot share a state in a portfolio"
                )
            if not method.embedded_order:
                raise OptionError(
                    f"method {shown(method.name)} has no error estimate to choose steps by: it cannot be a part of a "
                    "portfolio"
                )
        object.__setattr__(self, "name", AND.join(names))
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "methods", found)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("a portfolio does not change: make another one")

    def __reduce__(self) -> tuple[Any, ...]:
        return Portfolio, (self.names,)

    def __len__(self) -> int:
        return len(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Portfolio) and other.names == self.names

    def __hash__(self) -> int:
        return hash(self.names)

    def __repr__(self) -> str:
        return f"Portfolio({self.name!r})"


def _name(one: Any) -> str:
    if not isinstance(one, str):
        raise refuse("a method of a portfolio", "a name", one)
    if not one:
        raise OptionError("a portfolio is written 'tsit5+rodas5p': a name stands on each side of '+'")
    name = named(one)
    assert isinstance(name, str)
    return name


def is_portfolio(method: Any) -> bool:
    """Whether `method` names or is a portfolio."""
    return isinstance(method, Portfolio) or (isinstance(method, str) and AND in method)


def asked(method: Any) -> str:
    """The name of a method or a portfolio, for what is written down under it: comparisons, fits."""
    from . import registered

    return given_portfolio(method).name if is_portfolio(method) else registered(method)


def given_portfolio(method: Any) -> Portfolio:
    """The portfolio that `method` names or is."""
    return method if isinstance(method, Portfolio) else Portfolio(options.text("method", method))
