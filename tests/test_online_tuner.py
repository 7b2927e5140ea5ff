"""`stepsmith.online`: ask and tell, solves, penalties, comparable arms, reports, files, threads, bad input."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.controllers.online import ChebCB, Fixed, TsallisINF, Tuner

LAWS = {"controller": ["i", "pi34"], "safety": [0.5, 0.9]}
OPEN = {"feedback": None}
T_END = 4.0


@pytest.fixture(scope="module")
def batch():
    found = ss.problems.sample("vanderpol", n=40, seed=2)
    return [ss.Problem(one.rhs, one.y0, (0.0, T_END), one.p, name="vanderpol") for one in (found[i] for i in range(40))]


def error_at_the_end(sol, problem):
    exact = ss.solve(problem, method="dop853", rtol=1e-12, atol=1e-13, t_eval=[T_END]).y[-1]
    return float(np.abs(sol.y[-1] - exact).max())


def log_mu(problem):
    return math.log(problem.p[0])


# ------------------------------------------------------------------------------------------------------ ask and tell


def test_arms_are_a_product_or_a_list_and_keep_their_order():
    tuner = ss.online(LAWS)
    assert tuner.arms == tuple({"controller": c, "safety": s} for c in ("i", "pi34") for s in (0.5, 0.9))
    assert ss.online([{"safety": 0.9}, {}]).arms == ({"safety": 0.9}, {})
    assert ss.online(np.array([1.0, 1.5]), **OPEN).arms == (1.0, 1.5)


def test_an_arm_that_is_asked_for_is_a_copy():
    tuner = ss.online([{"safety": 0.9}])
    tuner.ask()["safety"] = 0.1
    assert tuner.arms == ({"safety": 0.9},)


def test_it_learns_what_is_told():
    tuner = ss.online([1.0, 1.5, 1.9], **OPEN)
    for _ in range(600):
        tuner.tell({1.0: 50, 1.5: 20, 1.9: 40}[tuner.ask()])
    report = tuner.report()
    assert report["best"] == 1 and report["arms"][1]["share"] > 0.6
    assert [row["mean_cost"] for row in report["arms"]] == [50, 20, 40]
    assert sum(row["plays"] for row in report["arms"]) == report["rounds"] == 600
    json.dumps(report, allow_nan=False)


def test_the_order_of_ask_and_tell_is_kept():
    tuner = ss.online([1, 2], **OPEN)
    with pytest.raises(ValueError, match="tell was called without an ask"):
        tuner.tell(1.0)
    tuner.ask()
    for wrong in (tuner.ask, lambda: tuner.save("x.json"), lambda: tuner.load("x.json"), lambda: pickle.dumps(tuner)):
        with pytest.raises(ValueError, match="tell (its|the) cost"):
            wrong()
    tuner.tell(3.0)
    with pytest.raises(ValueError, match="tell was called without an ask"):
        tuner.tell(1.0)
    assert not Path("x.json").exists()


@pytest.mark.parametrize("cost", ["3", None, True, [1.0], 1j])
def test_a_cost_that_is_no_number_is_an_error_and_the_arm_stays_out(cost):
    tuner = ss.online([1, 2], **OPEN)
    tuner.ask()
    with pytest.raises(ValueError, match="cost must be a finite number"):
        tuner.tell(cost)
    tuner.tell(1.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, np.float32("nan"), 1e200, np.array(np.inf)])
@pytest.mark.parametrize("bandit", ["tsallis", "chebyshev", "epsilon_greedy", "fixed"])
def test_a_failure_costs_the_penalty_and_is_counted(bandit, bad):
    options = {"context_range": (0.0, 1.0)} if bandit == "chebyshev" else {}
    tuner = ss.online([1, 2, 3], bandit=bandit, **OPEN, **options)
    context = 0.5 if options else None
    tuner.ask(context)
    tuner.tell(bad)  # nothing is known yet: nothing is learned
    assert math.isnan(tuner.penalty) and tuner.bandit.rounds == 0
    for cost in (10.0, 30.0):
        tuner.ask(context)
        tuner.tell(cost)
    assert tuner.penalty == 60.0
    tuner.ask(context)
    tuner.tell(bad)
    assert tuner.history[-1][2] == 60.0 and tuner.bandit.rounds == 3
    report = tuner.report()
    assert report["failures"] == 2 and report["mean_cost"] == 20.0
    for _ in range(50):
        tuner.ask(context)
        tuner.tell(bad)
    p = tuner.bandit.probabilities(context)
    assert np.isfinite(p).all() and tuner.penalty == 60.0
    json.dumps(report, allow_nan=False)


@pytest.mark.parametrize(("costs", "penalty"), [([5.0], 10.0), ([0.0], 1.0), ([-4.0], 0.0), ([-4.0, 4.0], 12.0)])
def test_the_penalty_is_above_every_cost(costs, penalty):
    tuner = ss.online([1], **OPEN)
    for cost in costs:
        tuner.ask()
        tuner.tell(cost)
    assert tuner.penalty == penalty > max(costs)


def test_an_arm_that_always_fails_is_left():
    tuner = ss.online([1, 2], **OPEN)
    for _ in range(400):
        tuner.tell(math.nan if tuner.ask() == 1 else 10.0)
    report = tuner.report()
    assert report["best"] == 1 and report["arms"][1]["share"] > 0.8
    assert report["arms"][0]["mean_cost"] is None and report["arms"][0]["told"] == 20.0


def test_an_error_above_the_wanted_one_costs_more():
    tuner = ss.online([1, 2], wanted_error=1e-3, **OPEN)
    for cost, error, told in (
        (10.0, 1e-3, 10.0), (40.0, 1e-9, 40.0), (10.0, 2e-3, 20.0), (10.0, 1.0, 80.0), (10.0, math.inf, 80.0),
        (10.0, math.nan, 80.0),
    ):  # fmt: skip
        tuner.ask()
        tuner.tell(cost, error)
        assert tuner.history[-1][2] == pytest.approx(told, rel=1e-15)
    report = tuner.report()
    assert (report["too_large"], report["failures"]) == (2, 2)
    tuner.ask()
    with pytest.raises(ValueError, match="tell takes an error"):
        tuner.tell(1.0)
    other = ss.online([1], **OPEN)
    other.ask()
    with pytest.raises(ValueError, match="tell takes an error"):
        other.tell(1.0, 1.0)


# ------------------------------------------------------------------------------------------------------------ solve


def test_a_solve_plays_an_arm_and_is_stepsmiths_own(batch):
    tuner = ss.online(LAWS, seed=1)
    for problem in batch[:12]:
        sol = tuner.solve(problem, rtol=1e-5)
        arm = tuner.arms[tuner.history[-1][0]]
        own = ss.solve(problem, controller=registry.get(arm["controller"], safety=arm["safety"]), rtol=1e-5)
        np.testing.assert_array_equal(sol.y, own.y)
        assert tuner.history[-1][1] == sol.stats.nfev == own.stats.nfev
        assert ss.solve(problem, **tuner.settings(arm, problem, rtol=1e-5)).stats.nfev == own.stats.nfev


def test_solves_are_what_ask_and_tell_are(batch):
    one, other = ss.online(LAWS, seed=4), ss.online(LAWS, seed=4)
    for problem in batch:
        one.solve(problem)
        arm = other.ask()
        other.tell(ss.solve(problem, **other.settings(arm, problem)).stats.nfev)
    assert one.history == other.history


def test_the_default_law_takes_the_arms_coefficients(batch):
    tuner = ss.online({"safety": [0.7]})
    sol = tuner.solve(batch[0], method="dopri5")
    assert sol.controller == "universal_law"
    assert sol.stats.nfev == ss.solve(batch[0], "dopri5", registry.get("universal_law", safety=0.7)).stats.nfev


def test_a_state_that_is_a_matrix_keeps_its_shape():
    problem = ss.Problem(lambda t, y: -y, np.ones((2, 3)), (0.0, 1.0))
    assert ss.online({"safety": [0.9]}).solve(problem, t_eval=[0.0, 1.0], atol=1e-8).y.shape == (2, 2, 3)


def test_a_failed_solve_is_counted_and_returned(batch):
    tuner = ss.online([{"max_steps": 100_000}, {"max_steps": 5}], seed=0)
    found = [tuner.solve(problem) for problem in batch]
    report = tuner.report()
    failed = [not sol.success for sol in found]
    assert report["failures"] == sum(failed) == report["arms"][1]["plays"] > 0
    assert all(math.isnan(cost) == bad for (_, cost, _, _), bad in zip(tuner.history, failed, strict=True))
    assert report["best"] == 0


def test_a_solve_that_raises_teaches_nothing(batch):
    tuner = ss.online(LAWS)
    with pytest.raises(ValueError, match="t_eval"):
        tuner.solve(batch[0], t_eval=[1e9])
    assert tuner.history == [] and not tuner.out
    broken = ss.online(LAWS, feedback=lambda sol: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        broken.solve(batch[0])
    assert broken.history == [] and not broken.out
    broken = ss.online(LAWS, feedback=lambda sol: "much")
    with pytest.raises(ValueError, match="cost must be"):
        broken.solve(batch[0])
    assert broken.history == [] and not broken.out


def test_feedback_is_nfev_seconds_or_a_function(batch):
    tuner = ss.online({"safety": [0.9]}, feedback="wall")
    sol = tuner.solve(batch[0])
    assert tuner.history[-1][1] == sol.stats.wall_s
    tuner = ss.online({"rtol": [1e-3, 1e-6]}, feedback=lambda sol: sol.stats.naccept)
    sol = tuner.solve(batch[0])
    assert tuner.history[-1][1] == sol.stats.naccept


def test_tolerances_are_chosen_by_cost_and_error(batch):
    """Among rtol 1e-2, 1e-5 and 1e-9 the cheapest that makes an error of at most 1e-4."""
    arms = {"rtol": [1e-2, 1e-5, 1e-9]}
    tuner = ss.online(arms, error=error_at_the_end, wanted_error=1e-4, seed=0)
    for problem in batch * 5:
        tuner.solve(problem, t_eval=[T_END])
    report = tuner.report()
    assert report["best"] == 1 and report["arms"][1]["share"] > 0.6
    assert report["arms"][0]["mean_cost"] < report["arms"][1]["mean_cost"] < report["arms"][0]["told"]
    assert 2 * report["arms"][0]["too_large"] > report["arms"][0]["plays"] > 0


def test_an_error_function_of_the_solution_alone(batch):
    tuner = ss.online({"rtol": [1e-3, 1e-6]}, error=lambda sol: 0.0, wanted_error=1.0)
    tuner.solve(batch[0])
    assert tuner.report()["too_large"] == 0


def test_contexts_come_from_the_problem(batch):
    tuner = ss.online(LAWS, bandit="chebyshev", context=log_mu, context_range=(math.log(0.5), math.log(8.0)))
    for problem in batch:
        tuner.solve(problem)
    assert tuner.bandit.outside == 0 and tuner.report()["outside"] == 0
    assert tuner.bandit.rounds == 40


# ------------------------------------------------------------------------------- which arms may be compared by cost


@pytest.mark.parametrize(
    "arms",
    [
        {"rtol": [1e-3, 1e-6]}, {"atol": [1e-3, 1e-6]}, {"method": ["tsit5", "dopri5"]}, [{"rtol": 1e-3}, {}],
        {"controller": ["pi34", "h211b"]}, {"controller": ["i", "universal_law"]}, {"accept_err": [1.0, 5.0]},
        {"controller": ["constant"], "h": [0.1, 0.2]}, {"controller": ["universal", "pi34"]},
        {"controller": ["pi34", registry.get("pi34").replace("mine", tolerance_scale=10.0)]},
        [{"controller": "pi34"}, {}],
    ],
)  # fmt: skip
@pytest.mark.parametrize("feedback", ["nfev", "wall"])
def test_arms_of_different_accuracy_need_an_error(arms, feedback):
    with pytest.raises(ValueError, match="the cost alone would choose the least accurate"):
        ss.online(arms, feedback)
    assert isinstance(ss.online(arms, feedback, error=error_at_the_end, wanted_error=1e-3), Tuner)
    assert isinstance(ss.online(arms, feedback=lambda sol: 1.0), Tuner)


def test_laws_may_be_made_to_accept_the_same():
    arms = {"controller": ["pi34", "h211b", "universal_law"], "accept_err": [1.0], "accept_factor": [0.0]}
    assert len(ss.online(arms).arms) == 3


def test_laws_that_a_solve_brings_are_looked_at_too(batch):
    tuner = ss.online([{"safety": 0.9}, {"safety": 0.8, "accept_err": 1.2}])  # universal_law's own is 1.2
    tuner.solve(batch[0])
    with pytest.raises(ValueError, match="variants of law 'pi34' do not accept the same errors"):
        tuner.solve(batch[0], controller="pi34")
    assert len(tuner.history) == 1


# ------------------------------------------------------------------------------------------------- what was learned


def test_regret_is_against_the_best_fixed_arm():
    table = np.random.default_rng(0).random((50, 3)) + [0.0, 0.5, 1.0]
    tuner = ss.online(["a", "b", "c"], **OPEN)
    for row in table:
        tuner.tell(row["abc".index(tuner.ask())])
    arms = [one[0] for one in tuner.history]
    wanted = np.cumsum(table[np.arange(50), arms] - table[:, 0])
    np.testing.assert_allclose(tuner.regret(table), wanted, rtol=1e-12)
    for bad, what in ((table[:-1], r"shape \(50, 3\)"), (table.T, "shape"), (np.full((50, 3), np.nan), "finite")):
        with pytest.raises(ValueError, match=what):
            tuner.regret(bad)
    assert ss.online([1, 2], **OPEN).regret(np.zeros((0, 2))).shape == (0,)


def test_a_report_before_any_round_is_empty():
    report = ss.online([1, 2], **OPEN).report()
    assert report["best"] is None and report["mean_cost"] is None and report["rounds"] == 0
    assert report["arms"][0] == {
        "arm": "1", "plays": 0, "share": 0.0, "failures": 0, "too_large": 0, "mean_cost": None, "told": None,
    }  # fmt: skip


def test_a_picture_is_drawn(tmp_path, batch):
    tuner = ss.online({"controller": ["i", "pi34"], "safety": list(np.linspace(0.5, 0.95, 15))})
    with pytest.raises(ValueError, match="nothing to draw"):
        tuner.picture(tmp_path / "none.png")
    for problem in batch:
        tuner.solve(problem)
    assert tuner.picture(tmp_path / "a.png") == tmp_path / "a.png"
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------ files and pickles


@pytest.mark.parametrize("bandit", ["tsallis", "chebyshev", "epsilon_greedy", "fixed"])
def test_a_sweep_goes_on_from_a_file_and_from_a_pickle(tmp_path, batch, bandit):
    context = {"context": log_mu, "context_range": (-1.0, 3.0)} if bandit == "chebyshev" else {}

    def make(seed):
        return ss.online(LAWS, bandit=bandit, seed=seed, **context)

    whole, half = make(3), make(3)
    for problem in batch:
        whole.solve(problem)
    half.solve(batch[0])
    for problem in batch[1:20]:
        half.solve(problem)
    half.save(tmp_path / "sweep.json")
    for tuner in (make(77).load(tmp_path / "sweep.json"), pickle.loads(pickle.dumps(half))):
        assert tuner.penalty == half.penalty
        for problem in batch[20:]:
            tuner.solve(problem)
        assert tuner.history == whole.history
        assert tuner.report() == whole.report()


def test_failures_are_in_the_file(tmp_path):
    tuner = ss.online([1, 2], **OPEN)
    for cost in (math.nan, 3.0, math.inf):
        tuner.ask()
        tuner.tell(cost)
    tuner.save(tmp_path / "a.json")
    assert ss.online([1, 2], **OPEN).load(tmp_path / "a.json").report() == tuner.report()


def test_files_of_others_and_damaged_ones_are_refused(tmp_path):
    path = tmp_path / "a.json"
    tuner = ss.online([1, 2], **OPEN)
    tuner.ask()
    tuner.tell(1.0)
    tuner.save(path)
    good = json.loads(path.read_text())
    with pytest.raises(FileNotFoundError):
        tuner.load(tmp_path / "none.json")
    for other, what in (
        (ss.online([1, 3], **OPEN), "its arms are not those"),
        (ss.online([1, 2], bandit="fixed", **OPEN), "state must be of bandit 'fixed'"),
        (ss.online([1, 2], wanted_error=1.0, **OPEN), "its wanted_error is None"),
    ):
        with pytest.raises(ValueError, match=what):
            other.load(path)
        assert other.history == []
    for bad, what in (
        ({**good, "schema": 9}, "no tuner's state"),
        ([], "no tuner's state"),
        ({**good, "history": [[0, 1.0, 1.0]]}, "a round of the history"),
        ({**good, "history": [[5, 1.0, 1.0, 0]]}, "arm must be"),
        ({**good, "history": None}, "history must be"),
        ({**good, "bandit": 3}, "bandit must be"),
        ({**good, "bandit": {**good["bandit"], "_sum": "x"}}, "_sum of the state"),
    ):
        path.write_text(json.dumps(bad))
        fresh = ss.online([1, 2], **OPEN)
        with pytest.raises(ValueError, match=f"a.json.*{what}"):
            fresh.load(path)
        assert fresh.history == [] and fresh.bandit.rounds == 0
    path.write_text("{")
    with pytest.raises(ValueError, match="not valid JSON"):
        tuner.load(path)


# ---------------------------------------------------------------------------------------------------------- threads


def test_solves_from_threads_wait_for_each_other(batch):
    tuner, errors = ss.online(LAWS), []

    def work():
        try:
            for problem in batch:
                tuner.solve(problem)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and len(tuner.history) == tuner.bandit.rounds == 120


def test_an_ask_from_another_thread_while_an_arm_is_out_is_an_error():
    tuner, found = ss.online([1, 2], **OPEN), []
    tuner.ask()

    def work():
        try:
            tuner.ask()
        except ValueError as error:
            found.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert len(found) == 1 and "ask was called twice" in found[0]
    tuner.tell(1.0)


# -------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"arms": []}, "at least one arm"),
        ({"arms": {}}, "at least one arm"),
        ({"arms": {"safety": []}}, r"arms\['safety'\] must be a list"),
        ({"arms": {"controller": "pi34"}}, r"arms\['controller'\] must be a list"),
        ({"arms": "pi34"}, "arms must be a list of arms"),
        ({"arms": 3}, "arms must be a list of arms"),
        ({"arms": {"safety": [0.9, 0.9]}}, "arms must differ, got safety=0.9 twice"),
        ({"arms": {"saftey": [0.9]}}, "did you mean 'safety'"),
        ({"arms": [0.9, 1.0]}, "give feedback=None for arms of your own"),
        ({"arms": {"safety": [99.0]}}, "safety must be in"),
        ({"arms": {"controller": ["pi43"]}}, "pi43"),
        ({"arms": {"controller": ["universal"], "safety": [0.9]}}, "safety is a coefficient of a law"),
        ({"arms": LAWS, "feedback": "nfevs"}, "did you mean 'nfev'"),
        ({"arms": LAWS, "feedback": 3}, "feedback must be"),
        ({"arms": LAWS, "bandit": "tsalis"}, "did you mean 'tsallis'"),
        ({"arms": LAWS, "bandit": TsallisINF(3)}, "bandit must have as many arms as there are, 4, got one with 3"),
        ({"arms": LAWS, "bandit": Fixed(4), "context_range": (0, 1)}, "context_range belongs to the bandit"),
        ({"arms": LAWS, "bandit": "chebyshev"}, "needs context_range"),
        ({"arms": LAWS, "context_range": (0, 1)}, "takes no context_range"),
        ({"arms": LAWS, "bandit": "chebyshev", "context_range": (0, 1)}, "needs context, a function"),
        ({"arms": LAWS, "bandit": ChebCB(4, context_range=(0, 1))}, "needs context, a function"),
        ({"arms": LAWS, "context": log_mu}, "reads no context"),
        ({"arms": LAWS, "context": 3}, "context must be a function"),
        ({"arms": LAWS, "error": 3, "wanted_error": 1.0}, "error must be a function"),
        ({"arms": LAWS, "error": log_mu}, "error needs wanted_error"),
        ({"arms": LAWS, "wanted_error": 1.0}, "wanted_error needs error"),
        ({"arms": LAWS, "wanted_error": 0.0, "error": log_mu}, "wanted_error must be a positive"),
        ({"arms": LAWS, "seed": -1}, "seed must be"),
        ({"arms": LAWS, "sed": 1}, "did you mean 'seed'"),
    ],
)
def test_bad_arguments_are_named(arguments, what):
    with pytest.raises(ValueError, match=what):
        ss.online(**arguments)


def test_bad_solves_are_named(batch):
    tuner = ss.online(LAWS)
    with pytest.raises(ValueError, match="problem must be a Problem"):
        tuner.solve(ss.problems.sample("vanderpol", n=2))
    with pytest.raises(ValueError, match="did you mean 'rtol'"):
        tuner.solve(batch[0], rtoll=1e-3)
    with pytest.raises(ValueError, match="controller is set by the arms of this tuner"):
        tuner.solve(batch[0], controller="i")
    with pytest.raises(ValueError, match="this tuner has None: use ask and tell"):
        ss.online([1], **OPEN).solve(batch[0])
    with pytest.raises(ValueError, match="reads no context"):
        tuner.ask(0.5)
    cheb = ss.online([1, 2], bandit="chebyshev", context_range=(0.0, 1.0), **OPEN)
    with pytest.raises(ValueError, match="needs a context"):
        cheb.ask()
    assert not tuner.out and not cheb.out and tuner.history == []


def test_a_context_out_of_range_warns_once_a_round():
    tuner = ss.online([1, 2], bandit="chebyshev", context_range=(0.0, 1.0), **OPEN)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        tuner.ask(2.0)
        tuner.tell(1.0)
    assert len(found) == 1 and found[0].filename == __file__
    assert tuner.report()["outside"] == 1


def test_it_imports_no_torch():
    code = "import sys, stepsmith as ss; ss.online; assert not {'torch', 'matplotlib'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=dict(os.environ), cwd=Path(__file__).parents[1])
