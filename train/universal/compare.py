"""Controllers over many systems: the mean over systems of the matched-error ratio, with an interval over systems.

A system's ratio is the project's figure (`evaluate.metric`), the geometric mean over its instances; that of a method is
the geometric mean over systems.  The interval is a BCa bootstrap over systems, and over the training seeds of a learned
controller.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from ..evaluate import curves
from ..evaluate.metric import work_ratio
from ..evaluate.rows import Figure
from ..evaluate.runs import Runs
from ..evaluate.splits import Split

MAX_STEPS = 50_000
RESAMPLES = 10_000
#: errors between which a tolerance scale is matched, and how many an instance must have
SMALLEST, LARGEST, FEWEST = 1e-11, 0.03, 5


@dataclass(frozen=True)
class Ratios:
    """Ratios of one contestant to another by system.

    systems     names of the S systems that count
    log_ratio   (S,) logarithms of the ratios
    figure      their geometric mean, with its interval
    lost        systems of which an instance was lost by the first of the two, and `charged` by the second
    """

    systems: tuple[str, ...]
    log_ratio: np.ndarray
    figure: Figure
    lost: tuple[str, ...]
    charged: tuple[str, ...]

    def dearer(self, than: float = 1.05) -> tuple[str, ...]:
        """Systems on which the first is more than so many times as dear, the dearest first."""
        found = [(v, name) for v, name in zip(self.log_ratio, self.systems, strict=True) if v > math.log(than)]
        return tuple(name for _, name in sorted(found, reverse=True))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        by = {name: round(float(np.exp(v)), 4) for name, v in zip(self.systems, self.log_ratio, strict=True)}
        return {
            "ratio": self.figure.ratio, "low": self.figure.low, "high": self.figure.high, "dearer": self.dearer(),
            "lost": self.lost, "charged": self.charged, "systems": by,
        }  # fmt: skip


def runs_of(splits: Sequence[Split], controller: Any, name: str) -> list[Runs]:
    """What a controller does on every split."""
    kernel = controller.general() if isinstance(controller, Law) else controller
    out = []
    for split in splits:
        s = split.sweep(kernel, max_steps=MAX_STEPS)
        work = {"nfev": s.nfev}
        out.append(Runs(name, s.err, work, split.tolerances, s.attempts, s.rejected, instances=split.ids))
    return out


def ratios(
    a: Sequence[Runs], b: Sequence[Runs], splits: Sequence[Split], seeds: Sequence[Sequence[Runs]] = (),
    measure: str = "nfev",
) -> Ratios:  # fmt: skip
    """Ratios of A to B; seeds: runs of all training seeds of A on the same splits."""
    names, values, lost, charged = [], [], [], []
    drawn: list[list[float]] = [[] for _ in seeds]
    for i, split in enumerate(splits):
        found = work_ratio(a[i], b[i], split.family.error_levels, measure, intervals=False)
        assert found is not None  # both hold the measure
        if not np.isfinite(found.log_ratio).any():
            continue
        name = split.family.name.removeprefix("dysts:")
        names.append(name)
        values.append(float(np.log(found.figure.ratio)))
        lost += [name] if found.lost else []
        charged += [name] if found.lost_by_denominator else []
        for k, seed in enumerate(seeds):
            other = work_ratio(seed[i], b[i], split.family.error_levels, measure, intervals=False)
            assert other is not None  # as above
            drawn[k].append(float(np.log(other.figure.ratio)))
    v = np.array(values)
    beside = []
    if len(seeds) > 1:
        table = np.array(drawn)
        beside = [table - table.mean(axis=0)]
    low, high = curves.bca_interval(lambda i: v[i].mean(axis=1), len(v), seed=0, resamples=RESAMPLES, beside=beside)
    figure = Figure(float(np.exp(v.mean())), float(np.exp(low)), float(np.exp(high)))
    return Ratios(tuple(names), v, figure, tuple(lost), tuple(charged))


def matching_scale(mine: Sequence[Runs], theirs: Sequence[Runs]) -> float:
    """The tolerance scale at which `mine` makes the errors of `theirs` at the same tolerances, both without a scale.

    On every instance that both solve at `FEWEST` tolerances or more, log error is taken as linear in log tolerance, and
    the scale is that of the middle of the tolerances; the answer is the median over instances.  ValueError where no
    instance counts.
    """
    found = []
    for a, b in zip(mine, theirs, strict=True):
        assert a.tol is not None  # both were swept over tolerances
        x = np.log(a.tol)
        for mistakes, other in zip(a.err, b.err, strict=True):
            used = (mistakes > SMALLEST) & (mistakes < LARGEST) & (other > SMALLEST) & (other < LARGEST)
            if used.sum() < FEWEST:
                continue
            slope, level = np.polyfit(x[used], np.log(mistakes[used]), 1)
            middle = x[used].mean()
            found.append((np.log(other[used]).mean() - level) / slope - middle)
    if not found:
        raise ValueError(f"no instance has {FEWEST} errors between {SMALLEST:g} and {LARGEST:g}")
    return float(np.exp(np.median(found)))
