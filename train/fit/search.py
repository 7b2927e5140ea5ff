"""`fit`: which method, law, tolerance and controller reach the wanted error on a family in the least time.

Steps, each only where time is left, every step kept in the folder so that a fit that is interrupted goes on:

1. every method that makes sense, under a few published laws; of the cheapest ones, all published laws (validation
   instances); their tolerances are then set on training instances too
2. by the clock, the best law of the cheapest methods
3. a tuned law for the fastest method, and learned controllers that ship for it or are given
4. a choice, simplest first: a tuned law replaces the published one, a learned controller a law, and a portfolio of an
   explicit and an implicit method (`portfolios`) these, where the interval of the ratio of times lies below 1
5. on test instances that nothing has been chosen on: the recommended solver against the solver that runs where nothing
   is asked for, and against the baseline
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers import resolve, zoo
from ...controllers.laws import registry
from ...controllers.laws.law import Law
from ...integrators import methods, problems
from ...integrators.core import options, tolerance_scale
from ...integrators.core.errors import OptionError
from ...integrators.core.solver_options import LARGEST_RTOL
from ...integrators.engine.costs import NONE
from ...integrators.engine.spread import checked
from ...integrators.methods.portfolio import is_portfolio
from ...integrators.problems.families import Family
from ..config import settings
from ..evaluate.curves import Array
from ..evaluate.splits import Split, draw
from ..run.interrupted import in_folder, keeping
from ..tune import pycma
from ..tune.search import published as published_names
from ..tune.search import tune_splits
from . import candidates as tries
from . import clock, portfolios
from .against import against_default, against_row, against_scipy
from .candidates import FIRST, MAX_STEPS, Candidate, cheapest, method_names, published, settle, sweep
from .notes import Notes
from .report import Fit, Row

TRAIN, VALIDATION, TEST, TOLERANCES = 48, 32, 48, 24
DEFAULT = ("tsit5", "universal_law")
NEAR = 1.5  # methods within this factor of the least work are clocked


@options.named
def fit(
    family: str | Family,
    wanted_error: float | None = None,
    minutes: float = 10.0,
    *,
    controllers: Sequence[Any] = (),
    baseline: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    n: int | None = None,
    progress: bool = True,
    executor: Executor | None = None,
) -> Fit:
    """The fastest solver found for a family at a wanted error.

    family: a `Family`, its name, or where it is (file.py:NAME). wanted_error: the relative error, by the family's
    measure, that nine of ten instances are to have at most; None for the family's own. minutes: what the search may
    take; the last measurements come on top. controllers: names, paths or objects to try beside those that ship for the
    methods. baseline: "scipy:LSODA,1e-6" times SciPy with the compiled right-hand side at that tolerance, "scipy:LSODA"
    at the tolerance where it has the wanted error. out: folder of the files, and of what goes on where it was
    interrupted (default: fits/<family>). seed: of instances and searches. n: test instances (48).

    Raises ValueError for unknown names and values that do not fit, and where no method reaches the wanted error: the
    message says what the best one reached.
    """
    executor = checked(executor)
    fam = problems.family(problems.named(family))  # known by its name from here on: costs are measured by it
    error = fam.wanted if wanted_error is None else options.number("wanted_error", wanted_error, above=0.0, below=1.0)
    minutes = options.number("minutes", minutes, above=0.0)
    base = None if baseline is None else clock.parse_baseline(options.text("baseline", baseline))
    settings.seed("seed", seed)
    count = TEST if n is None else options.count("n", n, 2, settings.MOST_INSTANCES)
    # references must be a hundred times better than what is wanted, and tolerances reach beyond it
    fam = replace(fam, levels=(min(fam.levels[0], error / 2.0), max(fam.levels[1], error * 2.0)))
    given = [resolve.controller(str(c), fam.name, fam.method) if isinstance(c, (str, Path)) else c for c in controllers]
    out = Path("fits") / fam.name if out is None else Path(out)
    notes = Notes(out, fam, error, seed, minutes)
    left = clock.TimeLeft(time.monotonic() + 60.0 * minutes)
    with keeping(lambda: in_folder(notes.folder)):
        return _Search(fam, error, left, notes, seed, count, given, base, progress, executor).run()


class _Search:
    def __init__(
        self, fam: Family, error: float, clock_: clock.TimeLeft, notes: Notes, seed: int, count: int, guests: list[Any],
        base: Any, progress: bool, executor: Executor | None = None,
    ) -> None:  # fmt: skip
        self.fam, self.error, self.clock, self.notes, self.seed = fam, error, clock_, notes, seed
        self.count, self.guests, self.base, self.progress = count, guests, base, progress
        self.executor, self.tried = executor, {}  # type: tuple[Executor | None, dict[str, list[Candidate]]]
        tight, loose = fam.tolerances[-1], fam.tolerances[0]
        # a chaotic family makes errors much larger than the tolerance
        loose, tight = max(loose, min(0.1, 10.0 * error)), max(min(tight, 1e-5 * error), 1e-13)
        self.rtols: Array = np.geomspace(loose, tight, TOLERANCES)
        self.skipped: list[str] = []
        self.splits: dict[str, Split] = {}

    def say(self, text: str) -> None:
        self.notes.say(text, self.progress)

    def split(self, method: str, name: str = "validation", n: int = VALIDATION) -> Split:
        """A split under a method; instances and references are drawn once."""
        key = f"{name} {method}"
        if is_portfolio(method):
            return portfolios.split_of(method, lambda member: self.split(member, name, n))
        if key not in self.splits:
            known = next((s for k, s in self.splits.items() if k.startswith(f"{name} ")), None)
            if known is None or methods.get(method).implicit:
                self.splits[key] = draw(self.fam, method, name, n, self.seed)
            else:
                self.splits[key] = replace(known, method=method, costs=NONE)
        return self.splits[key]

    def run(self) -> Fit:
        """All steps."""
        most = f"at most {self.clock.left / 60:.3g} minutes; the last measurements come on top"
        self.say(f"fit {self.fam.name}: error {self.error:.1e} wanted, {most}")
        timed = self.by_clock(self.by_method())
        return self.measured(self.step_up(timed), timed)

    def by_method(self) -> list[Candidate]:
        """The cheapest published law of every method, the cheapest method first."""
        batch = self.split(self.fam.method).batch
        tried, check = method_names(self.fam, batch.nbody is not None, batch.accel is not None)
        found: list[Candidate] = []
        # the default's method always, the family's own, and one of the other kind, however short the time is
        first = list(dict.fromkeys([DEFAULT[0], tried[0], *check]))
        self.side_by_side(first, FIRST)
        others = [name for name in tried if name not in first]
        if self.clock.left > 0.0:
            self.side_by_side(others, FIRST)
        for method in [*first, *others]:
            if method not in first and tries.label_of(method, FIRST) not in self.tried and self.clock.left < 0.0:
                self.skipped.append(method)
                continue
            best = self.published(method, FIRST)
            if best is not None:
                found.append(best)
        if not found:
            raise OptionError(self.unreached)
        found.sort(key=lambda c: self.work(c))
        least = self.work(found[0])
        close = [
            c
            for c in found
            if self.work(c) <= NEAR * least or methods.get(c.method).implicit != methods.get(found[0].method).implicit
        ]
        if self.clock.left > 0.0:
            self.side_by_side([c.method for c in close], None)
        out = [self.published(c.method, None) if self.clock.left > 0.0 else c for c in close]
        # what is recommended must not be slower than what runs where nothing is asked for
        by_name = {(c.method, c.name): c for c in [*out, self.candidate(*DEFAULT)] if c is not None}
        settled = [self.settled(c) for c in by_name.values()]
        if not (reached := [c for c in settled if self.work(c) < np.inf]):
            raise OptionError(self.unreached)
        return reached

    @property
    def unreached(self) -> str:
        """What is said where nothing reaches the wanted error."""
        return (
            f"fit {self.fam.name}: no method reaches an error of {self.error:.1e} at tolerances from "
            f"{self.rtols[0]:.0e} to {self.rtols[-1]:.0e}: ask for a larger wanted_error, or give the family "
            "tighter tolerances"
        )

    def published(self, method: str, only: Sequence[str] | None) -> Candidate | None:
        """The cheapest published law of a method, on validation instances."""
        label = tries.label_of(method, only)
        kept = self.notes.get(label)
        if kept is not None:
            return None if kept["law"] is None else self.candidate(method, kept["law"])
        start = time.monotonic()
        found = self.tried.pop(label, None) or published(self.split(method), self.rtols, MAX_STEPS, only)
        best = cheapest(found, self.error)
        self.notes.put(label, {"law": None if best is None else best.name})
        point = None if best is None else best.at(self.error)
        what = "does not reach the error" if best is None or point is None else (
            f"{best.name} {point.nfev:.0f} f-evaluations at rtol {point.rtol:.1e}")  # fmt: skip
        self.say(f"  {label}: {what} ({time.monotonic() - start:.1f} s)")
        return best

    def side_by_side(self, names: Sequence[str], only: Sequence[str] | None) -> None:
        """Try methods by the workers of the executor, where there is one, as `published` does."""
        open_ = [name for name in names if self.notes.get(tries.label_of(name, only)) is None]
        if self.executor is not None and open_:
            asked = [(self.split(name), only) for name in open_]
            found = tries.published_of(asked, self.rtols, MAX_STEPS, self.executor)
            self.tried |= zip([tries.label_of(name, only) for name in open_], found, strict=True)

    def candidate(self, method: str, law: str) -> Candidate:
        made = registry.get(law)
        made = made.general() if methods.get(method).implicit else made
        return sweep(self.split(method), law, "published", made, self.rtols, MAX_STEPS)

    def work(self, c: Candidate) -> float:
        point = c.at(self.error)
        return np.inf if point is None else point.work

    def calls(self, c: Candidate, name: str = "validation", n: int = VALIDATION) -> Any:
        point = c.at(self.error)
        assert point is not None  # candidates that do not reach the error are left out before
        return clock.ours(self.split(c.method, name, n), c.controller, point.rtol)

    def by_clock(self, candidates: list[Candidate]) -> list[tuple[Candidate, Array]]:
        """Candidates with their times (B,) on validation instances, the fastest first."""
        sides = {f"{c.method} {c.name} {k}": self.calls(c) for k, c in enumerate(candidates)}
        times = clock.seconds(sides, limit=min(20.0, max(1.0, 0.1 * self.clock.left)))
        rows = sorted(zip(candidates, times.values(), strict=True), key=lambda row: float(np.log(row[1]).mean()))
        for c, t in rows:
            self.say(f"  clock: {c.method} under {c.name} {1e6 * float(np.exp(np.log(t).mean())):.4g} us a solve")
        return rows

    def step_up(self, timed: list[tuple[Candidate, Array]]) -> Candidate:
        """The fastest published law, or what is faster than it beyond doubt."""
        chosen, plain = timed[0][0], next(((c, t) for c, t in timed if (c.method, c.name) == DEFAULT), None)
        if plain is not None and plain[0] is not chosen:
            r = clock.ratio(timed[0][1], plain[1], self.seed)
            pays = r.high < 1.0
            what = {"controller": f"{chosen.method} {chosen.name}", "kind": chosen.kind, "against": "default"}
            self.notes.steps.append({**what, **r.to_json(), "taken": pays})
            chosen = chosen if pays else plain[0]
        portfolio = portfolios.proposals(self, [c for c, _ in timed])
        for c in [*self.tuned(chosen), *self.learned(chosen.method), *portfolio]:
            times = clock.seconds({"new": self.calls(c), "old": self.calls(chosen)}, limit=20.0)
            r = clock.ratio(times["new"], times["old"], self.seed)
            pays = r.high < 1.0
            self.say(
                f"  {c.kind} {c.name}: {r.ratio:.3f} [{r.low:.3f}, {r.high:.3f}] of {chosen.name}'s time, "
                + ("taken" if pays else "which does not pay beyond doubt: the simpler one stays")
            )
            what = {"controller": c.name, "kind": c.kind, "against": chosen.name}
            self.notes.steps.append({**what, **r.to_json(), "taken": pays})
            chosen = c if pays else chosen
        return chosen

    def tuned(self, best: Candidate) -> list[Candidate]:
        """The law tuned on training instances, in half of the time that is left."""
        method, path = best.method, self.notes.folder / f"tuned-{best.method}.json"
        if not path.is_file():
            if not pycma.there():
                self.say(f"  no tuned law: {pycma.NEEDED}")
                return []
            train = self.split(method, "train", TRAIN)
            start = time.monotonic()
            train.sweep(registry.get(FIRST[0]).general(), threads=1)
            each = time.monotonic() - start
            budget = int(min(2000.0, 0.5 * self.clock.left / max(each, 1e-4)))
            if budget < len(published_names(method)) + 40:
                self.say("  no tuned law: the time that is left is too short to search one")
                self.skipped.append("tuned law")
                return []
            result = tune_splits(
                self.fam.name, [train], [self.split(method)], budget, self.seed, restarts=2, progress=self.progress,
                executor=self.executor,
            )  # fmt: skip
            result.save(path)
        law = resolve.controller(str(path))
        found = self.settled(sweep(self.split(method), "tuned", "tuned", law, self.rtols, MAX_STEPS))
        return [found] if found.at(self.error) is not None else []

    def learned(self, method: str) -> list[Candidate]:
        """Learned controllers for the method: given ones, and those that ship for it."""
        shipped = [resolve.controller(name) for name in zoo.names()]
        shipped = [c for c in shipped if getattr(c, "trained_method", None) == method]
        out = []
        for controller in [*self.guests, *shipped]:
            if self.clock.left < 0.0:
                self.skipped.append(controller.name)
                continue
            kind = "given" if isinstance(controller, Law) else "learned"
            # a tolerance scale is kept, for the tolerance that is found is the one that a person asks for
            rtols = self.rtols[self.rtols * tolerance_scale.of(controller) <= LARGEST_RTOL]
            if rtols.size == 0:
                continue
            found = self.settled(sweep(self.split(method), controller.name, kind, controller, rtols, MAX_STEPS))
            if found.at(self.error) is not None:
                out.append(found)
        return out

    def settled(self, c: Candidate) -> Candidate:
        """The candidate with its tolerance set on training and validation instances."""
        return settle(c, [self.split(c.method), self.split(c.method, "train", TRAIN)], self.error, MAX_STEPS)

    def measured(self, chosen: Candidate, timed: list[tuple[Candidate, Array]]) -> Fit:
        """The figures, on test instances."""
        others = [c for c, _ in timed if (c.method, c.name) != (chosen.method, chosen.name)][:5]
        point = chosen.at(self.error)
        assert point is not None
        rows = self.rows([chosen, *others])
        mine, theirs = (self.split(method, "test", self.count) for method in (chosen.method, DEFAULT[0]))
        default = against_row(rows[1:], DEFAULT)
        against = {"default": default or against_default(chosen, self.default(timed), mine, theirs, self.error)}
        if self.base is not None:
            against[f"scipy:{self.base[0]}"] = against_scipy(
                self.base, chosen, self.split(chosen.method), mine, self.error, float(self.rtols[-1])
            )
        result = Fit(
            self.fam, self.error, chosen, point, rows, against, tuple(self.skipped), tuple(self.notes.said),
            tuple(self.notes.steps), mine, self.notes.folder,
        )  # fmt: skip
        result.write(self.notes.folder)
        self.say(result.sentence)
        return result

    def rows(self, candidates: list[Candidate]) -> list[Row]:
        """A row a candidate, the recommended one first, against which the others stand."""
        tests = [self.split(c.method, "test", self.count) for c in candidates]
        points = [c.at(self.error) for c in candidates]
        swept = [
            t.sweep(c.controller, np.array([p.rtol]))
            for t, c, p in zip(tests, candidates, points, strict=True)
            if p is not None
        ]
        sides = {str(k): self.calls(c, "test", self.count) for k, c in enumerate(candidates)}
        times = clock.seconds(sides)
        work = [clock.counts(s.err[:, 0], s.nfev[:, 0]) for s in swept]
        out = []
        for k, (c, p, s) in enumerate(zip(candidates, points, swept, strict=True)):
            assert p is not None
            out.append(Row(
                c.method, c.name, c.kind, p.rtol, float(p.rtol * self.fam.atol_factor),
                float(np.quantile(s.err, 0.9, method="higher")),
                float(s.nfev.mean()), float(np.exp(np.log(times[str(k)]).mean())),
                clock.ratio(work[k], work[0]),
                clock.ratio(times[str(k)], times["0"]),
            ))  # fmt: skip
        return out

    def default(self, timed: list[tuple[Candidate, Array]]) -> Candidate:
        """The solver that runs where nothing is asked for, at its tolerance for the wanted error."""
        plain = next((c for c, _ in timed if (c.method, c.name) == DEFAULT), None)
        return plain or self.settled(self.candidate(*DEFAULT))
