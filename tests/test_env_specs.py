"""An environment of a caller's own, by its id wherever environments are named."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest

import stepsmith as ss
from stepsmith.envs import specs

ID = "mine/Lorenz-v0"
FIXED = {"family": "lorenz", "method": "bs32", "law": "pi42", "n_act": 1, "pool_size": 4}


@pytest.fixture
def spec():
    yield specs.register(specs.EnvSpec(ID, ".ode", "ODE", "step size on Lorenz", FIXED))
    specs.SPECS.pop(ID)
    gymnasium.registry.pop(ID)


def test_an_own_id_is_made_every_way(spec):
    import torch  # noqa: F401  (stable-baselines3 needs it)

    env, venv, sb3 = gymnasium.make(ID), gymnasium.make_vec(ID, num_envs=3), ss.envs.make_sb3(ID, num_envs=3, seed=5)
    assert env.action_space.shape == (1,)
    found = [np.asarray(env.reset(seed=5)[0]), venv.reset(seed=5)[0][0], sb3.reset()[0]]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[1], found[2])
    assert ("mine/Lorenz-v0", "step size on Lorenz") in [(s.id, s.doc) for s in specs.SPECS.values()]


def test_registering_again_replaces(spec):
    specs.register(specs.EnvSpec(ID, ".ode", "ODE", "other", {**FIXED, "n_act": 2}))
    assert gymnasium.make(ID).action_space.shape == (2,)


@pytest.mark.parametrize(
    ("ident", "message"),
    [("stepsmith/ODE-v0", "ships with the package"), ("Lorenz", "must be like"), ("mine/Lorenz", "must be like")],
)
def test_ids_that_do_not_work_are_refused(ident, message):
    with pytest.raises(ValueError, match=message):
        specs.register(specs.EnvSpec(ident, ".ode", "ODE", ""))


def test_what_is_no_spec_is_refused():
    with pytest.raises(TypeError, match="EnvSpec"):
        specs.register({"id": ID})
