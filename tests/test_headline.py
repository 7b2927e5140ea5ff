import json

import numpy as np
import pytest

from stepsmith.train.evaluate import curves
from stepsmith.train.evaluate.headline import cheaper, choose_denominator, compare_runs
from stepsmith.train.evaluate.metric import NO_GAIN, Runs
from stepsmith.train.evaluate.suite_measured import best_law
from stepsmith.train.run import provenance

LEVELS = curves.error_levels(1e-3, 1e-7)
TOL = np.geomspace(1e-1, 1e-9, 17)


def power_law(cost=1.0, order=5.0, err=None, n=40, seed=0):
    """work = cost * err^(-1/order): straight in log-log, so every interpolation is exact; each (n, T)."""
    scale = np.exp(np.random.default_rng(seed).normal(0, 1, (n, 1)))  # per-instance difficulty
    e = TOL * np.ones((n, 1)) if err is None else err * np.ones((n, 1))
    return e, 100 * scale * np.broadcast_to(np.asarray(cost, float), (n,))[:, None] * e ** (-1 / order)


def runs(name="a", kind="classical", extra=None, **kw):
    e, w = power_law(**kw)
    return Runs(name, e, {"nfev": w, **(extra or {})}, tol=TOL, kind=kind)


def fail_instance(r, i, work=None):
    err, w = r.err.copy(), r.work["nfev"].copy()
    err[i] = np.inf
    if work is not None:
        w[i] = work
    return Runs(r.name, err, {"nfev": w}, tol=r.tol, kind=r.kind)


def test_denominator_is_the_best_law_and_never_the_host_default():
    laws = [
        runs("pi34", cost=1.0),
        runs("pi42", cost=1.2),
        runs("tuned", "tuned", cost=0.93),
        runs("scipy", "host", cost=0.1),
        runs("oracle", "oracle", cost=0.1),
    ]
    name, ratios = choose_denominator(laws, LEVELS)
    assert name == "tuned"
    assert ratios == pytest.approx({"pi34": 1 / 0.93, "pi42": 1.2 / 0.93, "tuned": 1.0})
    with pytest.raises(ValueError, match="no law"):
        choose_denominator(laws[3:], LEVELS)


def test_a_law_that_loses_instances_is_not_chosen_for_it():
    cheap = runs("cheap", cost=0.95)
    for i in range(4):
        cheap = fail_instance(cheap, i, 1.0)
    assert choose_denominator([cheap, runs("pi34")], LEVELS)[0] == "pi34"


def everything(tuned=0.93, pi34=1.0):
    wall = {"wall": np.geomspace(1e-3, 1, 17)}
    return [
        runs("mine", "learned", cost=0.6, extra=wall),
        runs("tuned", "tuned", cost=tuned, extra=wall),
        runs("pi34", cost=pi34, extra=wall),
        runs("scipy", "host", cost=1.3, extra=wall),
    ]


def compare(test, **kw):
    kw = {"validation": everything()[1:], **kw}
    return compare_runs(test, LEVELS, family="f", method="tsit5", error="final_state", seed=11, **kw)


def test_headline_is_against_the_best_on_validation():
    c = compare(everything())
    assert c.against == "tuned" and c.controller == "mine"
    assert c.headline()["nfev"]["ratio"] == pytest.approx(0.6 / 0.93)
    assert not any("beats" in n for n in c.notes)
    assert compare(everything(), validation=None, against="tuned").headline()["nfev"] == c.headline()["nfev"]


def test_headline_uses_and_names_a_published_law_that_beats_the_choice_on_the_test_split():
    c = compare(everything(tuned=1.1))
    assert c.against == "pi34"
    assert c.headline()["nfev"]["ratio"] == pytest.approx(0.6)
    assert any("pi34 beats tuned on the test split" in n for n in c.notes)
    assert c.row("pi34").work["nfev"].figure.ratio == 1


def test_instances_beyond_the_band_are_counted_in_the_notes():
    test = everything()
    easy = test[1].err.copy()
    easy[:6] = np.geomspace(1e-6, 1e-9, 17)
    test[1] = Runs("tuned", easy, test[1].work, tol=TOL, kind="tuned")
    notes = compare(test).notes
    assert (
        "tuned reaches less than 80 % of the band on 6 of 40 instances: there the levels it reaches decide"
        in notes
    )


def test_data_object_has_exactly_the_published_keys():
    c = compare(everything(), notes=["1 of 40 references fails its own check"])
    data = json.loads(c.dumps())
    assert list(data) == [
        "family", "method", "error", "instances", "seed", "versions", "commit", "rows", "headline",
    ]  # fmt: skip
    assert (data["family"], data["method"], data["error"]) == ("f", "tsit5", "final_state")
    assert (data["instances"], data["seed"]) == (40, 11)
    assert {"python", "numpy", "cpu"} <= set(data["versions"])
    assert [r["name"] for r in data["rows"]] == ["mine", "tuned", "pi34", "scipy"]
    assert [r["kind"] for r in data["rows"]] == ["learned", "tuned", "classical", "host"]
    for row in data["rows"]:
        assert {"rejected_share", "failures", "slope"} <= set(row)
        for m in ("nfev", "work", "wall"):
            assert {"ratio", "low", "high", "worst_1pct", "worst", "share_lost", "matched"} <= set(row[m])
            assert set(row[m]["matched"]) == {"gmean", "q90"}
    head = data["headline"]
    assert head["against"] == "tuned" and head["controller"] == "mine"
    for m in ("nfev", "work", "wall"):
        assert set(head[m]) == {"ratio", "low", "high"}
    assert "1 of 40 references fails its own check" in head["notes"]


def test_a_bound_stands_beside_the_controller_on_the_same_instances():
    # the learned controller gains on the later instances, on which the bound was not searched
    cost = np.where(np.arange(40) < 12, 0.9, 0.5)
    some = np.arange(3, 12)
    test = [*everything()[1:], runs("mine", "learned", cost=cost)]
    bound = runs("plan", "oracle", cost=0.4)
    test.append(Runs("plan", bound.err[some], {"nfev": bound.work["nfev"][some]}, kind="oracle", instances=some))
    c = compare(test)
    here = c.row("plan").here
    assert here.name == "mine" and list(here.work["nfev"].instances) == list(some)
    assert here.work["nfev"].figure.ratio == pytest.approx(0.9 / 0.93)
    assert c.row("mine").work["nfev"].figure.ratio < 0.7 and c.row("mine").here is None
    data = {r["name"]: r for r in c.to_json()["rows"]}
    assert data["plan"]["same_instances"]["nfev"]["ratio"] == pytest.approx(0.9 / 0.93)
    assert data["plan"]["same_instances"]["nfev"]["instances"] == data["plan"]["nfev"]["instances"] == list(some)
    assert any("on the 9 instances of plan, f-evaluations: plan 0.43" in n and "mine 0.97" in n for n in c.notes)
    with pytest.raises(ValueError, match="not all instances"):
        bound.part(np.array([3, 99]))


def test_losing_and_missing_controllers_are_said_plainly():
    test = everything()
    test[0] = runs("mine", "learned", cost=np.exp(np.random.default_rng(0).normal(np.log(0.93), 0.3, 40)))
    assert compare(test).headline()["verdict"] == NO_GAIN
    assert compare(test).row("mine").to_json()["wall"] is None
    head = compare(everything()[1:]).headline()
    assert head["controller"] is None and head["nfev"]["ratio"] is None and head["verdict"] == "not defined"


@pytest.mark.parametrize(
    ("kw", "message"),
    [
        ({"against": "tuned"}, "either the validation runs or"),
        ({"validation": None}, "either the validation runs or"),
        ({"validation": None, "against": "pi43"}, "no runs of 'pi43'"),
        ({"controller": "yours"}, "no runs of 'yours'"),
    ],
)
def test_bad_comparisons_are_named(kw, message):
    with pytest.raises(ValueError, match=message):
        compare(everything(), **kw)


def test_doubled_and_ambiguous_names():
    with pytest.raises(ValueError, match="not distinct"):
        compare(everything() + [runs("pi34")])
    with pytest.raises(ValueError, match="several learned"):
        compare(everything() + [runs("other", "learned")])
    with pytest.raises(ValueError, match="no row 'x'"):
        compare(everything()).row("x")


def test_commit_is_known_only_inside_a_checkout(tmp_path):
    assert provenance.commit(tmp_path) is None
    assert "numpy" in provenance.versions() and "core" in provenance.cpu_model()
    assert set(provenance.provenance()) == {"versions", "commit"}


def test_laws_that_cannot_be_compared_on_a_family_hide_no_better_one():
    def none(name):
        return Runs(name, np.full((40, 17), np.inf), {"nfev": np.ones((40, 17))}, tol=TOL)

    easy = {"a": runs("a", cost=1.5), "b": runs("b", cost=1.4), "c": runs("c")}
    hard = {"a": none("a"), "b": none("b"), "c": runs("c")}
    name, ratios = best_law({"easy": easy, "hard": hard}, {"easy": LEVELS, "hard": LEVELS})
    assert name == "c" and min(ratios.values()) == ratios["c"] == 1.0
    assert cheaper({"a": np.nan, "b": 0.5}) == "b" and cheaper({"a": np.nan}) is cheaper({}) is None
