"""What a rule is that switches between the methods of a portfolio.

A rule is data and a formula, as a law is.  After the law of the method at work has decided on an attempt, the rule's
phases see the same record and the law's answer.  They may ask for another method, by adding `contract.METHOD*(k + 1)`
to the flags, and may change the size.  The rule's rows of the state go along with the trajectory from method to method;
what the laws remember (errors of one method, which say nothing of another) begins anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...integrators.core import record
from ...integrators.core.contract import Lane, bind
from ...integrators.core.errors import OptionError, shown
from ...integrators.methods.portfolio import Portfolio


@dataclass(frozen=True)
class Place:
    """Where a rule stands in the controller of one method.

    here   the method at work, its index in the portfolio
    count  how many methods there are
    state  first of the rule's rows in the state
    params first of its numbers in the parameters
    """

    here: int
    count: int
    state: int
    params: int

    @property
    def names(self) -> dict[str, int]:
        """The constants that formulas of rules are bound with."""
        return {"HERE": self.here, "COUNT": self.count, "AT": self.state, "FROM": self.params}


@dataclass(frozen=True)
class Rule:
    """A rule with its numbers, for one portfolio.

    name     as it is called in tables
    decide   `decide(params, state, record, out)` over the constants of `Place.names`, branch-free, in place
    values   its numbers, natural values by name
    numbers  `numbers(values, here)`: what the formula reads in the controller of method `here`, floats
    rows     rows of the state that it keeps
    reads    record slots without which it cannot decide
    sees     slots that it looks at where a method reports them
    doc, source   what it is, and where it was published
    """

    name: str
    decide: Callable[..., None]
    values: tuple[tuple[str, float], ...]
    numbers: Callable[[dict[str, float], int], list[float]]
    rows: int
    reads: frozenset[int] = frozenset()
    sees: frozenset[int] = frozenset()
    doc: str = ""
    source: str = ""

    @property
    def key(self) -> tuple:
        """What is compiled; the numbers are not part of it."""
        return (self.name,)

    def phases(self, place: Place) -> tuple[Any, ...]:
        """What runs behind the phases of the law."""
        return (Lane(bind(self.decide, place.names)),)

    def params(self, here: int) -> np.ndarray:
        """Its numbers for method `here`, float64."""
        return np.array(self.numbers(dict(self.values), here), dtype=np.float64)

    def check(self, portfolio: Portfolio) -> None:
        """OptionError where a method of the portfolio does not report what the rule reads."""
        for method in portfolio.methods:
            seen = method.fills | ({record.HS} if method.implicit else frozenset())
            lacks = ", ".join(sorted(record.NAMES[slot] for slot in self.reads - seen))
            if lacks:
                raise OptionError(
                    f"rule {shown(self.name)} reads {lacks}, which method {shown(method.name)} does not report: the "
                    "rule 'race' reads nothing that a method may lack"
                )
