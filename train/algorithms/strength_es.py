"""Training a strength of a regulariser with an evolution strategy, in the instances of `stepsmith/Regularization-v0`.

A candidate's fitness is minus its mean return over training instances, all candidates of a generation on the same ones
and in one batch.  Read `train` from top to bottom.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.strengths import policy_file
from ...controllers.strengths.observation import FIRST_RATIO
from ...controllers.strengths.policy_file import StrengthNetwork
from ...envs.regularization.grid import DECISIONS
from ..config.config import Config
from ..config.resolved import resolved
from ..config.settings import STRENGTH_ID
from ..evaluate import strengths
from ..run.rundir import RunDir, opened
from ..run.threads import torch_threads
from .es_run import EveryAttempts, evolve_run, provenance_of
from .evolution import Settings

#: spread of the first weights, around a network that answers the ratio `FIRST_RATIO` whatever it sees
FIRST_SCALE = 0.1


class StrengthFitness:
    """Minus the mean return over training instances; `draw` fixes them, and `attempts` counts decisions."""

    def __init__(self, settings: Settings, numbers: np.ndarray, lagrange: float, fail: float) -> None:
        self.settings, self.numbers = settings, numbers
        self.lagrange, self.fail = lagrange, fail
        self.attempts = 0

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the instances of the coming generations."""
        self.drawn = np.sort(rng.permutation(self.numbers)[: self.settings.instances])

    def generation(self, networks: Sequence[StrengthNetwork]) -> np.ndarray:
        """(n,) scores of a whole generation; less is better."""
        self.attempts += len(networks) * len(self.drawn) * DECISIONS
        return -strengths.play_all(networks, self.drawn, self.lagrange, self.fail).mean(1)

    def __call__(self, controller: StrengthNetwork) -> float:
        return float(self.generation([controller])[0])


def train(config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train as `config` says; returns the path of the strength's file, which `load_controller` reads.

    The run folder is that of any training (`run.rundir.RunDir`).  resume: go on from the last checkpoint.
    """
    with torch_threads(1), opened(config, out) as path:
        return _train(config, RunDir(config, path, resume), resume, progress)


def _train(config: Config, run: RunDir, resume: bool, progress: bool) -> Path:
    state = run.restored() if resume else None

    # 1. what is learnt on
    env = resolved(config)["env"]
    settings = Settings(**config.train)
    numbers = strengths.instances(env["split"], env["pool_size"])
    fitness = StrengthFitness(settings, numbers, env["lagrange"], env["fail"])

    # 2. the network
    rng = np.random.default_rng(config.seed)
    first = StrengthNetwork.random(config.policy.hidden, rng, FIRST_SCALE, config.policy.activation, FIRST_RATIO)
    if config.policy.start is not None:
        first = started(config.policy.start, first)

    # 3. validation
    held = strengths.instances("validation", config.evaluate.instances)

    found: dict[str, float] = {}

    def figure(network: StrengthNetwork) -> float:
        found.update(strengths.means(strengths.play(network, held, env["lagrange"], env["fail"])))
        return -found["return"]

    # 4. learn, and keep the best
    def keep(network: StrengthNetwork, made: dict[str, Any], measured: dict[str, Any]) -> None:
        given = {name: env[name] for name in ("lagrange", "fail", "split", "pool_size")}
        facts = {"algorithm": "es", "environment": STRENGTH_ID, "seed": config.seed, **given}
        if config.policy.start is not None:
            before = first.provenance.get("env_steps")
            facts["start"] = {"file": Path(config.policy.start).name, "env_steps": before}
            made = {**made, "env_steps": made["env_steps"] + int(before or 0)}
        policy_file.save(
            StrengthNetwork(
                config.name, network.features, network.layers, provenance_of(facts, made),
                {**{f"validation_{name}": value for name, value in found.items()}, "instances": len(held)},
            ),
            run.strength,
        )  # fmt: skip

    due = EveryAttempts(run.due(config.evaluate.every), config.evaluate.every)
    evolve_run(run, first, fitness, state, due, figure, keep, config.seed, config.name, progress,
               "minus_return")  # fmt: skip
    return run.strength


def started(path: str, first: StrengthNetwork) -> StrengthNetwork:
    """The network of the file `path`; ValueError where it has other layers than `first`."""
    given = policy_file.read(path)
    shapes = [[(weight.shape, activation) for weight, _, activation in n.layers] for n in (given, first)]
    if given.features != first.features or shapes[0] != shapes[1]:
        raise ValueError(f"[policy] start: {path} has layers {shapes[0]}, and the config asks for {shapes[1]}")
    return given
