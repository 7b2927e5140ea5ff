"""Clocks of a comparison: what their intervals cover, and what they are read against."""

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.train.evaluate import contestants, curves, metric
from stepsmith.train.evaluate.clock import SINGLE_INSTANCES, SINGLE_KNOBS, single_clock, wall_clock
from stepsmith.train.evaluate.headline import compare_runs
from stepsmith.train.evaluate.metric import Runs, work_ratio
from stepsmith.train.evaluate.own_kernels import own_kernels
from stepsmith.train.evaluate.rates import rate_of, without_turns
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.evaluate.turns import ENOUGH, MOST_CALLS, least
from stepsmith.train.run.progress import Progress
from work_runs import LEVELS, TOL, power_law, runs

FAMILY, METHOD = "lotka_volterra", "tsit5"


def clocked(names, seconds, costs=None, n=10):
    """Runs of contestants, by rounds of seconds an evaluation (C, R, T)."""
    out = []
    for name, rounds, cost in zip(names, without_turns(seconds), costs or [1.0] * len(names), strict=True):
        e, w = power_law(cost=cost, n=n)
        rate = rate_of(rounds, np.arange(len(TOL)), len(TOL))
        out.append(Runs(name, e, {"nfev": w, "wall": w * rate.seconds}, tol=TOL, rounds={"wall": rate.rounds}))
    return out


def noise(rng, count, rounds, kind):
    """Seconds (C, R, T) of contestants that are equally fast, on a machine that is not quiet."""
    spent = 1e-6 * np.exp(rng.normal(0.0, 0.03, (count, rounds, len(TOL))))
    if kind == "drift":  # the machine is slower in some rounds, for all
        spent *= np.exp(rng.normal(0.0, 0.1, (1, rounds, 1)))
    if kind == "spikes":  # another job takes its turn now and then
        spent *= np.where(rng.random(spent.shape) < 0.1, 1.5, 1.0)
    return spent


@pytest.mark.parametrize("rounds, kind", [(5, "plain"), (5, "drift"), (5, "spikes"), (3, "drift"), (9, "drift")])
def test_laws_of_the_same_cost_get_an_interval_that_holds_one(monkeypatch, rounds, kind):
    monkeypatch.setattr(metric, "RESAMPLES", 500)
    monkeypatch.setattr(metric, "RESAMPLES_FAMILY", 2)
    rng, held, widths = np.random.default_rng(0), 0, []
    for _ in range(200):
        a, b = clocked("ab", noise(rng, 2, rounds, kind))
        f = work_ratio(a, b, LEVELS, "wall").figure
        held += f.low <= 1.0 <= f.high
        widths.append(np.log(f.high / f.low))
    assert held >= 0.9 * 200
    assert np.median(widths) < (0.2 if kind == "spikes" else {3: 0.2, 5: 0.1, 9: 0.06}[rounds])


def test_without_the_rounds_the_interval_leaves_the_noise_out():
    a, b = clocked("ab", noise(np.random.default_rng(1), 2, 5, "plain"))
    bare = [Runs(r.name, r.err, r.work, tol=TOL) for r in (a, b)]
    f, g = (work_ratio(*pair, LEVELS, "wall").figure for pair in ((a, b), bare))
    assert g.ratio == f.ratio and np.log(f.high / f.low) > 10.0 * np.log(g.high / g.low)


def test_one_round_has_no_interval_and_makes_no_claim():
    a, b = clocked("ab", noise(np.random.default_rng(1), 2, 1, "plain"), [0.5, 1.0])
    got = work_ratio(a, b, LEVELS, "wall")
    assert got.figure.ratio == pytest.approx(0.5, rel=0.1) and got.figure.verdict == metric.NO_GAIN
    assert got.to_json()["low"] is None and got.matched["gmean"].verdict == metric.NO_GAIN


def test_a_difference_that_is_there_is_found():
    a, b = clocked("ab", noise(np.random.default_rng(2), 2, 5, "drift"), [0.8, 1.0])
    f = work_ratio(a, b, LEVELS, "wall").figure
    assert f.low < 0.8 < f.high < 0.95 and f.verdict == "cheaper"


def test_training_seeds_are_in_the_interval():
    cost = np.exp(np.random.default_rng(0).normal(np.log(0.8), 0.05, 40))
    a, b = runs("a", "learned", cost=cost), runs()
    seeds = [runs(str(k), "learned", cost=cost * factor) for k, factor in enumerate((0.9, 1.0, 1.1))]
    alone, several = (work_ratio(a, b, LEVELS, seeds=s).figure for s in ((), seeds))
    assert alone.ratio == several.ratio
    # of three seeds alone it would be Student's interval, t = 4.30 with two degrees of freedom
    spread = np.log([0.9, 1.0, 1.1]).std(ddof=1) / np.sqrt(3.0) * 4.303
    assert several.high / several.ratio == pytest.approx(np.exp(spread), rel=0.12)
    assert several.verdict == metric.NO_GAIN and alone.verdict == "cheaper"
    same = work_ratio(a, b, LEVELS, seeds=[a, a, a]).figure
    assert (same.low, same.high) == pytest.approx((alone.low, alone.high), rel=5e-3)
    row = compare_runs(
        [a, runs("tuned", "tuned")], LEVELS, family="f", method="m", error="e", seed=0, against="tuned",
        seeds={"a": seeds},
    ).row("a")  # fmt: skip
    assert row.seeds["n"] == 3 and row.work["nfev"].figure.high == several.high


def test_small_samples_are_widened_as_student_says():
    assert curves.small_sample(5) == pytest.approx(np.sqrt(5 / 4) * 2.7764 / 1.95996, rel=1e-4)
    assert curves.small_sample(3) == pytest.approx(np.sqrt(3 / 2) * 4.3027 / 1.95996, rel=1e-4)


def test_what_a_turn_does_to_all_is_taken_out():
    own = np.array([1.0, 2.0, 5.0])[:, None, None] * np.ones((3, 4, 2))
    slow = np.array([1.0, 3.0, 1.5, 1.0])[None, :, None]
    np.testing.assert_allclose(without_turns(own * slow).std(axis=1), 0.0, atol=1e-12)
    missing = own * slow
    missing[1, :, 1] = np.nan
    found = without_turns(missing)
    assert np.isnan(found[1, :, 1]).all() and np.isfinite(found[0]).all()
    np.testing.assert_allclose(without_turns(slow * np.ones((1, 4, 2))), slow * np.ones((1, 4, 2)), rtol=1e-15)
    # nothing is taken out of a turn that one contestant took alone
    missing[2, :, 1] = np.nan
    found = without_turns(missing)
    np.testing.assert_allclose(found[0, :, 1], missing[0, :, 1], rtol=1e-15)
    np.testing.assert_allclose(found[:, :, 0].std(axis=1), 0.0, atol=1e-12)


def test_a_turn_that_is_over_at_once_is_taken_several_times_and_the_least_counts():
    spent = iter([0.3 * ENOUGH, 0.2 * ENOUGH, 0.6 * ENOUGH, 0.1 * ENOUGH])
    assert least(lambda: next(spent)) == 0.2 * ENOUGH  # three calls are enough, the fourth is not made
    assert len(list(spent)) == 1
    spent = iter([ENOUGH, 0.0])
    assert least(lambda: next(spent)) == ENOUGH and len(list(spent)) == 1
    spent = iter([1e-9 * (100 - i) for i in range(100)])
    assert least(lambda: next(spent)) == 1e-9 * (101 - MOST_CALLS) and len(list(spent)) == 100 - MOST_CALLS


def test_a_training_seed_without_a_figure_leaves_no_interval():
    cost = np.exp(np.random.default_rng(0).normal(np.log(0.8), 0.05, 40))
    a, b = runs("a", "learned", cost=cost), runs()
    seeds = [runs(str(k), "learned", cost=cost * factor) for k, factor in enumerate((0.9, 1.0, 1.1))]
    err = seeds[2].err.copy()
    err[0] = np.inf  # fails on one instance: the family has no mean error then
    failing = Runs("2", err, {"nfev": seeds[2].work["nfev"]}, tol=TOL, kind="learned")
    got = work_ratio(a, b, LEVELS, seeds=[*seeds[:2], failing])
    assert got.matched["gmean"].ratio == work_ratio(a, b, LEVELS).matched["gmean"].ratio
    assert np.isnan(got.matched["gmean"].high) and got.matched["gmean"].verdict == metric.NO_GAIN
    assert np.isfinite(got.matched["q90"].high) and got.figure.high > 1.0


def test_a_rate_between_the_knobs_that_were_timed():
    rate = rate_of(np.array([[1.0, 4.0], [2.0, 8.0], [4.0, 16.0]]), np.array([1, 3]), 5)
    np.testing.assert_allclose(rate.seconds, [8.0, 2.0, 4.0, 8.0, 8.0])
    np.testing.assert_allclose(rate.rounds, np.array([0.5, 1.0, 2.0])[:, None] * np.ones(5))


def table_of(names, n=6):
    split = draw(FAMILY, METHOD, "test", n, 4)
    laws = [contestants.by_tolerance(name, "classical", registry.get(name), split) for name in names]
    return split, [(e, e.sweep(split)) for e in laws]


def test_a_law_with_the_coefficients_of_another_runs_in_its_kernel():
    _, table = table_of(["arkode", "h0321", "h211b"], 2)
    own = {e.name: e.at(1e-3) for e, _ in own_kernels(table, ["h0321"])}
    assert own["arkode"].known == own["h0321"].known != registry.get("h0321").known
    assert own["h211b"].known == registry.get("h211b").known


@pytest.mark.parametrize("clock", [wall_clock, single_clock])
def test_the_same_law_under_two_names_overlaps_by_either_clock(clock):
    split, table = table_of(["arkode", "h0321", "pi34"])
    assert np.array_equal(table[0][1].nfev, table[1][1].nfev)
    bar = Progress("x", 1, "x", False)
    rates = clock(table, split, 5, 50_000, bar)
    bar.close()
    name = "wall" if clock is wall_clock else "single"
    twins, other = [e.runs(split, s, {name: rates[e.name]}) for e, s in table[:2]], table[2]
    base = other[0].runs(split, other[1], {name: rates["pi34"]})
    assert twins[0].rounds[name].shape == (5, len(split.tolerances))
    one, two = (work_ratio(r, base, split.family.error_levels, name).figure for r in twins)
    # intervals of a quiet machine are a per cent wide; another job may move one of the two by as much
    assert max(one.low, two.low) <= 1.02 * min(one.high, two.high)
    f = work_ratio(*twins, split.family.error_levels, name).figure
    assert f.low <= 1.02 and 1.0 <= 1.02 * f.high
    assert SINGLE_INSTANCES >= 8 and SINGLE_KNOBS >= 3


def test_the_clock_has_a_denominator_of_its_own():
    # pi34 takes more evaluations than the tuned law, and less time
    def law(name, kind, cost, seconds):
        e, w = power_law(cost=cost)
        return Runs(name, e, {"nfev": w, "wall": w * seconds}, tol=TOL, kind=kind, rounds={"wall": np.ones((3, 17))})

    test = [
        law("mine", "learned", 0.8, 1.5), law("tuned", "tuned", 0.95, 1.2), law("pi34", "classical", 1.0, 1.0),
        law("i", "classical", 1.2, 0.8),
    ]  # fmt: skip
    given = {"family": "f", "method": "m", "error": "e", "seed": 0, "against": "tuned"}
    c = compare_runs(test, LEVELS, clocks={"wall": "pi34"}, **given)
    head = c.headline()
    # on the test split `i` is faster still, and the headline says so
    assert (head["against"], head["against_wall"], head["against_single"]) == ("tuned", "i", None)
    assert head["wall"]["ratio"] == pytest.approx(0.8 * 1.5 / (1.2 * 0.8))
    assert head["nfev"]["ratio"] == pytest.approx(0.8 / 0.95)
    assert any("i takes 0.960 of pi34's time on the test split" in note for note in head["notes"])
    assert c.row("tuned").work["wall"].figure.ratio == pytest.approx(0.95 * 1.2 / 0.96)
    assert head["single"] == {"ratio": None, "low": None, "high": None}
    without = compare_runs(test[:3], LEVELS, clocks={"wall": "pi34"}, **given).headline()
    assert without["against_wall"] == "pi34" and any("against pi34, the fastest law" in n for n in without["notes"])
    # a law all of whose test runs failed has no clock there
    without = compare_runs(test[:2], LEVELS, clocks={"wall": "h211b"}, **given).headline()
    assert without["against_wall"] == "tuned" and any("h211b has none on the test split" in n for n in without["notes"])


def test_bad_rounds_are_named():
    e, w = power_law()
    for rounds, says in (
        ({"wall": np.ones((3, 17))}, "rounds of 'wall', of which there is no clock"),
        ({"nfev": np.ones((3, 17))}, "rounds of 'nfev'"),
    ):
        with pytest.raises(ValueError, match=says):
            Runs("a", e, {"nfev": w}, rounds=rounds)
    with pytest.raises(ValueError, match=r"rounds\['wall'\] must be"):
        Runs("a", e, {"nfev": w, "wall": w}, rounds={"wall": np.ones((3, 5))})


def test_clocks_are_switched_off_alone():
    args = {"n": 4, "n_validation": 3, "progress": False, "repeats": 2}
    with pytest.raises(ValueError, match="single must be True or False"):
        ss.compare(FAMILY, METHOD, single="no", **args)


def test_the_clocks_of_training_seeds_that_compute_different_things_are_said_to_be_the_median_seeds():
    from stepsmith.train.evaluate.measured import Measured

    split = draw(FAMILY, METHOD, "test", 4, 4)
    bar = Progress("x", 1, "x", False)
    said = {}
    for names in (("pi34", "pi34"), ("pi34", "h211b")):
        found = Measured(split, split, 50_000, bar)
        found.run_laws([contestants.by_tolerance("h0321", "classical", registry.get("h0321"), split)])
        found.run_learned([contestants.Guest("mine", "learned", tuple(registry.get(n) for n in names))])
        found.time(["wall"], 1)
        said[names] = any("mine: its training seeds differ" in sentence for sentence in found.said)
    bar.close()
    assert said == {("pi34", "pi34"): False, ("pi34", "h211b"): True}
