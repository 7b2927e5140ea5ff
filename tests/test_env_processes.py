"""Environments in forked processes, sub-process vector environments and threads go on as they do alone."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv

import stepsmith  # noqa: F401 (registers the ids)
from rolls import roll, vector_roll
from stepsmith.envs.ode import ODEEnv, ODEVectorEnv

SMALL = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_an_environment_goes_on_in_a_forked_process_and_another_is_made_there():
    env, other = ODEEnv(**SMALL), {**SMALL, "pool_seed": 7}
    env.reset(seed=4)
    roll(env, 20, 1)
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()

    def child() -> None:
        new = ODEEnv(**other)  # draws instances and solves them, as the parent has done
        first = new.reset(seed=1)[0]
        theirs.send((roll(env, 60, 2), first.tobytes()))

    process = context.Process(target=child, daemon=True)
    process.start()
    after = roll(env, 60, 2), ODEEnv(**other).reset(seed=1)[0].tobytes()
    assert ours.poll(60), "no answer"
    assert ours.recv() == after
    process.join(20)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
def test_sub_processes_of_gymnasium_and_stable_baselines3():
    make = [lambda: ODEEnv(**SMALL)] * 2
    ODEEnv(**SMALL).reset(seed=0)  # the parent has used the kernel before it forks
    dummy, sub = DummyVecEnv(make), SubprocVecEnv(make, start_method="fork")
    try:
        for venv in (dummy, sub):
            venv.seed(5)
        assert np.array_equal(dummy.reset(), sub.reset())
        one, other = vector_roll(dummy, 60, 0), vector_roll(sub, 60, 0)
        # rewards are float32 in the one, float64 in the other
        assert [(x[0], x[2]) for x in one] == [
            (x[0], x[2]) for x in other
        ]
        assert sub.env_method("get_state")[1]["rows"].tobytes() == dummy.env_method("get_state")[1]["rows"].tobytes()
    finally:
        sub.close()
    venv, native = AsyncVectorEnv(make, context="fork"), ODEVectorEnv(2, **SMALL)
    try:
        assert np.array_equal(venv.reset(seed=5)[0], native.reset(seed=5)[0])
        act = np.full((2, 2), 0.1, np.float32)
        for _ in range(40):
            assert all(np.array_equal(a, b) for a, b in zip(venv.step(act)[:4], native.step(act)[:4], strict=True))
    finally:
        venv.close()


def test_environments_in_threads_do_not_touch_each_other():
    def work(seed: int) -> list[Any]:
        env = ODEEnv(**SMALL)
        env.reset(seed=seed)
        return roll(env, 150, seed)

    alone = [work(s) for s in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == alone
