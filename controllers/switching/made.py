"""Portfolios as a person asks for them."""

from __future__ import annotations

import functools
from typing import Any

from ...integrators.core import options
from ...integrators.core.errors import OptionError
from ...integrators.core.names import unknown
from ...integrators.methods.portfolio import Portfolio, given_portfolio, is_portfolio
from .. import resolve
from .registry import RULES, default_rule, switching
from .switching import Switching


def portfolio(methods: Any, rule: str | None = None, laws: Any = None, **numbers: float) -> Switching:
    """Methods between which a rule switches while it solves: `ss.solve(problem, ss.portfolio("tsit5+rodas5p"))`.

    methods: names with "+" between them, a sequence of names, or a `Portfolio`; the first one begins.  rule: one of
    `stepsmith list rules`; None: "auto_switch" for an explicit method that reports stiffness and an implicit one behind
    it, else "race".  laws: the step-size law of all methods, or a sequence of one a method: names, paths or objects;
    None: each method's own.  numbers: those of the rule, by name, in the place of the published ones.

    The answer goes wherever `method=` stands in `solve` and `solve_ensemble`.  OptionError and ValueError on what does
    not fit.
    """
    found = Portfolio(methods)
    plain = switching(found, "auto" if laws is None else laws, _law)
    name = default_rule(found) if rule is None else options.text("rule", rule)
    if name not in RULES:
        raise unknown("rule", name, RULES)
    return Switching(found, plain.laws, RULES[name](found, **numbers))


def _law(name: str, method: str) -> Any:
    return resolve.controller(name, None, method)


def of_method(method: Any, controller: Any, family: str | None) -> Switching | None:
    """The controller of a solve whose `method` is a portfolio; None where it is none."""
    if isinstance(method, Switching):
        if controller is not None:
            raise OptionError("controller: this portfolio holds its laws already; give them to stepsmith.portfolio")
        return method
    if not is_portfolio(method):
        return None
    if isinstance(method, str) and (controller is None or (isinstance(controller, str) and controller in RULES)):
        return _usual(method, controller)
    return switching(given_portfolio(method), controller, lambda name, one: resolve.controller(name, family, one))


@functools.lru_cache(maxsize=64)
def _usual(method: str, rule: str | None) -> Switching:
    """A portfolio by name under each method's own law: a short solve should not pay for making it."""
    return switching(given_portfolio(method), rule, _law)
