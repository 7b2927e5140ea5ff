"""Candidates of a fit: a method under a controller, with its errors and work at every tolerance of the family.

A candidate is recommended with one tolerance for the whole family: the largest at which nine of ten instances have at
most the wanted error.  Work and time are compared there, so at equal error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...integrators import methods
from ...integrators.problems.families import Family
from ..evaluate.contestants import HOSTS, laws
from ..evaluate.curves import Array
from ..evaluate.splits import Split, Sweep

SHARE = 0.9  # of the instances that must have the wanted error
KINDS = ("published", "tuned", "learned")
#: published laws that are tried under every method; under the best methods all of them are
FIRST = ("i", "pi34", "pi42", "h211b", "predictive")


@dataclass(frozen=True)
class Point:
    """A candidate at one error: the tolerance, and the mean of f-evaluations and of weighted work an instance."""

    rtol: float
    nfev: float
    work: float


@dataclass(frozen=True)
class Candidate:
    """method, controller and what it is called; kind: one of KINDS.  rtols (K,) decreasing; sweep: (B, K) arrays."""

    method: str
    name: str
    kind: str
    controller: Any
    rtols: Array
    sweep: Sweep

    def at(self, error: float) -> Point | None:
        """The loosest measured tolerance at which, and at all tighter ones, nine of ten have at most `error`."""
        reached = np.quantile(self.sweep.err, SHARE, axis=0, method="higher")
        # at a looser tolerance the error may be small by luck: every tighter one must reach it too
        missed = np.flatnonzero(~(reached <= error))
        k = 0 if missed.size == 0 else int(missed[-1]) + 1
        if k == len(self.rtols):
            return None
        nfev, work = self.sweep.nfev.mean(axis=0), self.sweep.work.mean(axis=0)
        return Point(float(self.rtols[k]), float(nfev[k]), float(work[k]))


def method_names(family: Family, nbody: bool) -> tuple[list[str], list[str]]:
    """(methods to try, methods that only check the choice between explicit and implicit), the family's own first.

    A stiff family is tried with every implicit method, and checked with the default, which is explicit; another one is
    tried with every explicit method, and checked with one implicit one.
    """
    linear = [name for name in methods.names() if _adaptive(name, nbody)]
    implicit = [name for name in linear if methods.get(name).implicit]
    explicit = [name for name in linear if not methods.get(name).implicit]
    tried, others = (implicit, explicit) if family.stiff else (explicit, implicit)
    check: list[str] = [name for name in ("tsit5", "rodas5p") if name in others]
    return sorted(tried, key=lambda name: name != family.method), check


def _adaptive(name: str, nbody: bool) -> bool:
    """Whether a method reports an error estimate on such a problem, which laws need."""
    method = methods.get(name)
    from ...controllers.laws import registry

    if method.tableau is None and not method.implicit and not nbody:
        return False
    return registry.get("i").needs <= method.fills


def sweep(split: Split, name: str, kind: str, controller: Any, rtols: Array, max_steps: int) -> Candidate:
    """A controller at every tolerance on the split's instances."""
    return Candidate(split.method, name, kind, controller, rtols, split.sweep(controller, rtols, max_steps))


def published(split: Split, rtols: Array, max_steps: int, only: Sequence[str] | None = FIRST) -> list[Candidate]:
    """Published laws that the method can drive; only: these among them, None for all."""
    return [
        sweep(split, e.name, "published", e.at(0.0), rtols, max_steps)
        for e in laws(split)
        if e.by_tolerance and e.name not in HOSTS and (only is None or e.name in only)
    ]


def cheapest(candidates: Sequence[Candidate], error: float) -> Candidate | None:
    """The candidate of the least weighted work at `error`; None where none reaches it."""
    found = [(point.work, c.name, c) for c in candidates if (point := c.at(error)) is not None]
    return min(found, key=lambda row: row[:2])[2] if found else None
