"""Environments of every kind, copied, pickled and restored: what follows is the same to the last bit."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

import stepsmith  # noqa: F401 (registers the ids)
from env_cores import PAPER, SMALL, begun, play
from rolls import roll, vector_roll
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.envs import make_sb3
from stepsmith.envs.core import Core, Reward
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv
from stepsmith.envs.pool import make_pool
from stepsmith.envs.three_body_paper import ThreeBodyPaperEnv
from stepsmith.integrators import problems

SINGLE = {
    "alone": lambda: ODEEnv(render_mode="rgb_array", **SMALL),
    "wrapped": lambda: gym.make("stepsmith/ODE-v0", **SMALL),
    "paper": lambda: ThreeBodyPaperEnv(render_mode="rgb_array", **PAPER),
}
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x)),
          "cloudpickle": lambda x: cloudpickle.loads(cloudpickle.dumps(x))}  # fmt: skip


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_environment_goes_on_from_its_state(name):
    env = SINGLE[name]()
    env.reset(seed=4)
    roll(env, 30, 1)
    state, copies = env.unwrapped.get_state(), {k: f(env) for k, f in COPIES.items()}
    picture, after = env.render(), roll(env, 200, 2)
    for k, other in copies.items():
        assert type(other) is type(env)
        if picture is not None:
            assert np.array_equal(other.render(), picture)
        assert roll(other, 200, 2) == after, k
    env.unwrapped.set_state(state)
    if picture is not None:
        assert np.array_equal(env.render(), picture)
    assert roll(env, 200, 2) == after
    other = SINGLE[name]()
    other.reset(seed=9)
    other.unwrapped.set_state(state)
    assert roll(other, 200, 2) == after
    assert env.unwrapped.np_random.random() == other.unwrapped.np_random.random()


def test_a_core_of_ones_own_pool_and_decision_is_copied():
    pool = make_pool(problems.family("lorenz"), "dopri5", registry.get("pi34"), 4, "train", 3, (1e-3, 1e-6), points=4)
    core = begun(lambda: Core(pool, "dopri5", Decision(), 3, Reward(), pool.span((1e-3, 1e-6)), 100, True))
    others = [f(core) for f in COPIES.values()]
    after = play(core, 60, 2)
    assert others[0].pool is core.pool and all(play(other, 60, 2) == after for other in others)
    env = ODEEnv(decision=Decision(law="pi34"), baseline=registry.get("i"), **SMALL)  # objects where names would do
    env.reset(seed=3)
    others = [f(env) for f in COPIES.values()]
    after = roll(env, 20, 2)
    assert all(roll(other, 20, 2) == after for other in others)


@pytest.mark.parametrize("bits", ["MT19937", "PCG64", "Philox", "SFC64"])
def test_a_generator_of_ones_own_is_a_part_of_the_state(bits):
    env = ODEEnv(**SMALL)
    env.np_random = np.random.Generator(getattr(np.random, bits)(5))
    env.np_random.random(3)
    state = env.get_state()
    first, other = env.reset()[0], ODEEnv(**SMALL)
    other.set_state(state)
    assert np.array_equal(other.reset()[0], first) and env.np_random.random() == other.np_random.random()
    before = other.get_state()
    for bad in (state["generator"][:-4], np.frombuffer(b'{"state": {"bit_generator": "seed"}, "seed": 1}', np.uint8)):
        with pytest.raises(ValueError, match="'generator' is damaged"):
            other.set_state({**state, "generator": bad})
    assert all(np.array_equal(v, before[k], equal_nan=v.dtype.kind == "f") for k, v in other.get_state().items())


def test_copies_of_an_environment_that_has_not_begun_begin_alike():
    for copied in COPIES.values():
        env = ODEEnv(**SMALL)
        env.action_space.seed(3)
        other = copied(env)
        assert np.array_equal(env.action_space.sample(), other.action_space.sample())
        assert np.array_equal(env.reset(seed=2)[0], other.reset(seed=2)[0])
        assert roll(env, 20, 0) == roll(other, 20, 0)


@pytest.mark.parametrize("make", [lambda: ODEVectorEnv(5, **SMALL), lambda: ODEVectorEnv(5, "same_step", **SMALL),
                                  lambda: make_sb3("stepsmith/ODE-v0", 5, seed=3, **SMALL)],
                         ids=["next step", "same step", "sb3"])  # fmt: skip
def test_vector_environments_go_on_from_their_state(make):
    venv = make()
    venv.reset()
    vector_roll(venv, 40, 1)
    state, copies = venv.get_state(), [f(venv) for f in COPIES.values()]
    after = vector_roll(venv, 150, 2)
    fresh = make()
    fresh.set_state(state)
    for other in (*copies, fresh):
        assert vector_roll(other, 150, 2) == after
    venv.set_state(state)
    assert vector_roll(venv, 150, 2) == after
    part = venv.get_state([3, 1])
    kept = venv.get_state()
    venv.reset()
    venv.set_state(part, indices=[3, 1])
    now = venv.get_state()
    assert np.array_equal(now["rows"][[1, 3]], kept["rows"][[1, 3]], equal_nan=True)
    assert not np.array_equal(now["rows"][[0, 2, 4]], kept["rows"][[0, 2, 4]], equal_nan=True)


def test_a_tree_of_rollouts_from_one_state():
    """One environment's state in every lane of a vector environment: each branch is what that environment does under
    its actions.
    """
    env, venv = ODEEnv(**SMALL), ODEVectorEnv(6, **SMALL)
    env.reset(seed=11)
    roll(env, 12, 1)
    root = env.get_state()
    venv.reset(seed=0)
    venv.set_state(root, indices=range(6))
    acts = np.random.default_rng(5).uniform(-1, 1, (8, 6, 2)).astype(np.float32)
    branches = [venv.step(a) for a in acts]
    for lane in range(6):
        env.set_state(root)
        for a, (obs, reward, term, trunc, _) in zip(acts, branches, strict=True):
            one = env.step(a[lane])
            assert np.array_equal(one[0], obs[lane]) and one[1:4] == (reward[lane], term[lane], trunc[lane])


def test_lanes_of_the_adapter_by_stable_baselines3s_own_call():
    venv = make_sb3("stepsmith/ODE-v0", 4, seed=3, **SMALL)
    venv.reset()
    vector_roll(venv, 10, 1)
    states = venv.env_method("get_state")
    assert (
        len(states) == 4
        and venv.env_method("get_state", indices=[2])[0]["rows"].tobytes() == states[2]["rows"].tobytes()
    )
    venv.env_method("set_state", states[2], indices=[0, 3])
    obs = venv.step(np.full((4, 2), 0.2, np.float32))[0]
    assert np.array_equal(obs[0], obs[2]) and np.array_equal(obs[3], obs[2]) and not np.array_equal(obs[1], obs[2])
    dummy = DummyVecEnv([lambda: ODEEnv(**SMALL)] * 2)  # through SB3's own wrapper of single environments
    dummy.reset()
    kept = dummy.env_method("get_state")
    after = vector_roll(dummy, 60, 1)
    for i, state in enumerate(kept):
        dummy.env_method("set_state", state, indices=[i])
    assert [x[0] for x in vector_roll(dummy, 20, 1)] == [x[0] for x in after[:20]]


ELSEWHERE = """
import pickle, sys
import numpy as np
with open(sys.argv[1], "rb") as file:
    env = pickle.load(file)
out = [env.step(np.array([0.3, -0.2], np.float32)) for _ in range(8)]
sys.stdout.write(repr([(o.tobytes(), *rest) for o, *rest in out]))
"""


def test_a_pickled_environment_goes_on_in_a_fresh_process(tmp_path):
    env = gym.make("stepsmith/ODE-v0", **SMALL)
    env.reset(seed=4)
    (tmp_path / "env.pickle").write_bytes(pickle.dumps(env))
    act = np.array([0.3, -0.2], np.float32)
    after = repr([(o.tobytes(), *rest) for o, *rest in (env.step(act) for _ in range(8))])
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "env.pickle")], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == after
