"""Aggregates over runs and protocols, against values worked by hand and against SciPy."""

import numpy as np
import pytest
from scipy import stats

from stepsmith.train.bench import aggregate

#: four seeds of two protocols
RATIOS = np.array([[0.8, 1.0], [0.9, 1.1], [0.7, 1.2], [1.0, 5.0]])


def test_worked_by_hand():
    # protocols: means 0.85 and 2.075
    assert aggregate.mean(RATIOS) == pytest.approx(1.4625)
    assert aggregate.median(RATIOS) == pytest.approx(1.4625)
    # sorted .7 .8 .9 1 1 1.1 1.2 5: without two at each end, .9 1 1 1.1
    assert aggregate.iqm(RATIOS) == pytest.approx(1.0)
    assert aggregate.excess(RATIOS) == pytest.approx((0.1 + 0.2 + 4.0) / 8)
    # 3.5 of 4 runs below the law's work, a tie counting a half; .5 of 4
    assert aggregate.better(RATIOS) == pytest.approx((3.5 / 4 + 0.5 / 4) / 2)


@pytest.mark.parametrize("shape", [(5, 3), (2, 1), (7, 4), (1, 3)])
def test_interquartile_mean_is_scipy_s(shape):
    ratios = np.random.default_rng(0).lognormal(size=shape)
    assert aggregate.iqm(ratios) == pytest.approx(stats.trim_mean(ratios, 0.25, axis=None))


def test_probability_is_mann_and_whitney_s():
    ratios = np.random.default_rng(1).lognormal(sigma=0.1, size=(5, 3))
    u = [stats.mannwhitneyu(np.ones(5), column, alternative="greater").statistic / 25 for column in ratios.T]
    assert aggregate.better(ratios) == pytest.approx(np.mean(u))


def test_intervals_are_stratified_percentiles():
    ratios = np.random.default_rng(2).lognormal(sigma=0.2, size=(6, 3))
    found = aggregate.estimates(ratios, seed=3, resamples=4000)
    rng = np.random.default_rng(4)
    again = [aggregate.iqm(ratios[rng.integers(0, 6, (6, 3)), np.arange(3)]) for _ in range(4000)]
    e = found["iqm"]
    assert (e.low, e.high) == pytest.approx(np.percentile(again, [2.5, 97.5]), abs=0.01)
    assert e.low <= e.value <= e.high
    assert found == aggregate.estimates(ratios, seed=3, resamples=4000)


def test_seeds_that_agree_leave_no_interval():
    found = aggregate.estimates(np.tile([0.9, 1.1], (5, 1)))
    assert found["mean"].low == found["mean"].high == pytest.approx(1.0)
    zero = aggregate.estimates(np.ones((5, 3)))
    assert zero["better"].value == 0.5 and zero["excess"].value == 0.0


def test_a_run_that_never_gets_there():
    ratios = np.array([[0.9], [0.95], [np.inf], [0.8]])
    found = aggregate.estimates(ratios)
    assert found["iqm"].value == pytest.approx(0.925) and found["mean"].value == np.inf


def test_profile():
    value, low, high = aggregate.profile(RATIOS, np.array([0.5, 0.9, 1.0, 10.0]))
    assert value == pytest.approx([0.0, 3 / 8, 5 / 8, 1.0])
    assert np.all(low <= value) and np.all(value <= high)
