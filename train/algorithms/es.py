"""Training with an evolution strategy on a family or a suite: splits, fitness, validation, the run; read it from top
to bottom.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers import resolve
from ...controllers.file import load, save
from ...controllers.laws.law import Law
from ...controllers.learned.network import Learned
from ...integrators import methods
from ...integrators.engine.costs import Costs
from ...integrators.problems import suites
from ..config.config import Config
from ..config.resolved import decision_of, env_arguments
from ..evaluate import splits
from ..run.rundir import RunDir, opened
from ..tune.objective import costs_of
from .es_run import EveryAttempts, after_start, evolve_run, provenance_of
from .evolution import Fitness, Settings, Together
from .validate import Validator, Validators

#: spread of the first weights
FIRST_SCALE = 0.1


def train(
    config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True,
    executor: Executor | None = None,
) -> Path:  # fmt: skip
    """Train as `config` says; returns the path of the exported controller.

    The run folder keeps the config, what made it, a log, tensorboard events, the last checkpoint and the controller
    that was best on the validation split.  resume: go on from the last checkpoint.  executor: its workers share the
    candidates of a generation; None: one after the other here.
    """
    with opened(config, out) as path:
        return _train(config, RunDir(config, path, resume), resume, progress, executor)


def _train(config: Config, run: RunDir, resume: bool, progress: bool, executor: Executor | None) -> Path:
    state = run.restored() if resume else None

    # 1. what is learnt on: training instances of every family
    env = env_arguments(config)
    family = env["family"]
    names, method = suites.members(family, env.get("method"))
    decision = decision_of(env, method)
    settings = Settings(**config.train)
    # laws of implicit methods share a kernel, which takes long to compile
    shared: Callable[[Law], Law] = Law.general if methods.get(method).implicit else Law.specialised
    baseline = shared(resolve.base_law(env.get("baseline", "pi34"), family, method))
    drawn = pools(run, env, names, method)
    fitness = Together([Fitness(split, baseline, settings) for split in drawn], executor)
    costs = {split.family.name: c for split in drawn if (c := costs_of(split)) is not None}
    if costs:
        run.write("costs.json", costs)

    # 2. the network; its answer is clipped, not squashed: no gradient passes here, and a clip costs nothing
    rng = np.random.default_rng(config.seed)
    first = Learned.random(decision, config.policy.hidden, rng, FIRST_SCALE, config.policy.activation, "clip")
    if config.policy.start is not None:
        first = started(config.policy.start, first)

    # 3. validation
    check = config.evaluate
    against = resolve.controller(check.against, family, method)
    against = shared(against) if isinstance(against, Law) else against
    members = [
        Validator(name, method, against, check.instances, check.seed, s.costs)
        for name, s in zip(names, drawn, strict=True)
    ]

    # 4. learn, and keep the best
    def keep(mean: Learned, made: dict[str, Any], measured: dict[str, Any]) -> None:
        facts = {"algorithm": "es", "method": method, "seed": config.seed, "pool_size": drawn[0].asked}
        training = provenance_of(facts, after_start(config.policy.start, made), {"costs": costs} if costs else {})
        figures = {**measured, "against": check.against, "instances": check.instances}
        save(mean.replace(name=config.name, family=family, provenance=training, measured=figures), run.controller)

    due = EveryAttempts(run.due(check.every), check.every)
    ratio = Validators(members).ratio
    evolve_run(run, first, fitness, state, due, ratio, keep, config.seed, config.name, progress)
    return run.controller


def started(path: str, first: Learned) -> Learned:
    """`first` with the weights of the controller file `path`; ValueError where it is no such controller."""
    given = load(path)
    same = given.decision.key == first.decision.key and np.array_equal(given.decision.params, first.decision.params)
    if not same or given.shapes != first.shapes or given.squash != first.squash:
        raise ValueError(f"[policy] start: {path} holds {given!r}, and the config asks for {first!r}")
    return first.with_weights(given.weights)


def pools(run: RunDir, env: dict[str, Any], names: tuple[str, ...], method: str) -> list[splits.Split]:
    """The training split of every family, at the costs of linear algebra that the run was begun with or is given."""
    known = {name: Costs(**c) for name, c in run.costs().items()}
    if (given := env.get("costs")) is not None:
        known = {name: Costs(**given) for name in names}
    size, seed = env.get("pool_size", 256), env.get("pool_seed", 0)
    return [splits.draw(name, method, "train", size, seed, known.get(name)) for name in names]
