"""Candidates of a fit: a method under a controller, with its errors and work at every tolerance of the family.

A candidate is recommended with one tolerance for the whole family: the largest at which nine of ten instances have at
most the wanted error.  Work and time are compared there, so at equal error.

Candidates are first compared on validation instances over a coarse grid of tolerances.  Those that are clocked are then
`settled`: on training and validation instances together, and with finer tolerances where the wanted error is reached.
There more than nine of ten instances must have the error, as many as it takes to be 90 % sure of nine of ten of all
(a distribution-free tolerance limit: Wilks, Ann. Math. Statist. 12, 1941).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from ...controllers.laws.law import Law
from ...integrators import methods
from ...integrators.engine.spread import spread
from ...integrators.methods.places import UNASKED
from ...integrators.problems.families import Family
from ..evaluate.contestants import HOSTS, laws
from ..evaluate.curves import Array
from ..evaluate.splits import Split, Sweep

SHARE = 0.9  # of the instances that must have the wanted error
SURE = 0.9  # probability that a settled tolerance gives the wanted error on that share of all instances
MAX_STEPS = 50_000  # attempts of a solve in a sweep
FINER = 5  # tolerances between two of the coarse grid
KINDS = ("published", "tuned", "learned", "given", "portfolio")
#: published laws that are tried under every method; under the best methods all of them are
FIRST = ("i", "universal_law", "pi34", "pi42", "h211b", "predictive")


@dataclass(frozen=True)
class Point:
    """A candidate at one error: the tolerance, and the mean of f-evaluations and of weighted work an instance."""

    rtol: float
    nfev: float
    work: float


@dataclass(frozen=True)
class Candidate:
    """method, controller and what it is called; kind: one of KINDS.  rtols (K,) decreasing; sweep: (B, K) arrays.

    settled: its tolerance was set on all instances that choices are made on.
    """

    method: str
    name: str
    kind: str
    controller: Any
    rtols: Array
    sweep: Sweep
    settled: bool = False

    def at(self, error: float) -> Point | None:
        """The loosest measured tolerance at which, and at all tighter ones, nine of ten have at most `error`; None
        where there is none.
        """
        reached = np.sort(self.sweep.err, axis=0)[rank(len(self.sweep.err), self.settled) - 1]
        # at a looser tolerance the error may be small by luck: every tighter one must reach it too
        missed = np.flatnonzero(~(reached <= error))
        k = 0 if missed.size == 0 else int(missed[-1]) + 1
        if k == len(self.rtols):
            return None
        nfev, work = self.sweep.nfev.mean(axis=0), self.sweep.work.mean(axis=0)
        return Point(float(self.rtols[k]), float(nfev[k]), float(work[k]))


def rank(count: int, sure: bool) -> int:
    """How many of `count` instances must have the wanted error: nine of ten; `sure`: so many that nine of ten of all
    instances have it with probability `SURE`, and no more than there are.
    """
    if not sure:
        return int(np.ceil(SHARE * (count - 1))) + 1
    return min(count, int(stats.binom.ppf(SURE, count, SHARE)) + 1)


def joined(*sweeps: Sweep, axis: int) -> Sweep:
    """Sweeps as one: of further instances (axis 0) or tolerances (axis 1)."""
    return Sweep(**{k: np.concatenate([getattr(s, k) for s in sweeps], axis) for k in vars(sweeps[0])})


def settle(c: Candidate, splits: Sequence[Split], error: float, max_steps: int) -> Candidate:
    """The candidate on the instances of all `splits`, with finer tolerances where it reaches `error`."""

    def over(rtols: Array) -> Sweep:
        return joined(*(s.sweep(_shared(c.controller), rtols, max_steps) for s in splits), axis=0)

    coarse = replace(c, sweep=over(c.rtols), settled=True)
    point = coarse.at(error)
    if point is None or point.rtol == c.rtols[0]:
        return coarse
    k = int(np.flatnonzero(c.rtols == point.rtol)[0])
    between = np.geomspace(c.rtols[k - 1], c.rtols[k], FINER + 2)[1:-1]
    rtols = np.insert(c.rtols, k, between)
    fine = joined(coarse.sweep, over(between), axis=1)
    order = np.insert(np.arange(len(c.rtols)), k, len(c.rtols) + np.arange(FINER))
    return replace(coarse, rtols=rtols, sweep=Sweep(**{k: v[:, order] for k, v in vars(fine).items()}))


def method_names(family: Family, nbody: bool, accel: bool = False) -> tuple[list[str], list[str]]:
    """(methods to try, methods that only check the choice between explicit and implicit), the family's own first.

    A stiff family is tried with every implicit method, and checked with the default, which is explicit; another one is
    tried with every explicit method and checked with one implicit one.  Those of `UNASKED` are left out, unless it is
    the family's own.  nbody, accel: whether its problems are of N bodies, and whether they have accelerations.
    """
    asked = [name for name in methods.names() if name not in UNASKED or name == family.method]
    able = [name for name in asked if _serves(name, nbody, accel)]
    implicit = [name for name in able if methods.get(name).implicit]
    explicit = [name for name in able if not methods.get(name).implicit]
    tried, others = (implicit, explicit) if family.stiff else (explicit, implicit)
    check: list[str] = [name for name in ("tsit5", "rodas5p") if name in others]
    return sorted(tried, key=lambda name: name != family.method), check


def _serves(name: str, nbody: bool, accel: bool) -> bool:
    """Whether such a problem has the functions that a method evaluates, and the method an error estimate for laws."""
    from ...controllers.laws import registry

    method = methods.get(name)
    has = {"rhs": True, "accel": nbody, "both": nbody or accel}[method.uses]
    return has and registry.get("i").needs <= method.fills


def sweep(split: Split, name: str, kind: str, controller: Any, rtols: Array, max_steps: int) -> Candidate:
    """A controller at every tolerance on the split's instances."""
    return Candidate(split.method, name, kind, controller, rtols, split.sweep(_shared(controller), rtols, max_steps))


def _shared(controller: Any) -> Any:
    """The controller in the kernel that most laws share: a fit compiles for longer than it sweeps."""
    return controller.general() if isinstance(controller, Law) else controller


def published(split: Split, rtols: Array, max_steps: int, only: Sequence[str] | None = FIRST) -> list[Candidate]:
    """Published laws that the method can drive; only: these among them, None for all."""
    return [
        sweep(split, e.name, "published", e.at(0.0), rtols, max_steps)
        for e in laws(split)
        if e.by_tolerance and e.name not in HOSTS and (only is None or e.name in only)
    ]


def label_of(method: str, only: Sequence[str] | None) -> str:
    """What the step of a method under some laws, or all published ones, is called."""
    return f"{method}: {'a few laws' if only else 'all published laws'}"


def published_of(
    asked: Sequence[tuple[Split, Sequence[str] | None]], rtols: Array, max_steps: int, executor: Executor
) -> list[list[Candidate]]:
    """What `published` finds for every method, a split and the laws that are tried, by the executor's workers."""
    return spread(
        _published, asked, executor, shared=(rtols, max_steps), what="method", named=lambda i: asked[i][0].method
    )


def _published(shared: tuple[Array, int], part: tuple[Split, Sequence[str] | None]) -> list[Candidate]:
    return published(part[0], *shared, part[1])


def cheapest(candidates: Sequence[Candidate], error: float) -> Candidate | None:
    """The candidate of the least weighted work at `error`; None where none reaches it."""
    found = [(point.work, c.name, c) for c in candidates if (point := c.at(error)) is not None]
    return min(found, key=lambda row: row[:2])[2] if found else None
