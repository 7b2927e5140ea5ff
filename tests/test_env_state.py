"""State of environments: saved, restored, copied, pickled; what follows is the same to the last bit."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import DummyVecEnv

import stepsmith  # noqa: F401 (registers the ids)
from rolls import roll, vector_roll
from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.envs import make_sb3
from stepsmith.envs.core import Core, Reward
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv, make_core
from stepsmith.envs.pool import make_pool
from stepsmith.envs.state import packed
from stepsmith.envs.three_body_paper import ThreeBodyPaperEnv
from stepsmith.envs.three_body_paper import make_core as make_paper_core
from stepsmith.integrators import problems

SMALL = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
STIFF = {"family": "vdpol_stiff", "method": "esdirk43", "law": "predictive", "n_act": 4, "pool_size": 4, "rtol": (1e-3, 1e-5),
         "baseline": "predictive", "costs": {"jacobian": 1.0, "lu": 0.5, "solve": 0.2}}  # fmt: skip
PAPER = {"steps": 7, "pool_size": 4}
CORES = {
    "same step": lambda: make_core(5, True, **SMALL),
    "next step, two blocks": lambda: make_core(70, False, max_attempts=40, **SMALL),
    "implicit": lambda: make_core(3, False, **STIFF),
    "paper": lambda: make_paper_core(5, True, **PAPER),
    "paper, in turn": lambda: make_paper_core(5, False, steps=7, seeds=range(12), in_turn=True),
}


def play(core: Any, steps: int, seed: int) -> list[bytes]:
    """Everything that `steps` calls give back, as bytes (NaN equals NaN)."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(steps):
        if hasattr(core, "decision"):
            act = rng.uniform(-1, 1, (core.lanes, core.decision.n_act)).astype(np.float32)
        else:
            act = rng.integers(0, 5, core.lanes)
        ended = core.step(act)
        out += [x.tobytes() for x in (core.obs, core.final_obs, core.reward, core.terminated, core.truncated, core.stats)]
        out.append(core.ended[:ended].tobytes())
    return out


def begun(make: Any) -> Any:
    core = make()
    core.seed(np.arange(3, 3 + core.lanes).astype(np.uint64))
    core.reset()
    play(core, 50, 1)
    return core


@pytest.mark.parametrize("name", CORES)
def test_a_core_goes_on_from_its_state_bit_for_bit(name):
    core = begun(CORES[name])
    state = core.get_state()
    assert all(isinstance(v, np.ndarray) and v.dtype != object for v in state.values())
    copied, pickled = copy.deepcopy(core), pickle.dumps(core)
    after = play(core, 150, 2)
    assert play(copied, 150, 2) == after
    core.set_state(state)
    assert play(core, 150, 2) == after
    fresh = CORES[name]()
    fresh.set_state(state)
    assert play(fresh, 150, 2) == after
    assert play(pickle.loads(pickled), 150, 2) == after
    assert fresh.columns == core.columns


def test_a_state_is_a_copy_and_survives_a_file(tmp_path):
    core = begun(CORES["same step"])
    state = core.get_state()
    kept = {k: v.copy() for k, v in state.items()}
    np.savez(tmp_path / "state.npz", **state)
    after = play(core, 30, 2)
    assert all(np.array_equal(state[k], kept[k], equal_nan=kept[k].dtype.kind == "f") for k in kept)
    with np.load(tmp_path / "state.npz", allow_pickle=False) as read:
        core.set_state({k: read[k] for k in read.files})
    assert play(core, 30, 2) == after


@pytest.mark.parametrize(
    "change, message",
    [
        ({"method": "bs32"}, "method 'dopri5' instead of 'bs32'"),
        ({"law": "pi34"}, "decision"),
        ({"pool_seed": 1}, "instances' values"),
        ({"pool_size": 11}, "instances 12 instead of 11"),
        ({"split": "validation"}, "instances' values"),
        ({"reward": "constraint"}, "reward"),
        ({"rtol": (1e-3, 1e-5)}, "tolerances"),
        ({"baseline": "i"}, "baseline's"),
        ({"max_attempts": 300}, "max_attempts 20000.0 instead of 300.0"),
    ],
)
def test_a_state_of_another_environment_is_refused(change, message):
    state = begun(lambda: make_core(2, True, **SMALL)).get_state()
    other = make_core(2, True, **{**SMALL, **change})
    other.reset()
    before = other.get_state()
    with pytest.raises(ValueError, match=message):
        other.set_state(state)
    after = other.get_state()
    assert all(np.array_equal(after[k], before[k], equal_nan=before[k].dtype.kind == "f") for k in before)


def test_damaged_states_and_wrong_lanes_are_refused():
    core = begun(CORES["same step"])
    state = core.get_state()
    broken = state["rows"].copy()
    broken[2, core.kernel.layout.rows["T"]] += 1.0
    bad = [
        ([], "what get_state"), ({**state, "rows": broken}, "checksum"), ({**state, "keys": state["keys"].astype(np.int64)}, "keys"),
        ({**state, "rows": state["rows"][:, :-1]}, "rows"), ({k: v for k, v in state.items() if k != "stats"}, "'stats' is missing"),
        ({**state, "about": state["about"][:-3]}, "about"), ({**state, "obs": state["obs"][:2]}, "obs"),
    ]  # fmt: skip
    for value, message in bad:
        with pytest.raises(ValueError, match=message):
            core.set_state(value)
    with pytest.raises(ValueError, match="5 lanes, got 2"):
        core.set_state(core.get_state([1, 2]))
    with pytest.raises(ValueError, match="same_step True instead of False"):
        make_core(5, False, **SMALL).set_state(state)
    for indices in ([5], [1.0], [1, 1], [], "a", [True]):
        with pytest.raises(ValueError, match="indices must be"):
            core.get_state(indices)


@pytest.mark.parametrize("name", ["keys", "episodes", "obs", "final_obs", "reward", "terminated", "stats", "settings"])
def test_every_array_has_a_checksum(name):
    core = begun(CORES["same step"])
    before = core.get_state()
    bad = before[name].copy()
    bad.view(np.uint8).reshape(-1)[0] ^= 1
    with pytest.raises(ValueError, match="checksum"):
        core.set_state({**before, name: bad})
    after = core.get_state()
    assert all(after[k].tobytes() == before[k].tobytes() for k in before)


@pytest.mark.parametrize("name, bad", [
    ("pending", packed({"seeds": [None]})), ("pending", packed([1])), ("pending", packed({"seeds": [None] * 3, "options": [{}] * 2})),
    ("pending", packed({"seeds": ["a"] * 3, "options": [{}] * 3})), ("pending", packed({"seeds": [None] * 3, "options": [1] * 3})),
    ("keyed", np.array(["a"])), ("keyed", np.zeros(0, bool)), ("trace", np.zeros(3)), ("trace", np.array(["a"])),
])  # fmt: skip
def test_what_a_face_keeps_is_checked_before_its_core_changes(name, bad):
    env = ODEEnv(**SMALL) if name == "trace" else make_sb3("stepsmith/ODE-v0", 3, seed=3, **SMALL)
    env.reset()
    state = env.get_state()
    env.step(env.action_space.sample() if name == "trace" else np.zeros((3, 2), np.float32))
    before = env.get_state()
    with pytest.raises(ValueError, match=name if name != "pending" else "pending|seed"):
        env.set_state({**state, name: bad})
    after = env.get_state()
    assert all(after[k].tobytes() == before[k].tobytes() for k in before)


def test_lanes_go_on_in_other_lanes():
    many, one = begun(lambda: make_core(70, False, **SMALL)), make_core(1, False, **SMALL)
    one.set_state(many.get_state([66]))
    act = np.random.default_rng(0).uniform(-1, 1, (200, 1, 2)).astype(np.float32)
    wide = make_core(6, False, **SMALL)
    with pytest.raises(ValueError, match="reset"):
        wide.set_state(one.get_state(), indices=[1])
    wide.reset()
    wide.set_state(one.get_state(), indices=[1, 4, 5])  # one lane copied to three: the same future under the same actions
    for a in act:
        one.step(a), wide.step(np.tile(a, (6, 1)))
        for lane in (1, 4, 5):
            assert np.array_equal(wide.obs[lane], one.obs[0]) and wide.reward[lane] == one.reward[0]
            assert wide.stats[lane].tobytes() == one.stats[0].tobytes()


def test_the_multiplier_is_a_part_of_the_state():
    core = begun(lambda: make_core(2, True, reward="constraint", **SMALL))
    state = core.get_state()
    core.settings_view[:] = 5.0
    with pytest.raises(ValueError, match="lagrange"):
        core.set_state(core.get_state([0]) | {"settings": np.array([2.0])}, indices=[0])
    core.set_state(state)
    assert core.consts[1] == 1.0


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
    """One environment's state in every lane of a vector environment: each branch is what that environment does under its actions."""
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
    assert len(states) == 4 and venv.env_method("get_state", indices=[2])[0]["rows"].tobytes() == states[2]["rows"].tobytes()
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
    done = subprocess.run([sys.executable, "-c", ELSEWHERE, str(tmp_path / "env.pickle")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout == after
