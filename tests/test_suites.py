"""Suites: tuning, training and comparing over several families at once, on cheap explicit ones."""

from __future__ import annotations

import json

import numpy as np
import pytest

from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.problems import suites
from stepsmith.integrators.problems.suites import Suite
from stepsmith.train.config import config as configs
from stepsmith.train.evaluate.metric import Runs
from stepsmith.train.evaluate.suite_compare import compare_suite, hindsight
from stepsmith.train.tune.search import tune

TOY = Suite("toy", "tsit5", ("lotka_volterra", "fitzhugh_nagumo"), ("vanderpol",), "for tests")
DECISION = Decision(("log_err", "log_err_1", "log_ratio_1"), "i")


@pytest.fixture(autouse=True)
def toy(monkeypatch, tmp_path):
    monkeypatch.setitem(suites.SUITES, "toy", TOY)
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path))
    return tmp_path


def test_members():
    assert suites.members("toy") == (TOY.families, "tsit5") and suites.members("toy", "dopri5")[1] == "dopri5"
    assert suites.members("lorenz") == (("lorenz",), "dopri5")
    with pytest.raises(ValueError, match="did you mean 'lorenz'|lorenz"):
        suites.members("lorentz")
    for suite in suites.SUITES.values():
        assert not set(suite.families) & set(suite.unseen)


def test_a_law_is_tuned_on_all_families_and_found_by_the_suites_name(toy):
    found = tune("toy", n=3, evaluations=60, seed=1, restarts=1, n_validation=3, progress=False)
    path = found.save()
    assert path.name == "toy-tsit5.json" and found.facts["train"]["instances"] == 6
    assert set(found.facts["families"]) == set(TOY.families)
    report = compare_suite("toy", n=4, n_validation=3, wall=False, progress=False)
    assert report.against in report.validation and "tuned" in report.validation
    assert min(report.validation.values()) == 1.0
    # the best law there, or the one that beats it on the test instances, which is then said
    assert report.validation[report.against] == 1.0 or any(
        note.startswith(f"{report.against} beats") for note in report.notes
    )


def test_the_law_itself_as_a_network_of_zeros_costs_the_same(toy):
    law = [Learned.random(DECISION, (4,), seed, 0.0, name="nothing") for seed in range(3)]
    report = compare_suite("toy", [law], n=4, n_validation=3, repeats=1, progress=False)
    assert {r.family: r.unseen for r in report.rows} == {
        "lotka_volterra": False,
        "fitzhugh_nagumo": False,
        "vanderpol": True,
    }
    # the network is the I law: its ratio to the denominator is the I law's own, in every family and over the suite
    assert report.figures["work"].ratio == pytest.approx(report.laws["i"], rel=1e-6)
    assert report.seeds == pytest.approx(
        {"n": 3.0, "median": report.laws["i"], "low": report.laws["i"], "high": report.laws["i"]}
    )
    f = report.figures["work"]
    assert f.low <= f.ratio <= f.high and report.figures["wall"].ratio > 0.0
    for r in report.rows:
        assert r.against_best.ratio >= r.work["work"].figure.ratio * 0.999 and r.costs is None
        # the best single law over the denominator is this row's two ratios; hindsight chooses anew at every instance
        # and level
        best = r.work["work"].figure.ratio / r.against_best.ratio
        assert 0.3 < r.hindsight <= best * (1.0 + 1e-9)
    assert report.hindsight == pytest.approx(np.sqrt(report.rows[0].hindsight * report.rows[1].hindsight))
    data = json.loads(json.dumps(report.to_json(), allow_nan=False))
    assert data["hindsight"] == report.hindsight and data["rows"][2]["hindsight"] == report.rows[2].hindsight
    assert len(data["rows"]) == 3 and data["headline"]["against"] == report.against
    assert report.plot(toy / "suite.png").stat().st_size > 10_000
    assert "vanderpol (unseen)" in str(report)


def test_hindsight_by_hand():
    # three laws on two instances: work falls with the error as a power, so that envelopes are straight lines in the
    # logarithms
    tol = np.array([1e-2, 1e-3, 1e-4, 1e-5])
    levels = np.array([1e-3, 1e-4])

    def law(name, factor, power):
        work = np.array(factor)[:, None] * tol ** -np.array(power)[:, None]
        return Runs(name, np.tile(tol, (2, 1)), {"nfev": work, "work": work}, tol, kind="classical")

    base = law("base", [10.0, 20.0], [0.25, 0.25])
    steep, dear = law("steep", [4.0, 30.0], [0.45, 0.15]), law("dear", [50.0, 90.0], [0.25, 0.25])
    logs = []
    for i in range(2):
        each = []
        for level in levels:
            costs = [
                f[i] * level ** -p[i]
                for f, p in (([10, 20], [0.25, 0.25]), ([4, 30], [0.45, 0.15]), ([50, 90], [0.25, 0.25]))
            ]
            each.append(np.log(min(costs) / costs[0]))
        logs.append(np.mean(each))
    assert min(logs) < -0.2 and hindsight([base, steep, dear], base, levels) == pytest.approx(
        np.exp(np.mean(logs)), rel=1e-9
    )
    assert hindsight([base, dear], base, levels) == pytest.approx(1.0)
    # an instance that the denominator does not bring to the levels counts as equal, as in the ratios beside
    lost = Runs("base", np.array([tol, [np.inf] * 4]), base.work, tol, kind="classical")
    assert hindsight([lost, steep, dear], lost, levels) == pytest.approx(np.exp(logs[0] / 2.0), rel=1e-9)


def test_several_controllers_are_refused():
    with pytest.raises(ValueError, match="one learned controller"):
        compare_suite(
            "toy", [Learned.random(DECISION, (4,), i, name=name) for i, name in enumerate("ab")], n=2, progress=False
        )
    with pytest.raises(ValueError, match="unknown suite"):
        compare_suite("toi", n=2, progress=False)


def test_the_evolution_strategy_trains_on_a_suite(toy):
    pytest.importorskip("torch")
    from stepsmith.controllers.file import load_controller
    from stepsmith.train.run.run import train

    data = {
        "name": "toy", "algorithm": "es",
        "env": {"family": "toy", "law": "i", "pool_size": 6, "features": list(DECISION.observation.features)},
        "policy": {"hidden": [3], "activation": "relu"}, "train": {"generations": 3, "population": 4, "instances": 4},
        "evaluate": {"every": 10, "instances": 3, "against": "i"},
    }  # fmt: skip
    path = train(configs.from_dict(data), seed=0, out=toy / "run", progress=False)
    found = load_controller(path)
    assert found.family == "toy" and np.isfinite(found.weights).all()
    data["algorithm"], data["train"], data["evaluate"] = "ppo", {}, {}
    with pytest.raises(ValueError, match="suite"):
        train(configs.from_dict(data), out=toy / "ppo", progress=False)
