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

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.laws import tuned as tuned_files
from ...integrators import problems
from ...integrators.core import options
from ...integrators.engine.spread import checked
from ...integrators.problems import suites
from ..config import settings
from ..run.progress import Progress
from ..tune.budget import of_provenance, shortfalls
from . import contestants
from .compare import MOST_REPEATS
from .contestants import Guest
from .curves import Array, drawn_means, shares
from .headline import CLOCK_NAMES, cheaper
from .rows import Figure, WorkRatio, across_seeds
from .runs import CLOCKS, MEASURES
from .splits import MAX_STEPS, check_size
from .suite_measured import OWN, MeasuredSuite, best_law, hindsight, rows_of
from .suite_report import FamilyRow, SuiteReport

__all__ = ["FEW", "OWN", "RESAMPLES", "compare_suite", "hindsight"]

RESAMPLES = 10_000
#: test instances, all families together, below which the notes say that they are few
FEW = 100


@options.named
def compare_suite(
    name: str,
    controllers: Sequence[Any] | Mapping[str, Any] | str | None = None,
    seed: int = 0,
    n: int = 24,
    *,
    method: str | None = None,
    wall: bool = True,
    single: bool = False,
    repeats: int = 3,
    n_validation: int = 12,
    validation_seed: int = 0,
    max_steps: int = MAX_STEPS,
    progress: bool = True,
    executor: Executor | None = None,
) -> SuiteReport:
    """Compare one learned controller (a list: its training seeds) with the laws on `n` test instances of every family
    of a suite.

    The law tuned on the suite stands in the table where there is one.  Without controllers the learned one is the zoo's
    for the suite and method, where there is one (of several the first by name); () is none.

    method           name of a method; default the one that the learned controller was trained with, or the suite's
    wall             time the median seed, the denominator and the law that is fastest on the validation instances as
                     well, in `repeats` rounds
    single           the same by single solves; every family needs kernels of its own for them
    n_validation, validation_seed    instances of every family that choose the denominator, and what draws them
    max_steps        attempts a run may make
    executor         its workers share the runs, to the same figures; clocks are read in this process

    Raises ValueError for unknown names and for more than one learned controller.
    """
    own, asked = _check(name, seed, n, method, wall, single, repeats, n_validation, validation_seed, max_steps), method
    method = own if asked else contestants.method_of(controllers, name, own) or own
    suite = suites.get(name)
    controllers, from_zoo = contestants.invited(controllers, name, method, one=True)
    guest = _guest(controllers, name, method)
    path = tuned_files.find(name, method)
    tuned, facts = (None, {}) if path is None else tuned_files.read(path)
    notes = [] if tuned is not None else [f"no law is tuned on {name}: `stepsmith tune {name}` makes one"]
    notes += from_zoo
    by_itself = suites.members(name)[1]
    notes += contestants.method_notes([guest] if guest else [], method, by_itself, asked is not None)
    if guest is not None and tuned is not None:
        first = guest.seeds[0]
        notes += shortfalls(facts, of_provenance(guest.name, getattr(first, "provenance", {})))
    sweeps = (len(suite.families) + len(suite.unseen)) * (3 if wall else 2)
    bar = Progress(f"compare {name}, {method}", sweeps, "sweeps", progress)
    found = MeasuredSuite(method, suite.families, suite.unseen, max_steps, bar, executor=checked(executor))
    try:
        found.measure(tuned, [guest] if guest else [], n, seed, n_validation, validation_seed)
        against, validation = best_law(found.valid, {f: found.families[f].levels for f in found.seen})
        laws = found.laws(validation, against)
        if (rival := cheaper(laws)) is not None:
            notes.append(
                f"{rival} beats {against} over the test instances "
                f"({laws[rival]:.3f} of its work) and is the denominator"
            )
            against, laws = rival, found.laws(validation, rival)
        seeds: dict[str, float] | None = None
        rows: list[FamilyRow] = []
        fastest: dict[str, str] = {}
        if guest is not None:
            median, seeds = across_seeds(found.seeds(len(guest.seeds), against))
            clocks = [clock for clock, on in zip(CLOCKS, (wall, single), strict=True) if on]
            fastest = {clock: found.fastest(clock, against, validation, repeats) for clock in clocks}
            rows, fastest = rows_of(found, against, median, fastest, repeats, notes)
            notes += [f"clock {CLOCK_NAMES[clock]}: against {law}" for clock, law in fastest.items()]
    finally:
        bar.close()
    notes += _sizes(found, n, seed, n_validation)
    return SuiteReport(
        name, method, seed, against, guest.name if guest else None, _figures(rows, seed), seeds, tuple(rows),
        dict(sorted(laws.items(), key=lambda kv: kv[1])), validation, tuple(notes), fastest,
    )  # fmt: skip


def _check(
    name: Any, seed: Any, n: Any, method: Any, wall: Any, single: Any, repeats: Any, n_validation: Any,
    validation_seed: Any, max_steps: Any,
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
    options.flag("single", single)
    return suites.members(name, method)[1]


def _guest(controllers: Any, name: str, method: str) -> Guest | None:
    """The learned controller that the caller gave, if any; ValueError where it is more than one, or a law."""
    guests = contestants.guests(controllers, name, method, (*registry.names("linear"), "tuned", OWN))
    if len(guests) > 1 or any(g.kind != "learned" for g in guests):
        raise ValueError("a suite is compared with one learned controller, or a list of its training seeds")
    return guests[0] if guests else None


def _sizes(found: MeasuredSuite, n: int, seed: int, n_validation: int) -> list[str]:
    """Notes on how many instances the figures stand on."""
    drawn = n * len(found.seen)
    few = [f"{drawn} test instances are few: a published figure stands on at least {FEW}"] if drawn < FEW else []
    failed = sum(len(m.test.failed) for m in found.families.values())
    return [
        *few,
        f"{n} test instances a family (seed {seed}), {n_validation} of validation; references failed on {failed}",
    ]


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
    """Geometric mean over families, with the percentile interval of a bootstrap over instances within families.

    Rounds of timing are drawn within families, and training seeds for all families alike.
    """
    rng = np.random.default_rng(seed)
    point = np.mean([r.known.mean() for r in ratios])
    means = np.zeros(RESAMPLES)
    same: dict[int, Array] = {}
    for r in ratios:
        known = np.isfinite(r.log_ratio)
        index = rng.integers(known.sum(), size=(RESAMPLES, int(known.sum())))
        sample = r.known[index].mean(axis=1)
        for what, drawn in r.beside.items():
            if len(drawn) < 2:
                return Figure(float(np.exp(point)), np.nan, np.nan)
            share = same.get(len(drawn)) if what == "seeds" else None
            share = shares(len(drawn), RESAMPLES, rng) if share is None else share
            if what == "seeds":
                same[len(drawn)] = share
            sample = sample + drawn_means(drawn[:, known], index, share)
        means += sample / len(ratios)
    low, high = np.quantile(means, [0.025, 0.975])
    return Figure(float(np.exp(point)), float(np.exp(low)), float(np.exp(high)))
