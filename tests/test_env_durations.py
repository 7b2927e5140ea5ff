"""The time that a decision of an environment covers, as a share of the episode's span."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("stable_baselines3")

from stepsmith.envs import make_sb3
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv
from toy_runs import ENV

GIVEN = {**ENV, "features": tuple(ENV["features"])}


def played(venv, steps, seed, reach=1.0):
    """Of the episodes that end: (sum of durations, decisions without time, statistics)."""
    venv.reset()
    rng, found = np.random.default_rng(seed), []
    total, still = np.zeros(venv.num_envs), np.zeros(venv.num_envs)
    shape = (venv.num_envs, *venv.action_space.shape)
    for _ in range(steps):
        infos = venv.step(rng.uniform(-reach, reach, shape).astype(np.float32))[3]
        h = venv.durations
        assert h.shape == total.shape and h.dtype == np.float64 and np.all(h >= 0.0)
        total, still = total + h, still + (h == 0.0)
        for i in [i for i, info in enumerate(infos) if info]:
            found.append((total[i], still[i], infos[i]))
            total[i] = still[i] = 0.0
    return found


def test_durations_fill_the_span_and_are_zero_where_an_attempt_is_rejected():
    venv = make_sb3("stepsmith/ODE-v0", 20, seed=0, **GIVEN)
    found = played(venv, 400, 1)
    assert len(found) > 20 and sum(info["episode"]["nreject"] for *_, info in found) > 100
    for total, still, info in found:
        assert info["episode"]["status"] == 1 and total == pytest.approx(1.0, abs=1e-12)
        assert still == info["episode"]["nreject"]


def test_a_cut_episode_covers_a_part_of_it():
    found = played(make_sb3("stepsmith/ODE-v0", 4, seed=0, max_attempts=9, **GIVEN), 60, 1)
    assert len(found) == 24 and all(0.0 < total < 1.0 and info["TimeLimit.truncated"] for total, _, info in found)


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_the_faces_agree(mode):
    """The single environment's info, and the vector environment's attribute, in both of its modes."""
    env, both = ODEEnv(**GIVEN), ODEVectorEnv(2, autoreset_mode=mode, **GIVEN)
    env.reset(seed=7)
    both.reset(seed=7)
    rng, ends, waits = np.random.default_rng(0), 0, False
    for _ in range(400):
        action = rng.uniform(-1.0, 1.0, 2).astype(np.float32)
        both.step(np.stack([action, action]))
        if waits:  # the vector environment's call has begun the next episode, whatever the action
            assert both.durations[0] == 0.0
            waits = False
            continue
        _, _, terminated, truncated, info = env.step(action)
        assert info["duration"] == both.durations[0] and isinstance(info["duration"], float)
        if terminated or truncated:
            ends, waits = ends + 1, mode == "next_step"
            env.reset()
    assert ends >= 2


def test_where_decisions_cover_no_time_there_are_none():
    venv = make_sb3("stepsmith/SteadyState-v0", 2, seed=0)
    assert not hasattr(venv, "durations")
    with pytest.raises(AttributeError):
        venv.get_attr("durations")


def test_paths_and_the_papers_decisions_cover_time():
    venv = make_sb3("stepsmith/SDE-v0", 4, seed=0, family="gbm", method="milstein_ito", pool_size=8, paths=4)
    found = played(venv, 150, 3, reach=0.3)
    assert len(found) >= 4
    for total, still, info in found:
        assert info["episode"]["status"] == 1 and total == pytest.approx(1.0, abs=1e-12)
        assert still == info["episode"]["nreject"]
    paper = make_sb3("stepsmith/ThreeBodyPaper-v0", 2, seed=0, steps=5, energy_limit=np.inf, pool_size=8)
    paper.reset()
    covered = []
    for _ in range(5):
        paper.step(np.full(2, 5))
        covered.append(paper.durations)
    assert np.all(np.array(covered) > 0.0)
    assert np.sum(covered, axis=0) == pytest.approx(1.0, abs=0.05)  # the last step runs over
