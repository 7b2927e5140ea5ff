"""Tuning: the objective's charges, the search, and the files of tuned laws."""

import json
import math

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.file import save
from stepsmith.controllers.laws import registry, search, tuned
from stepsmith.controllers.learned.decision import Decision
from stepsmith.controllers.learned.network import Learned
from stepsmith.integrators import methods
from stepsmith.train.evaluate import curves
from stepsmith.train.evaluate.splits import draw
from stepsmith.train.run.progress import Progress
from stepsmith.train.tune import candidates as candidate_searches
from stepsmith.train.tune.budget import Training, shortfalls, training_of
from stepsmith.train.tune.objective import Objective, log_work
from stepsmith.train.tune.search import published, tune

FAMILY, METHOD = "lotka_volterra", "tsit5"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("STEPSMITH_DATA_DIR", str(tmp_path))
    return tmp_path / "tuned"


@pytest.fixture(scope="module")
def found():
    return tune(FAMILY, METHOD, n=6, evaluations=90, seed=3, restarts=2, n_validation=6, progress=False)


def test_levels_out_of_reach_are_charged():
    levels = np.array([1e-1, 1e-2, 1e-3, 1e-4])
    err = np.array([[1e-2, 1e-3], [np.inf, np.inf], [1e-2, np.inf]])
    work = np.array([[10.0, 100.0], [2.0, 3.0], [10.0, 50.0]])
    floor = np.log(np.array([[1.0] * 4, [7.0, 8.0, 9.0, 10.0], [1.0, 1.0, 60.0, 1.0]]))
    lost = math.log(curves.LOST_RATIO)
    expected = np.log([[10, 10, 100, 100], [7, 8, 9, 10], [10, 10, 60, 50]]) + lost * np.array(
        [[0, 0, 0, 1], [1] * 4, [0, 0, 1, 1]]
    )
    np.testing.assert_allclose(log_work(err, work, levels, floor), expected, rtol=1e-12)


def test_failing_early_does_not_pay():
    levels = np.array([1e-2, 1e-3])
    honest = np.array([[1e-2, 1e-3]]), np.array([[100.0, 200.0]])
    floor = log_work(*honest, levels, np.zeros(2))
    quitter = np.full((1, 2), np.inf), np.ones((1, 2))
    assert log_work(*quitter, levels, floor).mean() > log_work(*honest, levels, floor).mean() + 2.0


def test_every_published_law_stands_in_the_start_population():
    assert published(METHOD) == registry.names("linear")
    assert published("leapfrog") == []


def test_the_split_sweeps_as_single_solves_do():
    split = draw(FAMILY, METHOD, "train", 3, seed=5)
    tol = np.array([1e-3, 1e-6])
    s = split.sweep(registry.get("pi34"), tol)
    for i in range(3):
        for k, r in enumerate(tol):
            times = split.batch.t0[i] + split.family.fractions * (split.batch.t1[i] - split.batch.t0[i])
            sol = ss.solve(
                split.batch[i], METHOD, "pi34", rtol=float(r), atol=float(r) * split.family.atol_factor, t_eval=times
            )
            ref = split.ref[i]
            error = np.max(np.linalg.norm(sol.y - ref, axis=1) / np.linalg.norm(ref, axis=1))
            assert (s.nfev[i, k], s.rejected[i, k]) == (sol.stats.nfev, sol.stats.nreject)
            assert s.err[i, k] == pytest.approx(error, rel=1e-4)


def test_splits_are_apart():
    first = {name: draw(FAMILY, METHOD, name, 2, 0).batch.y0 for name in ("train", "validation", "test")}
    assert len({y.tobytes() for y in first.values()}) == 3


def test_the_search_is_never_worse_than_what_it_started_from(found):
    laws = registry.names("linear")
    assert set(laws) <= set(found.ratios) and min(found.ratios.values()) == found.ratios[found.chosen] == 1.0
    assert found.facts["train"]["cost_published"] >= min(
        Objective([draw(FAMILY, METHOD, "train", 6, 3)])(registry.get(found.facts["train"]["best_published"])) - 1e-12,
        math.inf,
    )
    assert len(found.ratios) > len(laws)
    budget = found.facts["budget"]
    assert len(laws) < budget["evaluations"] <= 95 and budget["solves"] >= 16 * 6 * len(laws)


def test_the_search_is_reproducible(found):
    again = tune(FAMILY, METHOD, n=6, evaluations=90, seed=3, restarts=2, n_validation=6, progress=False)
    assert again.law.as_dict() == found.law.as_dict() and again.ratios == found.ratios


def test_a_search_goes_on_from_a_law_found_earlier(found):
    again = tune(
        FAMILY, METHOD, n=6, evaluations=70, seed=4, restarts=1, start=found.law, n_validation=6, progress=False
    )
    objective = Objective([draw(FAMILY, METHOD, "train", 6, 4)])
    costs = {name: objective(registry.get(name)) for name in registry.names("linear")}
    assert "start" in again.ratios and any(name.startswith("start/") for name in again.ratios)
    assert again.facts["train"]["best_published"] == min(costs, key=lambda name: (costs[name], name))
    # validation chooses among what the training instances have found: a little dearer on them than another, perhaps
    assert again.chosen.startswith("start") and again.facts["train"]["cost"] < min(costs.values()) + 0.01


def test_the_law_found_stays_in_its_box(found):
    space = search.search_space()
    vector = space.to_vector(found.law)
    assert np.all((vector >= space.low) & (vector <= space.high))
    assert found.law.needs <= methods.get(METHOD).fills


def test_a_tuned_law_is_found_by_name(found, data):
    assert tuned.find(FAMILY, METHOD) is None or tuned.find(FAMILY, METHOD).parent == tuned.SHIPPED
    path = found.save()
    assert path == data / f"{FAMILY}-{METHOD}.json"
    law = tuned.tuned(FAMILY, METHOD)
    assert law.name == "tuned" and law.as_dict() == found.law.as_dict()
    problem = ss.problems.make(FAMILY)
    by_name, by_object = (ss.solve(problem, METHOD, c, rtol=1e-5) for c in ("tuned", found.law))
    assert by_name.stats.nfev == by_object.stats.nfev and np.array_equal(by_name.y, by_object.y)
    facts = json.loads(path.read_text())
    assert facts["seed"] == 3 and facts["versions"]["numpy"] == np.__version__ and "commit" in facts


def test_its_file_is_a_controller(found, tmp_path):
    path = found.save(tmp_path / "law.json")
    assert ss.controller(path).as_dict() == ss.controller(str(path)).as_dict() == found.law.as_dict()
    with pytest.raises(ValueError, match="none.json: there is no such file"):
        ss.controller("none.json")
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(ValueError, match="bad.json: not a tuned law: schema None"):
        ss.controller(tmp_path / "bad.json")


def test_infinite_coefficients_survive_the_file(tmp_path):
    law = registry.get("pi34")  # growth after a rejection is free: after_max is infinite
    assert math.isinf(law["after_max"])
    tuned.write(tmp_path / "a.json", law, {"family": "x"})
    assert tuned.read(tmp_path / "a.json")[0].as_dict() == law.as_dict()


def test_a_missing_law_names_the_command(data):
    with pytest.raises(ValueError, match="stepsmith tune arenstorf --method bs32"):
        tuned.tuned("arenstorf", "bs32")
    with pytest.raises(ValueError, match="did you mean 'lorenz'"):
        tuned.tuned("lorens", "bs32")


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "not a tuned law"),
        ("[]", "schema"),
        ('{"schema": 2}', "schema 2"),
        ('{"schema": 1}', "'law' is missing"),
        ('{"schema": 1, "law": {"rules": "plain", "values": {}}}', "safety"),
        (
            '{"schema": 1, "law": {"rules": "plain", "values": {"safety": "x", "b1": 1, "accept_err": 1}}}',
            "safety must be a number",
        ),
        (
            '{"schema": 1, "law": {"rules": "plain", "values": {"safety": 0.9, "b1": 99, "accept_err": 1}}}',
            "b1 must be in",
        ),
        (
            '{"schema": 1, "law": {"rules": "plain", "values": {"safety": 0.9, "b1": NaN, "accept_err": 1}}}',
            "NaN is not JSON",
        ),
        (
            '{"schema": 1, "law": {"rules": "plain", "values": {"safety": 0.9, "b1": 1, "accept_err": 1, "b9": 1}}}',
            "unknown coefficient",
        ),
    ],
)
def test_damaged_files_are_refused(tmp_path, text, says):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=says) as error:
        tuned.read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    "change, says",
    [
        ({"evaluations": 10}, "at least"),
        ({"n": 0}, "n must be"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
        ({"sigma": float("inf")}, "sigma"),
        ({"restarts": 1.0}, "restarts"),
        ({"n": 10**17}, "n must be"),
        ({"n_validation": 10**6}, "n_validation must be at most"),
        ({"start": "pi34"}, "start must be"),
        ({"evalutions": 60}, "did you mean .evaluations."),
    ],
)
def test_bad_budgets(change, says):
    with pytest.raises(ValueError, match=says):
        tune(FAMILY, METHOD, **{"progress": False, **change})


def test_only_methods_with_an_error_estimate_are_tuned():
    with pytest.raises(ValueError, match="no error estimate"):
        tune("kepler", "leapfrog", n=1, progress=False)


def test_shipped_laws_are_sound():
    files = sorted(tuned.SHIPPED.glob("*.json"))
    assert "three_body-tsit5.json" in {f.name for f in files}
    for file in files:
        law, facts = tuned.read(file)
        assert file.stem == f"{facts['family']}-{facts['method']}"
        assert law.needs <= methods.get(facts["method"]).fills
        # tuned under the protocol that is in force
        for name, grid in facts.get("families", {facts["family"]: facts}).items():
            family = ss.problems.family(name)
            assert grid["tolerances"] == pytest.approx(family.tolerances) and grid["levels"] == pytest.approx(
                family.levels
            )


def controller(**provenance):
    made = Learned.random(Decision(["log_err"], "i"), hidden=(2,), rng=0, name="net")
    return made.replace(family=FAMILY, provenance=provenance)


def test_the_budget_of_a_learned_controller(tmp_path):
    net = controller(env_steps=10_000, pool_size=5, method=METHOD)
    assert training_of(net) == Training("net", 10_000, 5)
    path = tmp_path / "net.safetensors"
    save(net, path)
    assert training_of(str(path)) == training_of(path) == Training("net", 10_000, 5)
    assert training_of("three-body").attempts > 10_000_000
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    (run / "resolved.json").write_text(json.dumps({"env": {"pool_size": 7}}))
    (run / "log.jsonl").write_text('{"env_steps": 50}\n{"env_steps": 90}\n')
    assert training_of(run) == Training(str(run), 90, 7)
    with pytest.raises(ValueError, match="does not say what its training was given"):
        training_of("pi34")
    with pytest.raises(ValueError, match="does not say on how many instances it was trained: give n"):
        tune(FAMILY, METHOD, budget_of=controller(env_steps=10), progress=False)


def test_a_search_is_given_the_budget_of_a_training():
    plain = tune(FAMILY, METHOD, n=4, evaluations=70, seed=3, restarts=1, n_validation=3, progress=False)
    each = plain.facts["budget"]["attempts"] / plain.facts["budget"]["evaluations"]
    net = controller(env_steps=int(90 * each), pool_size=4)
    more = tune(FAMILY, METHOD, evaluations=70, seed=3, restarts=1, n_validation=3, budget_of=net, progress=False)
    budget = more.facts["budget"]
    assert more.facts["train"]["instances"] == 4
    assert budget["asked"] >= 90 > 70 == plain.facts["budget"]["asked"]
    assert budget["budget_of"] == {"name": "net", "env_steps": int(90 * each), "pool_size": 4}
    assert budget["attempts"] > plain.facts["budget"]["attempts"]
    # a last generation that does not fit is not begun
    assert shortfalls(more.facts, training_of(controller(env_steps=int(80 * each), pool_size=4))) == []
    said = shortfalls(more.facts, Training("net", 10**9, 5))
    assert len(said) == 2 and "attempted steps, net 1,000,000,000" in said[0]
    assert "4 training instances, net 5" in said[1]
    assert shortfalls({**more.facts, "budget": {**budget, "stopped_improving": True}}, Training("net", 10**9, 4)) == []
    assert shortfalls({}, Training("net", 10**9, 4)) == []


def test_what_an_ended_search_leaves_goes_to_those_after_it(monkeypatch):
    class Counted:
        method, implicit, evaluations = "dopri5", False, 10

        def __call__(self, law):
            self.evaluations += 1
            return 1.0

        def many(self, laws):
            return [self(law) for law in laws]

    given = []

    def search(space, evaluate, x0, sigma, inject, budget, seed, report):
        given.append(budget)
        for _ in range(4 if len(given) == 1 else budget):  # the first ends early
            evaluate([x0])
        return x0, 1.0, x0, len(given) == 1

    monkeypatch.setattr(candidate_searches, "_cma", search)
    laws = {name: registry.get(name) for name in ("i", "pi34")}
    counted = Counted()
    candidate_searches.candidates(counted, laws, 1.0, 310, 2, 0.1, 0, Progress("tune", 1, "laws", False))
    assert given[0] == 100 and given[1] == (300 - 5) // 2 and counted.evaluations > 300
