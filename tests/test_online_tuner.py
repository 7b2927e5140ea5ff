"""`stepsmith.online`: ask and tell, penalties, reports, bad input."""

from __future__ import annotations

import json
import math
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import stepsmith as ss
from online_cases import LAWS, OPEN, log_mu, problems
from stepsmith.controllers.online import ChebCB, Fixed, TsallisINF


@pytest.fixture(scope="module")
def batch():
    return problems()


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
