"""The metric of an evaluation: ratios of work at equal error, lost instances, both figures, and rows of the table."""

import math

import numpy as np
import pytest

from stepsmith.train.evaluate import curves
from stepsmith.train.evaluate.metric import NO_GAIN, Runs, across_seeds, make_row, work_ratio
from work_runs import LEVELS, TOL, power_law, runs

# ---- first figure


def test_charges_of_the_denominator_alone_make_nothing_cheaper():
    b = runs()
    lost = Runs("lost", np.full(b.err.shape, np.inf), {"nfev": b.work["nfev"]}, tol=TOL)
    got = work_ratio(b, lost, LEVELS)
    assert got.figure.ratio < 1.0 and math.isnan(got.figure.high) and got.figure.verdict == NO_GAIN
    assert math.isnan(got.uncharged.ratio)
    assert work_ratio(lost, b, LEVELS).figure.verdict == "dearer"


def test_failing_at_most_tolerances_does_not_pay():
    b = runs()
    err, work = b.err.copy(), b.work["nfev"].copy()
    err[:, 3:14], work[:, 3:14] = np.inf, 1.0  # gives up at once
    work[:, :3] /= 100.0  # and is sloppy and cheap at loose tolerances, outside the band
    a = Runs("quitter", err, {"nfev": work}, tol=TOL)
    assert work_ratio(a, b, LEVELS).figure.ratio > 1.5


def test_known_ratio_is_exact():
    got = work_ratio(runs(cost=0.68), runs(), LEVELS)
    assert got.figure.ratio == pytest.approx(0.68, rel=1e-12)
    assert (got.figure.low, got.figure.high) == pytest.approx((0.68, 0.68), rel=1e-9)
    assert got.figure.verdict == "cheaper"
    assert got.share_lost == 0 and got.worst == pytest.approx(0.68) and got.lost == ()
    for figure in got.matched.values():
        assert (figure.ratio, figure.low, figure.high) == pytest.approx((0.68,) * 3, rel=1e-9)
    assert got.matched_levels == {"gmean": 33, "q90": 33}


def test_ratio_is_at_matched_error_not_at_matched_tolerance():
    # A spends 3 times less at every tolerance, and pays for it in error: at equal error both are the same
    slack = 3.0**5
    a = runs(err=TOL * slack, cost=1.0)
    b = runs()
    np.testing.assert_allclose(b.work["nfev"] / a.work["nfev"], 3.0)
    got = work_ratio(a, b, LEVELS)
    assert got.figure.ratio == pytest.approx(1.0, abs=1e-12) and got.figure.verdict == NO_GAIN


def test_different_orders_average_over_levels_in_the_log():
    got = work_ratio(runs(order=8), runs(order=5), LEVELS)
    expected = np.exp(np.mean((1 / 5 - 1 / 8) * np.log(LEVELS)))
    assert got.figure.ratio == pytest.approx(expected, rel=1e-12)


def test_mean_is_over_instances_in_the_log_and_the_tail_is_the_worst():
    cost = np.ones(200) * 0.5
    cost[:3] = 3.0, 2.0, 1.5
    got = work_ratio(runs(cost=cost, n=200), runs(n=200), LEVELS)
    assert got.figure.ratio == pytest.approx(np.exp(np.log(cost).mean()), rel=1e-12)
    assert got.worst == pytest.approx(3.0) and got.worst_1pct == pytest.approx(np.sqrt(6.0))
    assert got.share_lost == pytest.approx(3 / 200)
    assert got.figure.low < got.figure.ratio < got.figure.high < 1


def test_against_itself_is_no_gain_and_no_loss():
    a = runs()
    got = work_ratio(a, a, LEVELS)
    assert got.figure.ratio == 1 and got.share_lost == 0 and got.figure.verdict == NO_GAIN


def test_one_instance_has_no_interval_and_no_claim():
    got = work_ratio(runs(cost=0.5, n=1), runs(n=1), LEVELS)
    assert got.figure.ratio == pytest.approx(0.5)
    assert math.isnan(got.figure.low) and got.figure.verdict == NO_GAIN
    assert got.to_json()["low"] is None


# ---- lost instances


def fail_instance(r, i, work=None):
    err, w = r.err.copy(), r.work["nfev"].copy()
    err[i] = np.inf
    if work is not None:
        w[i] = work
    return Runs(r.name, err, {"nfev": w}, tol=r.tol, kind=r.kind)


def test_coverage_rule_is_eighty_percent_of_the_band():
    b = runs()
    a = runs(cost=0.5)
    reach = LEVELS[26] * (1 - 1e-9)  # 27 of 33 levels: 82 %
    for cut, lost in ((reach, ()), (LEVELS[25] * (1 - 1e-9), (4,))):
        err = a.err.copy()
        err[4] = np.maximum(err[4], cut)
        got = work_ratio(Runs("a", err, {"nfev": a.work["nfev"]}), b, LEVELS)
        assert got.lost == lost


@pytest.mark.parametrize("true_ratio", [0.3, 0.9, 1.1, 4.0, 9.9])
@pytest.mark.parametrize("spent", [1.0, 1e7])
def test_dropping_an_instance_never_looks_better(true_ratio, spent):
    cost = np.full(40, 0.7)
    cost[5] = true_ratio
    a, b = runs(cost=cost), runs()
    whole = work_ratio(a, b, LEVELS, intervals=False)
    dropped = work_ratio(fail_instance(a, 5, spent), b, LEVELS, intervals=False)
    assert dropped.lost == (5,)
    assert dropped.figure.ratio > whole.figure.ratio
    assert dropped.share_lost >= whole.share_lost and dropped.worst >= whole.worst
    assert dropped.log_ratio[5] >= math.log(curves.LOST_RATIO)
    if spent == 1e7:  # the work of failed runs counts
        assert dropped.log_ratio[5] > math.log(1e3)


def test_a_lost_instance_is_charged_to_both_sides_alike():
    a, b = runs(cost=0.7), runs()
    b = fail_instance(b, 5)
    got, back = work_ratio(a, b, LEVELS), work_ratio(b, a, LEVELS)
    assert got.lost == () and got.lost_by_denominator == (5,) == back.lost and back.lost_by_denominator == ()
    assert got.log_ratio[5] == -back.log_ratio[5] <= -math.log(curves.LOST_RATIO)
    assert got.figure.ratio * back.figure.ratio == pytest.approx(1.0, rel=1e-12)
    # the figure without any charge stands beside it, with an interval
    assert got.uncharged.ratio == pytest.approx(0.7, rel=1e-12) and got.uncharged.low == pytest.approx(0.7, rel=1e-9)
    assert got.figure.ratio < got.uncharged.ratio
    whole = work_ratio(a, runs(), LEVELS)
    assert whole.uncharged == whole.figure
    assert got.to_json()["uncharged"]["ratio"] == got.uncharged.ratio


def test_a_ratio_and_its_reverse_cancel():
    # instances that either loses, by no run or by a curve that stops in the band, and no level looser than all runs of
    # one side
    rng = np.random.default_rng(1)

    def failing(name, cost, order):
        e, w = power_law(cost=cost, order=order, n=60)
        err = e * np.exp(rng.normal(0.0, 0.3, e.shape))
        err[:, 0] = e[:, 0]
        err[rng.random(60) < 0.15] = np.inf
        err[rng.random(60) < 0.15, 5:] = np.inf
        return Runs(name, err, {"nfev": w}, tol=TOL)

    a, b = failing("a", rng.lognormal(-0.2, 0.3, 60), 6), failing("b", 1.0, 5)
    got, back = (work_ratio(*pair, LEVELS, intervals=False) for pair in ((a, b), (b, a)))
    assert got.lost and got.lost == back.lost_by_denominator
    assert back.lost and back.lost == got.lost_by_denominator
    assert got.lost_by_both == back.lost_by_both == tuple(np.flatnonzero(np.isnan(got.log_ratio))) != ()
    np.testing.assert_allclose(got.log_ratio, -back.log_ratio, atol=1e-12)
    assert got.figure.ratio * back.figure.ratio == pytest.approx(1.0, rel=1e-12)


def test_levels_looser_than_every_run_cost_the_cheapest_run_and_only_for_the_controller_under_test():
    b = runs()
    half = TOL * np.ones((40, 1))
    half[7] = np.geomspace(1e-5, 1e-9, 17)  # an easy instance: even the loosest tolerance gives 1e-5
    a = runs(cost=0.7, err=half)
    got = work_ratio(a, b, LEVELS)
    excess = (
        np.maximum(np.log(LEVELS / 1e-5), 0) / 5
    )  # log work of the accuracy that was not asked for, at order 5
    assert got.lost == () and got.log_ratio[7] == pytest.approx(np.log(0.7) + excess.mean())
    # as the denominator the same curve decides on the levels it reaches alone
    back = work_ratio(b, a, LEVELS)
    assert back.log_ratio[7] == pytest.approx(-np.log(0.7)) and back.lost_by_denominator == ()
    both = work_ratio(runs(cost=0.5, err=half), a, LEVELS)
    assert both.lost == () and both.log_ratio[7] == pytest.approx(np.log(0.5 / 0.7))


def test_an_instance_that_both_lose_says_nothing_and_is_counted():
    cost = np.full(40, 0.7)
    cost[6] = 1.8
    a, b = runs(cost=cost), runs()
    got = work_ratio(fail_instance(a, 5), fail_instance(b, 5), LEVELS)
    assert got.lost == got.lost_by_denominator == () and got.lost_by_both == (5,)
    assert math.isnan(got.log_ratio[5]) and len(got.known) == 39
    assert got.figure.ratio == pytest.approx(np.exp(np.log(np.delete(cost, 5)).mean())) == got.uncharged.ratio
    assert got.share_lost == pytest.approx(1 / 39)
    data = got.to_json()
    assert data["log_ratio"][5] is None and data["lost_by_both"] == [5]
    nothing = work_ratio(*(Runs(n, np.full((3, 17), np.inf), {"nfev": np.ones((3, 17))}) for n in "ab"), LEVELS)
    assert math.isnan(nothing.figure.ratio) and math.isnan(nothing.figure.low)


def test_no_overlap_is_lost_everywhere_and_undefined_in_the_second_figure():
    got = work_ratio(runs(err=np.geomspace(1e3, 1, 17)), runs(), LEVELS)
    assert len(got.lost) == 40 and got.share_lost == 1 and got.figure.ratio >= curves.LOST_RATIO
    for figure in got.matched.values():
        assert math.isnan(figure.ratio) and figure.verdict == "not defined"
    assert got.to_json()["matched"]["gmean"]["ratio"] is None


# ---- second figure


def test_second_figure_needs_one_tolerance_for_all():
    # A has B's curve on every instance, but scattered errors: one tolerance must serve the worst
    rng = np.random.default_rng(3)
    scatter = np.exp(rng.normal(0, 2, (200, 1)))
    e, w = power_law(n=200)
    b = Runs("b", e, {"nfev": np.full((200, 1), 100.0) * TOL ** (-1 / 5)})
    a = Runs("a", e * scatter, {"nfev": b.work["nfev"] * scatter ** (-1 / 5)})
    got = work_ratio(a, b, curves.error_levels(1e-4, 1e-6))
    assert got.figure.ratio == pytest.approx(1.0, abs=1e-9)
    err_q90 = np.quantile(scatter, 0.9, method="higher")
    expected = (err_q90 * np.mean(scatter ** (-1 / 5)) ** 5) ** (1 / 5)
    assert got.matched["q90"].ratio == pytest.approx(expected, rel=1e-9)
    expected = (np.exp(np.log(scatter).mean()) * np.mean(scatter ** (-1 / 5)) ** 5) ** (1 / 5)
    assert got.matched["gmean"].ratio == pytest.approx(expected, rel=1e-9)
    assert got.matched["q90"].low < got.matched["q90"].ratio < got.matched["q90"].high


def test_one_failed_run_ends_the_geometric_mean_curve_but_not_the_percentile():
    a, b = runs(cost=0.5), runs()
    err = a.err.copy()
    err[3, 9:] = np.inf  # tight tolerances fail on one instance: the band's tighter half is out of reach
    got = work_ratio(Runs("a", err, {"nfev": a.work["nfev"]}), b, LEVELS)
    assert math.isnan(got.matched["gmean"].ratio)
    assert got.matched["q90"].ratio == pytest.approx(0.5)


# ---- rows of the table, wall clock, bad runs


def test_row_counts_failures_and_rejections():
    e, w = power_law()
    e = e.copy()
    e[0, 0], e[1, 1] = np.inf, np.nan
    a = Runs("a", e, {"nfev": w}, tol=TOL, attempts=np.full(e.shape, 10), rejected=np.full(e.shape, 2))
    row = make_row(a, runs(), LEVELS, ideal_slope=1.0)
    assert row.failures == 2 and row.runs == 40 * 17
    assert row.rejected_share == pytest.approx(0.2) and row.slope == pytest.approx(1.0)
    assert math.isnan(make_row(runs(), runs(), LEVELS).rejected_share)


def test_wall_totals_are_spread_by_evaluations_and_agree_with_per_instance_times():
    e, w = power_law()
    per_instance = w * 1e-6
    a = Runs("a", e, {"nfev": w, "wall": per_instance})
    b = Runs("b", e, {"nfev": w, "wall": per_instance.sum(axis=0) * 2})
    np.testing.assert_allclose(b.work["wall"], 2 * per_instance)
    assert work_ratio(a, b, LEVELS, "wall").figure.ratio == pytest.approx(0.5)
    assert work_ratio(a, runs(), LEVELS, "wall") is None


def test_weighted_work_is_evaluations_where_there_is_no_linear_algebra():
    assert np.array_equal(runs().work["work"], runs().work["nfev"])


def test_rows_on_some_instances_only_are_paired_by_number():
    cost = np.linspace(0.5, 1.5, 40)
    a, b = runs(cost=cost), runs()
    some = [7, 3, 30]
    part = Runs("oracle", a.err[some], {"nfev": a.work["nfev"][some]}, kind="oracle", instances=some)
    got = work_ratio(part, b, LEVELS)
    assert got.figure.ratio == pytest.approx(np.exp(np.log(cost[some]).mean()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "unknown kind 'magic'"),
        ({"err": np.ones(3)}, "err must be"),
        ({"err": np.ones((0, 17))}, "not empty"),
        ({"err": -np.ones((40, 17))}, "negative"),
        ({"work": {"work": np.ones((40, 17))}}, "needs 'nfev'"),
        ({"work": {"nfev": np.ones((40, 17)), "time": np.ones((40, 17))}}, "knows nfev, work, wall"),
        ({"work": {"nfev": np.ones((40, 16))}}, r"has shape \(40, 16\)"),
        ({"work": {"nfev": np.zeros((40, 17))}}, "finite and positive"),
        ({"work": {"nfev": np.full((40, 17), np.nan)}}, "finite and positive"),
        ({"tol": np.zeros(17)}, "positive numbers"),
        ({"tol": np.ones(3)}, "positive numbers"),
        ({"attempts": np.ones(3)}, "attempts has shape"),
        ({"instances": np.zeros(40)}, "distinct"),
    ],
)
def test_bad_runs_are_named(change, message):
    e, w = power_law()
    with pytest.raises(ValueError, match=message) as info:
        Runs(**{"name": "mine", "err": e, "work": {"nfev": w}, **change})
    assert "'mine'" in str(info.value)


def test_unknown_measure_and_disjoint_instances():
    with pytest.raises(ValueError, match="unknown work measure 'flops'"):
        work_ratio(runs(), runs(), LEVELS, "flops")
    e, w = power_law()
    with pytest.raises(ValueError, match="share no instance"):
        work_ratio(Runs("a", e, {"nfev": w}, instances=np.arange(100, 140)), runs(), LEVELS)


def test_across_seeds():
    assert across_seeds({0: 0.7, 1: 0.6, 2: 0.65}) == (2, {"n": 3, "median": 0.65, "low": 0.6, "high": 0.7})
    assert across_seeds({4: 0.7, 9: 0.6})[0] == 9
    with pytest.raises(ValueError, match="no training seed"):
        across_seeds({})
