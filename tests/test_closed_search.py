"""The search of a closed form on a fitness whose optimum is known, and whole runs of it."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from stepsmith.controllers import laws
from stepsmith.controllers.file import load, save
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators.core.record import ERR, N_RECORD, ORDER, T_LEFT, TRUNCATED, H
from stepsmith.policies import closed_form
from stepsmith.train.algorithms.es_run import after_start
from stepsmith.train.cli import program as cli
from stepsmith.train.closed import feature_costs
from stepsmith.train.closed.distilled import distilled
from stepsmith.train.closed.feature_costs import FeatureCosts
from stepsmith.train.closed.stages import Found, Search, Settings, on_law
from stepsmith.train.closed.train import _from
from stepsmith.train.config import config as configs
from stepsmith.train.config.resolved import resolved
from stepsmith.train.evaluate.splits import draw
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


#: h211b without its smooth limiter, which would bend what the law adds and not what the residual adds
FILTER = laws.get("h211b", kappa=0.0)


@pytest.mark.parametrize(
    ("law", "names", "stay", "gains"),
    [
        ("pi34", ("log_err", "log_err_1", "log_left"), ("log_left",), {"b1": 0.7 + 5 * 1.5 * 0.5 * 0.04}),
        # pi34 has no gain for step ratios, a digital filter has one
        ("pi34", ("log_err", "log_ratio_1", "log_left"), ("log_ratio_1", "log_left"), {"a2": 0.0}),
        (FILTER, ("log_err", "log_ratio_1", "log_left"), ("log_left",), {"a2": 0.25 - 1.5 * 0.03}),
    ],
)
def test_terms_in_errors_and_ratios_are_gains_of_the_law(law, names, stay, gains):
    """b1/k log E and w R s log E are the same where nothing is cut off; so are a2 and a weight of the step ratio."""
    settings = Settings(generations=0, refine=0, polish=0, products=0, worse=10.0)
    first = closed_form.linear(names, law, n_act=1, weights=[[-0.04, 0.03, 0.2]], bias=[0.1])
    search = Search(first, Known(settings), COSTS.log_cost, settings, 1, order=5.0)
    moved = next(found for found in search.stages() if found.what.startswith("gains of the law")).controller
    found = moved.decision.law.as_dict()
    assert moved.decision.observation.features == stay
    assert all(found[name] == pytest.approx(value) for name, value in gains.items())
    assert found["reject_b1"] == found["b1"] or found["reject_own"] == 1.0
    rng = np.random.default_rng(3)
    for _ in range(20):
        record = np.ones(N_RECORD)
        record[ERR], record[H], record[T_LEFT] = rng.uniform(0.1, 0.9), 0.1, rng.uniform(0.5, 9.0)
        record[ORDER], record[TRUNCATED] = 5.0, 0.0
        head = [rng.uniform(-1.0, 0.0), 0.0, rng.uniform(-3.0, -2.0), -2.0, 0.0, 2.0]
        out = []
        for controller in (first, moved):
            state = np.zeros(controller.n_state)
            state[: len(head)] = head
            out.append(controller.decide_numpy(state, record))
        np.testing.assert_allclose(out[0], out[1], atol=1e-12)


def test_stages_are_compared_on_one_draw_of_instances():
    class Drawn(Known):
        """Its objective says which draw is at hand."""

        def draw(self, rng):
            self.seen = float(rng.random())

    settings = Settings(generations=6, refine=3, polish=3, population=4, redraw=2)
    first = closed_form.linear(NAMES, "pi34")
    fitness = Drawn(settings)
    search, at = Search(first, fitness, COSTS.log_cost, settings, 1, order=5.0), []
    known = search.objective
    search.objective = lambda controller: (at.append(fitness.seen), known(controller))[1]
    list(search.stages())
    assert len(at) > 5 and set(at) == {float(np.random.default_rng([1, 77, 0]).random())}


def test_a_search_of_one_action_goes_on_with_its_law_as_it_was():
    first = closed_form.linear(NAMES, "pi34", n_act=1)
    again = Found.restored(Found("all features", first, 0.0).state(), first)
    assert again.controller.decision.law.name == first.decision.law.name == "pi34"


def test_a_start_that_works_at_scaled_tolerances_is_trained_without_the_scale(tmp_path):
    first = closed_form.linear(NAMES, "pi34")
    path = save(first.replace(tolerance_scale=30.0), tmp_path / "scaled.safetensors")
    assert _from(str(path), first).tolerance_scale == 1.0


def test_what_came_before_is_part_of_a_budget(tmp_path):
    first = closed_form.linear(NAMES, "pi34", family="lotka_volterra", provenance={"method": "tsit5", "env_steps": 700})
    path = str(save(first, tmp_path / "start.safetensors"))
    assert after_start(None, {"env_steps": 5}) == {"env_steps": 5}
    begun = {"file": "start.safetensors", "env_steps": 700}
    assert after_start(path, {"env_steps": 5}) == {"env_steps": 705, "start": begun}
    found = distilled(first, rounds=2, steps=4, lanes=8, pool_size=8, seed=3).controller.provenance
    assert (found["algorithm"], found["env_steps"]) == ("distilled", 700 + 2 * 4 * 8)
    assert found["imitation"]["seed"] == 3 and found["versions"]


def test_a_start_loses_no_weight_in_silence(tmp_path):
    given = closed_form.linear(("log_left", "log_err*log_left"), "pi34", weights=[[0.1, 0.2], [0.0, 0.0]])
    path = str(save(given, tmp_path / "start.safetensors"))
    first = closed_form.linear(("log_left*log_err", "log_left"), "pi34")
    np.testing.assert_array_equal(closed_form.matrix(_from(path, first))[0], [[0.2, 0.1], [0.0, 0.0]])
    with pytest.raises(ValueError, match=r"does not name: log_err\*log_left$"):
        _from(path, closed_form.linear(("log_left", "log_err"), "pi34"))


def test_costs_of_selections():
    whole = closed_form.linear(NAMES, "pi34")
    assert COSTS.log_cost(whole) == 0.0
    assert COSTS.log_cost(whole, "log_hs") == pytest.approx(np.log(0.97))
    small = on_law(closed_form.selected(whole, ("log_err",)), {}, size_alone=True)
    assert COSTS.log_cost(small) == pytest.approx(np.log(0.91))
    # a product needs its factors
    assert COSTS.log_cost(closed_form.selected(whole, ("log_err*log_hs",))) == pytest.approx(np.log(0.98))
    assert FeatureCosts.restored(json.loads(json.dumps(COSTS.as_dict()))) == COSTS


def test_products_among_the_candidates():
    names = ("log_err", "log_left", "log_left*log_err")
    costs = FeatureCosts(100.0, {"log_err": 1.0, "log_left": 2.0, "log_left*log_err": 5.0}, 4.0)
    first = closed_form.linear(names, "pi34")
    assert costs.log_cost(first) == 0.0 and costs.log_cost(first, names[2]) == pytest.approx(np.log(0.95))
    settings = Settings(generations=2, refine=1, polish=1, population=4, products=2)
    last = list(Search(first, Known(settings), costs.log_cost, settings, 1, order=5.0).stages())[-1]
    assert all(last.done)


def test_costs_measured_one_by_one_add_up_to_what_all_cost(monkeypatch):
    np.testing.assert_allclose(feature_costs.shared_out(np.array([1.0, 0.0, 2.0]), 9.0), [3.0, 2.0, 4.0])
    np.testing.assert_allclose(feature_costs.shared_out(np.array([4.0, 0.0, 8.0]), 3.0), [1.0, 0.0, 2.0])
    split = draw("lotka_volterra", "tsit5", "train", 2, 0)
    # ns: whole, without one feature each, without the other action, with the first feature alone
    ns = np.array([30.0, 20.0, 19.0, 18.0, 25.0, 24.0])
    monkeypatch.setattr(feature_costs, "_turns", lambda *_: (ns[0], ns / ns[0]))
    found = feature_costs.measured(split, closed_form.linear(NAMES, "pi34"))
    # a disturbed measurement of the whole makes every feature dear: it may not make all of them dearer than they are
    assert found.log_cost(closed_form.linear(NAMES[:1], "pi34", n_act=1)) == pytest.approx(np.log(24.0 / 30.0))
    assert found.features["log_err"] == pytest.approx(10.0)


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


@pytest.mark.parametrize(
    "algorithm, policy, says",
    [
        ("closed_form", {"hidden": [8]}, "which has no hidden layers, got \\[8\\]"),
        ("ppo", {"start": "first.safetensors"}, "start is for es and closed_form, not for ppo"),
    ],
)
def test_settings_of_the_policy_that_would_do_nothing_are_refused(algorithm, policy, says):
    train = DATA["train"] if algorithm == "closed_form" else {}
    data = {**DATA, "algorithm": algorithm, "train": train, "policy": policy}
    with pytest.raises(ValueError, match=says):
        resolved(configs.from_dict(data))
    assert resolved(configs.from_dict({**data, "policy": {"hidden": []}}))["algorithm"] == algorithm


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
def test_a_run_keeps_a_formula_of_no_more_numbers_than_asked(tmp_path, monkeypatch):
    costs = FeatureCosts(50.0, {"log_err": 1.0, "log_left": 2.0}, 1.0)
    monkeypatch.setattr("stepsmith.train.closed.train.measured", lambda *_: costs)
    # the more features the better on the validation split
    monkeypatch.setattr(
        "stepsmith.train.closed.train.Validators.ratio",
        lambda _, c: 0.9 ** closed_form.numbers(c) if isinstance(c, Learned) else 0.95,
    )
    data = {**DATA, "train": {**DATA["train"], "most_numbers": 4}}
    runs.train(configs.from_dict(data), out=tmp_path / "run", progress=False)
    assert rows(tmp_path / "run")[0]["numbers"] > 4
    assert closed_form.numbers(load(tmp_path / "run" / "controller.safetensors")) <= 4
    # a run that goes on forgets the figures of longer formulas too
    kept = load(tmp_path / "run" / "controller.safetensors").measured["with_cost"]
    assert kept == min(row["best"] for row in rows(tmp_path / "run") if row["best"] is not None)
    assert min(row["validation"] for row in rows(tmp_path / "run")) < kept
    # what the base law takes stands beside, so that a run which gained nothing shows it
    assert {row["law"] for row in rows(tmp_path / "run")} == {0.95}
    assert load(tmp_path / "run" / "controller.safetensors").measured["law"] == 0.95


@pytest.mark.slow
def test_from_the_command_line_with_measured_costs_and_a_start(tmp_path, capsys):
    first = closed_form.linear(("log_left",), "pi34", weights=[[0.05], [0.0]])
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
