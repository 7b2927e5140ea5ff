"""A caller's own reward: compiled into the loop, the same in all faces, and told apart from others of its name."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from stepsmith.integrators.vecmath import exp, log

from stepsmith import envs
from stepsmith.envs.ode import make_core
from stepsmith.integrators.kernels.environment import rewards

OPTIONS = {"family": "lotka_volterra", "pool_size": 16, "rtol": (1e-2, 1e-3)}


def work(facts):
    """What "constraint" pays an attempt."""
    return (facts[rewards.WORK_BEFORE] - facts[rewards.WORK]) / facts[rewards.BASE_WORK]


def nothing(facts):
    return 0.0


def all_seen(facts):
    """Every fact of an attempt, in one number."""
    if facts[rewards.ACCEPTED] == 1.0:
        return log(facts[rewards.H]) + 10.0 * facts[rewards.LEFT]
    return -facts[rewards.ERR] + exp(-facts[rewards.RTOL]) * facts[rewards.LAGRANGE]


def at_the_end(facts):
    return log(facts[rewards.ERROR]) + facts[rewards.BASE_WORK_AT_ERROR] if facts[rewards.REACHED] == 1.0 else -1e3


@pytest.fixture
def own(monkeypatch):
    monkeypatch.setattr(rewards, "RULES", dict(rewards.RULES))
    rewards.register("own_work", work, nothing)
    rewards.register("own_all", all_seen, at_the_end, "all facts")


def play(core, steps=150, seed=0):
    rng = np.random.default_rng(seed)
    core.reset(np.arange(core.lanes) + 5)
    out = []
    for _ in range(steps):
        core.step(rng.uniform(-1.0, 1.0, (core.lanes, core.decision.n_act)).astype(np.float32))
        out.append((core.reward.copy(), core.terminated.copy()))
    return [np.array(x) for x in zip(*out, strict=True)]


def test_it_pays_what_a_shipped_reward_pays(own):
    mine = play(make_core(8, True, reward="own_work", **OPTIONS))
    theirs = play(make_core(8, True, reward="constraint", lagrange=0.0, fail=0.0, **OPTIONS))
    assert theirs[1].sum() > 8  # episodes have ended
    np.testing.assert_array_equal(mine[1], theirs[1])
    np.testing.assert_allclose(mine[0], theirs[0], rtol=1e-6, atol=1e-7)


def test_facts_are_those_of_the_episode(own):
    core = make_core(4, True, reward="own_all", lagrange=2.0, **OPTIONS)
    reward, terminated = play(core)
    assert np.isfinite(reward).all() and terminated.any()
    assert np.abs(reward[terminated]).min() > np.abs(np.median(reward))  # the baseline's work at that error is in it


def test_faces_agree(own):
    options = {"reward": "own_all", **OPTIONS}
    single = gymnasium.make("stepsmith/ODE-v0", **options)
    many = gymnasium.make_vec("stepsmith/ODE-v0", num_envs=2, vectorization_mode="vector_entry_point", **options)
    sb3 = envs.make_sb3("stepsmith/ODE-v0", num_envs=2, seed=7, **options)
    single.reset(seed=7)
    many.reset(seed=7)
    sb3.reset()
    rng = np.random.default_rng(1)
    for _ in range(40):
        action = rng.uniform(-1.0, 1.0, (2, 2)).astype(np.float32)
        _, one, terminated, truncated, _ = single.step(action[0])
        _, two, *_ = many.step(action)
        _, three, *_ = sb3.step(action)
        assert np.float32(one) == two[0] == three[0]
        if terminated or truncated:
            break


def test_a_function_that_changed_is_another_reward(own):
    before = play(make_core(2, True, reward="own_work", **OPTIONS), 20)[0]
    rewards.register("own_work", lambda facts: 3.0, nothing)
    after = play(make_core(2, True, reward="own_work", **OPTIONS), 20)[0]
    assert (before != 3.0).any() and (after == 3.0).all()


def test_what_does_not_fit_is_refused(own):
    table = np.array([1.0, 2.0])
    for step, end, words in (
        (lambda: 1.0, nothing, "step must be"),
        (lambda facts: table[int(facts[0])], nothing, "step must be made of numbers"),
        (lambda facts: "1", nothing, "step must be"), (work, np.float64, "end must be"),
        (work, lambda facts: "x", "end must be"), (work, 3, "end must be"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            rewards.register("odd", step, end)
    with pytest.raises(ValueError, match="reward 'matched' ships with the package"):
        rewards.register("matched", work, nothing)
    with pytest.raises(ValueError, match="window has no effect on the reward 'own_work'"):
        make_core(1, True, reward="own_work", window=1.0, **OPTIONS)
    with pytest.raises(ValueError, match="fail has no effect on the reward 'own_work'"):
        make_core(1, True, reward="own_work", fail=5.0, **OPTIONS)
    with pytest.raises(ValueError, match="did you mean 'own_work'"):
        make_core(1, True, reward="own_wrok", **OPTIONS)


def test_a_state_belongs_to_the_functions_that_it_was_paid_by(own):
    state = make_core(2, True, reward="own_work", **OPTIONS)
    state.reset(np.array([1, 2]))
    saved = state.get_state()
    make_core(2, True, reward="own_work", **OPTIONS).set_state(saved)
    rewards.register("own_work", lambda facts: 3.0, nothing)
    with pytest.raises(ValueError, match="reward"):
        make_core(2, True, reward="own_work", **OPTIONS).set_state(saved)
