"""`stepsmith train` on the fields that neural training runs met: an evolution strategy (`train.algorithms.evolution`)
on a controller's weights.

    name = "pbcseq-field"
    seed = 0

    [fields]
    train = ["runs/pbcseq-s0"]         # runs that keep weights ([train] keep = [...]); their training subjects
    validation = ["runs/pbcseq-s1"]    # other runs, whose validation subjects choose the best generation
    law = "law.json"                   # base of the residual: a law's name, or a file of `stepsmith tune`
    features = []                      # none: the decision's default
    n_act = 2
    method = "tsit5"
    batch = 16                         # subjects that share a step
    n = 1                              # batches at every kept set of weights
    warm = false                       # as under NeuralODE(warm_start=True)
    even = false                       # as under even_steps
    validate_every = 5                 # generations

    [policy]                           # `train.config.Policy`
    hidden = [8]

    [train]                            # `train.algorithms.evolution.Settings` without dearest, reach and max_steps
    generations = 60
    instances = 5
    redraw = 5

The fitness is that of `train.algorithms.evolution`: mean log work at equal error over that of the base law.  The run
folder is that of other controllers' training.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...controllers.file import save
from ...controllers.laws import registry
from ...controllers.laws.law import Law
from ...controllers.laws.tuned import read as read_law
from ...controllers.laws.values import json_values
from ...controllers.learned.decision import Decision
from ...controllers.learned.network import Learned
from ...integrators.core import options
from ..algorithms.es import FIRST_SCALE
from ..algorithms.es_run import EveryGenerations, evolve_run, provenance_of
from ..algorithms.evolution import Settings
from ..config import reading, settings
from ..config.algorithms import check_critic
from ..config.config import Policy, section
from ..evaluate import curves
from ..evaluate.metric import Runs, point_ratio
from ..run.refused import leaving_nothing
from ..run.rundir import RunDir, folder_of, opened
from ..run.threads import torch_threads
from .fields import TOLERANCES, FieldBand, FieldSplit, Instance, instances, pair, run_name

_folders = settings.many(settings.text, "run folders", least=0)
#: rules of [fields]
FIELDS: settings.Rules = {
    "train": _folders, "validation": _folders, "law": settings.text,
    "features": settings.many(settings.text, "names", least=0),
    "n_act": settings.choice(1, 2), "method": pair, "batch": settings.count(),
    "n": settings.count(),
    "warm": settings.flag, "even": settings.flag, "validate_every": settings.count(),
}  # fmt: skip


@dataclass(frozen=True)
class FieldsSpec:
    """The config's [fields]; see the module's text."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    law: str = "pi34"
    features: tuple[str, ...] = ()
    n_act: int = 2
    method: str = "tsit5"
    batch: int = 16
    n: int = 1
    warm: bool = False
    even: bool = False
    validate_every: int = 5

    def __post_init__(self) -> None:
        for name, value in settings.check("fields", vars(self), FIELDS).items():
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        for name in ("train", "validation", "features"):
            given = getattr(self, name)
            if len(set(given)) < len(given):
                raise ValueError(f"[fields] {name} names something twice: {list(given)}")
        both = {Path(f).resolve() for f in self.train} & {Path(f).resolve() for f in self.validation}
        if both:
            raise ValueError(
                f"[fields] {both.pop()} is a training and a validation run: it would be chosen on what it learnt on"
            )
        if not self.train or not self.validation:
            raise ValueError("[fields] train and validation must name a run each")


@dataclass(frozen=True)
class FieldsConfig:
    """A whole run."""

    name: str
    fields: FieldsSpec
    seed: int = 0
    policy: Policy = field(default_factory=lambda: Policy((8,)))
    train: Settings = field(default_factory=Settings)
    algorithm: str = "es"

    def __post_init__(self) -> None:
        settings.run_name("name", self.name)
        settings.seed("seed", self.seed)
        options.choice("algorithm", self.algorithm, ("es",))
        check_critic(self.algorithm, self.policy.critic, {})

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the run folder."""
        return json.loads(json.dumps({**dataclasses.asdict(self), "policy": self.policy.as_dict()}))


def from_dict(data: dict[str, Any]) -> FieldsConfig:
    """Config from parsed TOML; ValueError naming the key on anything unknown or missing."""
    if data.get("algorithm", "es") != "es":
        raise ValueError(f"config: [fields] are learnt on by es alone, got algorithm = {data['algorithm']!r}")
    for name in ("fields", "policy", "train"):
        if not isinstance(data.get(name, {}), dict):
            raise options.OptionError(f"config: [{name}] must be a table, got {options.shown(data[name])}")
    for key in ("dearest", "reach", "max_steps"):
        if key in data.get("train", {}):
            raise ValueError(f"config: [train] {key} has no say on [fields]")
    # the ensemble's population of instances is no default for fields, of which a run keeps a handful
    given = {"generations": 60, "instances": 5, "redraw": 5, "sigma": 0.1, **data.get("train", {})}
    parts = {
        "fields": section(FieldsSpec, data["fields"], "fields"),
        "policy": section(Policy, {"hidden": (8,), **data.get("policy", {})}, "policy"),
        "train": section(Settings, given, "train"),
    }
    return section(FieldsConfig, {**data, **parts}, "config")


class FieldFitness:
    """As `evolution.Fitness`, on instances that are fields: `draw` fixes them, `attempts` counts."""

    def __init__(self, split: FieldSplit, baseline: Law, settings: Settings) -> None:
        self.split, self.settings = split, settings
        self.attempts = 0
        found = split.sweep(baseline)
        self.levels = split.family.error_levels
        self.base = curves.log_work_at(found.err, found.work, self.levels, looser=True)
        if not np.isfinite(self.base).any():
            raise ValueError("the base law reaches no error level on any training field")
        self.pick = np.flatnonzero(np.isfinite(self.base).any(axis=1))

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the instances of the coming generations."""
        self.rows = rng.permutation(self.pick)[: self.settings.instances]
        drawn: list[Instance] = [self.split.instances[i] for i in self.rows]
        self.drawn = dataclasses.replace(self.split, instances=drawn)

    def __call__(self, controller: Any) -> float:
        found = self.drawn.sweep(controller)
        self.attempts += int(found.attempts[found.nfev > 0].sum())
        own = curves.log_work_at(found.err, found.work, self.levels, looser=True)
        base = self.base[self.rows]
        # giving up early is no cheaper than what the base law takes
        dearest = np.maximum(np.log(found.work.max(axis=1))[:, None], base)
        own = np.where(np.isfinite(own), own, dearest + self.settings.miss)
        return float(np.nanmean(np.nanmean(np.where(np.isfinite(base), own - base, np.nan), axis=1)))


def learn(
    config: FieldsConfig,
    seed: int | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train by a config; returns the path of the exported controller.

    seed overrides the config's; out: run folder (default runs/<name>-es-s<seed>); resume: go on from its last
    checkpoint. Raises ValueError for runs that are no fields (`fields.instances`), unknown laws and features, and a
    folder that already holds a run.
    """
    cfg = config if seed is None else dataclasses.replace(config, seed=seed)
    with torch_threads(1), leaving_nothing(folder_of(cfg, out)), opened(cfg, out) as path:
        return _learn(cfg, path, resume, progress)


def _learn(cfg: FieldsConfig, path: Path, resume: bool, progress: bool) -> Path:
    spec = cfg.fields
    if not resume and (path / "config.json").exists():  # before the references, which take a while
        raise ValueError(f"{path} already holds a run: resume it, or choose another --out")
    law = _law(spec.law)
    decision = Decision(spec.features, law, n_act=spec.n_act) if spec.features else Decision(law=law, n_act=spec.n_act)
    train, name = _split(spec, spec.train, "train")
    valid, _ = _split(spec, spec.validation, "validation", name)
    fitness = FieldFitness(train, law, cfg.train)
    base = _runs(valid, law, "law")
    # the law itself, for the file may change before a run goes on
    whole = {**cfg.as_dict(), "law": json_values(law.values)}
    run = RunDir(cfg, path, resume, whole)
    if resume and run.read("resolved.json")["law"] != whole["law"]:
        raise ValueError(f"{run.path}: {spec.law} is not the law that the run was begun with")
    state = run.restored() if resume else None
    rng = np.random.default_rng(cfg.seed)
    first = Learned.random(decision, cfg.policy.hidden, rng, FIRST_SCALE, cfg.policy.activation, "clip")

    def ratio(mean: Learned) -> float:
        return point_ratio(_runs(valid, mean, "candidate"), base, fitness.levels, "nfev")

    def keep(mean: Learned, made: dict[str, Any], measured: dict[str, Any]) -> None:
        facts = {"fields": dataclasses.asdict(spec), "algorithm": "es", "method": spec.method, "seed": cfg.seed}
        figures = {**measured, "against": law.name, "instances": len(valid.instances)}
        best = mean.replace(name=cfg.name, family=name, provenance=provenance_of(facts, made), measured=figures)
        save(best, run.controller)

    due = EveryGenerations(spec.validate_every)
    evolve_run(run, first, fitness, state, due, ratio, keep, cfg.seed, cfg.name, progress)
    return run.controller


def _law(name: str) -> Law:
    """A published law by name, or that of a file which ends in .json."""
    if not name.endswith(".json"):
        return registry.get(name)
    reading.json(name)  # what is no JSON file is said as of any other
    return read_law(name)[0]


def _split(spec: FieldsSpec, folders: Sequence[str], part: str, name: str = "") -> tuple[FieldSplit, str]:
    """The fields that some runs met, as one split; its name is that of the runs where none is given."""
    found = [i for folder in folders for i in instances(folder, part, spec.batch, spec.n, 0)]
    name = name or "+".join(run_name(folder) for folder in folders)
    return FieldSplit(FieldBand(name), spec.method, 0, found, spec.warm, spec.even, TOLERANCES, False), name


def _runs(split: FieldSplit, controller: Any, name: str) -> Runs:
    found = split.sweep(controller)
    return Runs(name, found.err, {"nfev": found.work, "work": found.work}, np.array(split.knobs))
