"""Actions by name: the shipped sets, a caller's own, in decisions, files, pickles and the compiled loop."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.file import describe, document, load, save
from stepsmith.controllers.learned import Learned, actions
from stepsmith.controllers.learned.decision import Decision
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR, N_OUT
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.core.formulas import formula, minimum
from stepsmith.integrators.core.record import ERR, FINITE, N_RECORD, ORDER, H

FEATURES = ("log_err", "log_err_1", "streak")


@formula
def shorter(a, scale):
    """factor of the size, at most 1"""
    return scale * minimum(a, 0.0)


@formula
def stricter(a, scale):
    """acceptance threshold, at most the law's"""
    return -scale * a * a


@pytest.fixture
def own():
    """Two actions of a caller's own, taken away afterwards."""
    yield actions.register(shorter, "size", 1.0), actions.register(stricter, "threshold", 0.5)
    for name in ("shorter", "stricter"):
        actions.ACTIONS.pop(name)


def answer(decision, a, err=0.3):
    """(accept, log-factor) of a decision at its first attempt, with the actions `a`."""
    state, out, record = np.zeros(decision.n_state), np.zeros(N_OUT), np.full(N_RECORD, np.nan)
    record[[ERR, H, ORDER, FINITE]] = err, 0.1, 5.0, 1.0
    decision.init(decision.params, state)
    state[decision.act_at :] = a
    decision.apply(decision.params, state, record, out)
    return out[ACCEPT], out[LOG_FACTOR]


@pytest.mark.parametrize("n", actions.SETS)
def test_a_number_of_actions_stands_for_a_set(n):
    by_number, by_name = Decision(FEATURES, "pi34", n_act=n), Decision(FEATURES, "pi34", actions=actions.SETS[n])
    assert by_number.key == by_name.key and by_name.n_act == n
    assert by_number.actions == by_name.actions
    assert document(Learned.random(by_number, (4,), rng=0)) == document(Learned.random(by_name, (4,), rng=0))


def test_actions_stand_in_the_order_of_their_names():
    there, back = (
        Decision(FEATURES, "pi34", actions=names) for names in (("residual", "threshold"), ("threshold", "residual"))
    )
    for a in ((0.4, -0.7), (-1.0, 1.0), (0.0, 0.9)):
        assert answer(there, a, err=0.9) == answer(back, a[::-1], err=0.9)


def test_an_own_action_turns_its_knob_and_leaves_the_law_at_zero(own):
    decision = Decision(FEATURES, "pi34", actions=("shorter", "stricter"))
    law = Decision(FEATURES, "pi34")
    assert answer(decision, (0.0, 0.0)) == answer(law, (0.0, 0.0)) == answer(decision, (0.7, 0.0))
    assert answer(decision, (-0.5, 0.0))[1] == pytest.approx(answer(law, (-0.5 / 1.5, 0.0))[1], abs=1e-15)
    assert answer(decision, (0.0, 1.0), err=0.7)[0] == 0.0  # exp(-.5) = .61
    assert answer(decision, (0.0, -1.0), err=0.6)[0] == 1.0


def test_an_own_action_in_the_loop_by_file_and_pickle(own, tmp_path):
    controller = Learned.random(Decision(FEATURES, "pi34", actions=("shorter", "threshold")), (4,), rng=3, scale=2.0)
    problem = ss.problems.make("lorenz", seed=0)
    sol = ss.solve(problem, "dopri5", controller)
    assert sol.success and sol.stats.naccept > ss.solve(problem, "dopri5", "pi34").stats.naccept
    path = save(controller, tmp_path / "own.safetensors")
    for other in (load(path), pickle.loads(pickle.dumps(controller)), controller.replace()):
        again = ss.solve(problem, "dopri5", other)
        assert np.array_equal(again.y, sol.y) and other.decision.key == controller.decision.key
    assert "shorter" in describe(load(path))
    assert document(controller)["action"]["names"] == ["shorter", "threshold"]
    actions.ACTIONS.pop("shorter")
    with pytest.raises(ValueError, match="unknown action 'shorter'"):
        load(path)
    actions.register(shorter, "size", 1.0)


def test_registering_again_changes_no_decision_made_before(own):
    before = Decision(FEATURES, "pi34", actions=("shorter",))
    actions.register(shorter, "size", 3.0)
    after = Decision(FEATURES, "pi34", actions=("shorter",))
    assert before.residual_scale == 1.0 and after.residual_scale == 3.0 and before.key != after.key
    assert before.replace(residual_scale=0.5).actions == before.actions


def test_a_pickle_of_an_earlier_version_loads():
    decision = Decision(FEATURES, "pi34", n_act=1)
    state = {k: v for k, v in vars(decision).items() if k != "actions"}
    old = object.__new__(Decision)
    old.__setstate__(state)
    assert old.key == decision.key


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("residual", "residual"), "all turn the size"), (("threshold",), "one on the size"),
        (("residul",), "did you mean 'residual'"),
        ("residual", "a sequence of names"), ((3,), "unknown action"), ((), "one on the size"),
    ],
)  # fmt: skip
def test_sets_that_do_not_work_are_refused(names, message):
    with pytest.raises(ValueError, match=message):
        Decision(FEATURES, "pi34", actions=names)


@formula
def not_the_law(a, scale):
    return a + scale


@formula
def no_number(a, scale):
    return None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((not_the_law, "size", 1.0), "0 for the action 0"), ((no_number, "size", 1.0), "must be finite"),
        ((lambda a, s: a, "size", 1.0), "marked by"), ((shorter, "speed", 1.0), "knob"),
        ((shorter, "size", -1.0), "scale"),
        ((shorter, "size", 1.0, None, "residual"), "ships with the package"),
    ],
)  # fmt: skip
def test_what_is_no_action_is_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        actions.register(*arguments)
    assert not {"not_the_law", "no_number", "shorter"} & set(actions.ACTIONS)
