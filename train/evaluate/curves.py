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
extension, which would flatter A.  In the same way A counts between two vertices that are not joined with
the tighter one's work, where B is undefined.

A has lost an instance if it has no run accurate enough for at least `COVERAGE` of B's levels.  A lost
instance is never dropped, but charged the largest of log(`LOST_RATIO`), the worst log ratio measured on any
other instance, and the mean over B's levels of log(A's dearest run on the instance / W_B): giving up early
and giving up late are both expensive.  B has lost an instance if it reaches less than `COVERAGE` of the
whole band; A gets no credit for it: the levels that B does reach decide, and where B reaches none, the log
ratio is 0, or, if A too falls short of the band, the worst measured on any other instance.

Intervals are bias-corrected and accelerated (BCa) bootstrap intervals over instances: Efron, JASA 82 (1987)
171, eqs. 6.4-6.6.
"""

from __future__ import annotations

from collections.abc import Callable
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
class InstanceRatios:
    """Log ratio of A to B on every instance, shape (B,), with lost instances charged as the module says.

    `lost_a`, `lost_b`: bool (B,), instances lost by coverage.
    """

    log_ratio: Array
    lost_a: NDArray[np.bool_]
    lost_b: NDArray[np.bool_]


def instance_ratios(table_a: Array, table_b: Array, dearest_a: ArrayLike) -> InstanceRatios:
    """Log ratio of A to B on every instance.

    `table_a`, `table_b`: (B, L) from `log_work_at` on the same instances and levels, A's with `looser`;
    `dearest_a`: (B,) the largest work A spent on each instance in any run, failed ones included.
    """
    a, b = np.asarray(table_a, dtype=float), np.asarray(table_b, dtype=float)
    if a.ndim != 2 or a.shape != b.shape or a.size == 0:
        raise ValueError(
            f"curve tables must be (instances, levels), of one shape, not empty: got {a.shape} and {b.shape}"
        )
    has_a, has_b = np.isfinite(a), np.isfinite(b)
    shared = has_a & has_b
    count, levels = shared.sum(axis=1), has_b.sum(axis=1)
    lost_b = has_b.mean(axis=1) < COVERAGE - 1e-12
    lost_a = np.where(levels > 0, count < COVERAGE * levels - 1e-12, has_a.mean(axis=1) < COVERAGE - 1e-12)
    log_ratio = np.where(shared, a - b, 0.0).sum(axis=1) / np.maximum(count, 1)  # 0 where nothing is shared
    worst = max(0.0, float(log_ratio[~lost_a].max(initial=0.0)))
    for i in np.flatnonzero(lost_a):
        charge = max(worst, log_ratio[i])
        if levels[i] > 0:
            spent = float(np.nanmean(np.log(np.asarray(dearest_a, dtype=float)[i]) - b[i]))
            charge = max(charge, float(np.log(LOST_RATIO)), spent)
        log_ratio[i] = charge
    return InstanceRatios(log_ratio, lost_a, lost_b)


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


def bca_interval(
    statistic: Callable[[NDArray[np.intp]], Array], n: int, *, seed: int, resamples: int, level: float = 0.95
) -> tuple[float, float]:
    """BCa bootstrap interval over n instances.

    `statistic(index)`: int (R, m) -> (R,), the figure on R samples of instances.  A sample on which the
    figure is undefined (NaN) counts as +inf, which can only weaken a claim of being cheaper.  With fewer
    than two instances there is no interval: (NaN, NaN).
    """
    if n < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    point = float(statistic(np.arange(n)[None])[0])
    if not np.isfinite(point):
        return float("nan"), float("nan")
    chunk = max(1, 100_000 // n)  # bounds the memory of a statistic that gathers (R, n, T)
    boot = np.concatenate(
        [statistic(rng.integers(0, n, (min(chunk, resamples - k), n))) for k in range(0, resamples, chunk)]
    )
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
