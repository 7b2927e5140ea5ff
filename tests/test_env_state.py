"""State of environments: saved, restored, copied, pickled; what follows is the same to the last bit."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

from stepsmith.envs.ode import make_core
from stepsmith.envs.three_body_paper import make_core as make_paper_core

SMALL = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
STIFF = {"family": "vdpol_stiff", "method": "esdirk43", "law": "predictive", "n_act": 4, "pool_size": 4, "rtol": (1e-3, 1e-5),
         "costs": {"jacobian": 1.0, "lu": 0.5, "solve": 0.2}}  # fmt: skip
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
        ({"method": "tsit5"}, "method 'dopri5' instead of 'tsit5'"),
        ({"law": "pi34"}, "decision"),
        ({"pool_seed": 1}, "instances' values"),
        ({"pool_size": 11}, "instances 12 instead of 11"),
        ({"split": "validation"}, "instances' values"),
        ({"reward": "constraint"}, "reward"),
        ({"rtol": (1e-3, 1e-5)}, "tolerances"),
        ({"baseline": "h211b"}, "baseline's"),
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
