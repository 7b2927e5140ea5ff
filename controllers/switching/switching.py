"""The controller of a portfolio: a law for each method, one rule, and what the kernel of each method sees of them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...integrators.core import contract, record, tolerance_scale
from ...integrators.core.errors import OptionError, shown
from ...integrators.core.solver_options import unmet
from ...integrators.methods.portfolio import Portfolio
from .rule import Place, Rule


class Face:
    """The law and the rule as one controller of the contract, for the kernel of one method.

    rule_at, rule_rows   the rule's rows of the state: they go along to another method
    """

    def __init__(self, law: Any, rule: Rule, here: int, count: int) -> None:
        self.law, self.rule, self.here, self.count = law, rule, here, count
        self.name = f"{law.name} with {rule.name}"
        self.rule_at, self.rule_rows = int(law.n_state), rule.rows
        self.n_state = self.rule_at + self.rule_rows
        own = np.ascontiguousarray(law.params, dtype=np.float64)
        place = Place(here, count, self.rule_at, len(own))
        self.params = np.concatenate([own, rule.params(here)])
        self.phases = (*law.phases, *rule.phases(place))
        # parameters and rows that the law's structure fixes stand where they stood
        self.known = getattr(law, "known", ((), ()))
        self.needs = frozenset(getattr(law, "needs", {record.ERR})) | rule.reads
        self.slots = frozenset(getattr(law, "slots", ())) | rule.sees
        self.first = getattr(law, "first", None)
        self.functions = tuple(getattr(law, "functions", ()))
        self.key = ("face", law.key, rule.key, here, count, place.state, place.params)

    @property
    def init(self) -> Callable[..., None]:
        """The law's start, and the rule's rows at 0."""
        return _init(self.law.init, self.rule_at, self.n_state)


# compile-time values of `clear_rows`
LOW = HIGH = 0


def clear_rows(params, state):
    """Set the rule's rows to 0."""
    for i in range(LOW, HIGH):
        state[i] = 0.0


@functools.cache
def _init(law_init: Callable[..., None], low: int, high: int) -> Callable[..., None]:
    begin = contract.bind(clear_rows, {"LOW": low, "HIGH": high})
    return contract.bind(both, {"FIRST": law_init, "THEN": begin})


def FIRST(params, state):  # noqa: N802
    """Stands for the law's start."""


def THEN(params, state):  # noqa: N802
    """Stands for `clear_rows`."""


def both(params, state):
    """One start after the other."""
    FIRST(params, state)
    THEN(params, state)


class Switching:
    """The controller of a portfolio.

    portfolio  its methods
    laws       a controller for each of them, objects of the contract
    rule       a `Rule`

    OptionError where there are not as many laws as methods, where a law or the rule needs what a method does not
    report, and for what is none of them.
    """

    def __init__(self, portfolio: Portfolio, laws: Sequence[Any], rule: Rule) -> None:
        laws = tuple(laws)
        if len(laws) != len(portfolio):
            raise OptionError(f"portfolio {portfolio.name!r} needs {len(portfolio)} laws, got {len(laws)}")
        for method, law in zip(portfolio.methods, laws, strict=True):
            if contract.missing(law):
                raise OptionError(f"not a controller: {law!r}")
            lacks = unmet(law, method.fills)
            if lacks:
                raise OptionError(
                    f"controller {shown(law.name)} needs {lacks}, which method {shown(method.name)} does not report"
                )
        rule.check(portfolio)
        self.portfolio, self.laws, self.rule = portfolio, laws, rule

    @functools.cached_property
    def name(self) -> str:
        """The rule and its laws, in words."""
        names = list(dict.fromkeys(str(law.name) for law in self.laws))
        return f"{self.rule.name} over {' and '.join(names)}"

    @functools.cached_property
    def faces(self) -> tuple[Face, ...]:
        """One for each method."""
        return tuple(Face(law, self.rule, k, len(self.laws)) for k, law in enumerate(self.laws))

    @functools.cached_property
    def scales(self) -> tuple[float, ...]:
        """By how much each law multiplies the tolerances asked for."""
        return tuple(tolerance_scale.of(law) for law in self.laws)

    def __reduce__(self) -> tuple[Any, ...]:
        return Switching, (self.portfolio, self.laws, self.rule)

    def __repr__(self) -> str:
        return f"Switching({self.portfolio.name!r}, {self.name})"
