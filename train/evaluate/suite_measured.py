"""What a comparison on a suite has measured: laws and training seeds on every family, and the clocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...controllers.laws import tuned as tuned_files
from ..run.progress import Progress
from ..tune.objective import costs_of
from . import contestants
from .contestants import Contestant, Entry, Guest
from .curves import Array, LevelWork, instance_ratios, level_work
from .fastest import least_ratio, near
from .headline import least_worst
from .measured import TIMERS, charged
from .metric import point_ratio, work_ratio
from .own_kernels import own_kernels
from .rates import Rate
from .rows import WorkRatio
from .runs import DENOMINATOR_KINDS, MEASURES, Runs
from .splits import Split, draw
from .suite_report import FamilyRow

#: name of a law that was tuned on the one family: it stands beside the suite's denominator, and is none itself
OWN = "tuned here"


@dataclass
class MeasuredFamily:
    """What was measured on one family: the laws, and the training seeds of the learned controller."""

    test: Split
    table: list[Entry]
    learned: list[Entry]

    @property
    def levels(self) -> Array:
        return self.test.family.error_levels

    def entry(self, name: str) -> Entry:
        """A law of the table with its runs, by its name."""
        return next((e, s) for e, s in self.table if e.name == name)

    def law(self, name: str) -> Runs:
        e, s = self.entry(name)
        return e.runs(self.test, s)

    def seed(self, i: int) -> Runs:
        """Runs of the learned controller's training seed number i."""
        e, s = self.learned[i]
        return e.runs(self.test, s)

    def timed(self, entry: Entry, rates: Mapping[str, Mapping[str, Rate]]) -> Runs:
        """Runs of an entry with the clocks that were read of it; rates: by clock and contestant."""
        e, s = entry
        return e.runs(self.test, s, {clock: by[e.name] for clock, by in rates.items() if e.name in by})

    def ratio(self, runs: Runs, against: str) -> float:
        """Weighted work of some runs over a law's."""
        return point_ratio(runs, self.law(against), self.levels)

    def hindsight(self, against: str) -> float:
        """Weighted work over a law's if every instance and error level is given the law of the table that is cheapest
        there.
        """
        runs = [e.runs(self.test, s) for e, s in self.table]
        return hindsight(runs, self.law(against), self.levels)


@dataclass
class MeasuredSuite:
    """What was measured on a suite: families that it was tuned on (`seen`) and others, by name."""

    method: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    max_steps: int
    bar: Progress
    families: dict[str, MeasuredFamily] = field(default_factory=dict)
    valid: dict[str, dict[str, Runs]] = field(default_factory=dict)
    on_valid: dict[str, tuple[Split, list[Entry]]] = field(default_factory=dict)
    executor: Executor | None = None

    def measure(
        self, tuned: Any, guests: Sequence[Guest], n: int, seed: int, n_validation: int, validation_seed: int
    ) -> None:
        """Run the laws on the validation split of the seen families, laws and guests on the test split of all."""
        for name in (*self.seen, *self.unseen):
            if name in self.seen:
                split = draw(name, self.method, "validation", n_validation, validation_seed)
                swept = self._sweeps(split, _laws(split, tuned))
                self.on_valid[name] = split, swept
                self.valid[name] = {e.name: e.runs(split, s) for e, s in swept}
            self.bar.advance()
            test = draw(name, self.method, "test", n, seed)
            seeds = [contestants.by_tolerance(g.name, "learned", c, test) for g in guests for c in g.seeds]
            table = self._sweeps(test, _laws(test, tuned))
            self.families[name] = MeasuredFamily(test, table, self._sweeps(test, seeds))
            self.bar.advance()

    def mean(self, ratio: Callable[[MeasuredFamily], float]) -> float:
        """Geometric mean of a ratio over the seen families."""
        return float(np.exp(np.mean(np.log([ratio(self.families[name]) for name in self.seen]))))

    def laws(self, names: Iterable[str], against: str) -> dict[str, float]:
        """Geometric mean of the work of every law over that of one, on the test split."""

        def of(name: str) -> float:
            return self.mean(lambda f: f.ratio(f.law(name), against))

        return {name: of(name) for name in names}

    def seeds(self, count: int, against: str) -> dict[int, float]:
        """Geometric mean of the work of every training seed over a law's, by the seed's number."""

        def of(i: int) -> float:
            return self.mean(lambda f: f.ratio(f.seed(i), against))

        return {i: of(i) for i in range(count)}

    def fastest(self, clock: str, against: str, names: Iterable[str], repeats: int) -> str:
        """The law that is fastest by a clock over the validation instances of the seen families, of those of `names`
        near the best in work, all in the kernels that they share.
        """
        ratios = {
            law: float(np.exp(np.mean([
                np.log(least_ratio(runs[law], runs[against], self.families[name].levels))
                for name, runs in self.valid.items()
            ])))
            for law in names
        }  # fmt: skip
        timed: dict[str, dict[str, Runs]] = {}
        for name, (split, table) in self.on_valid.items():
            rates = TIMERS[clock](near(table, ratios), split, repeats, self.max_steps, self.bar)
            timed[name] = {e.name: e.runs(split, s, {clock: rates[e.name]}) for e, s in table if e.name in rates}
        everywhere = set.intersection(*(set(by) for by in timed.values()))
        timed = {name: {k: r for k, r in by.items() if k in everywhere} for name, by in timed.items()}
        return best_law(timed, {name: self.families[name].levels for name in timed}, clock)[0]

    def _sweeps(self, split: Split, entries: Iterable[Contestant]) -> list[Entry]:
        every = list(entries)
        swept = contestants.sweeps([(e, split) for e in every], self.max_steps, self.executor, lambda: None)
        return list(zip(every, swept, strict=True))


def rows_of(
    found: MeasuredSuite, against: str, median: int, fastest: Mapping[str, str], repeats: int, said: list[str]
) -> tuple[list[FamilyRow], dict[str, str]]:
    """One row a family for the median training seed, and by clock the law that its figures are against.

    fastest: by clock that is to be read, the fastest law of the validation instances.  Where the denominator is the
    faster one over the seen test instances, that clock's figures are against it.  `said` gets sentences on how the
    clocks were read.
    """
    rates: dict[str, dict[str, Mapping[str, Rate]]] = {}
    told: list[str] = []
    for name, m in found.families.items():
        laws = {against, *fastest.values()}
        timed = [*own_kernels([m.entry(law) for law in sorted(laws)], laws), m.learned[median]]
        rates[name] = {
            clock: TIMERS[clock](timed, m.test, repeats, found.max_steps, found.bar, told, True) for clock in fastest
        }
    said += dict.fromkeys(told)  # a sentence of several families once
    chosen = {}
    for clock, law in fastest.items():

        def ratio(m: MeasuredFamily, law: str = law, clock: str = clock) -> float:
            of = rates[m.test.family.name]
            return point_ratio(m.timed(m.entry(against), of), m.timed(m.entry(law), of), m.levels, clock)

        chosen[clock] = against if found.mean(ratio) < 1.0 else law
    rows = [
        _row(m, against, median, name in found.unseen, rates[name], chosen) for name, m in found.families.items()
    ]
    return rows, chosen


def hindsight(runs: Sequence[Runs], base: Runs, levels: Array) -> float:
    """Weighted work over `base`'s of the cheapest of `runs` at every instance and error level, averaged as `work_ratio`
    does, but without a charge: an instance that is lost counts as equal.

    All on the same instances, `base` among `runs`.
    """
    at = [level_work(r.err, r.work["work"], levels) for r in (base, *runs)]
    with np.errstate(invalid="ignore"):
        spanned, looser = (np.fmin.reduce([getattr(one, k) for one in at]) for k in ("reached", "looser"))
    cheapest = LevelWork(spanned, looser, np.min([one.dearest for one in at], axis=0))
    found = instance_ratios(cheapest, at[0])
    return float(np.exp(np.where(found.lost_a | found.lost_b, 0.0, found.log_ratio).mean()))


def _laws(split: Split, tuned: Any) -> list[Contestant]:
    """The laws that stand in the table of one family: the published ones, and those tuned on the suite and on it."""
    out = [e for e in contestants.laws(split) if e.by_tolerance]
    if tuned is not None:
        out.append(contestants.by_tolerance("tuned", "tuned", tuned.general(), split))
    own = tuned_files.find(split.family.name, split.method)
    if own is not None:
        out.append(contestants.by_tolerance(OWN, "tuned", tuned_files.read(own)[0].general(), split))
    return out


def best_law(
    valid: Mapping[str, Mapping[str, Runs]], levels: Mapping[str, Array], measure: str = "work"
) -> tuple[str, dict[str, float]]:
    """The best law over all families of the validation split, and every law's ratio to it.

    As `headline.choose_denominator`: the law whose worst ratio against any other is least.
    """
    first = next(iter(valid.values()))
    names = [name for name, r in first.items() if r.kind in DENOMINATOR_KINDS and name != OWN]
    ratio = np.zeros((len(names), len(names)))
    for family, runs in valid.items():
        for i, a in enumerate(names):
            for j, b in enumerate(names):
                if i != j:
                    each = np.log(point_ratio(runs[a], runs[b], levels[family], measure))
                    # where both lost every instance of a family, neither is the better one there
                    ratio[i, j] += (each if np.isfinite(each) else 0.0) / len(valid)
    best = least_worst(ratio, names)
    to_best = {name: float(np.exp(ratio[i, best])) for i, name in enumerate(names)}
    return names[best], dict(sorted(to_best.items(), key=lambda kv: kv[1]))


def _row(
    m: MeasuredFamily, against: str, median: int, unseen: bool, rates: Mapping[str, Mapping[str, Rate]],
    fastest: Mapping[str, str],
) -> FamilyRow:  # fmt: skip
    """The row of a family; rates: by clock and contestant; fastest: by clock, the law that its figure is against."""
    learned, base = m.timed(m.learned[median], rates), m.timed(m.entry(against), rates)
    names = [entry.name for entry, _ in m.table if entry.kind in DENOMINATOR_KINDS]
    best = min(names, key=lambda name: m.ratio(m.law(name), against))
    own = work_ratio(learned, m.law(best), m.levels, "work")
    assert own is not None  # every Runs has "work"
    seeds = [charged(m.seed(i), learned) for i in range(len(m.learned))]
    work: dict[str, WorkRatio | None] = {}
    for k in MEASURES:
        other = m.timed(m.entry(fastest[k]), rates) if k in fastest else base
        work[k] = work_ratio(learned, other, m.levels, k, seeds=seeds)
    return FamilyRow(
        m.test.family.name, unseen, len(m.test.ids), work, best, own.figure, m.hindsight(against), costs_of(m.test),
        (base.failures, learned.failures), (base.rejected_share, learned.rejected_share),
    )  # fmt: skip
