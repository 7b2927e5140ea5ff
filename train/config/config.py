"""A training run's configuration: a TOML file, read into dataclasses that refuse what they do not know.

name = "three-body"
algorithm = "ppo"            # ppo, time_aware_ppo, sac, td3, ddpg, dqn, es or closed_form
seed = 0

[env]                        # arguments of the environment: family, method, law, features, n_act, rtol, reward, ...
family = "three_body"

[policy]
hidden = [16]                # [] for a linear policy
activation = "tanh"

[train]                      # the algorithm's arguments by SB3's names; of es those of `algorithms.evolution.Settings`
total_steps = 50_000_000

[evaluate]                   # on the validation split, in env steps (es: attempts)
every = 5_000_000
instances = 100
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown
from . import algorithms, misplaced, reading, settings

ALGORITHMS = ("ppo", "time_aware_ppo", "sac", "td3", "ddpg", "dqn", "es", "closed_form")
#: those that solve whole trajectories in the place of an environment's steps
WHOLE = ("es", "closed_form")


@dataclass(frozen=True)
class Policy:
    """The controller's network, and the one that judges it while it is trained.

    hidden        widths of the hidden layers; none of them: the answer is linear in the features
    activation    one of `settings.ACTIVATIONS`: "tanh", "relu", "elu", "silu", "gelu", "gelu_tanh" or "leaky_relu"
    critic        widths of the hidden layers of the value networks of ppo, sac, td3 and ddpg, which are no part of the
                  controller; None: `value_hidden` of [train], another name for the same setting
    start         es and closed_form: a controller file whose weights are the first ones; None: random ones, or none
    """

    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"
    critic: tuple[int, ...] | None = None
    start: str | None = None

    def __post_init__(self) -> None:
        _take(self, settings.check("policy", vars(self), settings.POLICY))

    def as_dict(self) -> dict[str, Any]:
        """Plain data.  A critic or start that was not asked for is left out, as in runs from before these settings."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("critic", "start") or v is not None}


@dataclass(frozen=True)
class Evaluate:
    """How a run is validated.

    every        env steps between validations
    instances    instances of the validation split
    seed         what draws them
    against      the law that the controller's work is compared with, by name, or "tuned"
    """

    every: int = 2_000_000
    instances: int = 100
    seed: int = 0
    against: str = "pi34"

    def __post_init__(self) -> None:
        _take(self, settings.check("evaluate", vars(self), settings.EVALUATE))


@dataclass(frozen=True)
class Config:
    """A whole run; see the module's text.

    Every setting is checked by type and range as it is made (`train.config.settings`): OptionError, which is a
    ValueError, names the first that does not fit.  Names are looked up, and settings held against each other, by
    `train.config.resolved`, before a run writes anything.
    """

    name: str
    algorithm: str
    seed: int = 0
    env: dict[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: Evaluate = field(default_factory=Evaluate)

    def __post_init__(self) -> None:
        settings.run_name("name", self.name)
        options.choice("algorithm", self.algorithm, ALGORITHMS)
        for name, cls in (("policy", Policy), ("evaluate", Evaluate)):
            if not isinstance(getattr(self, name), cls):
                raise options.refuse(name, f"a {cls.__name__}", getattr(self, name))
        ident = self.env.get("id") if isinstance(self.env, Mapping) else None
        rules = settings.environment_rules(ident, self.env)
        env = settings.check("env", self.env, rules)
        if "family" not in env and "id" not in env:
            raise options.OptionError("config: [env] must name a family")
        misplaced.check("train", self.train, algorithms.TRAIN[self.algorithm], self.algorithm)
        train = settings.check("train", self.train, algorithms.TRAIN[self.algorithm])
        algorithms.check_critic(self.algorithm, self.policy.critic, train)
        _take(self, {"seed": settings.seed("seed", self.seed), "env": env, "train": train})

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the run folder."""
        return json.loads(json.dumps({**dataclasses.asdict(self), "policy": self.policy.as_dict()}))


def _take(made: Any, values: Mapping[str, Any]) -> None:
    """Put checked values into a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(made, name, value)


def section(cls: type, data: Any, name: str) -> Any:
    """An object of the dataclass `cls` from a table of the config, whose name ("config": the whole file) errors give.

    ValueError for what is no table, for an unknown key, and for one that is missing.
    """
    if not isinstance(data, dict):
        raise options.OptionError(f"config: [{name}] must be a table, got {options.shown(data)}")
    _keys(cls, data, "config" if name == "config" else f"[{name}]")
    return cls(**data)


def _keys(cls: type, data: Mapping[str, Any], where: str) -> None:
    """ValueError for a key that is no field of `cls`, and for a field without a default that is missing."""
    known = dataclasses.fields(cls)
    for key in data:
        if key not in [f.name for f in known]:
            raise unknown("key of the config" if where == "config" else f"key in {where}", key, [f.name for f in known])
    for f in known:
        if f.name not in data and f.default is f.default_factory is dataclasses.MISSING:
            raise options.OptionError(
                f"config: {f.name} is missing" if where == "config" else f"config: {where} {f.name} is missing"
            )


def from_dict(data: dict[str, Any]) -> Config:
    """Config from parsed TOML; ValueError naming the key on anything unknown, missing or out of range."""
    if not isinstance(data, dict):
        raise options.refuse("config", "a table", data)
    _keys(Config, data, "config")
    data = dict(data)
    if data["algorithm"] in ALGORITHMS:  # another one is refused below
        for name, rules in (("policy", settings.POLICY), ("evaluate", settings.EVALUATE)):
            misplaced.check(name, data.get(name), rules, data["algorithm"])
    data["policy"] = section(Policy, data.get("policy", {}), "policy")
    data["evaluate"] = section(Evaluate, data.get("evaluate", {}), "evaluate")
    return Config(**data)


def load(path: str | Path) -> Config:
    """Read a config file, or one of those that ship with the package by its name (`three_body_ppo`)."""
    return from_dict(read(path))


def read(path: str | Path) -> dict[str, Any]:
    """The tables of a config file, found as `load` finds it; what is in them is not looked at yet.

    ValueError where the file is not there or is not TOML.
    """
    if not isinstance(path, (str, Path)) or not str(path):
        raise options.refuse("config", "a file or the name of a config that ships", path)
    path = Path(path)
    if not path.exists():
        shipped = Path(__file__).parents[1] / "configs"
        named = shipped / f"{path.name.removesuffix('.toml')}.toml"
        if not named.exists():
            raise unknown("config", str(path), [p.stem for p in shipped.glob("*.toml")])
        path = named
    return beside(path, reading.toml(path))


def beside(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """The tables with a family's file (file.py:NAME) by its whole path, so that a run goes on from anywhere.

    The file stands beside the config, or in the current folder.
    """
    env = data.get("env")
    if not isinstance(env, dict):
        return data
    name = env.get("family")
    if not isinstance(name, str) or ".py" not in name:
        return data
    file, _, member = name.partition(".py")
    found = next((p for p in (path.parent / f"{file}.py", Path(f"{file}.py")) if p.is_file()), None)
    if found is None:
        return data
    return {**data, "env": {**env, "family": f"{found.resolve()}{member}"}}
