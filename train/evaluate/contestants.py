"""Who stands in a comparison: all published laws, the hosts' defaults, N-body criteria, a constant step, the tuned law,
and the caller's guests.

A contestant is a controller together with the number that trades its work for accuracy, its knob.  For most controllers
that number is the tolerance; for a constant step it is the step's size, for an N-body criterion its accuracy parameter.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...controllers import resolve, zoo
from ...controllers.laws import registry
from ...controllers.laws.law import Law
from ...integrators import methods
from ...integrators.core import contract, options, tolerance_scale
from ...integrators.engine.spread import spread
from .curves import Array
from .rates import Rate
from .runs import Runs
from .splits import MAX_STEPS, Split, Sweep

#: laws that are some library's default: they stand in the table under the library's name, and the headline is never
#: against one of them
HOSTS = ("scipy", "scipy_radau", "torchdiffeq", "diffrax", "torchode")
#: steps that a constant step may take over a span
MOST_STEPS = 20_000


@dataclass(frozen=True)
class Contestant:
    """One line of a comparison before it is measured.

    name, kind    as `metric.Runs` has them
    knob          (K,) tolerances, or where `by_tolerance` is False step sizes or accuracy parameters
    at            `at(value)` is the controller at that value of the knob
    """

    name: str
    kind: str
    knob: Array
    at: Callable[[float], Any]
    by_tolerance: bool

    def sweep(self, split: Split, max_steps: int = MAX_STEPS) -> Sweep:
        """Every instance at every value of the knob."""
        if self.by_tolerance:
            return split.sweep(self.at(self.knob[0]), self.knob, max_steps)
        return split.sweep_knob(self.at, self.knob, max_steps)

    def seconds(self, split: Split, k: int, rows: NDArray[np.intp], max_steps: int = MAX_STEPS) -> float:
        """Wall clock of one ensemble of the instances `rows` at knob k, on one thread."""
        return split.seconds(self.at(float(self.knob[k])), self._rtol(split, k), rows, max_steps)

    def single_seconds(self, split: Split, k: int, rows: NDArray[np.intp], max_steps: int = MAX_STEPS) -> float:
        """Seconds inside the compiled solves of the instances `rows` at knob k, one after the other."""
        controller, rtol = self.at(float(self.knob[k])), self._rtol(split, k)
        split.call(int(rows[0]), controller, rtol, max_steps)()  # what stood in the caches before is of another side
        return float(sum(split.call(int(i), controller, rtol, max_steps)().stats.wall_s for i in rows))

    def _rtol(self, split: Split, k: int) -> float:
        return float(self.knob[k]) if self.by_tolerance else float(split.tolerances[-1])

    def runs(self, split: Split, sweep: Sweep, clocks: Mapping[str, Rate] | None = None) -> Runs:
        """What the metric reads; clocks: by clock, what it said of the contestant."""
        work, rounds = {"nfev": sweep.nfev, "work": sweep.work}, {}
        for name, rate in (clocks or {}).items():
            work[name], rounds[name] = sweep.work * rate.seconds, rate.rounds
        return Runs(
            self.name, sweep.err, work, self.knob, sweep.attempts, sweep.rejected, self.kind, split.ids, rounds
        )


#: a contestant and what it did on a split
Entry = tuple[Contestant, Sweep]


def sweeps(
    asked: Sequence[tuple[Contestant, Split]], max_steps: int, executor: Executor | None, done: Callable[[], None]
) -> list[Sweep]:
    """What every contestant does on its split, in their order; done: called whenever one is through.

    executor: its workers share the sweeps, to the same numbers; None: one after the other here.
    """
    splits: list[Split] = []
    for _, split in asked:
        if not any(split is known for known in splits):
            splits.append(split)
    parts = [(e, next(i for i, known in enumerate(splits) if known is split)) for e, split in asked]
    return spread(
        _sweep, parts, executor, shared=(splits, max_steps), what="sweep", named=lambda i: asked[i][0].name,
        taken=lambda i, sweep: done(),
    )  # fmt: skip


def _sweep(shared: tuple[list[Split], int], part: tuple[Contestant, int]) -> Sweep:
    splits, max_steps = shared
    contestant, split = part
    return contestant.sweep(splits[split], max_steps)


def laws(split: Split) -> list[Contestant]:
    """Every published law that the method can drive, the hosts' defaults among them, and the N-body criteria."""
    fills = methods.get(split.method).fills
    out = []
    for name in registry.names("linear"):
        law = registry.get(name)
        if law.needs <= fills:
            # a kernel of an implicit method takes too long to compile to have several
            law = law.general() if methods.get(split.method).implicit else law
            out.append(by_tolerance(name, "host" if name in HOSTS else "classical", law, split))
    etas = np.array(split.family.etas, dtype=float)
    if split.batch.nbody is not None and etas.size:
        for name in registry.names("criterion"):
            make = _criterion(name)
            if make(float(etas[0])).needs <= fills:
                out.append(Contestant(name, "classical", etas, make, False))
    return out


def _criterion(name: str) -> Callable[[float], Law]:
    # of ias15 the knob is the factor before its time scale, (5040 epsilon)^(1/7)
    if name == "ias15":
        return lambda c: registry.get(name, epsilon=c**7 / 5040.0)
    if name == "amuse":
        return lambda c: registry.get(name, mu=c)
    return lambda c: registry.get(name, eta=c)


def by_tolerance(name: str, kind: str, controller: Any, split: Split) -> Contestant:
    """A controller whose knob is the tolerance, on the family's grid.

    Its tolerance scale is taken off: at equal error it would only move the grid.
    """
    controller = tolerance_scale.unscaled(controller)
    return Contestant(name, kind, split.tolerances, lambda _: controller, True)


def constant(split: Split, attempts: Array) -> Contestant:
    """The constant step, at as many sizes as there are tolerances.

    attempts: (B, K) those of an adaptive law.  The number of steps a span goes from its fewest mean to four times its
    largest, at most `MOST_STEPS`.
    """
    spans = np.abs(split.batch.t1 - split.batch.t0)
    mean = attempts.mean(axis=0)
    steps = np.geomspace(max(2.0, mean.min()), min(MOST_STEPS, max(4.0 * mean.max(), 16.0)), len(split.tolerances))
    return Contestant(
        "constant", "constant", float(np.median(spans)) / steps, lambda h: registry.get("constant", h=h), False
    )


@dataclass(frozen=True)
class Guest:
    """A controller that the caller named, by all its training seeds."""

    name: str
    kind: str
    seeds: tuple[Any, ...]


def from_zoo(family: str, method: str) -> list[str]:
    """Names of the controllers of the zoo that were trained on a family or suite with a method."""
    shipped = ((name, resolve.controller(name)) for name in zoo.names())
    return [name for name, c in shipped if (c.family, getattr(c, "trained_method", None)) == (family, method)]


def invited(given: Any, family: str, method: str, one: bool = False) -> tuple[Any, list[str]]:
    """The caller's controllers, or where that is None those of the zoo; and a sentence where it is they.

    one: of several in the zoo only the first by name, without its variants.
    """
    if given is not None:
        return given, []
    names = from_zoo(family, method)[: 1 if one else None]
    said = f"controller {', '.join(names)}: the zoo's for {family} with {method} (`-c none`, controllers=(): without)"
    return names, [said] if names else []


def method_of(given: Any, family: str, own: str) -> str | None:
    """The method that the learned controllers among the caller's were trained with; None where there are none, where
    they name none, or different ones.  own: the family's method.
    """
    if given is None or (isinstance(given, (list, tuple)) and not given):
        return None
    found = {_trained(seed) for guest in guests(given, family, own, ()) for seed in guest.seeds
             if guest.kind == "learned"}  # fmt: skip
    return found.pop() or None if len(found) == 1 else None


def _trained(controller: Any) -> str:
    return getattr(controller, "trained_method", None) or ""


def method_notes(given: Iterable[Guest], method: str, own: str, asked: bool) -> list[str]:
    """A sentence where the method is that of a controller's file and not the family's `own`, and one on every learned
    controller that was trained with another.  asked: the caller named the method.
    """
    out, given = [], [guest for guest in given if guest.kind == "learned"]
    if not asked and method != own and given:
        out.append(f"method {method}: what {given[0].name} was trained with (here it would be {own})")
    for guest in given:
        others = sorted({_trained(seed) for seed in guest.seeds} - {method, ""})
        if others:
            out.append(
                f"{guest.name} was trained with {', '.join(others)}, and is run with {method}: what it learned of "
                f"errors and steps need not hold here (--method {others[0]})"
            )
    return out


def guests(given: Sequence[Any] | Mapping[str, Any], family: str, method: str, taken: Sequence[str]) -> list[Guest]:
    """What the caller gave: names, paths and controller objects; a list among them is one controller's training seeds.

    A mapping gives names of its own.  Names that already stand in the table are passed over.
    Raises ValueError for unknown names, controllers that are not one, and empty lists.
    """
    if isinstance(given, (str, os.PathLike)) or not contract.missing(given, compiled=False):
        given = [given]
    if not isinstance(given, Iterable):
        raise options.refuse("controllers", "a name, a path, a controller, or a list or mapping of them", given)
    pairs = list(given.items()) if isinstance(given, Mapping) else [(None, g) for g in given]
    out: list[Guest] = []
    used = set(taken)
    for label, item in pairs:
        if isinstance(item, str) and item in taken:
            continue
        seeds = _seeds(item, family, method)
        name = _free_name(str(label or seeds[0].name), used)
        used.add(name)
        out.append(Guest(name, "classical" if isinstance(seeds[0], Law) else "learned", seeds))
    return out


def scale_notes(given: Iterable[Guest]) -> list[str]:
    """A sentence on every guest whose tolerance scale is left out (`by_tolerance`)."""
    out = []
    for guest in given:
        scales = sorted({tolerance_scale.of(seed) for seed in guest.seeds} - {1.0})
        if scales:
            said = ", ".join(f"{scale:g}" for scale in scales)
            out.append(
                f"{guest.name}: its tolerance scale ({said}) is left out, for this is a comparison at equal error"
            )
    return out


def _seeds(item: Any, family: str, method: str) -> tuple[Any, ...]:
    """The controller objects that one entry of the caller's list names; ValueError where it names none."""
    members = list(item) if isinstance(item, (list, tuple)) else [item]
    if not members:
        raise ValueError("an empty list of training seeds")
    seeds = tuple(
        resolve.controller(os.fspath(m), family, method) if isinstance(m, (str, os.PathLike)) else m for m in members
    )
    for s in seeds:
        if contract.missing(s, compiled=False):
            raise ValueError(f"not a controller: {s!r}; give a name, a path or a controller object")
    return seeds


def _free_name(base: str, used: Collection[str]) -> str:
    """`base`, or where that is used already `base` with the first number that makes it new, from 2 on."""
    name, number = base, 2
    while name in used:
        name, number = f"{base}-{number}", number + 1
    return name
