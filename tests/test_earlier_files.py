"""What an earlier version has written is read: pickles, states of environments (made before the folders moved)."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.file import save
from stepsmith.controllers.laws import Law
from stepsmith.controllers.learned import Learned
from stepsmith.controllers.learned.decision import Decision
from stepsmith.envs import ode
from stepsmith.envs.state import checksum
from stepsmith.integrators.core import record
from stepsmith.integrators.problems.families import Family

FOLDER = Path(__file__).parent / "helpers" / "earlier"


def earlier(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old import paths are what it holds
        return pickle.loads((FOLDER / f"{name}.pkl").read_bytes())


def test_a_law():
    law = earlier("law_pi34")
    assert isinstance(law, Law) and law.values == ss.controller("pi34").values and law.key == ss.controller("pi34").key
    assert pickle.loads(pickle.dumps(law)).values == law.values


def test_a_decision_has_its_actions():
    decision = earlier("decision4")
    assert isinstance(decision, Decision) and decision.n_act == 4
    assert [action.name for action in decision.actions] == ["residual", "threshold", "hold", "refresh"]
    assert decision.replace(n_act=1).n_act == 1


def test_a_learned_controller_solves_and_is_saved(tmp_path):
    learned = earlier("learned2")
    assert isinstance(learned, Learned) and learned.decision.n_act == 2
    with pytest.warns(UserWarning, match="trained with method 'rodas5p'"):
        assert ss.solve(ss.problems.make("lorenz", seed=1), "dopri5", learned).success
    assert np.array_equal(ss.load_controller(save(learned, tmp_path / "c.safetensors")).params, learned.params)


@pytest.mark.slow
def drawn_together(family, name, n, seed=0):
    """Instances of a split as earlier versions drew them."""
    stream = np.random.SeedSequence(family._key(name, seed))
    return family.sample(np.random.default_rng(stream), n)


def with_the_span(state, env):
    """The state as this version would have saved it: the record has had a slot more since."""
    at = env.core.kernel.layout.rows["R"] + record.SPAN
    found = {**state, "about": env.get_state()["about"], "rows": np.insert(state["rows"], at, 5.0, axis=1)}
    return {**found, "check": np.array([checksum(found)], np.uint32)}


def test_a_state_of_an_environment_goes_on_to_the_last_bit(monkeypatch):
    env = gymnasium.make("stepsmith/ODE-v0", family="lorenz", method="dopri5").unwrapped
    with pytest.raises(ValueError, match="another environment: it has instances' values .*rows"):
        env.set_state(earlier("env_state"))
    monkeypatch.setattr(Family, "split", drawn_together)
    monkeypatch.setattr(ode, "_pool", ode._pool.__wrapped__)  # pools are kept by their arguments
    env = gymnasium.make("stepsmith/ODE-v0", family="lorenz", method="dopri5").unwrapped
    env.reset(seed=0)
    env.set_state(with_the_span(earlier("env_state"), env))
    for observation, reward in earlier("env_trace"):
        found = env.step(np.full(env.action_space.shape, 0.2))
        assert np.array_equal(found[0], observation) and found[1] == reward
