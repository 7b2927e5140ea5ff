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


def test_given_actions_are_checked_as_names_are():
    with pytest.raises(OptionError, match="one on the size"):
        Decision(FEATURES, "pi34", actions=(actions.ACTIONS["threshold"],))
    with pytest.raises(OptionError, match="all turn the size"):
        Decision(FEATURES, "pi34", actions=(actions.ACTIONS["residual"],) * 2)
    with pytest.raises(OptionError, match="n_act has no effect beside actions"):
        Decision(FEATURES, "pi34", n_act=4, actions=("residual",))
    with pytest.raises(ValueError, match="n_act must be 1"):
        Decision(FEATURES, "pi34", n_act=[2])


def test_another_action_brings_its_own_scale(own):
    first = Decision(FEATURES, "pi34", residual_scale=0.7, actions=("residual", "threshold"))
    other = first.replace(actions=("shorter", "threshold"))
    assert other.residual_scale == 1.0 and other.threshold_scale == first.threshold_scale
    assert other.replace(n_act=2).residual_scale == 1.5 and first.replace(n_act=1).residual_scale == 0.7


@pytest.mark.parametrize(("knob", "scale"), [("size", 11.0), ("threshold", 4.0), ("hold", 11.0)])
def test_a_scale_that_no_file_may_hold_is_refused(knob, scale):
    with pytest.raises(OptionError, match="must be at most"):
        actions.register(shorter, knob, scale)


def test_a_file_does_not_load_where_an_own_scale_differs(own, tmp_path):
    actions.register(stricter, "hold", 0.2)
    decision = Decision(FEATURES, "predictive", actions=("residual", "stricter"))
    path = save(Learned.random(decision, (4,), rng=0), tmp_path / "own.safetensors")
    assert load(path).decision.key == decision.key
    actions.register(stricter, "hold", 0.4)
    with pytest.raises(ValueError, match=r"own_scales is \{'stricter': 0.2\}; registered here is \{'stricter': 0.4\}"):
        load(path)


def test_what_an_own_action_can_do_is_said(own):
    text = describe(Learned.random(Decision(FEATURES, "pi34", actions=("shorter", "stricter")), (4,), rng=0))
    assert "a residual factor of 0.368 to 1\n" in text and "learned: 0.607 to 1 times" in text
    assert "shorter" in repr(Decision(FEATURES, "pi34", actions=("shorter",)))


def test_environments_and_configs_take_names(own, tmp_path):
    import gymnasium

    from stepsmith.train.config import from_dict
    from stepsmith.train.config.resolved import decision_of, env_arguments, resolved

    chosen = ("shorter", "threshold")
    env = gymnasium.make("stepsmith/ODE-v0", family="lorenz", law="pi34", actions=chosen, pool_size=4).unwrapped
    assert [a.name for a in env.core.decision.actions] == list(chosen)
    with pytest.raises(OptionError, match="n_act has no effect beside actions"):
        gymnasium.make("stepsmith/ODE-v0", family="lorenz", n_act=1, actions=chosen, pool_size=4)
    for algorithm in ("ppo", "es"):
        given = {"family": "lorenz", "actions": list(chosen), "pool_size": 4}
        config = from_dict({"name": "x", "algorithm": algorithm, "env": given})
        assert resolved(config)["env"]["actions"] == list(chosen)
        assert [a.name for a in decision_of(env_arguments(config), "dopri5").actions] == list(chosen)


def test_a_decision_that_an_id_fixes_is_the_one_that_is_trained(own):
    import gymnasium

    from stepsmith.envs import specs
    from stepsmith.train.config import from_dict
    from stepsmith.train.config.resolved import decision_of, env_arguments, resolved

    fixed = {"family": "lorenz", "method": "dopri5", "decision": Decision(FEATURES, "pi34", actions=("shorter",))}
    specs.register(specs.EnvSpec("mine/Shorter-v0", ".ode", "ODE", "", fixed))
    try:
        config = from_dict({"name": "x", "algorithm": "es", "env": {"id": "mine/Shorter-v0"}})
        assert decision_of(env_arguments(config), "dopri5") is fixed["decision"] and resolved(config)
        table = {"actions": [[-0.5], [0.0]]}
        assert resolved(from_dict({"name": "x", "algorithm": "dqn", "env": {"id": "mine/Shorter-v0"}, "train": table}))
    finally:
        specs.SPECS.pop("mine/Shorter-v0")
        gymnasium.registry.pop("mine/Shorter-v0")
