"""Tuning the general linear law on a family: CMA-ES over safety, gains, filter, limiter and acceptance.

For implicit methods dead band, Newton limiter and the rules for Jacobian and LU factors are searched too.  The
objective (`objective.Objective`) is taken on the *training* split.

The start population holds every published law; searches start from the best of them, each with the rules (floors, what
follows a rejection) of the law it starts from.  What they find and all published laws then meet on the *validation*
split, where the least objective wins: a failed search gives a published law back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.laws import tuned as files
from ...controllers.laws.law import Law
from ...controllers.laws.values import json_values
from ...integrators import methods, problems
from ...integrators.core import options
from ...integrators.core.errors import OptionError
from ...integrators.engine.spread import checked
from ...integrators.problems import suites
from ...integrators.problems.families import Family
from ...integrators.problems.fingerprint import fingerprint
from ..config import settings
from ..evaluate.splits import Sweepable, check_size, draw
from ..run.progress import Progress
from ..run.provenance import provenance
from . import pycma
from .budget import Training, training_of
from .candidates import candidates
from .objective import Objective, grid_of, grids_of
from .unfinished import Lowest

MOST_RESTARTS = 1000
#: evaluations that a search needs beside those of the published laws
LEAST_SEARCH = 20


@dataclass(frozen=True)
class Tuned:
    """What a search found.

    law       the law that won, named "tuned"
    chosen    label of the candidate that won
    base      name of the published law that it started from
    ratios    by candidate, exp of its objective less that of the chosen one on the validation split, the best first
    facts     how it was found, as JSON values, with the provenance
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


def published(method: str) -> list[str]:
    """Published linear laws that a method can drive, by name (a Newton limiter rests where nothing is iterated)."""
    fills = methods.get(method).fills
    return [name for name in registry.names("linear") if registry.get(name).needs <= fills]


@options.named
def tune(
    family: str | Family,
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
    budget_of: Any = None,
    progress: bool = True,
    executor: Executor | None = None,
) -> Tuned:
    """Tune the general linear law on `n` training instances of a family, or of every family of a suite.

    method         name of a method; default the family's
    n              training instances; default 64, of a suite 8 a family
    evaluations    candidates tried, the published laws among them, each on n instances at every tolerance of the
                   family; the search stops earlier where it stops improving
    seed           of the search and of the training draw
    restarts       searches from as many of the best published laws; a last one goes on around the best of all
    sigma          first step of a search, in units of the box
    start          a linear law found earlier: it stands among the published ones as "start", and the first search
                   begins from it
    n_validation, validation_seed    the split that chooses; default 100 instances, of a suite 12 a family
    budget_of      a learned controller (object, name, file, or run folder) whose training's budget the search is given:
                   as many training instances, unless n says otherwise, and so many candidates that it makes as many
                   attempted steps, by what the published laws take; never fewer than `evaluations`, and less only
                   where searches stop improving
    executor       its workers share the candidates of a generation, to the same result (`docs/many_machines.md`)

    Raises ValueError for unknown names, methods without an error estimate, budgets too small for the published laws,
    and a `start` that the method cannot drive; ModuleNotFoundError, with the command that installs it, without pycma.
    """
    family = suites.called(family)
    options.text("method", method, none=True)
    check_search(evaluations, seed, restarts, sigma, start, progress)
    settings.seed("validation_seed", validation_seed)
    names, method = suites.members(family, method)
    budget = None if budget_of is None else training_of(budget_of)
    if n is None and budget is not None:
        if budget.instances is None:
            raise OptionError(f"budget_of: {budget.name!r} does not say on how many instances it was trained: give n")
        n = budget.instances
    n = (64 if len(names) == 1 else 8) if n is None else n
    n_validation = (100 if len(names) == 1 else 12) if n_validation is None else n_validation
    for member in map(problems.family, names):
        check_size("n", n, member)
        check_size("n_validation", n_validation, member)
    check_laws(method, evaluations, start)  # before instances are drawn and solved
    train = [draw(name, method, "train", n, seed) for name in names]
    valid = [draw(name, method, "validation", n_validation, validation_seed) for name in names]
    return tune_splits(
        family, train, valid, evaluations, seed, restarts=restarts, sigma=sigma, start=start, budget=budget,
        progress=progress, executor=executor,
    )  # fmt: skip


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
    budget: Training | None = None,
    progress: bool = True,
    executor: Executor | None = None,
) -> Tuned:
    """As `tune`, on splits of one's own, each of which counts the same.

    name: stands in the file.  train: splits to search on.  valid: splits to choose on.  budget: of a learned
    controller's training, whose attempts the search is to have at least.
    """
    check_search(evaluations, seed, restarts, sigma, start, progress)
    method = train[0].method
    names = check_laws(method, evaluations, start)
    objective = Objective(train, executor=checked(executor))
    pool = {label: registry.get(label) for label in names}
    bar = Progress(f"tune {name}, {method}", evaluations, "laws", progress)
    seen = Lowest(name, method, seed)
    try:
        cost = _costs(objective, pool, bar)
        for label, law in pool.items():
            seen.see(law, label, cost[label])
        if budget is not None and budget.attempts is not None:
            each = objective.attempts / objective.evaluations
            evaluations = max(evaluations, math.ceil(budget.attempts / each))
        best = min(cost, key=lambda label: (cost[label], label))
        if start is not None:
            pool["start"], cost["start"] = start, objective(start)
            seen.see(start, "start", cost["start"])  # the best of an interrupted search, which may have written it
        order = sorted(pool, key=lambda label: (label != "start", cost[label], label))
        ordered = {label: pool[label] for label in order}
        with seen.noted():
            found = candidates(objective, ordered, min(cost.values()), evaluations, restarts, sigma, seed, bar, seen)
    finally:
        bar.close()
    pool |= {c.label: c.law for c in found}
    cost |= {c.label: c.cost for c in found}
    check = Objective(valid, executor=executor)
    with seen.noted():
        score = dict(zip(pool, check.many(list(pool.values())), strict=True))
    chosen = min(score, key=lambda label: (score[label], label))
    ranked = sorted(score.items(), key=lambda kv: kv[1])
    ratios = {label: float(np.exp(value - score[chosen])) for label, value in ranked}
    base = {c.label: c.base for c in found}.get(chosen, chosen)
    doc = f"tuned on {name} with {method}" + ("" if base != chosen else f": no candidate beat {chosen}")
    facts = {
        "family": name,
        "method": method,
        "doc": doc,
        "base": base,
        "chosen": chosen,
        "train": {**_sizes(train), "seed": seed, "cost": cost[chosen], "best_published": best,
                  "cost_published": cost[best]},
        "validation": {**_sizes(valid), "seed": valid[0].seed, "ratios": ratios},
        "budget": {"evaluations": objective.evaluations, "solves": objective.solves, "nfev": objective.nfev,
                   "attempts": objective.attempts, "restarts": restarts, "sigma": sigma, "asked": evaluations,
                   "stopped_improving": all(c.stopped for c in found),
                   **({} if budget is None else {"budget_of": budget.to_json()})},
        **(grid_of(train[0]) if len(train) == 1 else {"families": grids_of(train)}),
        "seed": seed,
        **(_fingerprint(name) if len(train) == 1 else {}),
        **({} if start is None else {"start": json_values(start.values)}),
        **provenance(),
    }  # fmt: skip
    law = pool[chosen]
    law = Law("tuned", "linear", {**law.values, "accept_err": files.bounded(law)}, law.rules, doc, "")
    return Tuned(law, chosen, base, ratios, facts)


def _fingerprint(name: str) -> dict[str, str]:
    """That of a family of a caller's own: another one may have its name some day."""
    own = not suites.is_suite(name) and not problems.ships(name)
    return {"fingerprint": fingerprint(problems.family(name))} if own else {}


def _costs(objective: Objective, pool: Mapping[str, Law], bar: Progress) -> dict[str, float]:
    """What every law of the pool costs."""

    def report(least: float) -> None:
        bar.update(objective.evaluations, best=least)

    return dict(zip(pool, objective.many(list(pool.values()), report), strict=True))


def _sizes(splits: Sequence[Sweepable]) -> dict[str, int]:
    """How many instances of the splits are measured, and how many have no reference."""
    return {
        "instances": sum(len(s.ids) for s in splits),
        "reference_failures": sum(len(s.failed) for s in splits),
    }


def check_search(evaluations: Any, seed: Any, restarts: Any, sigma: Any, start: Any, progress: Any) -> None:
    """OptionError for settings of a search that have the wrong type or are out of range; ModuleNotFoundError without
    pycma.
    """
    options.count("evaluations", evaluations)
    settings.seed("seed", seed)
    options.count("restarts", restarts, 1, MOST_RESTARTS)
    options.number("sigma", sigma, above=0.0, high=1.0)
    options.flag("progress", progress)
    if start is not None and not isinstance(start, Law):
        raise options.refuse("start", "a linear law or None", start)
    pycma.require()


def check_laws(method: str, evaluations: int, start: Law | None) -> list[str]:
    """The published laws that a method can drive.

    ValueError where there are none, and where budget or `start` do not fit.
    """
    base_names = published(method)
    if not base_names:
        raise ValueError(f"method {method!r} has no error estimate: there is no linear law to tune")
    least = len(base_names) + LEAST_SEARCH
    if evaluations < least:
        raise ValueError(
            f"evaluations must be at least {least} ({len(base_names)} published laws and a search), got {evaluations}"
        )
    if start is not None and (start.kind != "linear" or not start.slots <= methods.get(method).fills):
        raise ValueError(
            f"start must be a linear law that method {method!r} can drive, got {start.name!r} of kind {start.kind!r}"
        )
    return base_names
