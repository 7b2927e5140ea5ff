"""The matched-error work ratio: one controller's runs in, table rows and the data object out.

The definition is the project's one metric: work at equal *error*, per instance, averaged in the log over
error levels and instances, with a bootstrap interval over instances and over what else varies: rounds of timing for a
clock, training seeds for a learned controller.  `curves.py` holds the mathematics (envelope, coverage, lost instances,
BCa interval), `runs.py` what was measured, `rows.py` what comes out.  `headline.py` chooses the denominator and makes
the table.

Two figures stand in every row.  The first lets each instance have its own tolerance (per-instance curves).
The second has one tolerance for the family, matched at the geometric-mean error ("gmean") and at the
90th-percentile error ("q90").

**Rounds of timing.**  The contestants take turns, so that a round is one measurement of A and of B under the same
conditions: the ratio is taken round by round, and rounds are drawn, not seconds.  The figure itself stands on the
median of the rounds, whose error is up to sqrt(pi/2) times that of their mean: deviations of rounds are widened by
that (`OF_MEDIAN`), and by `curves.small_sample`, because five rounds are few.

**Training seeds.**  The row's figure is that of the median seed.  Its interval draws the seeds as it draws rounds:
a controller of three seeds is known no better than three trainings tell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import curves
from .curves import Array
from .rows import NO_GAIN, Figure, Row, WorkRatio, across_seeds
from .runs import CLOCKS, DENOMINATOR_KINDS, KINDS, MEASURES, Runs

__all__ = [
    "CLOCKS", "DENOMINATOR_KINDS", "KINDS", "MEASURES", "NO_GAIN", "OF_MEDIAN", "RESAMPLES", "RESAMPLES_FAMILY",
    "Figure", "Row", "Runs", "WorkRatio", "across_seeds", "make_row", "point_ratio", "work_ratio",
]  # fmt: skip

RESAMPLES = 10_000
RESAMPLES_FAMILY = 1_000
#: error of a median of many normal numbers over that of their mean
OF_MEDIAN = math.sqrt(math.pi / 2.0)


def work_ratio(
    a: Runs,
    b: Runs,
    levels: ArrayLike,
    measure: str = "nfev",
    *,
    seed: int = 0,
    intervals: bool = True,
    seeds: Sequence[Runs] = (),
) -> WorkRatio | None:
    """Both figures of A against B on the instances they share; None where one of them lacks the measure.

    levels       (L,) the family's error levels
    measure      one of `MEASURES`
    seed         of the bootstrap alone
    intervals    False leaves the second figure and all intervals out (NaN)
    seeds        runs of all training seeds of A, on A's instances; fewer than two leave their variance out

    Raises ValueError for an unknown measure, and for runs without a common instance.
    """
    if measure not in MEASURES:
        raise ValueError(f"unknown work measure {measure!r}; one of {', '.join(MEASURES)}")
    if measure not in a.work or measure not in b.work:
        return None
    pair = _Pair(a, b, levels, measure)
    inst = pair.ratios()
    r, ids = inst.log_ratio, pair.ids
    known = np.isfinite(r)
    beside = pair.beside(seeds) if intervals else {}
    fair = known & ~inst.lost_a & ~inst.lost_b
    low = high = math.nan
    matched, matched_levels = {}, {}
    if intervals:
        low, high = _interval(r, known, beside, seed)
        for name in ("gmean", "q90"):
            matched[name], matched_levels[name] = pair.matched(name, seeds, seed)
    tail = np.sort(r[known])[-math.ceil(max(int(known.sum()), 1) / 100) :]
    figure = Figure(_exp(_mean(r[known])), _exp(low), _exp(high))
    if not fair.any() and figure.ratio < 1.0:
        figure = Figure(figure.ratio, math.nan, math.nan)  # a charge of the denominator's alone makes nothing cheaper
    uncharged = figure
    if not fair.all():
        ends = _interval(r, fair, beside, seed) if intervals else (math.nan, math.nan)
        uncharged = Figure(_exp(_mean(r[fair])), _exp(ends[0]), _exp(ends[1]))
    lost_a, lost_b, both = inst.lost_a & ~inst.lost_b, inst.lost_b & ~inst.lost_a, inst.lost_a & inst.lost_b
    return WorkRatio(
        figure=figure,
        instances=ids,
        log_ratio=r,
        # rounding must not make a controller lose against itself
        share_lost=float((lost_a | (known & (r > 1e-12)))[known].mean()) if known.any() else math.nan,
        worst_1pct=_exp(_mean(tail)),
        worst=_exp(float(tail[-1])) if tail.size else math.nan,
        uncharged=uncharged,
        lost=_numbers(ids, lost_a),
        lost_by_denominator=_numbers(ids, lost_b),
        lost_by_both=_numbers(ids, both),
        matched=matched,
        matched_levels=matched_levels,
        beside=beside,
    )


class _Pair:
    """A and B on the instances that they share, in one measure."""

    def __init__(self, a: Runs, b: Runs, levels: ArrayLike, measure: str) -> None:
        self.a, self.b, self.levels, self.measure = a, b, levels, measure
        self.rows_a, self.rows_b = a.common(b)
        self.ids = a.ids[self.rows_a]

    def ratios(self, a: Runs | None = None, round_: int | None = None) -> curves.InstanceRatios:
        """Log ratios of A, or of another run on the same instances; round_: in that round of timing alone."""
        sides = ((self.a if a is None else a, self.rows_a), (self.b, self.rows_b))
        return curves.instance_ratios(
            *(curves.level_work(r.err[rows], self._work(r, round_)[rows], self.levels) for r, rows in sides)
        )

    def _work(self, r: Runs, round_: int | None) -> Array:
        factor = r.rounds.get(self.measure)
        return r.work[self.measure] if round_ is None or factor is None else r.work[self.measure] * factor[round_]

    @property
    def rounds(self) -> int | None:
        """How many rounds of timing the sides have in common; None where they were not kept."""
        counts = [len(r.rounds[self.measure]) for r in (self.a, self.b) if self.measure in r.rounds]
        return min(counts) if counts else None

    def beside(self, seeds: Sequence[Runs]) -> dict[str, Array]:
        """(k, B) deviations of the log ratio in every round of timing and every training seed from their mean."""
        out = {}
        if (count := self.rounds) is not None:
            out["rounds"] = OF_MEDIAN * _deviations([self.ratios(round_=k).log_ratio for k in range(count)])
        if len(seeds) > 1 and all(self.measure in s.work for s in seeds):
            out["seeds"] = _deviations([self.ratios(s).log_ratio for s in seeds])
        return out

    def matched(self, statistic: str, seeds: Sequence[Runs], seed: int) -> tuple[Figure, int]:
        """The second figure with its interval, and on how many levels it stands."""
        ea, eb = self.a.err[self.rows_a], self.b.err[self.rows_b]
        wa, wb = self._work(self.a, None)[self.rows_a], self._work(self.b, None)[self.rows_b]

        def log_ratio(i: NDArray[np.intp]) -> Array:
            return curves.family_log_ratio(ea[i], wa[i], eb[i], wb[i], self.levels, statistic)[0]

        def once(a: Runs, round_: int | None) -> Array:
            sides = ((a, self.rows_a), (self.b, self.rows_b))
            both = [v for r, rows in sides for v in (r.err[rows], self._work(r, round_)[rows])]
            found = curves.family_log_ratio(both[0], both[1], both[2], both[3], self.levels, statistic)[0]
            return np.full(len(self.ids), float(found))

        each = []
        if (count := self.rounds) is not None:
            each.append((OF_MEDIAN, [once(self.a, k) for k in range(count)]))
        if len(seeds) > 1 and all(self.measure in s.work for s in seeds):
            each.append((1.0, [once(s, None) for s in seeds]))
        point, shared = curves.family_log_ratio(ea, wa, eb, wb, self.levels, statistic)
        n = len(self.ids)
        if not all(np.isfinite(v).all() for _, several in each for v in several):
            # a training seed that does not reach the levels has no figure: how much seeds differ is not known
            return Figure(_exp(float(point)), math.nan, math.nan), int(shared.sum())
        beside = [factor * _deviations(several) for factor, several in each]
        ends = curves.bca_interval(log_ratio, n, seed=seed, resamples=RESAMPLES_FAMILY, beside=beside)
        return Figure(_exp(float(point)), _exp(ends[0]), _exp(ends[1])), int(shared.sum())


def _interval(r: Array, rows: NDArray[np.bool_], beside: Mapping[str, Array], seed: int) -> tuple[float, float]:
    """Ends of the mean log ratio over some rows, with what is drawn beside the instances."""
    v = r[rows]
    drawn = [d[:, rows] for d in beside.values()]
    return curves.bca_interval(lambda i: v[i].mean(axis=1), len(v), seed=seed, resamples=RESAMPLES, beside=drawn)


def _deviations(each: Sequence[Array]) -> Array:
    """(k, B) of k results (B,) from the mean of those that are defined; 0 where a result is not."""
    table = np.array(each)
    known = np.isfinite(table)
    mean = np.where(known, table, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, table - mean, 0.0)


def _numbers(ids: NDArray[np.int64], rows: NDArray[np.bool_]) -> tuple[int, ...]:
    return tuple(int(i) for i in ids[rows])


def point_ratio(a: Runs, b: Runs, levels: ArrayLike, measure: str = "work") -> float:
    """The ratio of `work_ratio` alone, without intervals, of runs that both have the measure."""
    found = work_ratio(a, b, levels, measure, intervals=False)
    if found is None:
        raise ValueError(f"{a.name!r} and {b.name!r} were not both measured in {measure!r}")
    return found.figure.ratio


def make_row(
    a: Runs,
    b: Runs,
    levels: ArrayLike,
    *,
    seed: int = 0,
    ideal_slope: float = math.nan,
    clocks: Mapping[str, Runs] | None = None,
    seeds: Sequence[Runs] = (),
) -> Row:
    """The whole line of A against the denominator B.

    clocks: by clock, the denominator of its figures where it is another than B.  seeds: as in `work_ratio`.
    """
    base = {m: (clocks or {}).get(m, b) for m in CLOCKS}
    work = {"nfev": work_ratio(a, b, levels, "nfev", seed=seed, seeds=seeds)}
    work |= {m: work_ratio(a, base[m], levels, m, seed=seed, seeds=seeds) for m in CLOCKS}
    no_algebra = all(np.array_equal(r.work["work"], r.work["nfev"]) for r in (a, b))
    work["work"] = work["nfev"] if no_algebra else work_ratio(a, b, levels, "work", seed=seed, seeds=seeds)
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


def _mean(v: Array) -> float:
    return float(v.mean()) if v.size else math.nan


def _exp(x: float) -> float:
    return math.inf if x > 700 else math.exp(x)
