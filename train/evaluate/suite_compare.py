"""`compare` of a suite: a learned controller against laws on several families at once, and on families that nothing was
trained on.

The denominator is the best law over the suite's validation instances, of the law tuned on the suite's training
instances and all published ones.  If a published law beats it over the test instances, the figures are against that
one, and the notes say so.  The suite's figure is the geometric mean over families of each family's matched-error work
ratio (every family counts the same); its interval comes from a bootstrap over instances within families.

Two more figures stand beside it for every family.  One is against the law that is best on that family's own test
instances, its own tuned law among them where there is one: that is what tuning for the one family gives.  The other is
the "hindsight" of the laws: at every instance and error level the cheapest of all in the table, so that no choice of
one law a run can do better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.laws import tuned as tuned_files
from ...integrators import problems
from ...integrators.core import options
from ...integrators.problems import suites
from ..config import settings
from ..run.progress import Progress
from ..tune.objective import costs_of
from . import contestants
from .clock import own_kernels, wall_clock
from .compare import MOST_REPEATS
from .contestants import Contestant, Entry, Guest
from .curves import Array, instance_ratios, log_work_at
from .headline import cheaper, least_worst
from .metric import DENOMINATOR_KINDS, MEASURES, Figure, Runs, WorkRatio, across_seeds, point_ratio, work_ratio
from .splits import MAX_STEPS, Split, check_size, draw
from .suite_report import FamilyRow, SuiteReport

RESAMPLES = 10_000
#: name of a law that was tuned on the one family: it stands beside the suite's denominator, and is none itself
OWN = "tuned here"
#: test instances, all families together, below which the notes say that they are few
FEW = 100


@dataclass
class _Family:
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
class _Suite:
    """What was measured on a suite: families that it was tuned on (`seen`) and others, by name."""

    method: str
    seen: tuple[str, ...]
    unseen: tuple[str, ...]
    max_steps: int
    bar: Progress
    families: dict[str, _Family] = field(default_factory=dict)
    valid: dict[str, dict[str, Runs]] = field(default_factory=dict)

    def measure(
        self, tuned: Any, guests: Sequence[Guest], n: int, seed: int, n_validation: int, validation_seed: int
    ) -> None:
        """Run the laws on the validation split of the seen families, laws and guests on the test split of all."""
        for name in (*self.seen, *self.unseen):
            if name in self.seen:
                split = draw(name, self.method, "validation", n_validation, validation_seed)
                self.valid[name] = {e.name: e.runs(split, s) for e, s in self._sweeps(split, _laws(split, tuned))}
            self.bar.advance()
            test = draw(name, self.method, "test", n, seed)
            seeds = [contestants.by_tolerance(g.name, "learned", c, test) for g in guests for c in g.seeds]
            self.families[name] = _Family(test, self._sweeps(test, _laws(test, tuned)), self._sweeps(test, seeds))
            self.bar.advance()

    def mean(self, ratio: Callable[[_Family], float]) -> float:
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

    def _sweeps(self, split: Split, entries: Iterable[Contestant]) -> list[Entry]:
        return [(e, e.sweep(split, self.max_steps)) for e in entries]


@options.named
def compare_suite(
    name: str,
    controllers: Sequence[Any] | Mapping[str, Any] | str = (),
    seed: int = 0,
    n: int = 24,
    *,
    method: str | None = None,
    wall: bool = True,
    repeats: int = 3,
    n_validation: int = 12,
    validation_seed: int = 0,
    max_steps: int = MAX_STEPS,
    progress: bool = True,
) -> SuiteReport:
    """Compare one learned controller (a list: its training seeds) with the laws on `n` test instances of every family
    of a suite.

    The law tuned on the suite stands in the table where there is one.

    method           name of a method; default the suite's
    wall             time the denominator and the median seed as well, in `repeats` rounds
    n_validation, validation_seed    instances of every family that choose the denominator, and what draws them
    max_steps        attempts a run may make

    Raises ValueError for unknown names and for more than one learned controller.
    """
    method = _check(name, seed, n, method, wall, repeats, n_validation, validation_seed, max_steps)
    suite = suites.get(name)
    guest = _guest(controllers, name, method)
    path = tuned_files.find(name, method)
    tuned = None if path is None else tuned_files.read(path)[0]
    notes = [] if tuned is not None else [f"no law is tuned on {name}: `stepsmith tune {name}` makes one"]
    sweeps = (len(suite.families) + len(suite.unseen)) * (3 if wall else 2)
    bar = Progress(f"compare {name}, {method}", sweeps, "sweeps", progress)
    found = _Suite(method, suite.families, suite.unseen, max_steps, bar)
    try:
        found.measure(tuned, [guest] if guest else [], n, seed, n_validation, validation_seed)
        against, validation = _best(found.valid, {f: found.families[f].levels for f in found.seen})
        laws = found.laws(validation, against)
        if (rival := cheaper(laws)) is not None:
            notes.append(
                f"{rival} beats {against} over the test instances "
                f"({laws[rival]:.3f} of its work) and is the denominator"
            )
            against, laws = rival, found.laws(validation, rival)
        seeds, rows = None, []
        if guest is not None:
            median, seeds = across_seeds(found.seeds(len(guest.seeds), against))
            rows = _rows(found, against, median, repeats if wall else 0)
    finally:
        bar.close()
    notes += _sizes(found, n, seed, n_validation)
    return SuiteReport(
        name, method, seed, against, guest.name if guest else None, _figures(rows, seed), seeds, tuple(rows),
        dict(sorted(laws.items(), key=lambda kv: kv[1])), validation, tuple(notes),
    )  # fmt: skip


def _check(
    name: Any, seed: Any, n: Any, method: Any, wall: Any, repeats: Any, n_validation: Any, validation_seed: Any,
    max_steps: Any,
) -> str:  # fmt: skip
    """The method's name.

    OptionError for the first option of `compare_suite` that has the wrong type or is out of range.
    """
    suite = suites.get(options.text("name", name))
    for key, value in (("seed", seed), ("validation_seed", validation_seed)):
        settings.seed(key, value)
    for member in (*suite.families, *suite.unseen):
        check_size("n", n, problems.family(member))
        check_size("n_validation", n_validation, problems.family(member))
    options.count("repeats", repeats, 1, MOST_REPEATS)
    options.count("max_steps", max_steps)
    options.text("method", method, none=True)
    options.flag("wall", wall)
    return suites.members(name, method)[1]


def _guest(controllers: Any, name: str, method: str) -> Guest | None:
    """The learned controller that the caller gave, if any; ValueError where it is more than one, or a law."""
    guests = contestants.guests(controllers, name, method, (*registry.names("linear"), "tuned", OWN))
    if len(guests) > 1 or any(g.kind != "learned" for g in guests):
        raise ValueError("a suite is compared with one learned controller, or a list of its training seeds")
    return guests[0] if guests else None


def _rows(found: _Suite, against: str, median: int, repeats: int) -> list[FamilyRow]:
    """One row a family for the median training seed; `repeats` = 0 leaves the clock out."""
    rows = []
    for name, m in found.families.items():
        walls: Mapping[str, Array] = {}
        if repeats:
            timed = [*own_kernels([m.entry(against)], (against,)), m.learned[median]]
            walls = wall_clock(timed, m.test, repeats, found.max_steps, found.bar)
        rows.append(_row(m, against, median, name in found.unseen, walls))
    return rows


def _sizes(found: _Suite, n: int, seed: int, n_validation: int) -> list[str]:
    """Notes on how many instances the figures stand on."""
    drawn = n * len(found.seen)
    few = [f"{drawn} test instances are few: a published figure stands on at least {FEW}"] if drawn < FEW else []
    failed = sum(len(m.test.failed) for m in found.families.values())
    return [
        *few,
        f"{n} test instances a family (seed {seed}), {n_validation} of validation; references failed on {failed}",
    ]


def hindsight(runs: Sequence[Runs], base: Runs, levels: Array) -> float:
    """Weighted work over `base`'s of the cheapest of `runs` at every instance and error level, averaged as `work_ratio`
    does.

    All on the same instances, `base` among `runs`.
    """
    at = log_work_at(base.err, base.work["work"], levels)
    least = np.full(at.shape, np.nan)
    for r in runs:
        least = np.fmin(least, log_work_at(r.err, r.work["work"], levels, looser=True))
    return float(np.exp(instance_ratios(least, at, base.work["work"].max(axis=1)).log_ratio.mean()))


def _laws(split: Split, tuned: Any) -> list[Contestant]:
    """The laws that stand in the table of one family: the published ones, and those tuned on the suite and on it."""
    out = [e for e in contestants.laws(split) if e.by_tolerance]
    if tuned is not None:
        out.append(contestants.by_tolerance("tuned", "tuned", tuned.general(), split))
    own = tuned_files.find(split.family.name, split.method)
    if own is not None:
        out.append(contestants.by_tolerance(OWN, "tuned", tuned_files.read(own)[0].general(), split))
    return out


def _best(valid: Mapping[str, Mapping[str, Runs]], levels: Mapping[str, Array]) -> tuple[str, dict[str, float]]:
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
                    ratio[i, j] += np.log(point_ratio(runs[a], runs[b], levels[family])) / len(valid)
    best = least_worst(ratio, names)
    to_best = {name: float(np.exp(ratio[i, best])) for i, name in enumerate(names)}
    return names[best], dict(sorted(to_best.items(), key=lambda kv: kv[1]))


def _row(m: _Family, against: str, median: int, unseen: bool, walls: Mapping[str, Array]) -> FamilyRow:
    e, s = m.learned[median]
    learned = e.runs(m.test, s, walls.get(e.name))
    b, t = m.entry(against)
    base = b.runs(m.test, t, walls.get(against))
    names = [entry.name for entry, _ in m.table if entry.kind in DENOMINATOR_KINDS]
    best = min(names, key=lambda name: m.ratio(m.law(name), against))
    own = work_ratio(learned, m.law(best), m.levels, "work")
    assert own is not None  # every Runs has "work"
    work: dict[str, WorkRatio | None] = {k: work_ratio(learned, base, m.levels, k) for k in MEASURES}
    return FamilyRow(
        m.test.family.name, unseen, len(m.test.ids), work, best, own.figure, m.hindsight(against), costs_of(m.test),
        (base.failures, learned.failures), (base.rejected_share, learned.rejected_share),
    )  # fmt: skip


def _figures(rows: Sequence[FamilyRow], seed: int) -> dict[str, Figure]:
    """The suite's figure in every measure that all its seen families have; nothing without a learned controller."""
    seen = [r for r in rows if not r.unseen]
    figures = {}
    for measure in MEASURES if rows else ():
        ratios = [w for r in seen if (w := r.work[measure]) is not None]
        if len(ratios) == len(seen):
            figures[measure] = _suite_figure(ratios, seed)
    return figures


def _suite_figure(ratios: Sequence[WorkRatio], seed: int) -> Figure:
    """Geometric mean over families, with the percentile interval of a bootstrap over instances within families."""
    rng = np.random.default_rng(seed)
    point = np.mean([r.log_ratio.mean() for r in ratios])
    means = np.zeros(RESAMPLES)
    for r in ratios:
        n = len(r.log_ratio)
        means += r.log_ratio[rng.integers(n, size=(RESAMPLES, n))].mean(axis=1) / len(ratios)
    low, high = np.quantile(means, [0.025, 0.975])
    return Figure(float(np.exp(point)), float(np.exp(low)), float(np.exp(high)))
