"""`compare`: controllers against the best classical laws on one family, by matched-error work.

The test split is drawn with the caller's seed; the denominator is chosen on the validation split; every published law,
the hosts' defaults, N-body criteria where the method reports their time scales, a constant step and the family's tuned
law stand in every table. Wall clock is that of whole compiled ensembles on one thread, decisions inside; learned
controllers and the laws that the headline may be against run in specialised kernels of their own, the other laws share
two; the controllers take turns at every tolerance, and the least of the rounds counts.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.laws import tuned as tuned_files
from ...controllers.laws.law import Law
from ...integrators import methods, problems
from ...integrators.core import options
from ...integrators.engine.solve import check_controller
from ...integrators.methods import tableaus
from ...integrators.problems.families import Family
from ..config import settings
from ..run.progress import Progress
from . import contestants
from .contestants import Contestant
from .curves import COVERAGE, log_work_at
from .headline import Comparison, choose_denominator, compare_runs
from .metric import DENOMINATOR_KINDS, Runs, across_seeds, work_ratio
from .splits import MAX_STEPS, Split, Sweep, check_size, draw

EVALUATIONS = 500
ORACLE_STEPS = 150
MOST_REPEATS = 10_000


@dataclass(frozen=True)
class Report:
    """A comparison and what it stands on.

    `comparison`: rows, headline, runs (`headline.Comparison`).  `reference_failures`: numbers of the test instances
    without a trustworthy reference; they were drawn, are counted here, and stand in no row.  `validation`:
    f-evaluations of every law at equal error against the denominator on the validation split.  `tuned`: the facts of
    the tuned law's search, None where no law is tuned.
    """

    comparison: Comparison
    asked: int
    reference_failures: tuple[int, ...]
    validation: dict[str, float]
    tuned: dict[str, Any] | None

    @property
    def rows(self) -> tuple[Any, ...]:
        """One `metric.Row` a controller."""
        return self.comparison.rows

    @property
    def headline(self) -> dict[str, Any]:
        """{"against", "controller", "nfev", "work", "wall", "verdict", "notes"}."""
        return self.comparison.headline()

    def to_json(self) -> dict[str, Any]:
        """The object that `stepsmith compare --json` prints."""
        out = self.comparison.to_json()
        tail = {k: out.pop(k) for k in ("rows", "headline")}
        out["drawn"] = self.asked
        out["reference_failures"] = list(self.reference_failures)
        out["validation"] = {k: v if math.isfinite(v) else None for k, v in self.validation.items()}
        out["tuned"] = (
            None if self.tuned is None else {k: self.tuned[k] for k in ("base", "chosen", "budget", "seed", "commit")}
        )
        return out | tail

    def table(self) -> Any:
        """The tables as one rich renderable."""
        from .report import render

        return render(self.comparison)

    def plot(self, path: str | Path, measure: str = "work") -> Path:
        """Draw the work-precision picture into `path` (.png, .svg, .pdf)."""
        from .picture import picture

        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return picture(self.comparison, path, measure)

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=180, color_system=None)
        with console.capture() as text:
            console.print(self.table())
        return text.get()


@options.named
def compare(
    family: str,
    method: str | None = None,
    controllers: Sequence[Any] | Mapping[str, Any] | str = (),
    seed: int = 0,
    n: int = 200,
    *,
    headline: str | None = None,
    wall: bool = True,
    repeats: int = 5,
    oracle: bool | int = False,
    n_validation: int = 100,
    validation_seed: int = 0,
    max_steps: int = MAX_STEPS,
    progress: bool = True,
) -> Report:
    """Compare controllers on `n` test instances of a family, drawn with `seed`.

    method: default the family's.  controllers: names, paths or objects, beside the laws that stand in every table; a
    list among them is one controller's training seeds (the median seed gets the row, with the range).  headline: the
    learned controller of the headline (default the first one given).  wall: time as well, `repeats` rounds.  oracle: a
    row of optimal step sequences on that many small instances (True: 4), and one, "plan", of the best sequences without
    designed cancellation on all small instances. n_validation, validation_seed: the split that chooses the denominator.
    max_steps: attempts a run. A family without a tuned law is tuned first (`EVALUATIONS` candidates) and the law kept
    in the user's folder. Raises ValueError for unknown names, impossible sizes, and where no law can drive the method.
    """
    fam, method = _check(
        family, method, seed, n, headline, wall, repeats, oracle, n_validation, validation_seed, max_steps, progress
    )
    if isinstance(controllers, Iterable) and not isinstance(controllers, (str, os.PathLike, Mapping)):
        controllers = list(controllers)
    # unknown names, and controllers that the method does not serve, before references are computed
    for guest in contestants.guests(controllers, fam.name, method, [*registry.names(), "tuned"]):
        for each in guest.seeds:
            check_controller(each, methods.get(method), fam.draw(1, 0))
    test = draw(family, method, "test", n, seed)
    entries = contestants.laws(test)
    if not entries:
        raise ValueError(
            f"no published law can drive method {test.method!r} on {family!r}: it reports neither errors nor time "
            "scales"
        )
    taken = [e.name for e in entries] + ["tuned", "constant"]
    visitors = contestants.guests(controllers, family, test.method, taken)
    if headline is not None:
        options.choice("headline", headline, [*taken, *(v.name for v in visitors), "oracle", "plan"])
    valid = draw(family, test.method, "validation", n_validation, validation_seed)
    facts, notes = None, []
    if any(e.by_tolerance for e in entries):
        law, facts, said = _tuned(family, test.method, progress)
        entries.append(contestants.by_tolerance("tuned", "tuned", law, test))
        notes += said
    entries += [contestants.by_tolerance(v.name, v.kind, v.seeds[0], test) for v in visitors if v.kind == "classical"]
    visitors = [v for v in visitors if v.kind == "learned"]
    total = (
        2 * len(entries) + sum(len(v.seeds) for v in visitors) + 1 + repeats * wall * (len(entries) + len(visitors) + 1)
    )
    bar = Progress(f"compare {family}, {test.method}", total, "sweeps", progress)
    done = 0

    def measured(e: Contestant, split: Split) -> tuple[Sweep, Runs]:
        nonlocal done
        s = e.sweep(split, max_steps)
        done += 1
        bar.update(done)
        return s, e.runs(split, s)

    try:
        on_valid = [measured(e, valid)[1] for e in entries if e.kind in DENOMINATOR_KINDS]
        against, ratios = choose_denominator(on_valid, test.family.error_levels)
        table: list[tuple[Contestant, Sweep]] = [(e, measured(e, test)[0]) for e in entries]
        fewest = next((s for e, s in table if e.by_tolerance), table[0][1])
        e = contestants.constant(test, fewest.attempts)
        table.append((e, measured(e, test)[0]))
        base = next(e.runs(test, s) for e, s in table if e.name == against)
        across: dict[str, list[Runs]] = {}
        for v in visitors:
            several = [contestants.by_tolerance(v.name, v.kind, c, test) for c in v.seeds]
            pairs = [(c, *measured(c, test)) for c in several]
            across[v.name] = [r for _, _, r in pairs]
            median, _ = across_seeds(_ratios(across[v.name], base, test))
            table.append(pairs[median][:2])
        walls = _wall(_alone(table, base, test), test, repeats, max_steps, bar, done) if wall else {}
    finally:
        bar.close()
    runs = [e.runs(test, s, walls.get(e.name)) for e, s in table]
    if oracle:
        runs += _oracle(test, fewest, 4 if oracle is True else int(oracle))
    m = methods.get(test.method)
    comparison = compare_runs(
        runs, test.family.error_levels, family=family, method=test.method, error=test.family.error, seed=seed,
        against=against, controller=headline or (visitors[0].name if visitors else None),
        ideal_slope=m.order / (m.embedded_order + 1) if m.embedded_order else math.nan,
        notes=[*notes, *_sizes(test, valid)],
    )  # fmt: skip
    final = next(r for r in runs if r.name == comparison.against)
    rows = []
    for row in comparison.rows:
        seeds = across.get(row.name, [])
        rows.append(replace(row, seeds=across_seeds(_ratios(seeds, final, test))[1]) if len(seeds) > 1 else row)
    return Report(
        replace(comparison, rows=tuple(rows)),
        test.asked,
        test.failed,
        dict(sorted(ratios.items(), key=lambda kv: kv[1])),
        facts,
    )


def _check(
    family: Any, method: Any, seed: Any, n: Any, headline: Any, wall: Any, repeats: Any, oracle: Any, n_validation: Any,
    validation_seed: Any, max_steps: Any, progress: Any,
) -> tuple[Family, str]:  # fmt: skip
    """The family and the method's name; OptionError for the first option of `compare` that has the wrong type or is out
    of range.
    """
    fam = problems.family(options.text("family", family))
    chosen = methods.get(options.text("method", method, none=True) or fam.method).name
    settings.seed("seed", seed)
    settings.seed("validation_seed", validation_seed)
    check_size("n", n, fam)
    check_size("n_validation", n_validation, fam)
    options.text("headline", headline, none=True)
    options.count("repeats", repeats, 1, MOST_REPEATS)
    options.count("max_steps", max_steps)
    for name, value in (("wall", wall), ("progress", progress)):
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


def _ratios(several: Sequence[Runs], base: Runs, split: Split) -> dict[int, float]:
    out = {}
    for i, r in enumerate(several):
        w = work_ratio(r, base, split.family.error_levels, "work", intervals=False)
        assert w is not None  # every Runs has "work"
        out[i] = w.figure.ratio
    return out


def _tuned(family: str, method: str, progress: bool) -> tuple[Any, dict[str, Any], list[str]]:
    path, said = tuned_files.find(family, method), []
    if path is None:
        from ..tune.search import tune

        path = tune(family, method, evaluations=EVALUATIONS, progress=progress).save()
        said = [f"no tuned law was there: tuned first with {EVALUATIONS} candidates, kept in {path.name}"]
    law, facts = tuned_files.read(path)
    budget = facts["budget"]
    said.append(
        f"tuned: base {facts['base']}, {budget['evaluations']} candidates, {budget['solves']} solves, seed "
        f"{facts['seed']}"
    )
    return law, facts, said


def _sizes(test: Split, valid: Split) -> list[str]:
    out = []
    for s in (test, valid):
        bad = f"; reference failed its self-check on {', '.join(map(str, s.failed))}" if s.failed else ""
        out.append(f"{s.name} split: {s.asked} instances drawn with seed {s.seed}, {len(s.ids)} measured{bad}")
    return out


def _alone(table: Sequence[tuple[Contestant, Sweep]], base: Runs, split: Split) -> list[tuple[Contestant, Sweep]]:
    """The table with the laws that the headline may be against in kernels of their own, as the tuned law is from the
    start.

    That is `base` and the law that may beat it on the test split; compiling one for every published law would take
    minutes.
    """
    laws = {e.name: e.runs(split, s) for e, s in table if e.kind in DENOMINATOR_KINDS}
    ratios = _ratios(list(laws.values()), base, split)
    rival = list(laws)[min(ratios, key=lambda k: ratios[k])]
    return [
        (replace(e, at=functools.partial(_own_kernel, e.at)) if e.name in (base.name, rival) else e, s)
        for e, s in table
    ]


def _own_kernel(at: Callable[[float], Any], value: float) -> Any:
    law = at(value)
    return law.specialised() if isinstance(law, Law) else law


def _wall(
    table: Sequence[tuple[Contestant, Sweep]], split: Split, repeats: int, max_steps: int, bar: Progress, done: int
) -> dict[str, np.ndarray]:
    """Seconds (B, K) of every contestant: an ensemble's, shared out by work.

    What is timed is the solver at work, with its lanes busy, as where there are thousands of similar problems: every
    run stands in the ensemble as often as it takes (`_copies`), long ones first.  Otherwise the seconds would be those
    of the longest run, alone in its block.  Runs that fail are not timed (they have no error to be matched); they are
    charged the rate of the rest.
    """
    from ...integrators.kernels.build import lanes_for

    lanes = lanes_for(split.batch.n)
    # an implicit method solves its systems lane by lane, but decides for all lanes at once
    busy = 1.0 if methods.get(split.method).implicit else 2.0
    least = {e.name: np.full(e.knob.size, np.inf) for e, _ in table}
    order: dict[tuple[str, int], np.ndarray] = {}
    for e, s in table:
        for k in range(e.knob.size):
            good = np.flatnonzero(np.isfinite(s.err[:, k]))
            order[e.name, k] = good[np.argsort(-s.work[good, k], kind="stable")]
    for _ in range(repeats):
        for k in range(max(e.knob.size for e, _ in table)):
            for e, s in table:
                if k < e.knob.size and order[e.name, k].size:
                    rows = order[e.name, k]
                    copies = _copies(s.work[rows, k], lanes, busy)
                    once = e.seconds(split, k, np.repeat(rows, copies), max_steps) / copies
                    least[e.name][k] = min(least[e.name][k], once)
            bar.update(done + round((k + 1) / max(e.knob.size for e, _ in table) * len(table)))
        done += len(table)
    out = {}
    for e, s in table:
        spent = np.array([s.work[order[e.name, k], k].sum() for k in range(e.knob.size)])
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(spent > 0, least[e.name] / spent, np.nan)
        if not np.isfinite(rate).any():
            continue  # nothing succeeded: no clock
        rate = np.where(np.isfinite(rate), rate, np.nanmax(np.where(np.isfinite(rate), rate, np.nan)))
        out[e.name] = s.work * rate
    return out


def _copies(work: np.ndarray, lanes: int, busy: float = 2.0, most: int = 64) -> int:
    """Copies of every run, by their work (R,), after which the longest takes at most 1/`busy` of what each lane has to
    do.
    """
    return int(np.clip(np.ceil(busy * lanes * work.max() / work.sum()), 1, most))


def _oracle(split: Split, reached: Sweep, count: int) -> list[Runs]:
    """Two rows on instances on which the law of `reached` needs at most `ORACLE_STEPS` attempts.

    "oracle": optimal step sequences of the first `count`, errors cancelling as they can be made to.  "plan": the best
    sequences without designed cancellation, on all of them that the plans cover: what perfect foresight, but no luck,
    would need.
    """
    from ...integrators.methods import tableaus
    from ..oracle.oracle import PRICES, Oracle

    oracle, b, levels = Oracle(split.batch.rhs, tableaus.get(split.method)), split.batch, split.family.error_levels
    enough = np.where(reached.err <= levels.min(), reached.attempts, np.inf).min(axis=1)
    rows = np.flatnonzero(enough <= ORACLE_STEPS)
    if rows.size == 0:
        raise ValueError(f"no instance is small enough for the oracle (at most {ORACLE_STEPS} steps)")

    def instance(i: Any) -> tuple[Any, ...]:
        return b.y0[i], b.p[i], (b.t0[i], b.t1[i]), split.ref[i, -1]

    best = [oracle.curve(*instance(i), components=split.family.components) for i in rows[:count]]
    plans, planned = [], []
    for i in rows:
        try:
            # twice as dense as the family's tolerances in error, as theirs
            plan = oracle.plan(
                *instance(i), rtol=1e-6, subdivide=6, prices=PRICES[::2], components=split.family.components
            )
        except ValueError:  # the coarse controller that sets the nodes fails on it
            continue
        if plan.err.size and np.isfinite(log_work_at(plan.err, plan.nfev, levels)).mean() >= COVERAGE:
            plans.append(plan)
            planned.append(i)
    out = [_as_runs("oracle", best, split.ids[rows[:count]])]
    return [*out, _as_runs("plan", plans, split.ids[planned])] if plans else out


def _as_runs(name: str, found: Sequence[Any], ids: np.ndarray) -> Runs:
    width = max(c.err.size for c in found)
    # shorter curves repeat their last point, which changes no envelope
    err, nfev = (
        np.array([np.pad(getattr(c, k), (0, width - c.err.size), mode="edge") for c in found]) for k in ("err", "nfev")
    )
    return Runs(name, err, {"nfev": nfev.astype(float)}, kind="oracle", instances=ids)
