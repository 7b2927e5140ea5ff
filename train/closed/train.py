"""Training by the search of a closed form: splits, costs of features, stages, validation, the run."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers import resolve
from ...controllers.file import load, save
from ...controllers.laws.law import Law
from ...controllers.learned.network import Learned
from ...controllers.learned.products import same
from ...integrators import methods
from ...integrators.problems import suites
from ...policies import closed_form
from ..algorithms.es import pools
from ..algorithms.es_run import after_start, provenance_of
from ..algorithms.evolution import Fitness, Together
from ..algorithms.validate import Validator, Validators
from ..config.config import Config
from ..config.resolved import decision_of, env_arguments
from ..run.board import OURS, Board, Clock, tags
from ..run.progress import Progress
from ..run.rundir import RunDir, least, opened
from ..run.runfiles import say
from ..tune.objective import costs_of
from .feature_costs import FeatureCosts, measured
from .stages import Found, Search, Settings


def train(
    config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True,
    executor: Executor | None = None,
) -> Path:  # fmt: skip
    """Search as `config` says; returns the path of the controller that was best on the validation split.

    resume: go on after the last finished stage.  executor: its workers share the candidates of a generation.
    """
    with opened(config, out) as path:
        return _train(config, RunDir(config, path, resume), resume, progress, executor)


def _train(config: Config, run: RunDir, resume: bool, progress: bool, executor: Executor | None) -> Path:
    state = run.restored() if resume else None

    # 1. what is learnt on
    env = env_arguments(config)
    family = env["family"]
    names, method = suites.members(family, env.get("method"))
    settings = Settings(**config.train)
    implicit = methods.get(method).implicit
    baseline = _kernel_of(resolve.base_law(env.get("baseline", "pi34"), family, method), implicit)
    splits = pools(run, env, names, method)
    fitness = Together([Fitness(split, baseline, settings) for split in splits], executor)
    algebra = {split.family.name: c for split in splits if (c := costs_of(split)) is not None}
    if algebra:
        run.write("costs.json", algebra)

    # 2. the closed form to begin with, and what its features cost
    decision = decision_of(env, method)
    first = closed_form.linear(decision.observation.features, decision.law, actions=[a.name for a in decision.actions])
    first = first.replace(decision=decision, name=config.name, family=family)
    if config.policy.start is not None:
        first = _from(config.policy.start, first)
    costs = _costs(state, splits[0], first, progress)

    # 3. stages, each of them validated
    check = config.evaluate
    against = resolve.controller(check.against, family, method)
    against = _kernel_of(against, implicit) if isinstance(against, Law) else against
    ratio = Validators(
        [
            Validator(name, method, against, check.instances, check.seed, split.costs)
            for name, split in zip(names, splits, strict=True)
        ]
    ).ratio
    known = None if state is None else state.get("law")  # checkpoints of earlier versions do not hold it
    law = ratio(_kernel_of(decision.law, implicit)) if known is None else float(known)
    search = Search(first, fitness, costs.log_cost, settings, config.seed, _order(method))
    last = None
    if state is not None:
        last, fitness.attempts = Found.restored(state["found"], first), int(state["attempts"])
    best = least([row for row in run.logged() if row["numbers"] <= settings.most_numbers])
    board, clock = Board(run.path, fitness.attempts or None), Clock(fitness.attempts)
    bar = Progress(f"closed form {config.name}", 2 * decision.n_obs + settings.products + 5, "stages", progress)
    try:
        for found in search.stages(last):
            work = ratio(found.controller)
            figure = work * math.exp(costs.log_cost(found.controller))
            # a formula with more numbers than asked is kept only until there is one that has no more
            fits = closed_form.numbers(found.controller) <= settings.most_numbers
            if figure < best if fits else not run.controller.exists():
                best = figure if fits else best
                facts = {"algorithm": "closed_form", "method": method, "seed": config.seed}
                made = {"env_steps": fitness.attempts, "stage": found.what}
                made = after_start(config.policy.start, made)
                more = {"pool_size": splits[0].asked, "feature_costs": costs.as_dict()}
                more |= {"costs": algebra} if algebra else {}
                figures = {"validation_ratio": work, "with_cost": figure, "law": law, "against": check.against}
                save(
                    found.controller.replace(
                        provenance=provenance_of(facts, made, more), measured={**figures, "instances": check.instances}
                    ),
                    run.controller,
                )
            run.log(
                stage=found.what, env_steps=fitness.attempts, fitness=found.objective, validation=figure, work=work,
                numbers=closed_form.numbers(found.controller), best=best, law=law,
            )  # fmt: skip
            board.add(fitness.attempts, _events(found, work, figure, best) | clock.now(fitness.attempts))
            told = {"attempts": fitness.attempts, "costs": costs.as_dict(), "law": law}
            run.checkpoint.save({"found": found.state(), **told})
            bar.advance()
    finally:
        bar.close()
        board.close()
    return run.controller


def _events(found: Found, work: float, figure: float, best: float) -> dict[str, float]:
    """Tags of a stage for tensorboard; an episode is a whole solve, and its reward what the search lowers."""
    numbers = closed_form.numbers(found.controller)
    trained = {"train/loss": found.objective, "rollout/ep_rew_mean": -found.objective}
    return {**trained, **tags("ratio", work, best), f"{OURS}/with_cost": figure, f"{OURS}/numbers": numbers}


def _kernel_of(law: Law, implicit: bool) -> Law:
    """The law in the kernel that it is run in: implicit methods, whose kernels take long to compile, share one."""
    return law.general() if implicit else law.specialised()


def _order(method: str) -> float:
    """Exponent order of the method's error estimate, by which a law's gains are divided."""
    return float(methods.get(method).embedded_order + 1)


def _from(path: str, first: Learned) -> Learned:
    """The closed form in a file, on the run's features and law."""
    given = load(path).unscaled()
    if given.decision.law.as_dict() != first.decision.law.as_dict() or given.decision.actions != first.decision.actions:
        raise ValueError(f"[policy] start: {path} has another base law or other actions than the config")
    given = closed_form.folded(given)
    there = {same(name) for name in first.decision.observation.features}
    used = np.any(closed_form.matrix(given)[0] != 0.0, axis=0)
    pairs = zip(given.decision.observation.features, used.tolist(), strict=True)
    lost = [name for name, weighed in pairs if weighed and same(name) not in there]
    if lost:
        raise ValueError(f"[policy] start: {path} has features that [env] features does not name: {', '.join(lost)}")
    return closed_form.selected(given, first.decision.observation.features).replace(
        decision=first.decision, name=first.name, family=first.family
    )


def _costs(state: Any, split: Any, first: Learned, progress: bool) -> FeatureCosts:
    """What the features cost: as the run was begun with, or measured, which a line says where progress is shown."""
    if state is not None:
        return FeatureCosts.restored(state["costs"])
    if progress:
        say(f"timing what an attempt on {split.family.name} costs with and without each of {first.decision.n_obs} "
            "features; the first stage comes after it")
    return FeatureCosts.restored(measured(split, first).as_dict())  # rounded, as a resumed run reads them
