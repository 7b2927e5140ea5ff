"""Controllers over many systems: the mean over systems of the matched-error ratio, with an interval over systems.

A system's ratio is the project's figure (`evaluate.metric`), the geometric mean over its instances; that of a method is
the geometric mean over systems.  The interval is a BCa bootstrap over mechanisms, of which all systems are drawn
together (`splits.RELATIVES`), over the training seeds of a learned controller, and over the rounds of a clock.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from ..evaluate import curves
from ..evaluate.curves import Array
from ..evaluate.metric import work_ratio
from ..evaluate.rows import Figure, across_seeds
from ..evaluate.runs import Runs
from ..evaluate.splits import Split
from .splits import mechanism

MAX_STEPS = 50_000
RESAMPLES = 10_000
#: errors between which a tolerance scale is matched, and how many an instance must have
SMALLEST, LARGEST, FEWEST = 1e-11, 0.03, 5


@dataclass(frozen=True)
class Ratios:
    """Ratios of one contestant to another by system.

    systems      names of the S systems that count
    log_ratio    (S,) logarithms of the ratios
    figure       their geometric mean, with its interval
    uncharged    the same without the instances that one of the two lost
    unrelated    the same over the systems without a relative on another side, `apart` of them
    instances    how many instances were compared; of these `lost` by the first, `charged` to it as lost by the second
                 alone, and lost by `both`, which say nothing
    losing       names of the systems of which the first lost an instance
    skipped      names of the systems of which both lost all
    seeds        over training seeds {"n", "median", "low", "high"} of the figure; None: there is one
    """

    systems: tuple[str, ...]
    log_ratio: Array
    figure: Figure
    uncharged: Figure
    unrelated: Figure
    apart: int
    instances: int
    lost: int
    charged: int
    both: int
    losing: tuple[str, ...]
    skipped: tuple[str, ...]
    seeds: dict[str, float] | None = None

    def dearer(self, than: float = 1.05) -> tuple[str, ...]:
        """Systems on which the first is more than so many times as dear, the dearest first."""
        found = [(v, name) for v, name in zip(self.log_ratio, self.systems, strict=True) if v > math.log(than)]
        return tuple(name for _, name in sorted(found, reverse=True))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        by = {name: round(float(np.exp(v)), 4) for name, v in zip(self.systems, self.log_ratio, strict=True)}
        return {
            **self.figure.to_json(), "uncharged": self.uncharged.to_json(), "unrelated": self.unrelated.to_json(),
            "apart": self.apart, "seeds": self.seeds, "instances": self.instances, "lost": self.lost,
            "charged": self.charged, "both": self.both, "losing": self.losing, "skipped": self.skipped,
            "dearer": self.dearer(), "systems": by,
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


@dataclass(frozen=True)
class _Of:
    """One system: log ratio and that without charges (NaN: none), and by what is drawn beside (k,) log ratios or
    deviations of them; the counts are those of `Ratios`.
    """

    name: str
    value: float
    fair: float
    seeds: Array
    rounds: Array
    instances: int
    lost: int
    charged: int
    both: int


def _of(a: Runs, b: Runs, split: Split, seeds: Sequence[Runs], measure: str) -> _Of:
    levels, timed = split.family.error_levels, any(measure in r.rounds for r in (a, b))
    found = work_ratio(a, b, levels, measure, intervals=timed)
    assert found is not None  # both hold the measure
    known = np.isfinite(found.log_ratio)
    rounds = found.beside["rounds"][:, known].mean(axis=1) if timed and known.any() else np.zeros(0)
    fair = found.uncharged.ratio if known.any() else math.nan
    others = [work_ratio(s, b, levels, measure, intervals=False) for s in seeds]
    each = np.log([math.nan if other is None else other.figure.ratio for other in others])
    value = math.log(found.figure.ratio) if known.any() else math.nan
    counts = (len(found.instances), len(found.lost), len(found.lost_by_denominator), len(found.lost_by_both))
    return _Of(split.family.name.removeprefix("dysts:"), value, float(np.log(fair)), each, rounds, *counts)


def ratios(
    a: Sequence[Runs], b: Sequence[Runs], splits: Sequence[Split], seeds: Sequence[Sequence[Runs]] = (),
    measure: str = "nfev", unrelated: Container[str] = (),
) -> Ratios:  # fmt: skip
    """Ratios of A to B; seeds: runs of all training seeds of A on the same splits; unrelated: names of the systems
    without a relative on another side.
    """
    several = seeds if len(seeds) > 1 else ()
    every = [_of(a[i], b[i], split, [s[i] for s in several], measure) for i, split in enumerate(splits)]
    by = [s for s in every if math.isfinite(s.value)]
    value, fair = np.array([s.value for s in by]), np.array([s.fair for s in by])
    kinds = np.array([mechanism(s.name) for s in by])
    beside, told = [], None
    if several and by:
        table = np.array([s.seeds for s in by]).T
        beside.append(np.nan_to_num(table - np.nanmean(table, axis=0)))
        told = across_seeds({k: float(np.exp(np.nanmean(row))) for k, row in enumerate(table)})[1]
    if by and by[0].rounds.size:
        beside.append(np.array([s.rounds for s in by]).T)
    apart = np.array([s.name in unrelated for s in by], dtype=bool)
    everywhere = np.ones(len(by), dtype=bool)
    known = np.isfinite(fair)
    return Ratios(
        systems=tuple(s.name for s in by),
        log_ratio=value,
        figure=mean_figure(value, kinds, beside, everywhere),
        uncharged=mean_figure(fair, kinds, beside, known),
        unrelated=mean_figure(value, kinds, beside, apart),
        apart=int(apart.sum()),
        instances=sum(s.instances for s in every),
        lost=sum(s.lost for s in every),
        charged=sum(s.charged for s in every),
        both=sum(s.both for s in every),
        losing=tuple(s.name for s in by if s.lost),
        skipped=tuple(s.name for s in every if not math.isfinite(s.value)),
        seeds=told,
    )


def mean_figure(value: Array, kinds: np.ndarray, beside: Sequence[Array], rows: np.ndarray) -> Figure:
    """The geometric mean over the rows that are True, with an interval in which all systems of a kind are drawn
    together; NaN where there are no rows, and no interval where there is one kind.

    value: (S,) logarithms.  kinds: (S,) mechanisms.  beside: (k, S) deviations in everything else that is drawn.
    """
    if not rows.any():
        return Figure(math.nan, math.nan, math.nan)
    v = value[rows]
    names, where = np.unique(kinds[rows], return_inverse=True)
    total, count = np.bincount(where, v), np.bincount(where)
    # a kind weighs as many systems as it has: a mean over kinds of these is the mean over systems
    share = len(names) / len(v)
    drawn = [share * np.array([np.bincount(where, d) for d in deviations[:, rows]]) for deviations in beside]
    low, high = curves.bca_interval(
        lambda i: total[i].sum(axis=1) / count[i].sum(axis=1), len(names), seed=0, resamples=RESAMPLES, beside=drawn
    )
    return Figure(float(np.exp(v.mean())), float(np.exp(low)), float(np.exp(high)))


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
