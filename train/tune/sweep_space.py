"""What a sweep varies: the [sweep] table of a sweep file (see `train.tune.sweep`), checked name by name."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown
from ..config import config as configs
from ..config import reading, settings
from ..config.config import Config, Evaluate, Policy
from ..config.resolved import env_keys, resolved, train_defaults

SAMPLERS = ("tpe", "random", "grid")
KEYS = ("trials", "seeds", "sampler", "prune", "parameters")
RANGE = ("low", "high", "log")
MOST_POINTS = 64  # combinations of settings that are looked up as a whole before a sweep begins


@dataclass(frozen=True)
class Space:
    """What a sweep varies, and how.  parameters: dotted name to a list of choices or {"low", "high", "log"}."""

    base: dict[str, Any]
    parameters: Mapping[str, Any]
    trials: int = 20
    seeds: int = 1
    sampler: str = "tpe"
    prune: bool = False

    def __post_init__(self) -> None:
        options.choice("sampler", self.sampler, SAMPLERS)
        for name in ("trials", "seeds"):
            options.count(f"sweep.{name}", getattr(self, name))
        options.flag("sweep.prune", self.prune)
        if not isinstance(self.parameters, Mapping) or not self.parameters:
            raise ValueError("sweep: [sweep.parameters] must name at least one setting")
        config = self.config
        settings.seed("seed + seeds - 1", config.seed + self.seeds - 1)
        for name, given in self.parameters.items():
            _check_name(name, config)
            _check_values(name, given)
            if self.sampler == "grid" and not isinstance(given, list):
                raise ValueError(f"sweep.parameters: {name!r}: the grid takes lists of choices, not ranges")
            for value in _ends(given):
                try:
                    configs.from_dict(with_values(self.base, {name: value}))
                except ValueError as error:
                    raise ValueError(f"sweep.parameters: {name!r}: {error}") from None
        for values in self._points():
            try:
                resolved(configs.from_dict(with_values(self.base, values)))
            except ValueError as error:
                said = ", ".join(f"{k} = {options.shown(v, 30)}" for k, v in values.items())
                raise ValueError(f"sweep with {said}: {error}") from None

    def _points(self) -> list[dict[str, Any]]:
        """Combinations of the choices and the ends of the ranges that are looked up before a sweep begins.

        Where they are many, each value stands beside the first of the others.
        """
        ends = {name: _ends(given) for name, given in self.parameters.items()}
        if math.prod(map(len, ends.values())) <= MOST_POINTS:
            return [dict(zip(ends, point, strict=True)) for point in itertools.product(*ends.values())]
        first = {name: values[0] for name, values in ends.items()}
        return [{**first, name: value} for name, values in ends.items() for value in values]

    @property
    def config(self) -> Config:
        """The training config that every trial starts from."""
        return configs.from_dict(self.base)

    @property
    def count(self) -> int:
        """Trials: as asked, or fewer where a grid has no more points."""
        return (
            min(self.trials, math.prod(map(len, self.parameters.values()))) if self.sampler == "grid" else self.trials
        )

    def point(self, number: int) -> dict[str, Any]:
        """Point `number` of the grid, as Optuna stores it; the order is a shuffle by the config's seed."""
        points = list(itertools.product(*([_label(v) for v in given] for given in self.parameters.values())))
        random.Random(self.config.seed).shuffle(points)
        return dict(zip(self.parameters, points[number], strict=True))

    def suggest(self, trial: Any) -> dict[str, Any]:
        """Values of one trial, by dotted name."""
        out = {}
        for name, given in self.parameters.items():
            if isinstance(given, list):
                labels = [_label(v) for v in given]
                out[name] = given[labels.index(trial.suggest_categorical(name, labels))]
            elif _whole(given):
                out[name] = trial.suggest_int(name, given["low"], given["high"], log=given.get("log", False))
            else:
                out[name] = trial.suggest_float(name, given["low"], given["high"], log=given.get("log", False))
        return out


def load(path: str | Path) -> Space:
    """Read a sweep file; ValueError naming what is unknown (with the nearest known name), missing or out of range."""
    path = Path(path)
    data = configs.beside(path, reading.toml(path))
    table = data.pop("sweep", None)
    if not isinstance(table, dict):
        raise ValueError(f"{path.name}: no [sweep] table; a sweep file is a training config with one")
    for key in table:
        if key not in KEYS:
            raise unknown("key in [sweep]", key, KEYS)
    configs.from_dict(data)
    return Space(data, table.pop("parameters", {}), **table)


def _check_name(name: str, config: Config) -> None:
    section, _, key = name.partition(".")
    known = {"policy": {f.name for f in fields(Policy)}, "evaluate": {f.name for f in fields(Evaluate)}}
    if section == "env":
        known["env"] = env_keys(config) - {"split"} | set(config.env)
    elif section == "train":
        known["train"] = set(train_defaults(config)) | set(config.train)
    elif section not in known or not key:
        raise unknown("parameter of the sweep", name, [f"{s}.<key>" for s in ("env", "policy", "train", "evaluate")])
    if key not in known[section]:
        raise unknown("parameter of the sweep", name, [f"{section}.{k}" for k in known[section]])


def _check_values(name: str, given: Any) -> None:
    what = f"sweep.parameters: {name!r}"
    if isinstance(given, list):
        try:
            different = len({_label(v) for v in given}) == len(given) > 0
        except (TypeError, ValueError):  # a date, for instance
            different = False
        if not different:
            raise ValueError(f"{what}: choices must be a list of different values, got {options.shown(given)}")
        return
    if not isinstance(given, dict):
        raise ValueError(f"{what} must be a list of choices or {{low, high, log}}, got {given!r}")
    for key in given:
        if key not in RANGE:
            raise unknown(f"key of {name!r}", key, RANGE)
    low, high, log = given.get("low", math.nan), given.get("high", math.nan), given.get("log", False)
    if any(isinstance(v, bool) or not isinstance(v, (int, float)) or not abs(v) <= 1e300 for v in (low, high)):
        raise ValueError(
            f"{what} needs finite numbers low and high, got {options.shown(low)} and {options.shown(high)}"
        )
    if not isinstance(log, bool):
        raise ValueError(f"{what}: log must be true or false, got {log!r}")
    if not low < high or (log and low <= 0):
        raise ValueError(
            f"{what}: needs low < high{', and low > 0 on a logarithmic scale' if log else ''}, got {low!r} and {high!r}"
        )


def _ends(given: Any) -> list[Any]:
    """Values to check of a parameter: its choices, or the ends of its range."""
    return list(given) if isinstance(given, list) else [given["low"], given["high"]]


def _whole(given: Mapping[str, Any]) -> bool:
    return isinstance(given["low"], int) and isinstance(given["high"], int)


def _label(value: Any) -> Any:
    """A choice as Optuna stores it: scalars themselves, everything else as JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value)


def with_values(base: dict[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The config's data with `values` put in by dotted name."""
    data = copy.deepcopy(base)
    for name, value in values.items():
        section, _, key = name.partition(".")
        data.setdefault(section, {})[key] = value
    return data
