"""One controller against a denominator as data: a figure with its interval, a ratio of work, a row of the table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from .curves import Array
from .runs import MEASURES

NO_GAIN = "no measurable gain"
#: decimals of the log ratios of single instances in JSON
DIGITS = 6


@dataclass(frozen=True)
class Figure:
    """A ratio with its 95 % interval; NaN where it is not defined."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        if math.isnan(self.ratio):
            return "not defined"
        if self.high < 1.0:
            return "cheaper"
        return "dearer" if self.low > 1.0 else NO_GAIN

    def to_json(self) -> dict[str, object]:
        return {"ratio": _num(self.ratio), "low": _num(self.low), "high": _num(self.high)}


@dataclass(frozen=True)
class WorkRatio:
    """One controller against the denominator in one work measure.

    figure                 exp(mean log ratio over instances), with its interval
    instances              (B,) numbers of the instances
    log_ratio              (B,) of every instance, NaN where both lost
    share_lost             share of instances where the controller loses: ratio above 1, or lost by coverage; those that
                           both lost stand in no share
    worst_1pct             geometric mean of the worst ceil(B/100) instances
    worst                  ratio on the worst instance
    uncharged              the figure over the instances that neither lost: without any charge
    lost                   numbers of the instances that the controller lost, by coverage, and the denominator did not
    lost_by_denominator    numbers of those that the denominator lost, and the controller did not
    lost_by_both           numbers of those that both lost, which say nothing and are only counted
    beside                 what the interval draws beside the instances, by "rounds" and "seeds": (k, B) deviations of
                           the log ratio in every round of timing or training seed from their mean
    matched                the second figure, by "gmean" and "q90"
    matched_levels         how many of the error levels it stands on, by the same
    """

    figure: Figure
    instances: NDArray[np.int64]
    log_ratio: Array
    share_lost: float
    worst_1pct: float
    worst: float
    uncharged: Figure
    lost: tuple[int, ...]
    lost_by_denominator: tuple[int, ...]
    lost_by_both: tuple[int, ...]
    matched: dict[str, Figure]
    matched_levels: dict[str, int]
    beside: dict[str, Array] = field(default_factory=dict)

    @property
    def known(self) -> Array:
        """Log ratios of the instances that say something."""
        return self.log_ratio[np.isfinite(self.log_ratio)]

    def to_json(self) -> dict[str, object]:
        return {
            **self.figure.to_json(),
            "verdict": self.figure.verdict,
            "worst_1pct": _num(self.worst_1pct),
            "worst": _num(self.worst),
            "share_lost": _num(self.share_lost),
            "uncharged": self.uncharged.to_json(),
            "lost": list(self.lost),
            "lost_by_denominator": list(self.lost_by_denominator),
            "lost_by_both": list(self.lost_by_both),
            "matched": {k: {**v.to_json(), "levels": self.matched_levels[k]} for k, v in self.matched.items()},
            "instances": [int(i) for i in self.instances],
            "log_ratio": [_num(round(float(v), DIGITS)) for v in self.log_ratio],
        }


@dataclass(frozen=True)
class Row:
    """One controller's line.

    work              by measure, its `WorkRatio`; None where it was not measured
    rejected_share    rejected attempts over all attempts
    failures, runs    how many runs failed, and of how many
    slope             tolerance proportionality, and `ideal_slope` = p/k if the caller knows it
    seeds             median and range of the ratio over training seeds, for a learned controller
    here              of a bound that stands on some instances only, the headline's controller on the same instances
    """

    name: str
    kind: str
    work: dict[str, WorkRatio | None]
    rejected_share: float
    failures: int
    runs: int
    slope: float
    ideal_slope: float = math.nan
    seeds: dict[str, float] | None = None
    here: Row | None = None

    def to_json(self) -> dict[str, object]:
        row: dict[str, object] = {"name": self.name, "kind": self.kind}
        row |= {m: w.to_json() if w is not None else None for m, w in ((m, self.work.get(m)) for m in MEASURES)}
        row |= {"rejected_share": _num(self.rejected_share), "failures": self.failures, "runs": self.runs}
        row |= {"slope": _num(self.slope), "ideal_slope": _num(self.ideal_slope)}
        if self.seeds is not None:
            row["seeds"] = {k: _num(v) for k, v in self.seeds.items()}
        if self.here is not None:
            row["same_instances"] = self.here.to_json()
        return row


def across_seeds(ratios: Mapping[int, float]) -> tuple[int, dict[str, float]]:
    """The median training seed (lower of two) and {"n", "median", "low", "high"} of the ratio over seeds."""
    if not ratios:
        raise ValueError("no training seed given")
    order = sorted(ratios, key=lambda s: (ratios[s], s))
    seed = order[(len(order) - 1) // 2]
    ends = {"low": ratios[order[0]], "high": ratios[order[-1]]}
    return seed, {"n": float(len(order)), "median": ratios[seed], **ends}


def _num(x: float) -> float | None:
    """JSON knows neither NaN nor infinity: null."""
    return float(x) if math.isfinite(x) else None
