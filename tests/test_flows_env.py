"""`stepsmith/Sampler-v0` and the clock that is learned in it."""

from __future__ import annotations

import copy
import pickle
import random

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import stepsmith as ss
from stepsmith.flows import Schedule, clock, learn, mixture, sample
from stepsmith.flows.network import Network
from stepsmith.flows.sampler_core import EPISODE
from stepsmith.flows.sampler_env import make_core

ID = "stepsmith/Sampler-v0"
FEW = {"pool_size": 16, "dtype": "float64"}
MODEL = mixture([[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.4, 0.2])


def begun(lanes=4, same_step=False, **given):
    core = make_core(lanes, same_step, **{"model": MODEL, **FEW, **given})
    core.seed(np.arange(lanes, dtype=np.uint64) + 7)
    core.reset()
    return core


@pytest.mark.parametrize("given", [{}, {"samples": 3, "steps": 3}, {"max_attempts": 2}])
def test_gymnasiums_checker_is_content(given):
    check_env(gym.make(ID, model=MODEL, **FEW, **given).unwrapped, skip_render_check=True)


def test_even_steps_are_ab2_and_pay_nothing():
    core = begun(steps=6)
    where = core.rows("instance").astype(int)
    noise, before = core.noise[where][:, 0], core.episodes.copy()
    for n in range(5):
        assert core.step(np.zeros((4, 1))) == (4 if n == 4 else 0)
    assert core.terminated.all() and not core.truncated.any() and (core.episodes == before).all()
    wanted = sample(MODEL, noise, "ab2", steps=6).y
    at = core.at["x"]
    np.testing.assert_allclose(core._blocks[:, at : at + 2], wanted.numpy(), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(core.reward, 0.0, atol=1e-6)
    stats = core.episode(2)
    assert (stats["status"], stats["failed"], stats["length"], stats["nfev"]) == (1.0, 0.0, 5.0, 6.0)
    assert stats["error"] == pytest.approx(stats["baseline"], rel=1e-9) and list(stats) == list(EPISODE)


def test_the_reward_is_the_gain_in_error():
    core, rng = begun(steps=4, samples=2), np.random.default_rng(0)
    answers, paid = core.answers[core.rows("instance").astype(int)], np.zeros(4)
    while not core.step(rng.uniform(-1, 1, (4, 1))):
        assert (core.reward == 0.0).all()
    paid = core.reward
    at = core.at["x"]
    x = core._blocks[:, at : at + 4].reshape(4, 2, 2)
    error = np.sqrt(((x - answers.numpy()) ** 2).mean((1, 2)))
    base = core.baseline[core.rows("instance").astype(int)]
    np.testing.assert_allclose(paid, np.clip(np.log(base / error), -3, 3), rtol=1e-5)
    np.testing.assert_allclose(core.stats[:, EPISODE.index("error")], error, rtol=1e-12)


def test_an_episode_is_cut_after_so_many_decisions():
    core = begun(steps=6, max_attempts=3)
    for n in range(3):
        assert core.step(np.zeros((4, 1))) == (4 if n == 2 else 0)
    assert core.truncated.all() and not core.terminated.any() and (core.reward == 0.0).all()
    stats = core.episode(0)
    assert (stats["status"], stats["length"], stats["nfev"]) == (0.0, 3.0, 4.0) and np.isnan(stats["error"])
    assert core.step(np.ones((4, 1))) == 0 and not core.truncated.any() and (core.rows("step") == 0.0).all()


def test_samples_that_are_not_finite_end_the_episode():
    def wild(x, t):
        return torch.where(t[:, None] > 0.3, torch.inf, 1.0) * torch.ones_like(x)

    calm = [True]
    model = ss.flows.Model(lambda x, t: torch.ones_like(x) if calm[0] else wild(x, t), ss.flows.FlowMatching())
    core = make_core(2, False, model=model, shape=2, steps=5, pool_size=4)
    core.seed(np.arange(2, dtype=np.uint64))
    calm[0] = False
    core.reset()
    while not core.step(np.zeros((2, 1))):
        pass
    assert core.terminated.all() and (core.reward == -3.0).all()
    stats = core.episode(0)
    assert (stats["status"], stats["failed"]) == (-5.0, 1.0) and stats["length"] == 2.0


def test_actions_that_are_none_are_even_steps_and_counted():
    one, other = begun(lanes=2), begun(lanes=2)
    one.step(np.array([[np.nan], [2.0]]))
    other.step(np.zeros((2, 1)))
    assert np.array_equal(one._blocks[:, :3], other._blocks[:, :3]) and (one.rows("nfallback") == 1.0).all()
    with pytest.raises(ValueError, match="actions must have shape"):
        one.step(np.zeros(2))
    with pytest.raises(ValueError, match="real numbers"):
        one.step(np.zeros((2, 1), bool))


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_a_vector_environment_is_single_ones(mode):
    options = {"model": MODEL, "steps": 4, **FEW}
    native = gym.make_vec(ID, num_envs=3, vectorization_mode="vector_entry_point", autoreset_mode=mode, **options)
    sync = SyncVectorEnv([lambda: gym.make(ID, **options)] * 3, autoreset_mode=mode)
    rng = np.random.default_rng(1)
    np.testing.assert_allclose(native.reset(seed=5)[0], sync.reset(seed=5)[0], atol=1e-6)
    for _ in range(9):
        actions = rng.uniform(-1, 1, (3, 1)).astype(np.float32)
        one, other = native.step(actions), sync.step(actions)
        np.testing.assert_allclose(one[0], other[0], atol=1e-6)
        np.testing.assert_allclose(one[1], other[1], atol=1e-6)
        assert np.array_equal(one[2], other[2]) and np.array_equal(one[3], other[3])


@pytest.mark.parametrize("again", [copy.deepcopy, lambda core: pickle.loads(pickle.dumps(core))])
def test_a_core_goes_on_from_its_state(again):
    core = begun(lanes=3)
    core.step(np.full((3, 1), 0.3))
    other = again(core)
    for a in (-0.5, 0.7, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2):
        for one in (core, other):
            one.step(np.full((3, 1), a))
        assert np.array_equal(core.obs, other.obs) and np.array_equal(core.reward, other.reward)
    with pytest.raises(ValueError, match="belongs to another environment"):
        begun(lanes=3, steps=5).set_state(core.get_state())


def test_splits_and_seeds_draw_different_noise():
    pools = [begun(split=s, pool_seed=p).noise for s, p in (("train", 0), ("validation", 0), ("test", 0), ("train", 1))]
    assert all(not torch.isin(a, b).any() for i, a in enumerate(pools) for b in pools[:i])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": 1}, "steps must be"), ({"split": "tset"}, "unknown split"), ({"dtype": "float16"}, "dtype"),
        ({"model": 3}, "model must be a flows.Model"), ({"sample": 3}, "no option 'sample'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(given, said):
    with pytest.raises(ValueError, match=said):
        gym.make(ID, **given)


# -- clocks ------------------------------------------------------------------------------------------------------------


def test_times_of_a_clock():
    t, left = torch.tensor([0.0, 0.2, 0.9], dtype=torch.float64), torch.tensor([4, 2, 1])
    zero = torch.zeros(3, dtype=torch.float64)
    torch.testing.assert_close(clock.next_time(t, zero, 1.0, left), torch.tensor([0.25, 0.6, 1.0], dtype=torch.float64))
    found = [clock.next_time(t, zero + a, 1.0, left) for a in (-1.0, 0.0, 1.0)]
    assert (found[0][:2] < found[1][:2]).all() and (found[1][:2] < found[2][:2]).all() and (found[2] <= 1.0).all()
    assert torch.equal(clock.next_time(t, zero + 9, 1.0, left), found[2])


def test_a_schedule_walks_as_its_environment():
    """The same decisions of a random clock, in the environment and in a schedule."""
    rng = np.random.default_rng(4)
    layers = ((rng.normal(size=(8, 7)), rng.normal(size=8), "tanh"), (rng.normal(size=(1, 8)), np.zeros(1), "linear"))
    for samples, shared in ((1, False), (3, True)):
        net = Network("clock", layers, shared=shared)
        core = begun(lanes=1, steps=5, samples=samples)
        noise, call = core.noise[int(core.rows("instance")[0])], net.on(core.noise)
        ended = 0
        while not ended:
            ended = core.step(call(torch.tensor(core.obs, dtype=torch.float64)).clamp(-1, 1).numpy())
        facts = {"process": MODEL.process.as_dict(), "span": (0.0, 1.0)}
        schedule = Schedule("policy", np.linspace(0, 1, 6), np.zeros(5), np.ones(5), np.eye(5), network=net, **facts)
        at = core.at["x"]
        found = core._blocks[0, at : at + 2 * samples].reshape(samples, 2)
        np.testing.assert_allclose(sample(MODEL, noise, schedule=schedule).y.numpy(), found, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("samples", [1, 16])
def test_a_clock_learns(samples):
    pytest.importorskip("stable_baselines3")
    model = mixture([[1.5, -0.5], [-1.0, 0.7], [0.0, 2.0]], [0.3, 0.4, 0.2], None, ss.flows.VP())
    before = torch.get_rng_state(), random.getstate()
    schedule = learn(
        model, kind="policy", steps=5, samples=samples, timesteps=4000, lanes=64, pool_size=128, n_train=64,
        n_validate=64, dtype=torch.float64,
    )  # fmt: skip
    z = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(99))
    from stepsmith.flows.learners import task

    grid = task.base_times(model, 100)
    wanted = task.fine(model.velocity, z * model.process.s(1.0), grid, model)[0][-1]
    plain = sample(model, z, "ab2", grid=task.base_times(model, 5), denoise=False).y
    out = sample(model, z, schedule=schedule)
    assert task.percent(out.y, wanted) < 0.8 * task.percent(plain, wanted) and out.nfe == 5
    assert schedule.network.shared == (samples > 1)
    assert torch.equal(torch.get_rng_state(), before[0]) and random.getstate() == before[1]
