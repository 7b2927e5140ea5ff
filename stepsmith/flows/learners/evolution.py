"""A list of times by evolution: a population of subsets of the fine grid, bred by their errors.

Each candidate is the N + 1 places of a subset of the fine solver's grid with both ends.  A generation keeps the best
`parents`, and fills up with crossings (each place from one of two parents) and mutations (each place moves with
probability `change`).  Fitness is the error of the sampler on a part of the training noise, where the paper has the FID
of 1000 to 5000 images.

Source: L. Li et al., "AutoDiffusion: Training-Free
Optimization of Time Steps and Architectures for Automated Diffusion Model Acceleration", ICCV 2023, arXiv:2309.10438:
a population of 50, 25 mutations, 10 to 15 crossings, 10 generations, change 0.25.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...integrators.core import options
from ..linear import Rows, run, sampler
from .task import Task, percent


def fit(
    task: Task,
    solver: str = "ab2",
    population: int = 50,
    generations: int = 10,
    parents: int = 10,
    change: float = 0.25,
    samples: int = 128,
) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance.

    samples: of the training noise, that a candidate is judged by.  The generation's best are compared on the validation
    noise, on which the answer is the best of all.
    """
    make, rng = sampler(solver), np.random.default_rng([task.seed, 0x45564F])
    population, generations = options.count("population", population, 4), options.count("generations", generations)
    parents, change = options.count("parents", parents, 2, population), options.number("change", change, 0.0, 1.0)
    times = task.path[0]
    m, n = len(times) - 1, task.steps
    if n > m:
        raise options.OptionError(f"steps must be at most {m}, the steps of the fine solver, got {n}")
    x, wanted = task.training[:samples], task.target[:samples]
    known: dict[tuple[int, ...], float] = {}

    def judged(one: tuple[int, ...]) -> float:
        if one not in known:
            with torch.no_grad():
                known[one] = percent(run(task.field, x, make(times[list(one)]))[0], wanted)
        return known[one]

    even = repaired(np.linspace(0, m, n + 1)[1:-1], m)
    people = [even] + [repaired(rng.uniform(0, m, n - 1), m) for _ in range(population // 2)]
    people += [mutated(even, m, 0.5, rng) for _ in range(population - len(people))]
    best, least, done = even, task.error_of(make(times[list(even)])), 0
    for done in range(1, generations + 1):
        people = sorted(set(people), key=judged)
        error = task.error_of(make(times[list(people[0])]))
        if error < least:
            best, least = people[0], error
        task.say(f"generation {done}: {judged(people[0]):.3f} % in training, {error:.3f} % on the validation noise")
        if task.over:
            break
        kept = people[:parents]
        new = [mutated(kept[rng.integers(len(kept))], m, change, rng) for _ in range(population // 2)]
        pairs = rng.integers(len(kept), size=(population // 4, 2))
        new += [crossed(kept[a], kept[b], m, rng) for a, b in pairs]
        people = [*kept, *new]
    facts = {"population": population, "generations": done, "parents": parents, "change": change}
    return make(times[list(best)]), {"solver": solver, "candidates": len(known), **facts}


def repaired(inner: Any, m: int) -> tuple[int, ...]:
    """Places 0 < ... < m, both ends with them, as near as may be to the sorted `inner`, all different."""
    inner = np.sort(np.round(inner)).astype(int)
    for k in range(len(inner)):  # push up what meets its neighbour, then down what leaves no room above
        inner[k] = max(inner[k], (inner[k - 1] if k else 0) + 1)
    for k in reversed(range(len(inner))):
        inner[k] = min(inner[k], (inner[k + 1] if k + 1 < len(inner) else m) - 1)
    return (0, *(int(i) for i in inner), m)


def mutated(one: tuple[int, ...], m: int, change: float, rng: np.random.Generator) -> tuple[int, ...]:
    """Each inner place moves with probability `change`, by a normal number of a quarter of an even step or more."""
    inner = np.array(one[1:-1], float)
    moved = inner + rng.normal(size=len(inner)) * max(1.0, m / (4 * len(one)))
    return repaired(np.clip(np.where(rng.random(len(inner)) < change, moved, inner), 0, m), m)


def crossed(a: tuple[int, ...], b: tuple[int, ...], m: int, rng: np.random.Generator) -> tuple[int, ...]:
    """Each inner place from one of the two."""
    return repaired(np.where(rng.random(len(a) - 2) < 0.5, a[1:-1], b[1:-1]), m)
