"""`stepsmith/NeuralODE-v0` and its family: the trainings' fields, their order, warm starts and even steps as NeuralODE
takes them, checkers, seeds, states, refusals."""

from __future__ import annotations

import copy
import math
import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import stepsmith as ss
from stepsmith.envs.core import Core
from stepsmith.envs.neural_ode import NeuralODEEnv, NeuralODEVectorEnv, make_core
from stepsmith.envs.neural_ode.core import series_of
from stepsmith.envs.neural_ode.snapshots import COUNTS, fields, ratio_of, rows
from stepsmith.integrators.core import record
from stepsmith.integrators.kernels.environment.series_rows import FIRST_SCALE, MORE_NAMES
from stepsmith.integrators.problems.nonstiff import neural_training as family

ID = "stepsmith/NeuralODE-v0"
SMALL = {"pool_size": 16, "rtol": (1e-2, 1e-5)}
ZERO = np.zeros((1, 3), np.float32)


# -- the family --------------------------------------------------------------------------------------------------------


def test_the_file_holds_what_the_trainings_give():
    numbers, ratios = [0, 6], [ratio_of("train", 0), ratio_of("train", 6)]
    assert ratios == [0.0, 0.3] and family.POINTS[:3] == (0, 6, 18)
    found = fields(numbers, ratios, family.POINTS[:3])
    kept = family.trainings("train")
    np.testing.assert_allclose(found, kept.fields[numbers, :3], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(np.stack([rows(n) for n in numbers]), kept.rows[numbers], rtol=1e-6, atol=1e-7)
    drift = np.abs(np.diff(kept.fields, axis=1)).max(axis=2)
    assert np.all(drift > 1e-3)  # every field of every training moves from snapshot to snapshot


def test_splits_hold_other_trainings_and_both_kinds_of_them():
    found = {split: family.trainings(split) for split in COUNTS}
    numbers = [set(one.numbers.tolist()) for one in found.values()]
    assert [len(n) for n in numbers] == list(COUNTS.values()) and len(set.union(*numbers)) == sum(COUNTS.values())
    for one in found.values():
        assert set(one.ratios) == {0.0, 0.3} and np.isfinite(one.fields).all()
    drawn = {split: family.FAMILY.split(split, 70, 0) for split in COUNTS}
    for split, batch in drawn.items():
        known = {row.tobytes() for row in found[split].fields.reshape(-1, family.PARAMETERS)}
        assert {row.tobytes() for row in batch.p} <= known and len({row.tobytes() for row in batch.p}) > 30
    assert pickle.loads(pickle.dumps(family.FAMILY.of_split))("test") is not None


def test_the_right_hand_side_against_numpy():
    batch = family.FAMILY.split("train", 20, 0)
    bounded = batch.p[:, family.BOUNDED]
    assert set(bounded) == {0.0, 1.0}
    n, h = family.WIDTH, family.HIDDEN
    for y0, p in zip(batch.y0, batch.p, strict=True):
        w1, b1, w2, b2, _ = np.split(p, np.cumsum([h * (n + 1), h, n * h, n]))
        y = y0.reshape(family.ROWS, n)
        inner = np.tanh(np.concatenate([y, np.full((family.ROWS, 1), 0.3)], 1) @ w1.reshape(h, n + 1).T + b1)
        want = inner @ w2.reshape(n, h).T + b2
        dy = np.full(family.ROWS * n, np.nan)
        batch.rhs(0.3, y0, p, dy)
        np.testing.assert_allclose(dy, (np.tanh(want) if p[-1] else want).ravel(), rtol=1e-12, atol=1e-13)


def test_all_solves_of_a_training_stand_in_their_order():
    batch = family.in_order("test", 14, 3)
    known = {p.tobytes(): divmod(i, family.SNAPSHOTS) for i, p in
             enumerate(family.trainings("test").fields.reshape(-1, family.PARAMETERS))}  # fmt: skip
    place = np.array([known[p.tobytes()] for p in batch.p]).reshape(14, family.SNAPSHOTS, 2)
    assert np.all(place[:, :, 0] == place[:, :1, 0]) and np.all(place[:, :, 1] == np.arange(family.SNAPSHOTS))
    assert len(set(place[:12, 0, 0])) == 12  # each once before one comes again


# -- what zero and full actions are ------------------------------------------------------------------------------------


def played(core: Core, action: np.ndarray, solves: int) -> list[dict[str, float]]:
    """Statistics of the first solves of one lane."""
    found: list[dict[str, float]] = []
    while len(found) < solves:
        if core.step(action):
            found.append(core.episode(0))
    return found


def torch_solves(batch, instances, rtol, even):
    """(nfev, naccept, last state) of these instances by a NeuralODE that starts warm, in training mode."""
    n, h = family.WIDTH, family.HIDDEN
    weights: list[torch.Tensor] = []

    def func(t, y):
        w1, b1, w2, b2, bounded = weights
        y = y.view(-1, n)
        inner = torch.tanh(torch.cat([y, t.expand(len(y), 1)], 1) @ w1.view(h, n + 1).T + b1)
        slope = inner @ w2.view(n, h).T + b2
        return (torch.tanh(slope) if bounded else slope).view(1, -1)

    ode = ss.neural.NeuralODE(func, "tsit5", "pi34", rtol, rtol, warm_start=True, per_sample=False, even_steps=even)
    found = []
    for i in instances:
        weights[:] = torch.from_numpy(batch.p[i]).split([h * (n + 1), h, n * h, n, 1])
        solution = ode(torch.from_numpy(batch.y0[i])[None], torch.tensor([0.0, 1.0], dtype=torch.float64)).solution
        stats = solution.stats
        found.append((stats.nfev - stats.nfev_check, int(stats.naccept), solution.y[-1, 0].detach().numpy()))
    return found


@pytest.mark.parametrize("even", [False, True])
def test_actions_are_the_warm_start_and_the_even_steps_of_a_neural_ode(even):
    core = make_core(1, True, **SMALL)
    core.seed(np.array([7], np.uint64))
    core.reset()
    ours = played(core, np.array([[0.0, 0.0, float(even)]], np.float32), 2 * family.SNAPSHOTS)
    for training in (ours[: family.SNAPSHOTS], ours[family.SNAPSHOTS :]):
        instances = [int(one["instance"]) for one in training]
        assert instances == list(range(instances[0], instances[0] + family.SNAPSHOTS))
        assert len({one["rtol"] for one in training}) == 1
        theirs = torch_solves(core.pool.batch, instances, training[0]["rtol"], even)
        for one, (nfev, naccept, y) in zip(training, theirs, strict=True):
            ref = core.pool.ref[int(one["instance"]), -1]
            error = np.linalg.norm(y - ref) / np.linalg.norm(ref)
            assert (one["nfev"], one["naccept"]) == (nfev, naccept)
            assert one["error"] == pytest.approx(error, rel=1e-3, abs=1e-12) and one["nfallback"] == 0
    assert sum(one["nfev"] for one in ours) < 900


def begun(**more) -> Core:
    core = make_core(1, True, **{**SMALL, **more})
    core.seed(np.array([3], np.uint64))
    core.reset()
    return core


def size(core: Core) -> float:
    """Size of the attempt that waits for its decision."""
    return float(core.rows("HS")[0, 0])


def test_the_action_on_the_first_size_moves_its_logarithm():
    sizes = []
    for a in (0.0, -1.0, -0.5, 1.0):
        core = begun()
        assert size(core) == 0.0 and core.obs[0, -5:].tolist() == [1.0, 0.0, 0.0, 0.0, 0.0]
        core.step(np.array([[0.7, a, 0.0]], np.float32))
        assert core.reward[0] == 0.0 and core.obs[0, -5] == 0.0
        sizes.append(size(core))
    assert sizes[1:3] == pytest.approx([sizes[0] * math.exp(-FIRST_SCALE), sizes[0] * math.exp(-0.5 * FIRST_SCALE)])
    assert sizes[3] == pytest.approx(min(1.0, sizes[0] * math.exp(FIRST_SCALE)))
    # the solve after it begins with what the law asked for after the first step, on which the action acts as well
    core = begun()
    played(core, ZERO, 1)
    warm = float(core.rows("WARM")[0, 0])
    assert 0.0 < warm < 1.0 and core.obs[0, -5:-3].tolist() == [1.0, 1.0]
    assert core.obs[0, -3] == pytest.approx(math.log(warm))
    core.step(np.array([[0.0, -0.25, 0.0]], np.float32))
    assert size(core) == pytest.approx(warm * math.exp(-0.25 * FIRST_SCALE), rel=1e-6)


@pytest.mark.parametrize("a", [1.0, 0.5, -0.5, -1.0])
def test_the_action_on_the_division_is_between_what_is_asked_for_and_equal_steps(a):
    core, seen = begun(rtol=(1e-4, 1e-5)), 0
    for _ in range(40):
        core.step(np.array([[0.0, 0.0, a]], np.float32))
        want, left = (float(core.rows("R", record.N_RECORD)[i, 0]) for i in (record.H_FREE, record.T_LEFT))
        if core.rows("PAID")[0, 0] != 0.0 or want >= left:
            continue
        many = left / want
        part = left / (math.ceil(many) if a > 0 else max(1, math.floor(many)))
        assert size(core) == pytest.approx(want * (part / want) ** abs(a), rel=1e-12)
        if abs(a) == 1.0:
            assert (core.rows("LANDS")[0, 0] == 1.0) == (part == left)
        seen += 1
    assert seen > 10


def test_an_action_with_one_invalid_entry_is_answered_by_the_law_and_counted():
    law = played(begun(), ZERO, 3)
    for bad in ([np.nan, 0.3, 0.5], [0.4, 2.0, 0.5], [0.4, 0.3, -np.inf]):
        found = played(begun(), np.array([bad], np.float32), 3)
        for one, other in zip(found, law, strict=True):
            assert {**one, "nfallback": 0.0} == other and one["nfallback"] == one["length"]


def test_a_solve_that_is_cut_leaves_no_size():
    core = begun(max_attempts=2, rtol=(1e-5, 1e-5))
    lengths = []
    for _ in range(12):
        if core.step(ZERO):
            assert core.truncated[0] and core.episode(0)["status"] == 0
            lengths.append(core.episode(0)["length"])
            assert core.obs[0, -5:-2].tolist() == [1.0, 0.0, 0.0] and core.obs[0, -2] == pytest.approx(math.log(2.0))
    assert lengths == [3.0, 3.0, 3.0, 3.0]


@pytest.mark.parametrize("n_act", [1, 2])
def test_fewer_actions_are_the_same_solves(n_act):
    core = begun(n_act=n_act)
    assert core.obs[0, -5] == float(n_act > 1)
    found, law = played(core, ZERO[:, :n_act], 10), played(begun(), ZERO, 10)
    for one, other in zip(found, law, strict=True):
        assert {**one, "length": other["length"]} == other and one["length"] == other["length"] - (n_act == 1)


# -- the interface -----------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("error")
def test_the_checkers_pass():
    check_env(gym.make(ID, render_mode="rgb_array", disable_env_checker=True, **SMALL).unwrapped)
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(NeuralODEEnv(**SMALL))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_lanes_are_single_environments_bit_for_bit(mode):
    n, kwargs = 18, {**SMALL, "max_attempts": 6}
    sync = SyncVectorEnv([lambda: NeuralODEEnv(**kwargs)] * n, autoreset_mode=mode)
    native = gym.make_vec(ID, num_envs=n, autoreset_mode=mode, **kwargs)
    assert isinstance(native.unwrapped, NeuralODEVectorEnv)
    assert native.observation_space == sync.observation_space and native.action_space == sync.action_space
    rng, ends = np.random.default_rng(0), 0
    assert np.array_equal(native.reset(seed=11)[0], sync.reset(seed=11)[0])
    for _ in range(80):
        act = rng.uniform(-1, 1, (n, 3)).astype(np.float32)
        x, y = native.step(act), sync.step(act)
        for u, v in zip(x[:4], y[:4], strict=True):
            assert u.dtype == v.dtype and np.array_equal(u, v)
        assert native.observation_space.contains(x[0])
        ends += int((x[2] | x[3]).sum())
    assert ends > 100


def test_stable_baselines_gets_lanes_and_equal_seeds_give_equal_episodes():
    pytest.importorskip("stable_baselines3")
    found = []
    for _ in range(2):
        venv = ss.envs.make_sb3(ID, num_envs=4, seed=5, **SMALL)
        out = [venv.reset()]
        for k in range(30):
            obs, reward, done, infos = venv.step(np.full((4, 3), math.sin(k), np.float32))
            out += [obs, reward, done]
            assert all(info["episode"]["l"] == info["length"] for info in infos if "length" in info)
        found.append(out)
    assert all(np.array_equal(a, b) for a, b in zip(*found, strict=True))
    venv = ss.envs.make_sb3(ID, num_envs=4, seed=6, **SMALL)
    venv.reset()
    assert not np.array_equal(venv.step(np.zeros((4, 3), np.float32))[0], found[0][4])


def walk(core: Core, steps: int, seed: int) -> list[bytes]:
    rng, out = np.random.default_rng(seed), []
    for _ in range(steps):
        core.step(rng.uniform(-1, 1, (core.lanes, core.n_act)).astype(np.float32))
        out += [x.tobytes() for x in (core.obs, core.final_obs, core.reward, core.terminated, core.stats)]
    return out


@pytest.mark.parametrize("same_step", [True, False])
def test_a_core_goes_on_from_its_state_bit_for_bit(same_step):
    core = make_core(5, same_step, **SMALL)
    core.seed(np.arange(5, dtype=np.uint64))
    core.reset()
    walk(core, 23, 1)
    state, copied, pickled = core.get_state(), copy.deepcopy(core), pickle.dumps(core)
    after = walk(core, 60, 2)
    assert walk(copied, 60, 2) == after and walk(pickle.loads(pickled), 60, 2) == after
    fresh = make_core(5, same_step, **SMALL)
    fresh.set_state(state)
    assert walk(fresh, 60, 2) == after
    for change, message in (({"n_act": 2}, "actions"), ({"pool_seed": 1}, "instances' values")):
        with pytest.raises(ValueError, match=message):
            make_core(5, same_step, **{**SMALL, **change}).set_state(state)


def test_the_order_of_what_is_left_where_instances_are_left_out():
    series = series_of(np.array([0, 0, 2, 3, 3, 3]), 3)
    assert series.following.tolist() == [1, -1, -1, 4, 5, -1] and series.firsts.tolist() == [0, 2, 3]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"pool_size": 12}, "pool_size must be a multiple of 8"),
        ({"n_act": 4}, "n_act must be 1"),
        ({"n_act": 0}, "n_act"),
        ({"method": "esdirk43"}, "method must be an explicit"),
        ({"split": "everything"}, "split"),
        ({"rtol": (1e-6, 1e-2)}, "rtol must be"),
        ({"reward": "nothing"}, "reward"),
        ({"max_attempts": 0}, "max_attempts"),
        ({"baseline": 3}, "baseline must be"),
    ],
)
def test_bad_options_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        make_core(2, True, **given)


def test_what_is_observed_beside_the_features_has_a_bound_each():
    env = NeuralODEEnv(**SMALL)
    assert env.observation_space.shape == (env.core.decision.n_obs + len(MORE_NAMES),)
    with pytest.raises(ValueError, match="actions must have shape"):
        env.reset(seed=0)
        env.step(np.zeros(2, np.float32))
    with pytest.raises(TypeError, match="family"):
        NeuralODEEnv(family="lorenz")


def test_no_solve_is_caught_in_what_was_rejected():
    core = make_core(32, True, split="test", pool_size=16)
    core.seed(np.arange(32, dtype=np.uint64))
    core.reset()
    for _ in range(300):
        ended = core.ended[: core.step(np.tile(np.float32([0.0, 0.0, -1.0]), (32, 1)))]
        assert not core.truncated.any()
        assert np.isfinite(core.stats[ended, core.columns.index("error")]).all()


def test_a_split_without_an_order_is_refused():
    with pytest.raises(ValueError, match="unknown split 'sample'"):
        make_core(1, True, split="sample")
