"""The search of a closed form on a fitness whose optimum is known, and whole runs of it."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from stepsmith.controllers.file import load
from stepsmith.integrators.core.record import ERR, N_RECORD, ORDER, T_LEFT, TRUNCATED, H
from stepsmith.policies import closed_form
from stepsmith.train.cli import program as cli
from stepsmith.train.closed.feature_costs import FeatureCosts
from stepsmith.train.closed.stages import Found, Search, Settings, on_law
from stepsmith.train.config import config as configs
from stepsmith.train.run import run as runs

NAMES = ("log_err", "log_left", "log_hs")


class Known:
    """log_left with weight .3 and the product log_err*log_left with .2 are worth something; all else costs."""

    def __init__(self, settings):
        self.settings, self.attempts = settings, 0

    def draw(self, rng):
        pass

    def __call__(self, controller):
        self.attempts += 1
        weight, bias = closed_form.matrix(controller)
        at = dict(zip(controller.decision.observation.features, weight[0].tolist(), strict=True))
        miss = [at.get("log_left", 0.0) - 0.3, at.get("log_err*log_left", 0.0) - 0.2, bias[0] - 0.1]
        miss += [0.3 * at.get(name, 0.0) for name in ("log_hs", "log_err")]
        if len(weight) > 1:
            miss += weight[1].tolist()
        return float(np.sum(np.square(miss)))


COSTS = FeatureCosts(100.0, {"log_err": 1.0, "log_left": 2.0, "log_hs": 3.0}, 4.0)


def searched(found=None, **changes):
    settings = Settings(generations=60, refine=30, polish=30, population=8, sigma=0.2, decay=0.0, **changes)
    first = closed_form.linear(NAMES, "pi34")
    return first, list(Search(first, Known(settings), COSTS.log_cost, settings, 1, order=5.0).stages(found))


def test_the_search_keeps_what_pays_and_finds_the_product():
    _, found = searched(worse=1e-4)
    last = found[-1].controller
    assert last.decision.n_act == 1 and last.decision.law.as_dict()["accept_err"] == pytest.approx(1.0, rel=1.0)
    assert last.decision.observation.features == ("log_left", "log_err*log_left")
    weight, bias = closed_form.matrix(last)
    np.testing.assert_allclose(weight[0], [0.3, 0.2], atol=0.03)
    assert bias[0] == pytest.approx(0.1, abs=0.03)
    whats = [f.what for f in found]
    assert whats[0] == "all features" and whats[1].startswith("a threshold of") and whats[-1] == "polished"
    assert "without log_hs" in whats and "with log_err*log_left" in whats and all(found[-1].done)


def test_the_search_goes_on_from_any_stage():
    first, found = searched(worse=1e-4)
    for i in (0, 1, 3):
        again = Found.restored(json.loads(json.dumps(found[i].state(), default=lambda a: a.tolist())), first)
        _, rest = searched(again, worse=1e-4)
        assert [f.what for f in rest] == [f.what for f in found[i + 1 :]]
        assert np.array_equal(rest[-1].controller.weights, found[-1].controller.weights)
        assert rest[-1].controller.decision.key == found[-1].controller.decision.key


def test_the_formula_may_not_have_more_numbers_than_asked():
    _, found = searched(most_numbers=4, products=5, worse=1e-9)
    assert closed_form.numbers(found[-1].controller) <= 4
    with pytest.raises(ValueError, match="most_numbers"):
        searched(most_numbers=1)


def test_terms_in_errors_are_gains_of_the_law():
    """b1/k log E and w R s log E are the same where nothing is cut off."""
    settings = Settings(generations=0, refine=0, polish=0, products=0, worse=10.0)
    first = closed_form.linear(
        ("log_err", "log_err_1", "log_left"), "pi34", n_act=1, weights=[[-0.04, 0.03, 0.2]], bias=[0.1]
    )
    search = Search(first, Known(settings), COSTS.log_cost, settings, 1, order=5.0)
    moved = search._into_law(Found("", first, 100.0)).controller
    law = moved.decision.law.as_dict()
    assert moved.decision.observation.features == ("log_left",)
    assert law["b1"] == pytest.approx(0.7 + 5 * 1.5 * 0.5 * 0.04) and law["reject_b1"] == law["b1"]
    rng = np.random.default_rng(3)
    for _ in range(20):
        record = np.ones(N_RECORD)
        record[ERR], record[H], record[T_LEFT] = rng.uniform(0.1, 0.9), 0.1, rng.uniform(0.5, 9.0)
        record[ORDER], record[TRUNCATED] = 5.0, 0.0
        head = [rng.uniform(-1.0, 0.0), 0.0, -2.0, -2.0, 0.0, 2.0]
        out = []
        for controller in (first, moved):
            state = np.zeros(controller.n_state)
            state[: len(head)] = head
            out.append(controller.decide_numpy(state, record))
        np.testing.assert_allclose(out[0], out[1], atol=1e-12)


def test_costs_of_selections():
    whole = closed_form.linear(NAMES, "pi34")
    assert COSTS.log_cost(whole) == 0.0
    assert COSTS.log_cost(whole, "log_hs") == pytest.approx(np.log(0.97))
    small = on_law(closed_form.selected(whole, ("log_err",)), {}, size_alone=True)
    assert COSTS.log_cost(small) == pytest.approx(np.log(0.91))
    # a product needs its factors
    assert COSTS.log_cost(closed_form.selected(whole, ("log_err*log_hs",))) == pytest.approx(np.log(0.98))
    assert FeatureCosts.restored(json.loads(json.dumps(COSTS.as_dict()))) == COSTS


DATA = {
    "name": "toy", "algorithm": "closed_form",
    "env": {
        "family": "lotka_volterra", "method": "tsit5", "law": "pi34",
        "features": ["log_err", "log_left"], "pool_size": 12,
    },
    "train": {
        "generations": 4, "refine": 2, "polish": 2, "population": 4, "instances": 4, "sigma": 0.1,
    },
    "evaluate": {"every": 1, "instances": 4, "against": "i"},
}  # fmt: skip


def rows(folder):
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in lines]


@pytest.mark.slow
def test_a_run_that_is_interrupted_goes_on(tmp_path, monkeypatch):
    config = configs.from_dict(DATA)
    costs = FeatureCosts(50.0, {"log_err": 1.0, "log_left": 2.0}, 1.0)
    monkeypatch.setattr("stepsmith.train.closed.train.measured", lambda *_: costs)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    runs.train(config, out=whole, progress=False)
    stages, count = Search.stages, [0]

    def cut(self, found=None):
        for stage in stages(self, found):
            count[0] += 1
            if count[0] == 3:
                raise KeyboardInterrupt
            yield stage

    monkeypatch.setattr(Search, "stages", cut)
    with pytest.raises(KeyboardInterrupt):
        runs.train(config, out=broken, progress=False)
    monkeypatch.setattr(Search, "stages", stages)
    runs.train(config, out=broken, resume=True, progress=False)
    assert rows(broken) == rows(whole)
    a, b = (load(folder / "controller.safetensors") for folder in (whole, broken))
    assert np.array_equal(a.weights, b.weights) and a.decision.key == b.decision.key
    assert a.provenance["algorithm"] == "closed_form" and a.provenance["pool_size"] == 12
    assert a.measured["with_cost"] == min(row["validation"] for row in rows(whole))


@pytest.mark.slow
def test_from_the_command_line_with_measured_costs_and_a_start(tmp_path, capsys):
    first = closed_form.linear(("log_left",), "pi34", weights=[[0.05], [0.0]])
    from stepsmith.controllers.file import save

    save(first, tmp_path / "first.safetensors")
    text = f"""
name = "toy"
algorithm = "closed_form"
[env]
family = "lotka_volterra"
method = "tsit5"
law = "pi34"
features = ["log_err", "log_left"]
pool_size = 8
[policy]
start = "{tmp_path / "first.safetensors"}"
[train]
generations = 2
refine = 1
polish = 1
population = 4
instances = 4
[evaluate]
instances = 4
"""
    (tmp_path / "toy.toml").write_text(text)
    run = tmp_path / "run"
    with pytest.raises(SystemExit) as ended:
        cli.main(["train", str(tmp_path / "toy.toml"), "--out", str(run)])
    assert ended.value.code == 0
    found = load(run / "controller.safetensors")
    costs = found.provenance["feature_costs"]
    assert costs["ns_an_attempt"] > 1.0 and set(costs["ns_a_feature"]) == {"log_err", "log_left"}
    with pytest.raises(SystemExit):
        cli.main(["inspect", str(run / "controller.safetensors")])
    assert "log(h_next/h) = law +" in capsys.readouterr().out
