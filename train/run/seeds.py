"""Several training seeds of one config, each an ordinary run in a process of its own: `train_seeds`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

from ...integrators.core.errors import OptionError
from ...integrators.engine.spread import checked
from ..config import config as configs
from ..config import overrides, reading, settings
from ..config.config import Config
from .apart import train_all
from .interrupted import Kept, in_folder, keeping
from .progress import Progress
from .rundir import folder_of
from .runfiles import RunFailed


def first_seeds(config: str | Path | Config, seed: int | None, count: int) -> list[int]:
    """`count` seeds from `seed` on, or where that is None from the config's."""
    if seed is None:
        seed = config.seed if isinstance(config, Config) else int(configs.read(config).get("seed", 0))
    return [seed + i for i in range(count)]


def train_seeds(
    config: str | Path | Config,
    seeds: Sequence[int],
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
    algo: str | None = None,
    changes: Sequence[str] = (),
    executor: Executor | None = None,
) -> list[Path]:
    """Train by a config with every one of `seeds`; returns their run folders, in that order.

    Each run is that of `run.train` with this seed, to the same numbers, whatever runs beside it.  config, algo,
    changes: as there.  out: the folder of the run folders s<seed>; default runs/<name>-<algorithm>-s<seed>.  resume: go
    on with what is there.  executor: its workers share the runs, in folders on a disk that all of them see; None: one
    after the other.

    Raises ValueError on a bad config, a folder that already holds a run, and naming the seed of a run that failed.
    """
    executor = checked(executor)
    reading.folder("out", out)
    tables = config.as_dict() if isinstance(config, Config) else configs.read(config)
    if algo is not None:
        tables = overrides.with_algorithm(tables, algo)
    tables = overrides.with_settings(tables, changes)
    if "task" in tables or "fields" in tables:
        raise OptionError("several seeds at once are for configs of controllers: this one trains a neural network")
    first = configs.from_dict(tables)
    runs = []
    for seed in seeds:
        cfg = dataclasses.replace(first, seed=settings.seed("seeds", seed))
        folder = folder_of(cfg, None) if out is None else Path(out) / f"s{seed}"
        if not resume and (folder / "config.json").exists():
            raise ValueError(f"{folder} already holds a run: resume it, or choose another --out")
        runs.append(({**tables, "seed": cfg.seed}, folder))
    if len({folder for _, folder in runs}) < len(runs):
        raise OptionError(f"seeds must differ, got {list(seeds)}")
    bar = Progress(f"train {first.name}", len(runs), "seeds", progress)
    try:
        with keeping(lambda: _kept([folder for _, folder in runs])):
            found = train_all(runs, executor, lambda i, answer: bar.advance())
    finally:
        bar.close()
    for seed, (figure, why), (_, folder) in zip(seeds, found, runs, strict=True):
        if figure is None:
            raise RunFailed(f"seed {seed} failed: {why} (see {folder.with_suffix('.log')})")
    return [folder for _, folder in runs]


def _kept(folders: Sequence[Path]) -> Kept:
    """What interrupted trainings of several seeds left."""
    begun = [folder for folder in folders if in_folder(folder) is not None]
    return Kept(str(folders[0].parent), f"{len(begun)} of {len(folders)} runs, finished or begun", bool(begun))
