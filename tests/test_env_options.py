"""Options, actions and seeds of environments: each is checked by name, type and range, and the error names it and what
it takes.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.env_checker import check_env

import stepsmith  # noqa: F401 (registers the ids)
from stepsmith.controllers.learned.decision import Decision
from stepsmith.envs import make_sb3
from stepsmith.envs.core import Reward
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv, make_core
from stepsmith.envs.three_body_paper import ThreeBodyPaperEnv, ThreeBodyPaperVectorEnv
from stepsmith.integrators.core.errors import OptionError

SMALL: dict[str, Any] = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
NAN, INF = float("nan"), float("inf")

#: options that are refused, and what the error says
BAD: list[tuple[dict[str, Any], str]] = [
    ({"famly": "lorenz"}, "no option 'famly': did you mean 'family'"),
    ({"max_attempt": 3}, "did you mean 'max_attempts'"),
    ({"lanes": 3}, "no option 'lanes'"),
    ({"same_step": True}, "no option 'same_step'"),
    ({"family": "lorentz"}, "did you mean 'lorenz'"),
    ({"family": ["a"]}, r"family must be a name, got \['a'\]"),
    ({"family": None}, "family must be a name, got None"),
    ({"method": "dorpi5"}, "did you mean 'dopri5'"),
    ({"method": ""}, "unknown method ''"),
    ({"method": []}, "method must be"),
    ({"law": "pi43"}, "unknown"),
    ({"law": 3}, "law must be the name of a law, a Law"),
    ({"law": ["i"]}, "law must be"),
    ({"features": "log_err"}, "features must be a sequence of names"),
    ({"features": [1]}, "feature must be one of"),
    ({"features": ["log_er"]}, "did you mean 'log_err'"),
    ({"n_act": 1.0}, "n_act must be a whole number"),
    ({"n_act": True}, "n_act must be a whole number"),
    ({"n_act": 3}, "n_act must be 1"),
    ({"n_act": "2"}, "n_act must be a whole number"),
    ({"decision": "i"}, "decision must be a Decision"),
    ({"decision": Decision(), "law": "pi34"}, "law has no effect beside decision"),
    ({"decision": Decision(), "n_act": 1}, "n_act has no effect beside decision"),
    ({"baseline": "pi43"}, "unknown"),
    ({"baseline": 3}, "baseline must be"),
    ({"baseline": ["pi34"]}, "baseline must be"),
    ({"rtol": 1e-6}, r"rtol must be \(loose, tight\) or None, got 1e-06"),
    ({"rtol": (1e-3,)}, "rtol must be"),
    ({"rtol": "ab"}, "rtol must be"),
    ({"rtol": (1e-6, 1e-3)}, "tight <= loose"),
    ({"rtol": (1e-3, "x")}, "rtol must be a finite number above 0 and at most 1, got 'x'"),
    ({"rtol": (True, 1e-3)}, "rtol must be"),
    ({"rtol": (1e300, 1e-3)}, "rtol must be"),
    ({"rtol": (1e-3, NAN)}, "rtol must be"),
    ({"band": "x"}, "band must be True or False, got 'x'"),
    ({"band": 1}, "band must be True or False, got 1"),
    ({"pool_size": 0}, "pool_size must be a whole number"),
    ({"pool_size": 4.0}, "pool_size must be a whole number"),
    ({"pool_size": 10**13}, "pool_size must be a whole number from 1 to"),
    ({"split": "tain"}, "did you mean 'train'"),
    ({"split": 0}, "split must be one of"),
    ({"pool_seed": -1}, "pool_seed must be a whole number of at least 0"),
    ({"pool_seed": 0.5}, "pool_seed must be"),
    ({"reward": "matchd"}, "did you mean 'matched'"),
    ({"reward": 1}, "reward must be one of"),
    ({"reward": "constraint", "lagrange": "x"}, "lagrange must be a finite number of at least 0, got 'x'"),
    ({"reward": "constraint", "lagrange": -1.0}, "lagrange must be"),
    ({"reward": "constraint", "lagrange": INF}, "lagrange must be"),
    ({"lagrange": 2.0}, "lagrange has no effect on the reward 'matched'"),
    ({"reward": "matched_end", "lagrange": 0.5}, "lagrange has no effect"),
    ({"reward": "propagated", "window": 1.0}, "window has no effect on the reward 'propagated'"),
    ({"reward": Reward(), "window": 1.0}, "window has no effect beside a Reward"),
    ({"reward": Reward(), "fail": 2.0}, "fail has no effect beside a Reward"),
    ({"window": NAN}, "window must be"),
    ({"fail": "1"}, "fail must be"),
    ({"time_discount": 0.0}, "time_discount must be a finite number above 0 and at most 1, got 0.0"),
    ({"time_discount": 1.5}, "time_discount must be"),
    ({"max_attempts": NAN}, "max_attempts must be a whole number of at least 1, got nan"),
    ({"max_attempts": 0}, "max_attempts must be"),
    ({"max_attempts": 5.0}, "max_attempts must be"),
    ({"max_attempts": True}, "max_attempts must be"),
    ({"costs": 3}, "costs must be a table"),
    ({"costs": {"lo": 1.0}}, "costs has no option 'lo': did you mean 'lu'"),
    ({"costs": {"lu": "x"}}, "cost of lu must be"),
    ({"costs": {"lu": 1.0}}, "no effect under method 'dopri5'"),
]
MAKERS = {
    "single": ODEEnv,
    "vector": lambda **k: ODEVectorEnv(2, **k),
    "sb3": lambda **k: make_sb3("stepsmith/ODE-v0", 2, **k),
    "gym.make": lambda **k: gym.make("stepsmith/ODE-v0", **k),
}


@pytest.mark.parametrize("face", MAKERS)
@pytest.mark.parametrize("given, message", BAD, ids=[f"{'-'.join(k)}-{i}" for i, (k, _) in enumerate(BAD)])
def test_bad_options_are_refused_by_name(face, given, message):
    with pytest.raises(ValueError, match=message):
        MAKERS[face](**{**SMALL, **given})


@pytest.mark.parametrize("num_envs", [1.5, 0, -1, True, "3", None, NAN, 10**12])
def test_the_number_of_lanes_is_a_whole_number(num_envs):
    for make in (ODEVectorEnv, lambda n, **k: make_sb3("stepsmith/ODE-v0", n, **k),
                 lambda n, **k: gym.make_vec("stepsmith/ODE-v0", num_envs=n, **k)):  # fmt: skip
        with pytest.raises(OptionError, match="num_envs must be a whole number"):
            make(num_envs, **SMALL)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"step": 3}, "did you mean 'steps'"), ({"steps": 3.0}, "steps must be a whole number"),
        ({"counter": 1}, "counter must be"),
        ({"method": "hermite"}, "did you mean 'hermite4'"), ({"weights": "abc"}, "weights must be"),
        ({"weights": 3}, "weights must be"),
        ({"weights": (1, 0, "x")}, "weights must be"), ({"seeds": [0.5]}, "seeds must be a whole number"),
        ({"seeds": 3}, "seeds must be"),
        ({"seeds": [-1]}, "seeds must be"), ({"in_turn": 1}, "in_turn must be True or False"),
        ({"energy_limit": NAN}, "energy_limit"),
        ({"seeds": [1], "pool_size": 5}, "have no effect beside seeds"), ({"split": "tain"}, "did you mean 'train'"),
        ({"pool_seed": None}, "pool_seed must be"),
    ],
)  # fmt: skip
def test_options_of_the_papers_environment(given, message):
    paper = "stepsmith/ThreeBodyPaper-v0"
    for make in (ThreeBodyPaperEnv, lambda **k: ThreeBodyPaperVectorEnv(2, **k), lambda **k: make_sb3(paper, 2, **k)):
        with pytest.raises(ValueError, match=message):
            make(**given)


def test_signatures_name_every_option_with_its_default():
    for cls, own in ((ODEEnv, ["render_mode"]), (ODEVectorEnv, ["num_envs", "autoreset_mode"])):
        found = inspect.signature(cls).parameters
        assert list(found)[: len(own)] == own and "lanes" not in found and "same_step" not in found
        assert (
            found["law"].default == "i"
            and found["reward"].default == "matched"
            and found["max_attempts"].default == 20_000
        )
    assert inspect.signature(ThreeBodyPaperEnv).parameters["steps"].default == 100


def test_options_of_numpys_types_are_taken():
    given = {"pool_size": np.int32(12), "band": np.False_, "max_attempts": np.int64(9), "rtol": np.array([1e-3, 1e-6]),
             "n_act": np.int64(2)}  # fmt: skip
    assert ODEVectorEnv(np.int64(2), **{**SMALL, **given}).num_envs == 2


def test_wrong_ids_and_attributes():
    for bad, message in (
        ("stepsmith/ODE-v1", "did you mean 'stepsmith/ODE-v0'"),
        (["x"], "environment must be"),
        (None, "environment"),
    ):
        with pytest.raises(OptionError, match=message):
            make_sb3(bad, 2)
    venv = make_sb3("stepsmith/ODE-v0", 2, reward="constraint", **SMALL)
    for value in ("x", True, -1.0, None):
        with pytest.raises(OptionError, match="lagrange must be a finite number"):
            venv.set_attr("lagrange", value)
    with pytest.raises(OptionError, match="lagrange has no effect on the reward 'matched'"):
        make_sb3("stepsmith/ODE-v0", 2, **SMALL).set_attr("lagrange", 2.0)


@pytest.mark.parametrize("seed", [-1, 1.5, "3", True, NAN])
def test_seeds_and_options_of_reset(seed):
    one, many, sb3 = ODEEnv(**SMALL), ODEVectorEnv(2, **SMALL), make_sb3("stepsmith/ODE-v0", 2, **SMALL)
    for call in (one.reset, many.reset, lambda seed: many.reset(seed=[1, seed]), sb3.seed):
        with pytest.raises(OptionError, match="seed must be"):
            call(seed=seed)
    with pytest.raises(OptionError, match="seed must be"):
        make_sb3("stepsmith/ODE-v0", 2, seed=seed, **SMALL)
    with pytest.raises(OptionError, match="has no option 'mask'"):
        one.reset(options={"mask": 1})
    with pytest.raises(OptionError, match="did you mean 'reset_mask'"):
        many.reset(options={"reset_masks": np.ones(2, bool)})
    with pytest.raises(OptionError, match="options of reset"):
        one.reset(options=[1])
    sb3.set_options({"mask": 1})
    with pytest.raises(OptionError, match="has no option 'mask'"):
        sb3.reset()
    assert np.array_equal(one.reset(seed=2**80)[0], ODEVectorEnv(1, **SMALL).reset(seed=2**80)[0][0])


@pytest.mark.parametrize("bad", [[None, None], ["a", "b"], [True, False], [1j, 0.0], np.zeros((2, 2), object)], ids=str)
def test_actions_that_hold_no_real_numbers_are_refused(bad):
    env = ODEEnv(**SMALL)
    env.reset(seed=1)
    with pytest.raises(OptionError, match="actions must be"):
        env.step(bad)
    sb3 = make_sb3("stepsmith/ODE-v0", 2, **SMALL)
    sb3.reset()
    with pytest.raises(OptionError, match="actions must be"):
        sb3.step_wait()  # without step_async
    for wrong in (np.zeros((1, 2), np.float32), np.zeros(3, np.float32), 0.5):
        with pytest.raises(ValueError, match=rf"actions must have shape \(2,\), got {re.escape(str(np.shape(wrong)))}"):
            env.step(wrong)  # the shape of this environment's own space, not of a batch of one


@pytest.mark.parametrize("bad", [NAN, INF, -INF, 1.5, -1.0001, 1e300])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.filterwarnings("error")
def test_an_invalid_action_is_the_laws_own_decision_and_counted(bad, which):
    """Action 0 is the law: an episode of invalid actions is an episode of zeros, but for the count."""
    infos = []
    for action in ([0.0, 0.0], [bad, 0.3] if which == 0 else [0.3, bad]):
        env, info = ODEEnv(**SMALL), {}
        env.reset(seed=8)
        while "stepsmith" not in info:
            obs, reward, term, trunc, info = env.step(np.array(action))
        infos.append(info["stepsmith"])
    law, answered = infos
    assert law["nfallback"] == 0 and answered["nfallback"] == law["length"] > 20
    assert {**answered, "nfallback": 0} == law


@pytest.mark.filterwarnings("ignore:.*Box.*")
def test_stable_baselines3s_checker_passes():
    check_env(ODEEnv(**SMALL), skip_render_check=False)
    check_env(ThreeBodyPaperEnv(pool_size=4), skip_render_check=False)


def test_a_core_takes_a_reward_itself():
    core = make_core(1, True, reward=Reward("constraint", lagrange=3.0), **SMALL)
    assert core.consts[1] == 3.0 and core.rule.priced
