"""Portfolios that a fit proposes: the cheapest explicit and the cheapest implicit method, under each rule.

They pay where instances of a family, or stretches of one trajectory, differ in stiffness.  They are tried where both
methods reach the wanted error and neither takes more than thirty times the work of the other, and are taken as any
other step is: where the interval of the ratio of times lies below 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...controllers import resolve
from ...controllers.switching.registry import RULES, switching
from ...controllers.switching.switching import Switching
from ...integrators import methods
from ...integrators.core.errors import OptionError
from ...integrators.methods.portfolio import Portfolio, given_portfolio
from ..evaluate.splits import Split
from .candidates import MAX_STEPS, Candidate, sweep

FAR = 30.0  # between the works of the two
LEAST_S = 30.0  # seconds that must be left: kernels are compiled for two methods, in lanes and alone


def pair(candidates: Sequence[Candidate], work: Callable[[Candidate], float]) -> tuple[str, str] | None:
    """The cheapest explicit and the cheapest implicit method, or None where no portfolio of them could pay."""
    able = [c for c in candidates if methods.get(c.method).uses == "rhs"]
    explicit = [c for c in able if methods.get(c.method).tableau is not None]
    implicit = [c for c in able if methods.get(c.method).implicit]
    if not explicit or not implicit:
        return None
    one, other = min(explicit, key=work), min(implicit, key=work)
    share = work(one) / work(other)
    return (one.method, other.method) if 1.0 / FAR <= share <= FAR else None


def controllers(names: tuple[str, str]) -> list[Switching]:
    """A controller of the pair for each rule, each method under the law that it has by itself: a name writes it
    down."""
    found = []
    for rule in RULES:
        try:
            found.append(switching(Portfolio(names), rule, lambda name, method: resolve.controller(name, None, method)))
        except OptionError:  # the explicit method does not report stiffness
            continue
    return found


def split_of(name: str, split: Callable[[str], Split]) -> Split:
    """A portfolio's split: that of its implicit method, whose linear algebra costs what it costs there.

    split: the split of a method.
    """
    implicit = [method.name for method in given_portfolio(name).methods if method.implicit]
    return replace(split(implicit[0]), method=name)


def proposals(search: Any, timed: Sequence[Candidate]) -> list[Candidate]:
    """The cheapest portfolio, settled, as a list of one; empty where there is none to try, or no time."""
    names = pair(timed, search.work)
    if names is None:
        return []
    if search.clock.left < LEAST_S:
        search.skipped.append(f"portfolio {'+'.join(names)}")
        return []
    rows = []
    for made in controllers(names):
        split = search.split(made.portfolio.name)
        rows.append(sweep(split, made.rule.name, "portfolio", made, search.rtols, MAX_STEPS))
        search.say(f"  portfolio {made.portfolio.name} under {made.rule.name}: {search.work(rows[-1]):.4g} of work")
    reached = [c for c in rows if search.work(c) < float("inf")]
    return [search.settled(min(reached, key=search.work))] if reached else []
