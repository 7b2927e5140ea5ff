"""`stepsmith train`: one configuration, one run folder, one controller file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..config import config as configs
from ..config import reading, settings
from ..config.config import Config
from .refused import leaving_nothing
from .rundir import RunDir, folder_of, opened


def train(
    config: str | Path | Config,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train by a config (file, shipped name or object); returns the path of the exported controller, or the run folder
    of a neural differential equation (a config with a [task] table, `neural_tasks.config`).

    seed overrides the config's; out: run folder (default runs/<name>-<algorithm>-s<seed>); resume: go on from its last
    checkpoint. Raises ValueError on a bad config or a folder that already holds a run.
    """
    if seed is not None:
        settings.seed("seed", seed)
    reading.folder("out", out)
    if not isinstance(config, Config):
        tables = configs.read(config)
        if "task" in tables:
            from ..neural.config import from_dict
            from ..neural.loop import train as train_task

            return train_task(from_dict(tables), seed, out, resume, progress)
        if "fields" in tables:
            from ..neural.learn import from_dict as fields_config
            from ..neural.learn import learn

            return learn(fields_config(tables), seed, out, resume, progress)
        config = configs.from_dict(tables)
    cfg = config
    if seed is not None:
        cfg = dataclasses.replace(cfg, seed=seed)
    with leaving_nothing(folder_of(cfg, out)):
        if cfg.algorithm == "es":
            with opened(cfg, out) as path:
                return _evolve(cfg, path, resume, progress)
        from ..algorithms.sb3 import train as train_sb3

        return train_sb3(cfg, out, resume, progress)


def _evolve(cfg: Config, out: Path, resume: bool, progress: bool) -> Path:
    from ...controllers import resolve
    from ...controllers.file import save
    from ...controllers.laws.law import Law
    from ...controllers.learned.network import Learned
    from ...envs.ode import make_decision
    from ...integrators import methods
    from ...integrators.engine.costs import Costs
    from ...integrators.problems import suites
    from ..algorithms.evolution import Fitness, Settings, Together, evolve
    from ..algorithms.validate import Validator, Validators
    from ..config.resolved import env_arguments
    from ..evaluate.splits import draw
    from ..tune.search import costs_of
    from .progress import Progress
    from .provenance import provenance

    run = RunDir(cfg, out, resume)
    state = run.restored() if resume else None
    env = env_arguments(cfg)
    family = env["family"]
    names, method = suites.members(family, env.get("method"))
    decision = make_decision(family, method, env.get("law", "i"), env.get("features"), env.get("n_act", 2))
    settings = Settings(**cfg.train)
    # laws of implicit methods share a kernel, which takes long to compile
    shared = Law.general if methods.get(method).implicit else Law.specialised
    baseline = shared(resolve.base_law(env.get("baseline", "pi34"), family, method))
    known = {name: Costs(**c) for name, c in run.costs().items()}
    if (given := env.get("costs")) is not None:
        known = {name: Costs(**given) for name in names}
    splits = [
        draw(name, method, "train", env.get("pool_size", 256), env.get("pool_seed", 0), known.get(name))
        for name in names
    ]
    fitness = Together([Fitness(split, baseline, settings) for split in splits])
    costs = {split.family.name: c for split in splits if (c := costs_of(split)) is not None}
    if costs:
        run.write("costs.json", costs)
    rng = np.random.default_rng(cfg.seed)
    # clipped, not squashed: no gradient passes here, and a clip costs nothing
    hidden, activation = cfg.policy.hidden, cfg.policy.activation
    first = Learned.random(decision, hidden, rng, 0.1, activation, "clip")
    against = resolve.controller(cfg.evaluate.against, family, method)
    against = shared(against) if isinstance(against, Law) else against
    check = cfg.evaluate
    validator = Validators(
        [
            Validator(name, method, against, check.instances, check.seed, s.costs)
            for name, s in zip(names, splits, strict=True)
        ]
    )
    bar = Progress(f"es {cfg.name}", settings.generations, "generations", progress)
    from torch.utils.tensorboard import SummaryWriter

    # events behind the checkpoint are written again
    board = SummaryWriter(
        str(run.path / "tensorboard"), purge_step=None if state is None else int(state["attempts"]) + 1
    )
    best, due, logged = run.best, run.due(cfg.evaluate.every), {row.get("generation") for row in run.logged()}
    try:
        for generation, attempts, cost, mean in evolve(first, fitness, cfg.seed, run.checkpoint, state):
            board.add_scalar("train/fitness", cost, attempts)
            if (attempts >= due or generation == settings.generations) and generation not in logged:
                due = attempts + cfg.evaluate.every
                ratio = validator.ratio(mean)
                board.add_scalar("validation/ratio", ratio, attempts)
                if ratio < best:
                    best = ratio
                    training: dict[str, Any] = {
                        "algorithm": "es", "method": method, "seed": cfg.seed, "env_steps": attempts,
                        "generation": generation,
                        **({"costs": costs} if costs else {}), **provenance(),
                    }  # fmt: skip
                    figures = {
                        "validation_ratio": ratio,
                        "against": cfg.evaluate.against,
                        "instances": cfg.evaluate.instances,
                    }
                    save(
                        mean.replace(name=cfg.name, family=family, provenance=training, measured=figures),
                        run.controller,
                    )
                run.log(generation=generation, env_steps=attempts, fitness=cost, validation=ratio, best=best)
            bar.update(generation, fitness=cost, validation=best)
    finally:
        bar.close()
        board.close()
    return run.controller


def export(run_dir: str | Path, out: str | Path) -> Path:
    """Copy a run's best controller to `out` (checked by reading it); ValueError where the run has none."""
    from ...controllers.file import load, save

    path = Path(run_dir) / "controller.safetensors"
    if not path.exists():
        raise ValueError(f"{run_dir}: no controller in this run folder")
    save(load(path), out)
    return Path(out)
