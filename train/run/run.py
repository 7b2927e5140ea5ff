"""`stepsmith train`: one configuration, one run folder, one controller file."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from ...integrators.core.errors import OptionError
from ...integrators.engine.spread import checked
from ..config import config as configs
from ..config import overrides, reading, settings
from ..config.config import Config
from .refused import leaving_nothing
from .rundir import folder_of


def train(
    config: str | Path | Config,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    algo: str | None = None,
    changes: Sequence[str] = (),
    executor: Executor | None = None,
) -> Path:
    """Train by a config; returns the path of the exported controller, or the run folder of a neural differential
    equation (a config with a [task] table, `train.neural.config`).

    config      a file, the name of a config that ships, or a `Config`
    seed        in the place of the config's
    out         run folder; default runs/<name>-<algorithm>-s<seed>
    resume      go on from the folder's last checkpoint
    progress    show a progress bar
    algo        in the place of the config's algorithm, with [train] of the shipped config of that algorithm
                (`overrides.with_algorithm`)
    changes     settings in the place of the config's, "train.total_steps=5000" for instance; after `algo`
    executor    of algorithms "es" and "closed_form": its workers share the candidates of a generation, to the same
                numbers.  Other trainings are one process; several seeds of them can be shared out (`seeds.train_seeds`)

    Raises ValueError on a bad config or a folder that already holds a run.
    """
    executor = checked(executor)
    if seed is not None:
        settings.seed("seed", seed)
    reading.folder("out", out)
    if isinstance(config, Config) and (algo is not None or changes):
        config = configs.from_dict(_changed(config.as_dict(), algo, changes))
    if not isinstance(config, Config):
        tables = _changed(configs.read(config), algo, changes)
        if executor is not None and ("task" in tables or "fields" in tables):
            raise _one_process("of a neural network")
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
    if executor is not None and not _shares(cfg):
        raise _one_process(f"by {cfg.algorithm!r}" + (f" in {cfg.env['id']}" if cfg.algorithm == "es" else ""))
    with leaving_nothing(folder_of(cfg, out)):
        if cfg.algorithm == "es" and cfg.env.get("id") == settings.STRENGTH_ID:
            from ..algorithms.strength_es import train as train_strength

            return train_strength(cfg, out, resume, progress)
        if cfg.algorithm == "es":
            from ..algorithms.es import train as train_es

            return train_es(cfg, out, resume, progress, executor)
        if cfg.algorithm == "closed_form":
            from ..closed.train import train as train_closed

            return train_closed(cfg, out, resume, progress, executor)
        from ..algorithms.sb3 import train as train_sb3

        return train_sb3(cfg, out, resume, progress)


def _shares(cfg: Config) -> bool:
    """Whether a training has candidates that workers can share."""
    return cfg.algorithm == "closed_form" or (cfg.algorithm == "es" and cfg.env.get("id") != settings.STRENGTH_ID)


def _one_process(what: str) -> OptionError:
    """The error of a training that an executor was given for and that has nothing to share out."""
    return OptionError(
        f"a training {what} is one process, which executor (--cluster) cannot share out: the candidates of algorithms "
        "'es' and 'closed_form' can be shared, several seeds (--seeds), and the trials of a sweep"
    )


def _changed(tables: dict[str, Any], algo: str | None, changes: Sequence[str]) -> dict[str, Any]:
    if algo is not None:
        tables = overrides.with_algorithm(tables, algo)
    return overrides.with_settings(tables, changes)


def export(run_dir: str | Path, out: str | Path) -> Path:
    """Copy a run's best controller or strength to `out` (checked by reading it); ValueError where the run has none."""
    from ...controllers.file import load, save
    from ...controllers.strengths import policy_file

    path, strength = (Path(run_dir) / f"{name}.safetensors" for name in ("controller", "strength"))
    if path.exists():
        save(load(path), out)
    elif strength.exists():
        policy_file.save(policy_file.read(strength), out)
    elif (Path(run_dir) / "policy.zip").exists():
        raise ValueError(f"{run_dir}: its policy is no controller: policy.zip is Stable-Baselines3's own file")
    else:
        raise ValueError(f"{run_dir}: no controller in this run folder")
    return Path(out)
