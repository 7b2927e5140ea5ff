"""`stepsmith.online`: solves, which arms may be compared by their cost, threads."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest

import stepsmith as ss
from online_cases import LAWS, OPEN, T_END, error_at_the_end, log_mu, problems
from stepsmith.controllers.laws import registry
from stepsmith.controllers.online import Tuner


@pytest.fixture(scope="module")
def batch():
    return problems()


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


def test_controllers_of_the_same_name_are_told_apart(batch):
    tuner = ss.online({"max_steps": [100_000]})
    for safety in (0.9, 0.6, 0.9):
        law = registry.get("pi34", safety=safety)
        assert tuner.solve(batch[0], controller=law).stats.nfev == ss.solve(batch[0], controller=law).stats.nfev
    assert tuner.history[0] == tuner.history[2] != tuner.history[1]


def test_what_the_arms_set_is_refused_at_every_solve(batch):
    tuner = ss.online({"max_steps": [10_000, 20_000]})
    tuner.solve(batch[0])
    with pytest.raises(ValueError, match="max_steps is set by the arms of this tuner"):
        tuner.solve(batch[0], max_steps=5)


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
