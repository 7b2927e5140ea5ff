"""State of an environment's core: saved, restored, checked; what follows is the same to the last bit."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

import stepsmith  # noqa: F401 (registers the ids)
from env_cores import PAPER, SMALL, begun, play
from stepsmith.envs import make_sb3
from stepsmith.envs.ode import ODEEnv, make_core
from stepsmith.envs.state import packed
from stepsmith.envs.three_body_paper import make_core as make_paper_core

STIFF = {
    "family": "vdpol_stiff", "method": "esdirk43", "law": "predictive", "n_act": 4, "pool_size": 4,
    "rtol": (1e-3, 1e-5), "baseline": "predictive", "costs": {"jacobian": 1.0, "lu": 0.5, "solve": 0.2},
}  # fmt: skip
CORES = {
    "same step": lambda: make_core(5, True, **SMALL),
    "next step, two blocks": lambda: make_core(70, False, max_attempts=40, **SMALL),
    "implicit": lambda: make_core(3, False, **STIFF),
    "paper": lambda: make_paper_core(5, True, **PAPER),
    "paper, in turn": lambda: make_paper_core(5, False, steps=7, seeds=range(12), in_turn=True),
}


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
        ([], "what get_state"), ({**state, "rows": broken}, "checksum"),
        ({**state, "keys": state["keys"].astype(np.int64)}, "keys"),
        ({**state, "rows": state["rows"][:, :-1]}, "rows"),
        ({k: v for k, v in state.items() if k != "stats"}, "'stats' is missing"),
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
    ("pending", packed({"seeds": [None]})), ("pending", packed([1])),
    ("pending", packed({"seeds": [None] * 3, "options": [{}] * 2})),
    ("pending", packed({"seeds": ["a"] * 3, "options": [{}] * 3})),
    ("pending", packed({"seeds": [None] * 3, "options": [1] * 3})),
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
    # one lane is copied to three: the same future under the same actions
    wide.set_state(one.get_state(), indices=[1, 4, 5])
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
