"""The matched-error work ratio: one controller's runs in, table rows and the data object out.

The definition is the project's one metric: work at equal *error*, per instance, averaged in the log over
error levels and instances, with a bootstrap interval over instances.  `curves.py` holds the mathematics
(envelope, coverage, lost instances, BCa interval); here are the objects: `Runs` (what was measured),
`WorkRatio` and `Row` (one controller against the denominator).  `headline.py` chooses the denominator and
makes the table.

Two figures stand in every row.  The first lets each instance have its own tolerance (per-instance curves).
The second has one tolerance for the family, matched at the geometric-mean error ("gmean") and at the
90th-percentile error ("q90").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import curves
from .curves import Array

#: work measures: f-evaluations, f-evaluations with linear algebra at its cost, seconds
MEASURES = ("nfev", "work", "wall")
#: what a controller is in a comparison
KINDS = ("learned", "tuned", "classical", "host", "constant", "oracle")
#: kinds that the headline may be against: a host's default and a constant step are easy to beat, and the oracle is no
#: controller
DENOMINATOR_KINDS = ("tuned", "classical")
NO_GAIN = "no measurable gain"
RESAMPLES = 10_000
RESAMPLES_FAMILY = 1_000


@dataclass(frozen=True)
class Runs:
    """Everything measured of one controller on one family.

    name         of the controller
    err          (B, T) error of every instance at every tolerance; a failed run is inf (NaN is read as failed)
    work         by measure, (B, T), finite and positive, failed runs included: "nfev" always; "work" the weighted work
                 (absent: there is no linear algebra, so it is "nfev"); "wall" seconds, (B, T) or (T,) totals of one
                 batch run a tolerance, which are then spread over the instances in proportion to their f-evaluations
    tol          (T,) tolerance, constant step or accuracy parameter of the runs, for the slope
    attempts     (B, T) how many attempts were made
    rejected     (B, T) how many of them were rejected
    kind         one of `KINDS`
    instances    (B,) numbers of the instances, default 0..B-1; an oracle may stand on some of them only

    Raises ValueError naming the controller and the array.
    """

    name: str
    err: Array
    work: Mapping[str, Array]
    tol: Array | None = None
    attempts: Array | None = None
    rejected: Array | None = None
    kind: str = "classical"
    instances: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        def fail(what: str) -> ValueError:
            return ValueError(f"runs of {self.name!r}: {what}")

        if self.kind not in KINDS:
            raise fail(f"unknown kind {self.kind!r}; one of {', '.join(KINDS)}")
        err = np.array(self.err, dtype=float)
        if err.ndim != 2 or err.size == 0:
            raise fail(f"err must be (instances, tolerances) and not empty, got shape {err.shape}")
        err[np.isnan(err)] = np.inf
        if (err < 0).any():
            raise fail("err holds negative values")
        unknown = set(self.work) - set(MEASURES)
        if unknown or "nfev" not in self.work:
            raise fail(
                f"work needs 'nfev' and knows {', '.join(MEASURES)}; got {', '.join(self.work) or 'nothing'}"
            )
        work = {k: np.array(v, dtype=float) for k, v in self.work.items()}
        work.setdefault("work", work["nfev"])
        for k, v in work.items():
            if k == "wall" and v.shape == err.shape[1:]:
                work[k] = v = v * work["nfev"] / work["nfev"].sum(axis=0)
            if v.shape != err.shape:
                raise fail(f"work[{k!r}] has shape {v.shape}, err has {err.shape}")
            if not (np.isfinite(v) & (v > 0)).all():
                raise fail(f"work[{k!r}] must be finite and positive")
        for k in ("attempts", "rejected"):
            v = getattr(self, k)
            if v is not None and np.shape(v) != err.shape:
                raise fail(f"{k} has shape {np.shape(v)}, err has {err.shape}")
        if self.tol is not None:
            tol = np.array(self.tol, dtype=float)
            if tol.shape != err.shape[1:] or not (np.isfinite(tol) & (tol > 0)).all():
                raise fail(f"tol must be {err.shape[1]} positive numbers, got {self.tol!r}")
            object.__setattr__(self, "tol", tol)
        ids = np.arange(len(err)) if self.instances is None else np.array(self.instances, dtype=np.int64)
        if ids.shape != (len(err),) or len(np.unique(ids)) != len(ids):
            raise fail(f"instances must be {len(err)} distinct numbers")
        object.__setattr__(self, "err", err)
        object.__setattr__(self, "work", work)
        object.__setattr__(self, "instances", ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """Numbers of the instances, shape (B,)."""
        assert self.instances is not None  # filled in by __post_init__
        return self.instances

    @property
    def failures(self) -> int:
        return int(np.isinf(self.err).sum())

    @property
    def rejected_share(self) -> float:
        """Rejected attempts over all attempts, NaN where they were not counted."""
        if self.attempts is None or self.rejected is None:
            return math.nan
        total = float(np.sum(self.attempts))
        return float(np.sum(self.rejected)) / total if total > 0 else math.nan

    def common(self, other: Runs) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows of this and of the other that hold the same instances."""
        here = np.flatnonzero(np.isin(self.ids, other.ids))
        order = np.argsort(other.ids)
        there = order[np.searchsorted(other.ids[order], self.ids[here])]
        if here.size == 0:
            raise ValueError(f"{self.name!r} and {other.name!r} share no instance")
        return here, there


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
    log_ratio              (B,) of every instance
    share_lost             share of instances where the controller loses: ratio above 1, or lost by coverage
    worst_1pct             geometric mean of the worst ceil(B/100) instances
    worst                  ratio on the worst instance
    lost                   numbers of the instances that the controller lost by coverage
    lost_by_denominator    numbers of those that the denominator lost
    matched                the second figure, by "gmean" and "q90"
    matched_levels         how many of the error levels it stands on, by the same
    """

    figure: Figure
    log_ratio: Array
    share_lost: float
    worst_1pct: float
    worst: float
    lost: tuple[int, ...]
    lost_by_denominator: tuple[int, ...]
    matched: dict[str, Figure]
    matched_levels: dict[str, int]

    def to_json(self) -> dict[str, object]:
        return {
            **self.figure.to_json(),
            "verdict": self.figure.verdict,
            "worst_1pct": _num(self.worst_1pct),
            "worst": _num(self.worst),
            "share_lost": _num(self.share_lost),
            "lost": list(self.lost),
            "lost_by_denominator": list(self.lost_by_denominator),
            "matched": {
                k: {**v.to_json(), "levels": self.matched_levels[k]} for k, v in self.matched.items()
            },
        }


@dataclass(frozen=True)
class Row:
    """One controller's line.

    work              by measure, its `WorkRatio`; None where it was not measured
    rejected_share    rejected attempts over all attempts
    failures, runs    how many runs failed, and of how many
    slope             tolerance proportionality, and `ideal_slope` = p/k if the caller knows it
    seeds             median and range of the ratio over training seeds, for a learned controller
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

    def to_json(self) -> dict[str, object]:
        row: dict[str, object] = {"name": self.name, "kind": self.kind}
        row |= {
            m: w.to_json() if w is not None else None for m, w in ((m, self.work.get(m)) for m in MEASURES)
        }
        row |= {"rejected_share": _num(self.rejected_share), "failures": self.failures, "runs": self.runs}
        row |= {"slope": _num(self.slope), "ideal_slope": _num(self.ideal_slope)}
        return row if self.seeds is None else row | {"seeds": {k: _num(v) for k, v in self.seeds.items()}}


def work_ratio(
    a: Runs, b: Runs, levels: ArrayLike, measure: str = "nfev", *, seed: int = 0, intervals: bool = True
) -> WorkRatio | None:
    """Both figures of A against B on the instances they share; None where one of them lacks the measure.

    levels       (L,) the family's error levels
    measure      one of `MEASURES`
    seed         of the bootstrap alone
    intervals    False leaves the second figure and all intervals out (NaN)
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown work measure {measure!r}; one of {', '.join(MEASURES)}")
    if measure not in a.work or measure not in b.work:
        return None
    ia, ib = a.common(b)
    ids = a.ids[ia]
    ea, eb, wa, wb = a.err[ia], b.err[ib], a.work[measure][ia], b.work[measure][ib]
    inst = curves.instance_ratios(
        curves.log_work_at(ea, wa, levels, looser=True), curves.log_work_at(eb, wb, levels), wa.max(axis=1)
    )
    r, n = inst.log_ratio, len(ia)
    tail = np.sort(r)[-math.ceil(n / 100) :]
    low = high = math.nan
    matched, matched_levels = {}, {}
    if intervals:
        low, high = curves.bca_interval(lambda i: r[i].mean(axis=1), n, seed=seed, resamples=RESAMPLES)
        for name in ("gmean", "q90"):

            def log_ratio(i: NDArray[np.intp], name: str = name) -> Array:
                return curves.family_log_ratio(ea[i], wa[i], eb[i], wb[i], levels, name)[0]

            point, shared = curves.family_log_ratio(ea, wa, eb, wb, levels, name)
            ends = curves.bca_interval(log_ratio, n, seed=seed, resamples=RESAMPLES_FAMILY)
            matched[name] = Figure(_exp(float(point)), _exp(ends[0]), _exp(ends[1]))
            matched_levels[name] = int(shared.sum())
    return WorkRatio(
        figure=Figure(_exp(float(r.mean())), _exp(low), _exp(high)),
        log_ratio=r,
        # rounding must not make a controller lose against itself
        share_lost=float((inst.lost_a | (r > 1e-12)).mean()),
        worst_1pct=_exp(float(tail.mean())),
        worst=_exp(float(tail[-1])),
        lost=tuple(int(i) for i in ids[inst.lost_a]),
        lost_by_denominator=tuple(int(i) for i in ids[inst.lost_b]),
        matched=matched,
        matched_levels=matched_levels,
    )


def point_ratio(a: Runs, b: Runs, levels: ArrayLike, measure: str = "work") -> float:
    """The ratio of `work_ratio` alone, without intervals, of runs that both have the measure."""
    found = work_ratio(a, b, levels, measure, intervals=False)
    if found is None:
        raise ValueError(f"{a.name!r} and {b.name!r} were not both measured in {measure!r}")
    return found.figure.ratio


def make_row(a: Runs, b: Runs, levels: ArrayLike, *, seed: int = 0, ideal_slope: float = math.nan) -> Row:
    """The whole line of A against the denominator B."""
    work = {m: work_ratio(a, b, levels, m, seed=seed) for m in ("nfev", "wall")}
    no_algebra = all(np.array_equal(r.work["work"], r.work["nfev"]) for r in (a, b))
    work["work"] = work["nfev"] if no_algebra else work_ratio(a, b, levels, "work", seed=seed)
    return Row(
        name=a.name,
        kind=a.kind,
        work=work,
        rejected_share=a.rejected_share,
        failures=a.failures,
        runs=a.err.size,
        slope=math.nan if a.tol is None else curves.tolerance_slope(a.tol, a.err),
        ideal_slope=ideal_slope,
    )


def across_seeds(ratios: Mapping[int, float]) -> tuple[int, dict[str, float]]:
    """The median training seed (lower of two) and {"n", "median", "low", "high"} of the ratio over seeds."""
    if not ratios:
        raise ValueError("no training seed given")
    order = sorted(ratios, key=lambda s: (ratios[s], s))
    seed = order[(len(order) - 1) // 2]
    ends = {"low": ratios[order[0]], "high": ratios[order[-1]]}
    return seed, {"n": float(len(order)), "median": ratios[seed], **ends}


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)


def _num(x: float) -> float | None:
    """JSON knows neither NaN nor infinity: null."""
    return float(x) if math.isfinite(x) else None
