"""`stepsmith/Regularization-v0`: checkers, seeds, states, what an episode pays, and its trainings against torch."""

import copy
import math
import pickle
import warnings

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import stepsmith as ss
from stepsmith.envs.regularization import grid, instances, make_core, trainings
from stepsmith.envs.regularization.draws import normal, uniform
from stepsmith.envs.regularization.flow import FIELD, WEIGHTS, Flow, loss_and_quality, weights_in_use
from stepsmith.envs.regularization.observe import FEATURES, OF_TRAINING

ID = "stepsmith/Regularization-v0"


def work_on(numbers):
    made = trainings.Trainings(np.zeros((len(numbers), trainings.COUNT)))
    made.begin(np.arange(len(numbers)), np.array(numbers))
    grid.off(made)
    return made


# -- the trainings -----------------------------------------------------------------------------------------------------


def test_draws_are_uniform_and_normal_and_those_of_their_place():
    u, z = uniform(3, 4, np.arange(100_000)), normal(5, np.arange(100_000))
    assert abs(u.mean() - 0.5) < 0.005 and abs(u.var() - 1 / 12) < 0.002 and u.min() >= 0 and u.max() < 1
    assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.02
    assert uniform(3, 4, 17) == u[17] and uniform(3, 5, 17) != u[17] and uniform(4, 4, 17) != u[17]


@pytest.mark.parametrize("number", [0, 3, 5])
def test_a_lane_is_the_neural_ode_that_it_stands_for(number):
    """One training without padding, with torch's own Adam and NeuralODE, gives the lane's losses."""
    one = instances.instance(number)
    work = work_on([number, 1, 2])
    work.prepare()
    theta = work.theta[0].clone()
    w1, b1, w2, b2, head, bias = (
        p.clone() for p in theta.split([16 * 13, 16, 12 * 16, 12, 3 * 12, 3])
    )  # fmt: skip
    n, h, k = one.features, one.hidden, max(one.classes, 1)
    w1, w2, head = w1.view(16, 13), w2.view(12, 16), head.view(3, 12)
    parts = [w1[:h, [*range(n), 12]], b1[:h], w2[:n, :h], b2[:n], head[:k, :n], bias[:k]]
    parts = [p.clone().requires_grad_() for p in parts]

    def field(t, y):
        inner = torch.tanh(torch.cat([y, t.expand(len(y), 1)], 1) @ parts[0].T + parts[1])
        slope = inner @ parts[2].T + parts[3]
        return torch.tanh(slope) if one.bounded else slope

    ode = ss.neural.NeuralODE(field, "tsit5", "pi34", one.tolerance, one.tolerance)
    adam, found = torch.optim.Adam(parts, lr=one.rate), []
    x, y = torch.from_numpy(one.x[:, :n]), torch.from_numpy(one.y)
    for i in range(6):
        rows = (uniform(0, 0, i, np.arange(trainings.BATCH)) * one.train).astype(int)
        out = ode(x[rows], [0.0, 1.0]).y[-1] @ parts[4].T + parts[5]
        wanted = y[rows]
        loss = (
            torch.nn.functional.cross_entropy(out, wanted.long()) if one.classes else ((out[:, 0] - wanted) ** 2).mean()
        )
        adam.zero_grad()
        loss.backward()
        adam.step()
        found.append(loss.item())
    work.train(6)
    assert work["loss"][0] == pytest.approx(np.mean(found), rel=1e-6)
    assert work["spent"][0] > 0 and work["alive"].all()


def test_padding_stays_zero_and_lanes_do_not_touch_each_other():
    together, alone = work_on([0, 2, 5]), work_on([2])
    for made in (together, alone):
        made["level_e"][:] = 0.0
        made.train(4)
    assert np.allclose(together.theta[1], alone.theta[0], rtol=1e-9, atol=1e-12)
    one = instances.instance(2)
    used = weights_in_use(one.features, one.hidden, one.classes)
    assert used.sum() < WEIGHTS and not together.theta[1][~torch.from_numpy(used)].any()


def test_the_penalty_is_as_strong_as_its_ratio_says():
    work = work_on([3, 4])
    work.prepare()
    theta = work.theta.clone().requires_grad_()
    rows = work._draw()
    x, y = (torch.from_numpy(np.take_along_axis(a, i, 1)) for a, i in ((work.x, rows[:, :, None]), (work.y, rows)))
    flow = Flow(theta, work.lanes, torch.ones_like(y))
    sol = work.solve(flow, x, True)
    loss, _ = loss_and_quality(flow.outputs(sol.y[-1]), y, torch.ones_like(y), work.lanes.classes)
    error = (sol.heuristics.E * sol.heuristics.h).sum(0) / torch.from_numpy(sol.stats.naccept_per_sample)
    of_loss, of_error = (torch.autograd.grad(v.sum(), theta, retain_graph=True)[0][:, : FIELD] for v in (loss, error))
    work["level_e"][:] = np.log10(0.3)
    work.train(1)
    work["decision"][:] = 1
    ratio = np.exp(work["scale_e"]) * (of_error.norm(dim=1) / of_loss.norm(dim=1)).numpy()
    assert ratio == pytest.approx([1.0, 1.0], rel=1e-9)
    assert work["cosine"] == pytest.approx(torch.cosine_similarity(of_loss, of_error).tolist(), rel=1e-9)


def test_the_file_of_constant_strengths_can_be_computed_again():
    found = grid.measure([7, 130], 1.0)
    at = grid.RATIOS.index(1.0)
    assert found[:, 0] == pytest.approx(grid.table()[[7, 130], at, 0], rel=0.02)
    assert found[:, 2] == pytest.approx(grid.table()[[7, 130], at, 2], rel=0.05)


def test_splits_share_no_instance_and_tests_share_no_table():
    everything = [n for numbers in instances.SPLITS.values() for n in numbers]
    assert sorted(everything) == list(range(len(everything))) and len(grid.table()) == len(everything)
    tables = {s: {instances.instance(n).name for n in numbers} for s, numbers in instances.SPLITS.items()}
    assert not tables["test"] & (tables["train"] | tables["validation"])


# -- the environment ---------------------------------------------------------------------------------------------------


def episode(core, actions, seed=0):
    core.seed(np.arange(seed, seed + core.lanes).astype(np.uint64))
    seen, paid = [core.reset().copy()], []
    for _ in range(grid.DECISIONS):
        core.step(np.broadcast_to(np.asarray(actions, np.float32), (core.lanes, core.n_act)))
        seen.append(core.obs.copy())
        paid.append(core.reward.copy())
    return np.array(seen), np.array(paid)


@pytest.fixture(scope="module")
def plain():
    """Episodes without any penalty."""
    core = make_core(3, False, pool_size=6)
    return core, *episode(core, [-1.0, -1.0, 0.0])


def test_without_a_penalty_the_cost_is_one(plain):
    core, seen, paid = plain
    stats = dict(zip(core.columns, core.stats.T, strict=True))
    assert stats["cost"] == pytest.approx([1.0] * 3, rel=0.02) and np.abs(stats["excess"]).max() < 0.5
    assert stats["return"] == pytest.approx(paid.sum(0), abs=1e-5) and (stats["length"] == grid.DECISIONS).all()
    price = 0.2 * np.clip(stats["excess"] - 1, 0, 10)
    assert stats["return"] == pytest.approx(stats["best"] - stats["cost"] - price, abs=1e-9)
    assert core.terminated.all() and not core.truncated.any() and np.isfinite(seen).all()


def test_a_penalty_costs_fewer_evaluations(plain):
    core = make_core(3, False, pool_size=6)
    episode(core, [0.3, -1.0, 0.0])
    spent = core.columns.index("spent")
    assert (core.stats[:, spent] < plain[0].stats[:, spent]).all()


def test_seeds_and_saved_states_give_the_same_numbers(plain):
    core = make_core(3, False, pool_size=6)
    core.seed(np.arange(3).astype(np.uint64))
    assert np.array_equal(core.reset(), plain[1][0])
    none = np.tile(np.float32([-1.0, -1.0, 0.0]), (3, 1))
    for _ in range(3):
        core.step(none)
    assert np.array_equal(core.obs, plain[1][3])
    for twin in (copy.deepcopy(core), pickle.loads(pickle.dumps(core))):
        twin.step(none)
        assert np.array_equal(twin.obs, plain[1][4]) and np.array_equal(twin.reward, plain[2][3])


def test_gymnasium_accepts_it():
    env = gym.make(ID, pool_size=3)
    check_env(env.unwrapped, skip_render_check=True)
    assert env.observation_space.shape == (len(FEATURES),) and env.action_space.shape == (3,)


def test_a_vector_environment_is_made_and_restarts():
    venv = gym.make_vec(ID, num_envs=2, pool_size=3, actions=1, observe="training")
    assert venv.reset(seed=3)[0].shape == (2, len(OF_TRAINING))
    for _ in range(grid.DECISIONS + 1):
        obs, reward, terminated, truncated, info = venv.step(np.zeros((2, 1), np.float32))
        if terminated.any():
            assert info["stepsmith"]["length"].tolist() == [20.0, 20.0]
            assert all(np.isfinite(values).all() for values in info["stepsmith"].values())
    assert not terminated.any() and (reward == 0).all()


@pytest.mark.slow
def test_sb3_trains_on_it():
    from stable_baselines3 import PPO

    venv = ss.envs.make_sb3(ID, num_envs=4, seed=0, pool_size=6)
    PPO("MlpPolicy", venv, n_steps=20, batch_size=40, n_epochs=1, seed=0, device="cpu").learn(160)


def test_an_action_that_is_no_number_is_answered_and_counted():
    core = make_core(2, False, pool_size=2)
    core.seed(np.arange(2).astype(np.uint64))
    core.reset()
    core.step(np.array([[np.nan, 0, 0], [3.0, 0, 0]], np.float32))
    assert core.work["fallbacks"].tolist() == [1.0, 1.0] and core.work["level_e"].tolist() == [-0.5, -0.5]


def test_actions_at_the_bounds_by_round_off_are_clipped():
    core = make_core(2, False, pool_size=2)
    core.reset()
    core._decide(core.work, np.array([[1.0 + 5e-7, -1.0 - 5e-7, 0.0], [0.5, 1.1, 0.5]]))
    assert core.work["fallbacks"].tolist() == [0.0, 1.0]
    assert core.work["level_e"].tolist() == [1.0, -0.5] and core.work["level_t"].tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    "within",
    [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_the_callers_torch_does_not_touch_the_trainings(within):
    def two():
        core = make_core(1, False, pool_size=1)
        core.seed(np.zeros(1, np.uint64))
        seen = [core.reset().copy()]
        for _ in range(2):
            core.step(np.array([[0.3, 0.2, 0.1]]))
            seen.append(core.obs.copy())
        return core, np.array(seen)

    core, wanted = two()
    with warnings.catch_warnings(), within():
        warnings.simplefilter("error")
        inside, found = two()
    assert np.array_equal(found, wanted)
    for one in (core, inside):  # made in one mode, and stepped in the other
        one.step(np.array([[0.3, 0.2, 0.1]]))
    with within():
        core.step(np.array([[0.3, 0.2, 0.1]]))
    inside.step(np.array([[0.3, 0.2, 0.1]]))
    assert np.array_equal(core.obs, inside.obs)


@pytest.mark.parametrize(("lanes", "bad"), [(1, [0]), (2, [0, 1]), (2, [0])])
def test_a_training_with_nan_weights_ends_and_pays(lanes, bad):
    core = make_core(lanes, False, pool_size=1, fail=3.0)
    core.seed(np.zeros(lanes, np.uint64))
    core.reset()
    core.work.theta[bad] = math.nan
    core.step(np.zeros((lanes, 3)))
    stats = dict(zip(core.columns, core.stats.T, strict=True))
    assert np.flatnonzero(core.terminated).tolist() == bad and np.isfinite(core.obs).all()
    # the warm-up, twenty decisions that are missing, the prediction, the worst quality, and the failure
    assert (stats["excess"][bad] == 11.0).all() and (stats["failed"][bad] == 1.0).all()
    assert stats["cost"][bad] == pytest.approx(1.0, abs=0.03)
    assert stats["return"][bad] == pytest.approx(stats["best"][bad] - stats["cost"][bad] - 0.2 * 10.0 - 3.0)
    at = [list(FEATURES).index(name) for name in ("log10 loss / loss0", "log10 held / held0")]
    assert (core.obs[bad][:, at] == 5.0).all()


def test_a_step_that_raises_leaves_everything_as_it_was(monkeypatch):
    core = make_core(2, False, pool_size=2)
    core.seed(np.arange(2).astype(np.uint64))
    core.reset()
    before = [a.copy() for a in (core._blocks, core.obs, core.episodes)]

    def interrupted(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trainings.Trainings, "examine", interrupted)
        with pytest.raises(KeyboardInterrupt):
            core.step(np.zeros((2, 3)))
        with pytest.raises(KeyboardInterrupt):
            core.reset()
    for array, wanted in zip((core._blocks, core.obs, core.episodes), before, strict=True):
        assert np.array_equal(array, wanted)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"split": "tests"}, "did you mean 'test'"),
        ({"lagrange": -1.0}, "lagrange must be"),
        ({"actions": 4}, "actions must be"),
        ({"observe": "run_"}, "observe.*run"),
        ({"pool_size": 0}, "pool_size must be"),
        ({"pool_size": 1000}, "pool_size must be"),
        ({"fail": float("nan")}, "fail must be"),
        ({"splitt": "train"}, "did you mean 'split'"),
    ],
)
def test_what_does_not_fit(given, words):
    with pytest.raises(ValueError, match=words):
        gym.make(ID, **given)


def test_actions_of_other_shapes():
    core = make_core(2, False, pool_size=2)
    with pytest.raises(RuntimeError, match="reset"):
        core.step(np.zeros((2, 3)))
    core.reset()
    with pytest.raises(ValueError, match="actions must have shape"):
        core.step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="real numbers"):
        core.step(np.full((2, 3), "a"))
