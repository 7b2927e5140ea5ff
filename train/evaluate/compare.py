"""`compare`: controllers against the best classical laws on one family, by matched-error work.

The test split is drawn with the caller's seed, and the denominator is chosen on the validation split.  In every table
stand all published laws, the hosts' defaults, N-body criteria where the method reports their time scales, a constant
step and the family's tuned law.

Two clocks are kept, each with a denominator of its own, the law that is fastest by it on the validation split: that of
whole compiled ensembles on one thread, and that of single solves, decisions inside both (`clock`).  Learned controllers
and the laws that the headline may be against run in specialised kernels of their own; the other laws share two.  The
controllers take turns in rounds, and intervals cover what differs between rounds.  Single solves are timed of learned
controllers, the caller's guests, the tuned law, and the laws that are near the best.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from ...controllers.laws import registry
from ...controllers.laws import tuned as tuned_files
from ...integrators import methods, problems
from ...integrators.core import options
from ...integrators.engine.solve import check_controller
from ...integrators.engine.spread import checked
from ...integrators.methods import tableaus
from ...integrators.problems.families import Family
from ..config import settings
from ..run.progress import Progress
from ..tune import pycma
from ..tune.budget import of_provenance, shortfalls
from ..tune.search import published, tune
from . import contestants
from .compare_report import Report
from .contestants import Contestant, Guest
from .headline import compare_runs
from .measured import Measured
from .oracle_rows import oracle_rows
from .runs import CLOCKS
from .splits import MAX_STEPS, Split, check_size, draw

__all__ = ["EVALUATIONS", "MOST_REPEATS", "Report", "compare"]

#: candidates of the search that is made where a family has no tuned law yet
EVALUATIONS = 500
#: instances of the oracle's row where the caller gives no number
ORACLE_INSTANCES = 4
MOST_REPEATS = 10_000


@options.named
def compare(
    family: str | Family,
    method: str | None = None,
    controllers: Sequence[Any] | Mapping[str, Any] | str | None = None,
    seed: int = 0,
    n: int = 200,
    *,
    headline: str | None = None,
    wall: bool = True,
    single: bool | None = None,
    repeats: int = 5,
    oracle: bool | int = False,
    n_validation: int = 100,
    validation_seed: int = 0,
    max_steps: int = MAX_STEPS,
    progress: bool = True,
    executor: Executor | None = None,
) -> Report:
    """Compare controllers on `n` test instances of a family, drawn with `seed`.

    family         a `Family`, its name, or where it is (file.py:NAME)
    method         name of a method; default the one that the learned controllers were trained with, or the family's
    controllers    names, paths or objects, which stand beside the laws of every table; a list among them is one
                   controller's training seeds (the median seed gets the row, with the range over the seeds).  None: the
                   zoo's controller for the family and method, where there is one; (): none
    headline       the learned controller of the headline; default the first one given
    wall           time ensembles as well, in `repeats` rounds; one round has no interval
    single         time single solves as well, in as many rounds; None: where `wall` is True
    oracle         add a row of optimal step sequences on that many small instances (True: 4), and a row "plan" of the
                   best sequences without designed cancellation on all small instances
    n_validation, validation_seed    the split that chooses the denominator
    max_steps      attempts a run may make
    executor       its workers share the runs, to the same figures; clocks are read in this process, one side at a time
                   (`docs/many_machines.md`)

    A family without a tuned law is tuned first (`EVALUATIONS` candidates), and the law is kept in the user's folder.
    Raises ValueError for unknown names, impossible sizes, and where no law can drive the method; ModuleNotFoundError
    without pycma where a law is to be tuned.
    """
    executor = checked(executor)
    if isinstance(controllers, Iterable) and not isinstance(controllers, (str, os.PathLike, Mapping)):
        controllers = list(controllers)
    asked = method is not None
    fam, method = _check(
        family, method, seed, n, headline, wall, single, repeats, oracle, n_validation, validation_seed, max_steps,
        progress, controllers,
    )  # fmt: skip
    family = fam.name
    controllers, from_zoo = contestants.invited(controllers, family, method)
    _check_guests(controllers, fam, method)  # before references are computed
    if published(method) and tuned_files.find(family, method) is None:
        pycma.require()
    test = draw(family, method, "test", n, seed)
    laws, guests = _invited(test, controllers, headline)
    valid = draw(family, test.method, "validation", n_validation, validation_seed)
    facts: dict[str, Any] | None = None
    notes: list[str] = []
    if any(e.by_tolerance for e in laws):
        law, facts, notes = _tuned(family, test.method, progress, executor)
        laws.append(contestants.by_tolerance("tuned", "tuned", law, test))
    for g in guests:
        notes += shortfalls(facts or {}, of_provenance(g.name, getattr(g.seeds[0], "provenance", {})))
    laws += [contestants.by_tolerance(g.name, g.kind, g.seeds[0], test) for g in guests if g.kind == "classical"]
    learned = [g for g in guests if g.kind == "learned"]
    sweeps = 2 * len(laws) + sum(len(g.seeds) for g in learned) + 1
    single = wall if single is None else single
    clocks = [name for name, on in zip(CLOCKS, (wall, single), strict=True) if on]
    turns = repeats * (wall * (len(laws) + len(learned) + 1) + single * len(learned))
    bar = Progress(f"compare {family}, {test.method}", sweeps + turns, "sweeps", progress)
    found = Measured(test, valid, max_steps, bar, executor=executor)
    try:
        found.run_laws(laws)
        found.run_learned(learned)
        found.time(clocks, repeats)
    finally:
        bar.close()
    runs = found.runs()
    if oracle:
        runs += oracle_rows(test, found.fewest, ORACLE_INSTANCES if oracle is True else int(oracle))
    comparison = compare_runs(
        runs, test.family.error_levels, family=family, method=test.method, error=test.family.error, seed=seed,
        against=found.against, clocks=found.clocks, seeds=found.across,
        controller=headline or (learned[0].name if learned else None),
        ideal_slope=_ideal_slope(test.method),
        notes=[
            *contestants.method_notes(guests, test.method, test.family.method, asked), *notes, *from_zoo,
            *contestants.scale_notes(guests), *_sizes(test, valid), *found.said,
        ],
    )  # fmt: skip
    validation = dict(sorted(found.validation.items(), key=lambda kv: kv[1]))
    return Report(comparison, test.asked, test.failed, validation, facts)


def _ideal_slope(method: str) -> float:
    """p/k, order over exponent order of the error estimate; NaN for methods without one."""
    m = methods.get(method)
    return m.order / (m.embedded_order + 1) if m.embedded_order else math.nan


def _check_guests(controllers: Any, fam: Family, method: str) -> None:
    """ValueError for unknown names, and for controllers that the method does not serve."""
    for guest in contestants.guests(controllers, fam.name, method, [*registry.names(), "tuned"]):
        for each in guest.seeds:
            check_controller(each, methods.get(method), fam.draw(1, 0))


def _invited(test: Split, controllers: Any, headline: str | None) -> tuple[list[Contestant], list[Guest]]:
    """The published laws that can drive the method, and the caller's controllers.

    ValueError where no law can, and where `headline` is the name of nobody who stands in the table.
    """
    laws = contestants.laws(test)
    if not laws:
        raise ValueError(
            f"no published law can drive method {test.method!r} on "
            f"{test.family.name!r}: it reports neither errors nor time scales"
        )
    taken = [e.name for e in laws] + ["tuned", "constant"]
    guests = contestants.guests(controllers, test.family.name, test.method, taken)
    if headline is not None:
        options.choice("headline", headline, [*taken, *(g.name for g in guests), "oracle", "plan"])
    return laws, guests


def _check(
    family: Any, method: Any, seed: Any, n: Any, headline: Any, wall: Any, single: Any, repeats: Any, oracle: Any,
    n_validation: Any, validation_seed: Any, max_steps: Any, progress: Any, controllers: Any,
) -> tuple[Family, str]:  # fmt: skip
    """The family and the method's name.

    OptionError for the first option of `compare` that has the wrong type or is out of range.
    """
    fam = problems.family(problems.named(family))
    method = options.text("method", method, none=True)
    chosen = methods.get(method or contestants.method_of(controllers, fam.name, fam.method) or fam.method).name
    settings.seed("seed", seed)
    settings.seed("validation_seed", validation_seed)
    check_size("n", n, fam)
    check_size("n_validation", n_validation, fam)
    options.text("headline", headline, none=True)
    options.count("repeats", repeats, 1, MOST_REPEATS)
    options.count("max_steps", max_steps)
    for name, value in (("wall", wall), ("progress", progress), ("single", False if single is None else single)):
        options.flag(name, value)
    if not isinstance(oracle, bool):
        options.count("oracle", oracle, 0, settings.MOST_INSTANCES)
    if oracle and fam.error != "final":
        raise ValueError(f"the oracle measures final-state errors; {fam.name!r} is measured by {fam.error!r}")
    if oracle and methods.get(chosen).tableau is None:
        raise ValueError(
            f"the oracle needs an explicit Runge-Kutta method ({', '.join(tableaus.NAMES)}), got {chosen!r}"
        )
    return fam, chosen


def _tuned(
    family: str, method: str, progress: bool, executor: Executor | None
) -> tuple[Any, dict[str, Any], list[str]]:
    path, said = tuned_files.find(family, method), []
    if path is None:
        path = tune(family, method, evaluations=EVALUATIONS, progress=progress, executor=executor).save()
        said = [f"no tuned law was there: tuned first with {EVALUATIONS} candidates, kept in {path.name}"]
    law, facts = tuned_files.read(path)
    budget = facts["budget"]
    said.append(
        f"tuned: base {facts['base']}, {budget['evaluations']} candidates, "
        f"{budget['solves']} solves, seed {facts['seed']}"
    )
    return law, facts, said


def _sizes(test: Split, valid: Split) -> list[str]:
    out = []
    for s in (test, valid):
        bad = f"; reference failed its self-check on {', '.join(map(str, s.failed))}" if s.failed else ""
        out.append(f"{s.name} split: {s.asked} instances drawn with seed {s.seed}, {len(s.ids)} measured{bad}")
    return out
