"""A clock by reinforcement learning: PPO in `stepsmith/Sampler-v0`, and what it learned as the network of a schedule.

The network sees `clock.FEATURES` of a sample (or their mean over `samples` that share their times) and sets the next
time, the rule being AB2's.  It begins as even steps.  After every rollout its deterministic answers are tried on the
validation noise, and the best are kept.

PPO: J. Schulman, F. Wolski, P. Dhariwal, A. Radford, O. Klimov, "Proximal Policy Optimization Algorithms",
arXiv:1707.06347, by Stable-Baselines3.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ...integrators.core import options
from .. import clock
from ..linear import Rows
from ..network import Network, of_module
from .task import Task


@contextmanager
def undisturbed() -> Iterator[None]:
    """The global generators of Python, NumPy and torch, which PPO seeds, go on afterwards where they were."""
    kept = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002 (PPO's)
    try:
        yield
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
        torch.set_rng_state(kept[2])


@undisturbed()
def fit(
    task: Task,
    samples: int = 1,
    timesteps: int = 60_000,
    lanes: int = 256,
    width: int = 32,
    rate: float = 1e-3,
    pool_size: int = 1024,
) -> tuple[Rows, dict[str, Any], Network]:
    """The rows of even steps, facts for the provenance, and the clock.

    samples: 1 for times of each sample's own; more for one clock a batch, trained on batches of so many.
    timesteps: decisions in all; lanes: environments; width: of the network's two hidden layers.
    """
    try:
        from stable_baselines3 import PPO
    except ImportError as missing:
        raise ModuleNotFoundError("kind 'policy' needs stable-baselines3: pip install 'stepsmith[train]'") from missing
    from ...envs import make_sb3

    samples, lanes = options.count("samples", samples), options.count("lanes", lanes)
    timesteps, width = options.count("timesteps", timesteps), options.count("width", width)
    count = Counter(task.model.net)
    env = make_sb3(
        "stepsmith/Sampler-v0", num_envs=lanes, seed=task.seed, model=task.model.with_net(count), shape=task.shape,
        steps=task.steps, samples=samples, pool_size=options.count("pool_size", pool_size), pool_seed=task.seed,
        dtype=str(task.dtype).removeprefix("torch."),
    )  # fmt: skip
    threads = torch.get_num_threads()
    ppo = PPO(
        "MlpPolicy", env, learning_rate=rate, n_steps=2 * max(1, task.steps - 1), batch_size=min(512, lanes),
        n_epochs=8, gamma=1.0, gae_lambda=1.0, ent_coef=0.0, seed=task.seed, device="cpu",
        policy_kwargs={"net_arch": [width, width], "log_std_init": -1.0},
    )  # fmt: skip
    torch.set_num_threads(threads)
    with torch.no_grad():  # even steps to begin with
        for part in ppo.policy.action_net.parameters():
            part.zero_()
    shared, best, kept, done = samples > 1, math.inf, _clock(ppo, samples > 1), 0
    rollout = lanes * ppo.n_steps
    for i in range(0, timesteps + rollout, rollout):
        found = _clock(ppo, shared)
        error = task.error(lambda x: clock.sample(task.field, x, task.span, task.steps, found)[0])  # noqa: B023
        if error < best:
            best, kept, done = error, found, i
        task.say(f"{i} decisions: {error:.3f} % on the validation noise, best {best:.3f}")
        if i >= timesteps or task.over:
            break
        ppo.learn(rollout, reset_num_timesteps=i == 0)
    env.close()
    task.evaluations += count.samples
    numbers = sum(w.size + b.size for w, b, _ in kept.layers)
    facts = {"samples": samples, "timesteps": i, "best_timestep": done, "lanes": lanes, "numbers": numbers}
    return task.start(), facts, kept


class Counter:
    """A network that counts the samples that it is evaluated for."""

    def __init__(self, net: Any) -> None:
        self.net, self.samples = net, 0

    def __call__(self, x: Any, t: Any) -> Any:
        self.samples += len(x)
        return self.net(x, t)


def _clock(ppo: Any, shared: bool) -> Network:
    """The deterministic policy as a network."""
    layers = torch.nn.Sequential(*ppo.policy.mlp_extractor.policy_net, ppo.policy.action_net)
    return of_module("clock", layers, 0, shared)
