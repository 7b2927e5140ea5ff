"""Rules by name, and the controller of a portfolio from what a person gives."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from ...integrators.core.errors import OptionError, refuse
from ...integrators.methods.portfolio import Portfolio
from .race import race_rule
from .rule import Rule
from .stiffness import auto_switch_rule, hairer_rule
from .switching import Switching

#: rules by name: `make(portfolio, **numbers)`
RULES: dict[str, Callable[..., Rule]] = {"auto_switch": auto_switch_rule, "hairer": hairer_rule, "race": race_rule}


def default_rule(portfolio: Portfolio) -> str:
    """Name of the rule where none is given: "auto_switch" for an explicit method that reports stiffness and an implicit
    one behind it, else "race".
    """
    try:
        auto_switch_rule(portfolio).check(portfolio)
    except OptionError:
        return "race"
    return "auto_switch"


def switching(portfolio: Portfolio, given: Any, law_of: Callable[[Any, str], Any]) -> Switching:
    """The controller of a portfolio.

    given: None or "auto" (the default rule, with the law that each method has by itself); the name of a rule; the name
    or path of a controller, or an object, for all methods; a sequence of one of these a method; a `Switching`.
    law_of: `law_of(value, method)`, a controller by name or path for a method.
    OptionError where it does not fit the portfolio.
    """
    if isinstance(given, Switching):
        if given.portfolio != portfolio:
            raise OptionError(
                f"this controller is for the portfolio {given.portfolio.name!r}, and the method is {portfolio.name!r}"
            )
        return given
    rule = default_rule(portfolio)
    if given is None or given == "auto":
        given = "auto"
    elif isinstance(given, str) and given in RULES:
        rule, given = given, "auto"
    laws = _each(given, portfolio)
    made = [law_of(one, name) if isinstance(one, (str, os.PathLike)) else one
            for one, name in zip(laws, portfolio.names, strict=True)]
    return Switching(portfolio, made, RULES[rule](portfolio))


def _each(given: Any, portfolio: Portfolio) -> Sequence[Any]:
    if isinstance(given, Sequence) and not isinstance(given, str):
        if len(given) != len(portfolio):
            raise OptionError(
                f"controller: a sequence holds one for each method of {portfolio.name!r}, {len(portfolio)} of them, "
                f"got {len(given)}"
            )
        for one in given:
            if one is None or isinstance(one, Switching):
                raise refuse("controller of a method of a portfolio", "a name, a path or an object", one)
        return given
    return [given] * len(portfolio)
