"""Work-precision curves and the statistics of matched-error ratios, over plain arrays.

One instance and one controller give points (err_j, work_j), one a tolerance.  Their lower-left envelope

    W(e) = least work of a run whose error is at most e,

is taken at its vertices (points that no other run beats in both) and joined by straight lines in (log err,
log work).  Towards large errors it stays flat up to the largest finite error measured; beyond the measured
errors it is undefined (no extrapolation).  Two vertices with a failed run between them, in the order of the
tolerances, are not joined: a line over failures would make failing pay.

The ratio of A to B on an instance is the mean of log W_A - log W_B over the error levels that B's curve
reaches (B is the denominator).  Where such a level is looser than anything A produced, A counts with its
cheapest run: a real run, at least that accurate, so A's cost is at most overstated.  B is given no such
extension: it would flatter an A that is merely sloppier at the loosest tolerance.  In the same way A counts
between two vertices that are not joined with the tighter one's work, where B is undefined.  This rule alone
is not the same for both sides; it can only be to A's disadvantage.

One side has lost an instance to the other if it has no run accurate enough for at least `COVERAGE` of the levels
that the other's curve reaches, or, where that reaches none, of the whole band.  The side that lost is charged
the largest of log(`LOST_RATIO`), the worst log ratio measured against it on any other instance, and the mean over
the other's levels of log(its dearest run on the instance / the other's work): giving up early and giving up late
are both expensive.  The charge is the same whichever side is the denominator: if A lost it stands in the ratio as
it is, if B lost with the other sign.  An instance that both lost says nothing: its ratio is NaN, and it is counted.

Intervals are bias-corrected and accelerated (BCa) bootstrap intervals over instances: Efron, JASA 82 (1987)
171, eqs. 6.4-6.6.  Rounds of timing and training seeds are drawn beside the instances (`bca_interval`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

#: share of the error levels that a controller must reach on an instance, or it has lost it
COVERAGE = 0.8
#: least ratio that a lost instance is charged
LOST_RATIO = 10.0
LEVELS_PER_DECADE = 8
#: errors below half a unit in the last place cannot be measured: they count as this
ERR_FLOOR = 2.0**-53


def error_levels(largest: float, smallest: float, per_decade: int = LEVELS_PER_DECADE) -> Array:
    """Log-spaced error levels from `largest` down to `smallest`, both included, shape (L,).

    There are at least `per_decade` a decade.
    """
    if not (np.isfinite(largest) and 0 < smallest < largest):
        raise ValueError(
            f"error levels need 0 < smallest < largest < inf, got largest={largest}, smallest={smallest}"
        )
    if per_decade < 1:
        raise ValueError(f"per_decade must be at least 1, got {per_decade}")
    count = int(np.ceil(per_decade * np.log10(largest / smallest) - 1e-9)) + 1
    return np.geomspace(largest, smallest, count)


def envelope(err: ArrayLike, work: ArrayLike) -> tuple[Array, Array]:
    """Vertices of the lower-left monotone envelope of each curve.

    `err`, `work`: shape (..., T), one curve a row.  Returns (err, work), both (..., T + 1): errors
    ascending, work non-increasing.  A dominated or failed (not finite) run is replaced by the vertex before
    it; the last point carries the flat end up to the largest finite error.  A row of failures alone is inf
    throughout.
    """
    e, w = np.asarray(err, dtype=float), np.asarray(work, dtype=float)
    if e.ndim < 1 or e.shape != w.shape or e.shape[-1] == 0:
        raise ValueError(
            f"err and work must be (..., T) of one shape with T > 0, got shapes {e.shape} and {w.shape}"
        )
    ok = np.isfinite(e)
    e, w = np.where(ok, np.maximum(e, ERR_FLOOR), np.inf), np.where(ok, w, np.inf)
    e, w, vertex, _ = _vertices(e, w)
    best = np.minimum.accumulate(w, axis=-1)
    top = np.max(e, axis=-1, keepdims=True, where=np.isfinite(e), initial=-np.inf)
    top = np.where(np.isfinite(top), top, np.inf)
    ve, vw = np.take_along_axis(e, vertex, -1), np.take_along_axis(w, vertex, -1)
    return np.concatenate([ve, top], axis=-1), np.concatenate([vw, best[..., -1:]], axis=-1)


def _vertices(e: Array, w: Array) -> tuple[Array, Array, NDArray[np.intp], NDArray[np.intp]]:
    """(err, work) sorted by error; the index of every run's vertex in them; that vertex's place in the given order."""
    order = np.lexsort((w, e), axis=-1)
    e, w = np.take_along_axis(e, order, -1), np.take_along_axis(w, order, -1)
    best = np.minimum.accumulate(w, axis=-1)
    vertex = np.zeros(e.shape, dtype=np.intp)
    vertex[..., 1:] = np.where(w[..., 1:] < best[..., :-1], np.arange(1, e.shape[-1]), 0)
    vertex = np.maximum.accumulate(vertex, axis=-1)
    return e, w, vertex, np.take_along_axis(order, vertex, -1)


def _failures_up_to(err: ArrayLike, work: ArrayLike) -> NDArray[np.intp]:
    """How many failed runs stand before the vertex of each point of `envelope`, in the given order; shape (..., T + 1).
    """
    e, w = np.asarray(err, dtype=float), np.asarray(work, dtype=float)
    ok = np.isfinite(e)
    *_, place = _vertices(np.where(ok, np.maximum(e, ERR_FLOOR), np.inf), np.where(ok, w, np.inf))
    before = np.take_along_axis(np.cumsum(~ok, axis=-1), place, -1)
    return np.concatenate([before, before[..., -1:]], axis=-1)


def log_work_at(err: ArrayLike, work: ArrayLike, levels: ArrayLike, *, looser: bool = False) -> Array:
    """Natural log of the work at every error level; NaN where the envelope does not reach.

    `err`, `work` (..., T) in the order of the tolerances, `levels` (L,), result (..., L).  With `looser`, levels
    that no line of the envelope spans count as reached by the cheapest run that is at least as accurate.
    """
    x = np.log(np.asarray(levels, dtype=float))
    with np.errstate(invalid="ignore"):
        e, w = (np.log(v)[..., None, :] for v in envelope(err, work))
        slack = 1e-12 * np.maximum(1.0, np.abs(x))  # a level that is an end point up to rounding is reached
        right = np.sum(e <= (x + slack)[:, None], axis=-1, keepdims=True)
        left, right = np.maximum(right - 1, 0), np.minimum(right, e.shape[-1] - 1)
        e, w = (
            np.broadcast_to(e, (*right.shape[:-1], e.shape[-1])),
            np.broadcast_to(w, (*right.shape[:-1], w.shape[-1])),
        )
        e0, e1, w0, w1 = (np.take_along_axis(v, i, -1)[..., 0] for v in (e, w) for i in (left, right))
        failed = np.broadcast_to(_failures_up_to(err, work)[..., None, :], e.shape)
        f0, f1 = (np.take_along_axis(failed, i, -1)[..., 0] for i in (left, right))
        gap = e1 - e0
        joined = (f0 == f1) | (x <= e0 + slack)
        share = np.clip(np.where((gap > 0) & joined, (x - e0) / np.where(gap > 0, gap, 1.0), 0.0), 0.0, 1.0)
        y = w0 + share * (w1 - w0)
        reached = (x >= e[..., 0] - slack) & (looser | ((x <= e[..., -1] + slack) & joined))
    return np.where(reached, y, np.nan)


@dataclass(frozen=True)
class LevelWork:
    """What one controller's curves say at the error levels, on B instances.

    reached     (B, L) log work where the curve spans the level, NaN elsewhere
    looser      (B, L) the same with levels that are looser than every run counted at the cheapest accurate enough run
    dearest     (B,) the largest work of any run on the instance, failed ones included
    """

    reached: Array
    looser: Array
    dearest: Array


def level_work(err: ArrayLike, work: ArrayLike, levels: ArrayLike) -> LevelWork:
    """The `LevelWork` of runs (B, T) at levels (L,)."""
    w = np.asarray(work, dtype=float)
    return LevelWork(log_work_at(err, w, levels), log_work_at(err, w, levels, looser=True), w.max(axis=1))


@dataclass(frozen=True)
class InstanceRatios:
    """Log ratio of A to B on every instance, shape (B,), with lost instances charged as the module says.

    `lost_a`, `lost_b`: bool (B,), instances that the one lost to the other; where both did, `log_ratio` is NaN.
    """

    log_ratio: Array
    lost_a: NDArray[np.bool_]
    lost_b: NDArray[np.bool_]


def instance_ratios(a: LevelWork, b: LevelWork) -> InstanceRatios:
    """Log ratio of A to B on every instance, both on the same instances and levels.

    Raises ValueError for tables of another shape than (instances, levels), and for empty ones.
    """
    if a.reached.ndim != 2 or a.reached.shape != b.reached.shape or a.reached.size == 0:
        raise ValueError(
            "curve tables must be (instances, levels), of one shape, not empty: "
            f"got {a.reached.shape} and {b.reached.shape}"
        )
    forth, lost_a = _one_way(a, b)
    back, lost_b = _one_way(b, a)
    fair = ~lost_a & ~lost_b
    log_ratio = np.where(fair, forth, np.nan)
    if (only := lost_a & ~lost_b).any():
        log_ratio[only] = _charges(a, b, forth, fair)[only]
    if (only := lost_b & ~lost_a).any():
        log_ratio[only] = -_charges(b, a, back, fair)[only]
    return InstanceRatios(log_ratio, lost_a, lost_b)


def _one_way(a: LevelWork, b: LevelWork) -> tuple[Array, NDArray[np.bool_]]:
    """(B,) mean log ratio of A over the levels that B's curve reaches, 0 where there are none; whether A lost to B."""
    has = np.isfinite(b.reached)
    shared = has & np.isfinite(a.looser)
    count, levels = shared.sum(axis=1), has.sum(axis=1)
    band = np.isfinite(a.looser).mean(axis=1) < COVERAGE - 1e-12
    lost = np.where(levels > 0, count < COVERAGE * levels - 1e-12, band)
    return np.where(shared, a.looser - b.reached, 0.0).sum(axis=1) / np.maximum(count, 1), lost


def _charges(a: LevelWork, b: LevelWork, measured: Array, fair: NDArray[np.bool_]) -> Array:
    """(B,) what A is charged on an instance that it lost to B alone; measured: log ratios, of which `fair` count."""
    worst = max(float(np.log(LOST_RATIO)), float(measured[fair].max(initial=0.0)))
    has = np.isfinite(b.reached)
    other = np.where(has, b.reached, 0.0).sum(axis=1) / np.maximum(has.sum(axis=1), 1)
    spent = np.where(has.any(axis=1), np.log(a.dearest) - other, 0.0)
    return np.asarray(np.maximum(np.maximum(worst, spent), measured))


def family_statistic(err: Array, statistic: str) -> Array:
    """One error for the whole family at every tolerance: `err` (..., B, T) -> (..., T).

    "gmean": geometric mean; "q90": 90th percentile, rounded up to a measured run.  One failed run makes the
    geometric mean inf, as METRIC gives a failed run the error inf; the percentile bears up to 10 % of them.
    """
    err = np.maximum(err, ERR_FLOOR)
    if statistic == "gmean":
        return np.exp(np.log(err).mean(axis=-2))
    if statistic == "q90":
        return np.quantile(err, 0.9, axis=-2, method="higher")
    raise ValueError(f"unknown family statistic {statistic!r}; one of 'gmean', 'q90'")


def family_log_ratio(
    err_a: Array, work_a: Array, err_b: Array, work_b: Array, levels: ArrayLike, statistic: str
) -> tuple[Array, NDArray[np.bool_]]:
    """The second figure: one tolerance for the whole family, matched at the family's error.

    `err_*`, `work_*`: (..., B, T_*).  Each curve has one point a tolerance: (statistic of the errors, mean
    work), work interpolated between tolerances on the envelope.  Looser levels than A's errors count at
    its cheapest tolerance, as for instances.  Returns (mean log ratio over the shared levels (...), which
    levels both reach: bool (..., L)).  The ratio is NaN where A reaches less than `COVERAGE` of the levels that
    B reaches, or B reaches none.
    """
    a = log_work_at(family_statistic(err_a, statistic), work_a.mean(axis=-2), levels, looser=True)
    b = log_work_at(family_statistic(err_b, statistic), work_b.mean(axis=-2), levels)
    has_a, has_b = np.isfinite(a), np.isfinite(b)
    shared = has_a & has_b
    count = shared.sum(axis=-1)
    mean = np.where(shared, a - b, 0.0).sum(axis=-1) / np.maximum(count, 1)
    defined = has_b.any(axis=-1) & (count >= COVERAGE * has_b.sum(axis=-1) - 1e-12)
    return np.where(defined, mean, np.nan), shared


def small_sample(count: int) -> float:
    """Factor by which the deviations of `count` draws from their mean are widened before they are drawn again.

    A resampled mean of few draws varies too little, by sqrt((k - 1)/k), and the spread that it takes from them is
    itself uncertain.  The factor makes up for both, sqrt(k/(k - 1)) times Student's quantile over the normal one: an
    interval of the draws alone is then Student's of 95 %.  1.58 for 5 draws, 2.69 for 3.
    """
    from scipy.special import stdtrit

    return float(np.sqrt(count / (count - 1.0)) * stdtrit(count - 1, 0.975) / NormalDist().inv_cdf(0.975))


def bca_interval(
    statistic: Callable[[NDArray[np.intp]], Array],
    n: int,
    *,
    seed: int,
    resamples: int,
    level: float = 0.95,
    beside: Sequence[Array] = (),
) -> tuple[float, float]:
    """BCa bootstrap interval over n instances.

    `statistic(index)`: int (R, m) -> (R,), the figure on R samples of instances.  A sample on which the
    figure is undefined (NaN) counts as +inf, which can only weaken a claim of being cheaper.  With fewer
    than two instances there is no interval: (NaN, NaN).

    beside: of everything else that varies (rounds of timing, training seeds) an array (k, n), what each of its k draws
    gives on every instance, less their mean.  With every sample of instances, k of them are drawn with replacement,
    their mean over the same instances is added, widened by `small_sample`.  One draw alone says nothing on how it
    varies: there is no interval.
    """
    if n < 2 or any(len(drawn) < 2 for drawn in beside):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    point = float(statistic(np.arange(n)[None])[0])
    if not np.isfinite(point):
        return float("nan"), float("nan")
    chunk = max(1, 100_000 // n)  # bounds the memory of a statistic that gathers (R, n, T)
    parts = []
    for k in range(0, resamples, chunk):
        index = rng.integers(0, n, (min(chunk, resamples - k), n))
        value = statistic(index)
        for drawn in beside:
            value = value + drawn_means(drawn, index, shares(len(drawn), len(index), rng))
        parts.append(value)
    boot = np.concatenate(parts)
    boot = np.sort(np.where(np.isnan(boot), np.inf, boot))
    leave_one_out = np.nonzero(~np.eye(n, dtype=bool))[1].reshape(n, n - 1)
    jack = np.concatenate([statistic(leave_one_out[k : k + chunk]) for k in range(0, n, chunk)])
    jack = jack[np.isfinite(jack)]
    d = jack.mean() - jack if jack.size else np.zeros(1)
    spread = float((d**2).sum())
    accel = float((d**3).sum()) / (6.0 * spread**1.5) if spread > 0 else 0.0
    # ties count half, so that a discrete or degenerate bootstrap distribution is not called biased
    tie = 1e-12 * max(1.0, abs(point))
    below = (boot < point - tie).mean() + 0.5 * (np.abs(boot - point) <= tie).mean()
    normal = NormalDist()
    z0 = normal.inv_cdf(min(max(float(below), 0.5 / resamples), 1 - 0.5 / resamples))
    ends = []
    for q in ((1 - level) / 2, (1 + level) / 2):
        z = z0 + normal.inv_cdf(q)
        shrink = 1.0 - accel * z
        share = normal.cdf(z0 + z / shrink) if shrink > 0 else float(z > 0)
        ends.append(float(boot[min(max(int(np.floor(share * resamples)), 0), resamples - 1)]))
    return ends[0], ends[1]


def shares(count: int, resamples: int, rng: np.random.Generator) -> Array:
    """(R, k) share of every one of k draws in R samples of k with replacement."""
    return rng.multinomial(count, np.full(count, 1.0 / count), resamples) / count


def drawn_means(drawn: Array, index: NDArray[np.intp], share: Array) -> Array:
    """(R,) means of deviations (k, n) over draws with shares (R, k) and over the instances index (R, m), widened by
    `small_sample`.
    """
    return small_sample(len(drawn)) * np.take_along_axis(share @ drawn, index, axis=1).mean(axis=1)


def tolerance_slope(tol: ArrayLike, err: ArrayLike) -> float:
    """Tolerance proportionality: the slope of log error against log tolerance, its median over the instances.

    tol: (T,).  err: (B, T).  The slope of an instance is that of least squares; failed runs are left out.  NaN if no
    instance has two runs left.
    """
    x = np.log(np.asarray(tol, dtype=float))
    slopes = []
    for e in np.asarray(err, dtype=float):
        ok = np.isfinite(e)
        dx = x[ok] - x[ok].mean() if ok.any() else x[:0]
        if (dx**2).sum() > 0:
            slopes.append(float((dx * np.log(np.maximum(e[ok], ERR_FLOOR))).sum() / (dx**2).sum()))
    return float(np.median(slopes)) if slopes else float("nan")
