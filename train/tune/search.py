"""Tuning the general linear law on a family: CMA-ES over safety, gains, filter, limiter and acceptance.

For implicit methods dead band, Newton limiter and the rules for Jacobian and LU factors are searched too.  The
objective is what the project measures: the mean over instances of the mean over the family's error levels of log work
(f-evaluations, with linear algebra at its measured cost) at that error, on the *training* split; of a suite, the mean
over its families.  A level tighter than a candidate reaches on an instance is charged ten times the larger of its
dearest run there and the I law's work at that level, so that neither giving up early nor giving up late pays.

The start population holds every published law; searches start from the best of them, each with the rules (floors, what
follows a rejection) of the law it starts from.  What they find and all published laws then meet on the *validation*
split, where the least objective wins: a failed search gives a published law back.

N. Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.laws import registry, search
from ...controllers.laws import tuned as files
from ...controllers.laws.law import Law
from ...integrators import methods, problems
from ...integrators.core import options
from ...integrators.engine.costs import NONE
from ...integrators.engine.ensemble import available_cores
from ...integrators.problems import suites
from ..config import settings
from ..evaluate import curves
from ..evaluate.splits import Sweep, Sweepable, check_size, draw
from ..run.progress import Progress
from ..run.provenance import provenance

MAX_STEPS = 10_000
MOST_RESTARTS = 1000


@dataclass(frozen=True)
class Tuned:
    """What a search found: `law` (named "tuned"), the name of the candidate that was `chosen` and its `base` law.

    `ratios`: exp of the objective of every candidate less that of the chosen one, on the validation split, the best
    first. `facts`: how it was found, as JSON values, with the provenance.
    """

    law: Law
    chosen: str
    base: str
    ratios: dict[str, float]
    facts: dict[str, Any] = field(repr=False)

    def save(self, path: str | Path | None = None) -> Path:
        """Write the file that `controller="tuned"` reads (default: the user's folder); returns its path."""
        path = (
            files.user_folder() / files.file_name(self.facts["family"], self.facts["method"])
            if path is None
            else Path(path)
        )
        files.write(path, self.law, self.facts)
        return path


class Objective:
    """Mean log work at equal error of laws on splits, each of which counts the same; counts what it spends."""

    def __init__(self, splits: Sequence[Sweepable], max_steps: int = MAX_STEPS) -> None:
        self.splits, self.max_steps = list(splits), max_steps
        self.method = self.splits[0].method
        self.implicit = methods.get(self.method).implicit
        self.evaluations = self.solves = self.nfev = 0
        self._floors = []
        for split in self.splits:
            first, levels = self._sweep(split, registry.get("i")), split.family.error_levels
            self._floors.append(log_work(first.err, first.work, levels, np.zeros(len(levels))))

    def _sweep(self, split: Sweepable, law: Law, threads: int | None = None) -> Sweep:
        # a kernel of an implicit method takes too long to compile to have several a family
        return split.sweep(law.general() if self.implicit else law, max_steps=self.max_steps, threads=threads)

    def each(self, law: Law) -> np.ndarray:
        """Mean log work of a law on every split."""
        self.evaluations += 1
        if len(self.splits) == 1:
            sweeps = [self._sweep(self.splits[0], law)]
        else:  # an ensemble of a few instances fills one core
            with ThreadPoolExecutor(available_cores()) as pool:
                sweeps = list(pool.map(lambda split: self._sweep(split, law, 1), self.splits))
        self.solves += sum(int(np.count_nonzero(s.nfev)) for s in sweeps)
        self.nfev += int(sum(s.nfev.sum() for s in sweeps))
        levels = [split.family.error_levels for split in self.splits]
        return np.array(
            [log_work(s.err, s.work, x, floor).mean() for s, x, floor in zip(sweeps, levels, self._floors, strict=True)]
        )

    def __call__(self, law: Law) -> float:
        return float(self.each(law).mean())


def log_work(err: curves.Array, work: curves.Array, levels: curves.Array, floor: curves.Array) -> curves.Array:
    """Log work (B, L) of runs (B, T) at the levels, those out of reach charged as the module says.

    floor: (B, L) or (L,), least log work that a level out of reach counts as, before the factor.
    """
    table = curves.log_work_at(err, work, levels, looser=True)
    dearest = np.maximum(np.log(work.max(axis=1))[:, None], floor) + np.log(curves.LOST_RATIO)
    return np.where(np.isfinite(table), table, dearest)


def costs_of(split: Sweepable) -> dict[str, float] | None:
    """Measured costs of a split's linear algebra as JSON, None where there is none."""
    return None if split.costs is NONE else split.costs.as_dict()


def _grid(split: Sweepable) -> dict[str, Any]:
    costs = costs_of(split)
    grid = {"tolerances": [float(v) for v in split.tolerances], "levels": [float(v) for v in split.family.levels]}
    return grid if costs is None else {**grid, "costs": costs}


def published(method: str) -> list[str]:
    """Published linear laws that a method can drive, by name (a Newton limiter rests where nothing is iterated)."""
    fills = methods.get(method).fills
    return [name for name in registry.names("linear") if registry.get(name).needs <= fills]


@options.named
def tune(
    family: str,
    method: str | None = None,
    n: int | None = None,
    evaluations: int = 2000,
    seed: int = 0,
    *,
    restarts: int = 4,
    sigma: float = 0.08,
    start: Law | None = None,
    n_validation: int | None = None,
    validation_seed: int = 0,
    progress: bool = True,
) -> Tuned:
    """Tune the general linear law on `n` training instances of a family (64), or of every family of a suite (8).

    method: default the family's.  evaluations: candidates tried (each n instances at every tolerance of the family),
    the published laws among them; the search stops earlier where it stops improving.  seed: of the search and of the
    training draw.  restarts: searches from as many of the best published laws, and a last one around the best of all.
    sigma: first step, in units of the box. start: a linear law found earlier: it stands among the published ones as
    "start", and the first search begins from it. n_validation, validation_seed: the split that chooses (100 instances
    of a family, 12 of every family of a suite). Raises ValueError for unknown names, methods without an error estimate,
    budgets too small for the published laws, and a `start` that the method cannot drive.
    """
    options.text("family", family)
    options.text("method", method, none=True)
    check_search(evaluations, seed, restarts, sigma, start, progress)
    settings.seed("validation_seed", validation_seed)
    names, method = suites.members(family, method)
    n = (64 if len(names) == 1 else 8) if n is None else n
    n_validation = (100 if len(names) == 1 else 12) if n_validation is None else n_validation
    for member in map(problems.family, names):
        check_size("n", n, member)
        check_size("n_validation", n_validation, member)
    check_laws(method, evaluations, start)  # before instances are drawn and solved
    train = [draw(name, method, "train", n, seed) for name in names]
    valid = [draw(name, method, "validation", n_validation, validation_seed) for name in names]
    return tune_splits(
        family, train, valid, evaluations, seed, restarts=restarts, sigma=sigma, start=start, progress=progress
    )


def tune_splits(
    name: str,
    train: Sequence[Sweepable],
    valid: Sequence[Sweepable],
    evaluations: int = 2000,
    seed: int = 0,
    *,
    restarts: int = 4,
    sigma: float = 0.08,
    start: Law | None = None,
    progress: bool = True,
) -> Tuned:
    """As `tune`, on splits of one's own, each of which counts the same: `train` to search on, `valid` to choose on.
    name: for the file.
    """
    check_search(evaluations, seed, restarts, sigma, start, progress)
    method = train[0].method
    base_names = check_laws(method, evaluations, start)
    objective = Objective(train)
    bar = Progress(f"tune {name}, {method}", evaluations, "laws", progress)
    try:
        cost: dict[str, float] = {}
        pool = {law: registry.get(law) for law in base_names}
        best = ""
        for label in pool:
            cost[label] = objective(pool[label])
            best = min(cost, key=lambda label: (cost[label], label))
            bar.update(objective.evaluations, best=cost[best])
        if start is not None:
            pool["start"] = start
            cost["start"] = objective(start)
        order = sorted(pool, key=lambda n: (n != "start", cost[n], n))
        found = _search(
            objective,
            {label: pool[label] for label in order},
            min(cost.values()),
            evaluations,
            restarts,
            sigma,
            seed,
            bar,
        )
    finally:
        bar.close()
    bases = {}
    for label, law, value, origin in found:
        pool[label], cost[label], bases[label] = law, value, origin
    check = Objective(valid)
    score = {label: check(law) for label, law in pool.items()}
    chosen = min(score, key=lambda label: (score[label], label))
    ratios = {
        label: float(np.exp(value - score[chosen])) for label, value in sorted(score.items(), key=lambda kv: kv[1])
    }
    law = pool[chosen]
    base = bases.get(chosen, chosen)
    facts = {
        "family": name,
        "method": method,
        "doc": f"tuned on {name} with {method}" + ("" if chosen in bases else f": no candidate beat {chosen}"),
        "base": base,
        "chosen": chosen,
        "train": {"instances": sum(len(s.ids) for s in train), "reference_failures": sum(len(s.failed) for s in train), "seed": seed,
                  "cost": cost[chosen], "best_published": best, "cost_published": cost[best]},
        "validation": {"instances": sum(len(s.ids) for s in valid), "reference_failures": sum(len(s.failed) for s in valid),
                       "seed": valid[0].seed, "ratios": ratios},
        "budget": {"evaluations": objective.evaluations, "solves": objective.solves, "nfev": objective.nfev, "restarts": restarts,
                   "sigma": sigma, "asked": evaluations},
        **(_grid(train[0]) if len(train) == 1 else {"families": {s.family.name: _grid(s) for s in train}}),
        "seed": seed,
        **({} if start is None else {"start": {k: v if np.isfinite(v) else repr(v) for k, v in start.values.items()}}),
        **provenance(),
    }  # fmt: skip
    law = Law("tuned", "linear", {**law.values, "accept_err": files.bounded(law)}, law.rules, str(facts["doc"]), "")
    return Tuned(law, chosen, base, ratios, facts)


def check_search(evaluations: Any, seed: Any, restarts: Any, sigma: Any, start: Any, progress: Any) -> None:
    """OptionError for settings of a search that have the wrong type or are out of range."""
    options.count("evaluations", evaluations)
    settings.seed("seed", seed)
    options.count("restarts", restarts, 1, MOST_RESTARTS)
    options.number("sigma", sigma, above=0.0, high=1.0)
    options.flag("progress", progress)
    if start is not None and not isinstance(start, Law):
        raise options.refuse("start", "a linear law or None", start)


def check_laws(method: str, evaluations: int, start: Law | None) -> list[str]:
    """The published laws that a method can drive; ValueError where there are none, and where budget or `start` do not
    fit.
    """
    base_names = published(method)
    if not base_names:
        raise ValueError(f"method {method!r} has no error estimate: there is no linear law to tune")
    if evaluations < len(base_names) + 20:
        least = len(base_names) + 20
        raise ValueError(
            f"evaluations must be at least {least} ({len(base_names)} published laws and a search), got {evaluations}"
        )
    if start is not None and (start.kind != "linear" or not start.slots <= methods.get(method).fills):
        raise ValueError(
            f"start must be a linear law that method {method!r} can drive, got {start.name!r} of kind {start.kind!r}"
        )
    return base_names


def _search(
    objective: Objective,
    laws: dict[str, Law],
    lowest: float,
    evaluations: int,
    restarts: int,
    sigma: float,
    seed: int,
    bar: Progress,
) -> list[tuple[str, Law, float, str]]:
    """Candidates of every search, as (label, law, cost, base law): its best and its final mean.  laws: in the order in
    which searches begin from them.
    """
    space = search.search_space(objective.implicit)
    fills = methods.get(objective.method).fills
    starts = _distinct(space, {name: law for name, law in laws.items() if law.slots <= fills}, restarts)
    published = [space.to_vector(law) for law in laws.values()][:6]
    share = (evaluations - objective.evaluations) // (len(starts) + 1)
    out: list[tuple[str, Law, float, str]] = []
    top = (starts[0], space.to_vector(laws[starts[0]]), np.inf)
    for k, name in enumerate([*starts, ""]):
        base, x0 = (name, space.to_vector(laws[name])) if name else top[:2]
        step = sigma if name else sigma / 2
        inject = published if name else []

        def evaluate(vector: np.ndarray, base: str = base) -> float:
            return objective(_law(space, vector, laws[base]))

        def report(value: float) -> None:
            nonlocal lowest
            lowest = min(lowest, value)
            bar.update(objective.evaluations, best=lowest)

        vector, value, mean = _cma(space, evaluate, x0, step, inject, share, seed + 1000 * (k + 1), report)
        if value < top[2]:
            top = (base, vector, value)
        label = f"{base}/{k + 1}"
        out.append((label, _law(space, vector, laws[base], label), value, base))
        out.append((f"{label}m", _law(space, mean, laws[base], f"{label}m"), evaluate(mean), base))
    return out


def _law(space: search.SearchSpace, vector: np.ndarray, base: Law, name: str = "tuned") -> Law:
    """The law of a vector, accepting no more than a file may."""
    law = space.from_vector(vector, base, name)
    most = files.bounded(law)
    if law["accept_err"] == most:
        return law
    return Law(law.name, law.kind, {**law.values, "accept_err": most}, law.rules, law.doc, law.source)


def _distinct(space: search.SearchSpace, laws: dict[str, Law], count: int) -> list[str]:
    """The first `count` of `laws` that differ in their vector from the ones before."""
    kept: list[str] = []
    for name, law in laws.items():
        v = space.to_vector(law)
        if all(np.abs((v - space.to_vector(laws[k])) / (space.high - space.low)).max() > 0.02 for k in kept):
            kept.append(name)
        if len(kept) == count:
            break
    return kept


def _cma(
    space: search.SearchSpace,
    evaluate: Callable[[np.ndarray], float],
    x0: np.ndarray,
    sigma: float,
    inject: list[np.ndarray],
    budget: int,
    seed: int,
    report: Callable[[float], None],
) -> tuple[np.ndarray, float, np.ndarray]:
    """(best vector, its value, final mean) of one search in the box, which is scaled to 0..1."""
    import cma

    width = space.high - space.low
    given = {
        "bounds": [0.0, 1.0],
        "seed": seed + 1,
        "verbose": -9,
        "tolfun": 1e-4,
        "tolx": 1e-4,
        "maxfevals": max(budget, 1),
    }
    es = cma.CMAEvolutionStrategy(np.clip((x0 - space.low) / width, 0.0, 1.0), sigma, given)
    best, lowest = np.array(x0, dtype=float), evaluate(x0)
    spent = 1
    first = [np.clip((v - space.low) / width, 0.0, 1.0) for v in inject]
    while spent + es.popsize <= budget and not es.stop():
        asked = es.ask()
        # the best published laws stand in the first generation, in the place of random draws
        for i, v in enumerate(first[: es.popsize - 2]):
            asked[i] = v
        first = []
        values = [evaluate(space.low + width * np.clip(u, 0.0, 1.0)) for u in asked]
        spent += len(values)
        es.tell(asked, values)
        k = int(np.argmin(values))
        if values[k] < lowest:
            best, lowest = space.low + width * np.clip(asked[k], 0.0, 1.0), values[k]
        report(lowest)
    mean = space.low + width * np.clip(np.asarray(es.result.xfavorite), 0.0, 1.0)
    return best, lowest, mean
