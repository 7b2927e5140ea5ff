"""The candidates of a law's search: CMA-ES in the box of coefficients, from the best published laws.

N. Hansen, "The CMA evolution strategy: a tutorial", arXiv:1604.00772.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ...controllers.laws import search
from ...controllers.laws import tuned as files
from ...controllers.laws.law import Law
from ...integrators import methods
from ..run.progress import Progress
from .objective import Objective
from .unfinished import Lowest

#: published laws that stand in the first generation of every search from one of them
INJECTED = 6
#: part of the box within which two laws count as one start
ALIKE = 0.02


@dataclass(frozen=True)
class Candidate:
    """One thing that a search found: its label, the law, what it cost on the training split, and its base law; stopped:
    whether the search ended because it improved no more, and not because its share of the candidates was spent.
    """

    label: str
    law: Law
    cost: float
    base: str
    stopped: bool = False


def candidates(
    objective: Objective,
    laws: dict[str, Law],
    lowest: float,
    evaluations: int,
    restarts: int,
    sigma: float,
    seed: int,
    bar: Progress,
    seen: Lowest | None = None,
) -> list[Candidate]:
    """What the searches find, two candidates each: the best vector and the final mean.

    laws           by name, in the order in which searches begin from them
    lowest         least cost so far, which the bar shows
    evaluations    candidates in all, those that the objective has counted already among them
    restarts       searches from as many laws that differ; one more goes on around the best of all
    sigma          first step of a search, in units of the box
    seen           is shown every candidate
    """
    space = search.search_space(objective.implicit)
    fills = methods.get(objective.method).fills
    starts = _distinct(space, {name: law for name, law in laws.items() if law.slots <= fills}, restarts)
    published = [space.to_vector(law) for law in laws.values()][:INJECTED]
    out: list[Candidate] = []
    top = (starts[0], space.to_vector(laws[starts[0]]), np.inf)
    for k, name in enumerate([*starts, ""]):
        base, x0 = (name, space.to_vector(laws[name])) if name else top[:2]
        step = sigma if name else sigma / 2
        inject = published if name else []
        # what a search leaves that ends early is shared by those after it
        share = (evaluations - objective.evaluations) // (len(starts) + 1 - k)

        def evaluate(vectors: list[np.ndarray], base: str = base) -> list[float]:
            asked = [_law(space, vector, laws[base]) for vector in vectors]
            costs = objective.many(asked)
            if seen is not None:
                for law, cost in zip(asked, costs, strict=True):
                    seen.see(law, base, cost)
            return costs

        def report(value: float) -> None:
            nonlocal lowest
            lowest = min(lowest, value)
            bar.update(objective.evaluations, best=lowest)

        vector, value, mean, stopped = _cma(space, evaluate, x0, step, inject, share, seed + 1000 * (k + 1), report)
        if value < top[2]:
            top = (base, vector, value)
        label = f"{base}/{k + 1}"
        out.append(Candidate(label, _law(space, vector, laws[base], label), value, base, stopped))
        law = _law(space, mean, laws[base], f"{label}m")
        out.append(Candidate(law.name, law, evaluate([mean])[0], base, stopped))
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
        if all(np.abs((v - space.to_vector(laws[k])) / (space.high - space.low)).max() > ALIKE for k in kept):
            kept.append(name)
        if len(kept) == count:
            break
    return kept


def _cma(
    space: search.SearchSpace,
    evaluate: Callable[[list[np.ndarray]], list[float]],
    x0: np.ndarray,
    sigma: float,
    inject: list[np.ndarray],
    budget: int,
    seed: int,
    report: Callable[[float], None],
) -> tuple[np.ndarray, float, np.ndarray, bool]:
    """One search in the box, which is scaled to 0..1: (best vector, its value, final mean, whether it ended before its
    budget did).

    evaluate: costs of vectors.  x0: where it begins.  inject: vectors that stand in the first generation, in the place
    of random draws.  budget: evaluations.  report: told the least value after every generation.
    """
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
    best, lowest = np.array(x0, dtype=float), evaluate([x0])[0]
    spent = 1
    first = [np.clip((v - space.low) / width, 0.0, 1.0) for v in inject]
    while spent + es.popsize <= budget and not es.stop():
        asked = es.ask()
        for i, v in enumerate(first[: es.popsize - 2]):
            asked[i] = v
        first = []
        values = evaluate([space.low + width * np.clip(u, 0.0, 1.0) for u in asked])
        spent += len(values)
        es.tell(asked, values)
        k = int(np.argmin(values))
        if values[k] < lowest:
            best, lowest = space.low + width * np.clip(asked[k], 0.0, 1.0), values[k]
        report(lowest)
    mean = space.low + width * np.clip(np.asarray(es.result.xfavorite), 0.0, 1.0)
    return best, lowest, mean, spent + es.popsize <= budget
