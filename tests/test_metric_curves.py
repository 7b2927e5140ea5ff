"""Curves of work over error, of which the metric is made: envelope, interpolation, bootstrap interval and slope."""

import math

import numpy as np
import pytest
from scipy import stats

from stepsmith.train.evaluate import curves
from work_runs import LEVELS, TOL

# ---- curves


def test_error_levels_are_eight_a_decade_with_both_ends():
    assert len(LEVELS) == 33
    assert LEVELS[0] == pytest.approx(1e-3) and LEVELS[-1] == pytest.approx(1e-7)
    np.testing.assert_allclose(np.diff(np.log10(LEVELS)), -1 / 8)
    for bad in ((1e-7, 1e-3), (np.inf, 1e-3), (1e-3, 0)):
        with pytest.raises(ValueError, match="smallest < largest"):
            curves.error_levels(*bad)


def test_envelope_drops_dominated_and_failed_runs_and_stays_flat_to_the_largest_error():
    err = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5, np.inf, np.nan]
    work = [60, 80, 50, 200, 190, 1e9, 1.0]  # 60 and 80 are dominated by 50, 200 by 190
    e, w = curves.envelope(err, work)
    assert list(zip(e, w, strict=True))[-1] == (1e-1, 50)
    assert dict(zip(e, w, strict=True)) == {1e-5: 190, 1e-3: 50, 1e-1: 50}
    assert (np.diff(e) >= 0).all() and (np.diff(w) <= 0).all()


def test_interpolation_is_linear_in_log_log_and_never_extrapolates():
    got = np.exp(curves.log_work_at([1e-2, 1e-4], [10.0, 1000.0], [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]))
    np.testing.assert_allclose(got, [np.nan, 10, 100, 1000, np.nan], rtol=1e-12)
    assert np.isnan(curves.log_work_at([np.inf, np.nan], [1.0, 2.0], LEVELS)).all()


def test_log_work_agrees_with_numpy_interp_on_random_curves():
    rng = np.random.default_rng(1)
    err, work = 10 ** rng.uniform(-9, -1, (200, 12)), 10 ** rng.uniform(1, 4, (200, 12))
    err[np.arange(12) < rng.integers(0, 4, (200, 1))] = np.inf  # none between two that finish
    table = curves.log_work_at(err, work, LEVELS)
    for e, w, row in zip(err, work, table, strict=True):
        ve, vw = curves.envelope(e, w)
        ve, keep = np.unique(ve, return_index=True)
        expected = np.interp(np.log(LEVELS), np.log(ve), np.log(vw[keep]), left=np.nan, right=np.nan)
        np.testing.assert_allclose(row, expected, rtol=1e-10)
        # the curve never undercuts the definition at a vertex: least work among runs of at most that error
        for v, cost in zip(ve, vw[keep], strict=True):
            assert cost == w[e <= v * (1 + 1e-15)].min()


def test_no_line_is_drawn_over_failed_runs():
    levels = [1e-1, 1e-2, 1e-3, 1e-4, 1e-5]
    err = np.array([1e-1, 1e-2, np.inf, 1e-4, 1e-5])
    work = np.array([10.0, 100.0, 150.0, 1e4, 1e5])
    # as the denominator it says nothing between its 1e-2 and its 1e-4; under test it costs what the run at 1e-4 did
    gap = np.array([10.0, 100.0, np.nan, 1e4, 1e5])
    np.testing.assert_allclose(np.exp(curves.log_work_at(err, work, levels)), gap)
    np.testing.assert_allclose(
        np.exp(curves.log_work_at(err, work, levels, looser=True)), np.where(np.isnan(gap), 1e4, gap)
    )
    # a run between them that finishes but is dominated breaks nothing
    err[2], work[2] = 5e-2, 9e3
    np.testing.assert_allclose(np.exp(curves.log_work_at(err, work, levels)), [10.0, 100.0, 1e3, 1e4, 1e5])


def test_zero_error_counts_as_the_floor():
    e, _ = curves.envelope([0.0, 1e-3], [10.0, 1.0])
    assert e[0] == curves.ERR_FLOOR


# ---- bootstrap


def test_bca_agrees_with_scipy():
    x = np.random.default_rng(5).exponential(1.0, 60)
    low, high = curves.bca_interval(lambda i: x[i].mean(axis=1), 60, seed=0, resamples=20_000)
    ref = stats.bootstrap((x,), np.mean, method="BCa", n_resamples=20_000, rng=np.random.default_rng(1))
    assert low == pytest.approx(ref.confidence_interval.low, abs=0.015)
    assert high == pytest.approx(ref.confidence_interval.high, abs=0.02)


def test_bootstrap_covers_the_truth_about_95_percent_of_the_time():
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(300):
        x = rng.normal(0.3, 1.0, 100)
        low, high = curves.bca_interval(lambda i, x=x: x[i].mean(axis=1), 100, seed=0, resamples=1000)
        hits += low <= 0.3 <= high
    assert 0.90 <= hits / 300 <= 0.985  # three standard deviations are 0.038


def test_bootstrap_is_seeded_and_undefined_samples_weaken_the_claim():
    x = np.random.default_rng(7).normal(size=30)

    def mean(i):
        return x[i].mean(axis=1)

    def sometimes_nan(i):
        return np.where((i == 3).any(axis=1) | (i.shape[0] == 1), x[i].mean(axis=1), np.nan)

    assert curves.bca_interval(mean, 30, seed=1, resamples=500) == curves.bca_interval(
        mean, 30, seed=1, resamples=500
    )
    assert curves.bca_interval(mean, 30, seed=1, resamples=500) != curves.bca_interval(
        mean, 30, seed=2, resamples=500
    )
    assert curves.bca_interval(sometimes_nan, 30, seed=1, resamples=500)[1] == np.inf


# ---- slope over tolerances


def test_tolerance_slope():
    err = np.array([3.0, 5.0, 9.0])[:, None] * TOL**0.8
    err[0, 3] = np.inf
    assert curves.tolerance_slope(TOL, err) == pytest.approx(0.8)
    assert math.isnan(curves.tolerance_slope(TOL, np.full((2, 17), np.inf)))
