"""`compare` of a suite: a learned controller against laws on several families at once, and on families that nothing was
trained on.

The denominator is the best law over the suite's validation instances, of the law tuned on the suite's training
instances and all published ones; if a published law beats it over the test instances, the figures are against that one,
and the notes say so. The suite's figure is the geometric mean over families of each family's matched-error work ratio
(every family counts the same), its interval from a bootstrap over instances within families.  Beside it stands, for
every family, the law that is best on that family's own test instances, its own tuned law among them where there is one
(what tuning for that family alone gives), and the "hindsight" of the laws: at every instance and error level the
cheapest of all in the table, so that no choice of one law a run can do better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.laws import tuned as tuned_files
from ...integrators import problems
from ...integrators.core import options
from ...integrators.problems import suites
from ..config import settings
from ..run.progress import Progress
from ..tune.search import costs_of
from . import contestants
from .compare import MOST_REPEATS, _wall
from .contestants import Contestant
from .curves import Array, instance_ratios, log_work_at
from .metric import DENOMINATOR_KINDS, MEASURES, Figure, Runs, WorkRatio, across_seeds, work_ratio
from .splits import MAX_STEPS, Split, Sweep, check_size, draw
from .suite_report import FamilyRow, SuiteReport

RESAMPLES = 10_000
OWN = "tuned here"
"""Name of a law that was tuned on the one family: it stands beside the suite's denominator, and is none itself."""


@dataclass
class _Family:
    """What was measured on one family: laws, and the training seeds of the learned controller."""

    test: Split
    table: list[tuple[Contestant, Sweep]]
    learned: list[tuple[Contestant, Sweep]]

    def law(self, name: str) -> Runs:
        return next(e.runs(self.test, s) for e, s in self.table if e.name == name)

    def ratio(self, runs: Runs, against: str) -> float:
        """Weighted work of some runs over a law's."""
        w = work_ratio(runs, self.law(against), self.test.family.error_levels, "work", intervals=False)
        assert w is not None  # every Runs has "work"
        return w.figure.ratio

    def hindsight(self, against: str) -> float:
        """Weighted work over a law's if every instance and error level is given the law of the table that is cheapest
        there.
        """
        runs = [e.runs(self.test, s) for e, s in self.table]
        return hindsight(runs, self.law(against), self.test.family.error_levels)

    def seed(self, i: int) -> Runs:
        e, s = self.learned[i]
        return e.runs(self.test, s)


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

    The law tuned on the suite stands in the table where there is one.  wall: time the denominator and the median seed
    as well, `repeats` rounds.  Raises ValueError for unknown names and for more than one learned controller.
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
    method = suites.members(name, method)[1]
    guests = contestants.guests(controllers, name, method, (*registry.names("linear"), "tuned", OWN))
    if len(guests) > 1 or any(g.kind != "learned" for g in guests):
        raise ValueError("a suite is compared with one learned controller, or a list of its training seeds")
    path = tuned_files.find(name, method)
    tuned = None if path is None else tuned_files.read(path)[0]
    notes = [] if tuned is not None else [f"no law is tuned on {name}: `stepsmith tune {name}` makes one"]
    families = (*suite.families, *suite.unseen)
    bar = Progress(f"compare {name}, {method}", len(families) * (3 if wall else 2), "sweeps", progress)
    valid: dict[str, dict[str, Runs]] = {}
    measured: dict[str, _Family] = {}
    done = 0
    try:
        for family in families:
            if family in suite.families:
                split = draw(family, method, "validation", n_validation, validation_seed)
                valid[family] = {e.name: e.runs(split, e.sweep(split, max_steps)) for e in _laws(split, tuned)}
            bar.update(done := done + 1)
            test = draw(family, method, "test", n, seed)
            table = [(e, e.sweep(test, max_steps)) for e in _laws(test, tuned)]
            several = [contestants.by_tolerance(g.name, "learned", c, test) for g in guests for c in g.seeds]
            measured[family] = _Family(test, table, [(e, e.sweep(test, max_steps)) for e in several])
            bar.update(done := done + 1)
        against, validation = _best(valid, {f: measured[f].test.family.error_levels for f in suite.families})
        laws = {
            law: _mean([measured[f].ratio(measured[f].law(law), against) for f in suite.families]) for law in validation
        }
        if (rival := min(laws, key=lambda k: (laws[k], k))) != against and laws[rival] < 1.0 - 1e-9:
            notes.append(
                f"{rival} beats {against} over the test instances ({laws[rival]:.3f} of its work) and is the "
                "denominator"
            )
            against = rival
            laws = {
                law: _mean([measured[f].ratio(measured[f].law(law), against) for f in suite.families])
                for law in validation
            }
        seeds, median = None, 0
        if guests:
            count = len(guests[0].seeds)
            over = {
                i: _mean([measured[f].ratio(measured[f].seed(i), against) for f in suite.families])
                for i in range(count)
            }
            median, seeds = across_seeds(over)
        rows = []
        for family in families if guests else ():
            m = measured[family]
            walls = _wall(_alone(m, against, median), m.test, repeats, max_steps, bar, done) if wall else {}
            rows.append(_row(m, against, median, family in suite.unseen, walls))
            bar.update(done := done + wall)
    finally:
        bar.close()
    seen = [r for r in rows if not r.unseen]
    figures = {}
    for measure in MEASURES if guests else ():
        ratios = [w for r in seen if (w := r.work[measure]) is not None]
        if len(ratios) == len(seen):
            figures[measure] = _suite_figure(ratios, seed)
    if n * len(suite.families) < 100:
        notes.append(f"{n * len(suite.families)} test instances are few: a published figure stands on at least 100")
    notes.append(f"{n} test instances a family (seed {seed}), {n_validation} of validation; references failed on "
                 f"{sum(len(m.test.failed) for m in measured.values())}")  # fmt: skip
    return SuiteReport(
        name, method, seed, against, guests[0].name if guests else None, figures, seeds, tuple(rows),
        dict(sorted(laws.items(), key=lambda kv: kv[1])), validation, tuple(notes),
    )  # fmt: skip


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
                    w = work_ratio(runs[a], runs[b], levels[family], "work", intervals=False)
                    assert w is not None  # every Runs has "work"
                    ratio[i, j] += np.log(w.figure.ratio) / len(valid)
    best = min(range(len(names)), key=lambda i: (ratio[i].max(), ratio[i].sum(), names[i]))
    return names[best], dict(
        sorted(((name, float(np.exp(ratio[i, best]))) for i, name in enumerate(names)), key=lambda kv: kv[1])
    )


def _alone(m: _Family, against: str, median: int) -> list[tuple[Contestant, Sweep]]:
    """Denominator and learned controller, each in a kernel of its own, for the clock."""
    e, s = next((e, s) for e, s in m.table if e.name == against)
    law = e.at(float(e.knob[0])).specialised()
    return [(replace(e, at=lambda _: law), s), m.learned[median]]


def _row(m: _Family, against: str, median: int, unseen: bool, walls: Mapping[str, Array]) -> FamilyRow:
    levels = m.test.family.error_levels
    e, s = m.learned[median]
    learned = e.runs(m.test, s, walls.get(e.name))
    b, t = next((b, t) for b, t in m.table if b.name == against)
    base = b.runs(m.test, t, walls.get(against))
    names = [entry.name for entry, _ in m.table if entry.kind in DENOMINATOR_KINDS]
    best = min(names, key=lambda name: m.ratio(m.law(name), against))
    own = work_ratio(learned, m.law(best), levels, "work")
    assert own is not None
    work: dict[str, WorkRatio | None] = {k: work_ratio(learned, base, levels, k) for k in MEASURES}
    return FamilyRow(
        m.test.family.name, unseen, len(m.test.ids), work, best, own.figure, m.hindsight(against), costs_of(m.test),
        (base.failures, learned.failures), (base.rejected_share, learned.rejected_share),
    )  # fmt: skip


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


def _mean(ratios: Sequence[float]) -> float:
    return float(np.exp(np.mean(np.log(ratios))))
