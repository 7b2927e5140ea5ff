"""The objective of a law's search: mean log work at equal error, as the comparison measures it.

It is the mean over instances of the mean over the family's error levels of the log of the work (f-evaluations, with
linear algebra at its measured cost) at that error; of a suite, the mean over its families.  A level tighter than a
candidate reaches on an instance is charged ten times the larger of its dearest run there and the I law's work at that
level, so that neither giving up early nor giving up late pays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...controllers.laws import registry
from ...controllers.laws.law import Law
from ...integrators import methods
from ...integrators.engine.cores import available_cores
from ...integrators.engine.costs import NONE
from ...integrators.engine.spread import Shared, spread
from ..evaluate import curves
from ..evaluate.splits import Sweep, Sweepable

MAX_STEPS = 10_000


@dataclass(frozen=True)
class Cost:
    """What a law cost: mean log work on every split, and the solves, right-hand sides and attempts that it took."""

    each: np.ndarray
    solves: int
    nfev: int
    attempts: int


@dataclass(frozen=True)
class Setting:
    """What the cost of a law depends on: splits, the attempts a run may make, and by split the floor of `log_work`."""

    splits: tuple[Sweepable, ...]
    max_steps: int
    floors: tuple[np.ndarray, ...] = ()

    def sweep(self, split: Sweepable, law: Law, threads: int | None = None) -> Sweep:
        """A law on one of the splits."""
        # one kernel a family where they take long to compile: of an implicit method, and of many families
        shared, law = methods.get(split.method).implicit or len(self.splits) > 1, law.unscaled()
        return split.sweep(law.general() if shared else law, max_steps=self.max_steps, threads=threads)

    def cost(self, law: Law) -> Cost:
        """What a law costs."""
        if len(self.splits) == 1:
            sweeps = [self.sweep(self.splits[0], law)]
        else:  # an ensemble of a few instances fills one core
            with ThreadPoolExecutor(available_cores()) as pool:
                sweeps = list(pool.map(lambda split: self.sweep(split, law, 1), self.splits))
        levels = [split.family.error_levels for split in self.splits]
        known = zip(sweeps, levels, self.floors, strict=True)
        each = [log_work(s.err, s.work, x, floor).mean() for s, x, floor in known]
        return Cost(
            np.array(each), sum(int(np.count_nonzero(s.nfev)) for s in sweeps), int(sum(s.nfev.sum() for s in sweeps)),
            int(sum(s.attempts.sum() for s in sweeps)),
        )  # fmt: skip


def _cost(setting: Setting, law: Law) -> Cost:
    return setting.cost(law)


class Objective:
    """Mean log work at equal error of laws on splits, each of which counts the same; counts what it spends.

    executor: its workers share several laws (`many`), to the same numbers; None: one after the other here.
    """

    def __init__(
        self, splits: Sequence[Sweepable], max_steps: int = MAX_STEPS, executor: Executor | None = None
    ) -> None:
        self.splits, self.executor = list(splits), executor
        self.method = self.splits[0].method
        self.implicit = methods.get(self.method).implicit
        self.evaluations = self.solves = self.nfev = self.attempts = 0
        setting, floors = Setting(tuple(splits), max_steps), []
        for split in self.splits:
            first, levels = setting.sweep(split, registry.get("i")), split.family.error_levels
            floors.append(log_work(first.err, first.work, levels, np.zeros(len(levels))))
        self.setting = replace(setting, floors=tuple(floors))
        self.shared = Shared(self.setting)

    def each(self, law: Law) -> np.ndarray:
        """Mean log work of a law on every split."""
        return self._counted(self.setting.cost(law))

    def many(self, laws: Sequence[Law], report: Callable[[float], None] | None = None) -> list[float]:
        """What every law costs, in their order; report: called whenever one is done, with the least cost so far."""
        out = [np.inf] * len(laws)

        def taken(i: int, cost: Cost) -> None:
            out[i] = float(self._counted(cost).mean())
            if report is not None:
                report(min(out))

        spread(_cost, laws, self.executor, shared=self.shared, what="law", named=lambda i: laws[i].name, taken=taken)
        return out

    def _counted(self, cost: Cost) -> np.ndarray:
        self.evaluations += 1
        self.solves += cost.solves
        self.nfev += cost.nfev
        self.attempts += cost.attempts
        return cost.each

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


def grid_of(split: Sweepable) -> dict[str, Any]:
    """What a split is measured at, as JSON: tolerances, ends of the band of error levels, and costs where there are
    any.
    """
    costs = costs_of(split)
    grid = {"tolerances": [float(v) for v in split.tolerances], "levels": [float(v) for v in split.family.levels]}
    return grid if costs is None else {**grid, "costs": costs}


def grids_of(splits: Sequence[Sweepable]) -> dict[str, Any]:
    """What splits are measured at, by family, and by method too where there are several."""
    several = len({split.method for split in splits}) > 1
    return {split.family.name + (f", {split.method}" if several else ""): grid_of(split) for split in splits}
