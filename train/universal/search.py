"""The searches: a law over all seen systems, and a closed form on top of it.

Both minimise the mean over seen systems and methods (tsit5 and bs32) of the log work at equal error; the systems that
choose are others (`splits`).  The law's search is the tuner's (`tune.search`), the closed form's an evolution strategy
on its weights (`algorithms.evolution`), of which the mean that is best on the choosing systems is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.file import save
from ...controllers.laws.law import Law
from ...controllers.learned.decision import Decision
from ...controllers.learned.network import Learned
from ...policies import closed_form
from ..algorithms import evolution
from ..algorithms.es_run import provenance_of
from ..evaluate.splits import Split
from ..run.progress import Progress
from ..tune import Tuned, tune_splits
from .compare import ratios, runs_of
from .splits import Systems

#: methods that are searched on
METHODS = ("tsit5", "bs32")
NAME = "universal"
#: by variant: the features of a host that shows an error and the end time, and of one that shows stages too.  Neither
#: the tolerance nor the order is among them: they save nothing at equal error, and the error no longer follows the
#: tolerance
FEATURES = {
    "universal": (
        "log_err", "log_err_1", "log_ratio_1", "streak", "log_left", "time_left", "log_ynorm", "log_enorm",
    ),
    "universal_stages": (
        "log_err", "log_err_1", "log_ratio_1", "streak", "log_left", "time_left", "log_ynorm", "log_enorm",
        "log_hs", "log_curv",
    ),
}  # fmt: skip
#: generations between validations
EVERY = 10


@dataclass(frozen=True)
class Pool:
    """Instances to search on and to choose on, of every method together."""

    train: Sequence[Split]
    valid: Sequence[Split]


def pool(systems: Systems, n: int, methods: Sequence[str] = METHODS) -> Pool:
    """`n` instances of every system and method."""
    train = [split for method in methods for split in systems.draw("train", method, n)]
    valid = [split for method in methods for split in systems.draw("validation", method, n)]
    return Pool(train, valid)


def search_law(
    drawn: Pool, evaluations: int, seed: int, restarts: int = 4, start: Law | None = None, progress: bool = True
) -> Tuned:
    """The law that is cheapest on the choosing systems, of what the searches found and all published ones.

    restarts, start: as those of `tune`.
    """
    given: dict[str, Any] = {"restarts": restarts, "start": start, "progress": progress}
    return tune_splits(f"{NAME}_law", drawn.train, drawn.valid, evaluations, seed, **given)


def search_controller(
    drawn: Pool, law: Law, variant: str, settings: evolution.Settings, seed: int, out: Path, hidden: Sequence[int] = (),
    progress: bool = True,
) -> tuple[Learned, float]:  # fmt: skip
    """Evolve the weights of a variant on the law; returns the controller that was best on the choosing systems, which
    is saved as `out`, and its work there over the law's.

    hidden: widths of hidden layers; () for a closed form.
    """
    decision = Decision(FEATURES[variant], law, n_act=2)
    if hidden:
        first = Learned.random(decision, list(hidden), np.random.default_rng(seed), 0.1, "relu", "clip")
        first = first.replace(name=variant, family=NAME)
    else:
        first = closed_form.linear(FEATURES[variant], law, n_act=2, name=variant, family=NAME)
    fitness = evolution.Together(_affordable(drawn.train, law, settings))
    base = runs_of(drawn.valid, law, law.name)
    best, kept = math.inf, first
    bar = Progress(f"{variant}, seed {seed}", settings.generations, "generations", progress)
    try:
        for generation, attempts, cost, mean in evolution.evolve(first, fitness, seed):
            if generation % EVERY == 0 or settings.last(generation, attempts):
                figure = ratios(runs_of(drawn.valid, mean, variant), base, drawn.valid).figure.ratio
                told = f"generation {generation}, fitness {cost:.4f}, validation {figure:.4f}"
                print(f"{variant}, seed {seed}: {told}", flush=True)
                if figure < best:
                    best, kept = figure, mean
                    save(kept.replace(**_told(kept, seed, attempts, generation, figure, law)), out)
            bar.update(generation, fitness=cost, validation=best)
    finally:
        bar.close()
    return kept, best


def resting(controller: Learned) -> Learned:
    """The same closed form, which leaves every decision to its law under methods of higher order than it was searched
    with: each of its terms, the constants too, is multiplied by the feature `low_order`.
    """
    weight, bias = closed_form.matrix(controller)
    names = controller.decision.observation.features
    decision = controller.decision.replace(observation=("low_order", *(f"low_order*{name}" for name in names)))
    layer = (np.column_stack([bias, weight]), np.zeros_like(bias), "linear")
    return controller.replace(decision=decision, layers=[layer])


def _affordable(splits: Sequence[Split], law: Law, settings: evolution.Settings) -> list[evolution.Fitness]:
    """The fitness on every split but those of which each instance is dearer than `settings.dearest`."""
    out = []
    for split in splits:
        try:
            out.append(evolution.Fitness(split, law.general(), settings))
        except ValueError as too_dear:
            print(f"{split.family.name} under {split.method} is left out: {too_dear}", flush=True)
    return out


def _told(controller: Learned, seed: int, attempts: int, generation: int, figure: float, law: Law) -> dict[str, Any]:
    facts = {"algorithm": "es", "seed": seed, "methods": list(METHODS)}
    made = {"env_steps": attempts, "generation": generation}
    return {
        "provenance": provenance_of(facts, made),
        "measured": {"validation_ratio": figure, "against": law.name},
    }
