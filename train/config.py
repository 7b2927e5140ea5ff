"""A training run's configuration: a TOML file, read into dataclasses that refuse what they do not know.

    name = "three-body"
    algorithm = "ppo"            # ppo, sac, dqn or es
    seed = 0

    [env]                        # arguments of the environment: family, method, law, features, n_act, rtol, pool_size, reward, ...
    family = "three_body"

    [policy]
    hidden = [16]
    activation = "tanh"

    [train]                      # the algorithm's own arguments (SB3's names; for es: see `train.evolution.Settings`)
    total_steps = 50_000_000

    [evaluate]                   # on the validation split, in env steps (es: attempts)
    every = 5_000_000
    instances = 100
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..integrators.names import unknown

ALGORITHMS = ("ppo", "sac", "dqn", "es")


@dataclass(frozen=True)
class Policy:
    """hidden: widths of the hidden layers.  activation: "tanh" or "relu"."""

    hidden: tuple[int, ...] = (16,)
    activation: str = "tanh"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(int(h) for h in self.hidden))
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"policy.hidden must hold at least one positive width, got {list(self.hidden)}")
        if self.activation not in ("tanh", "relu"):
            raise ValueError(f"policy.activation must be 'tanh' or 'relu', got {self.activation!r}")


@dataclass(frozen=True)
class Evaluate:
    """every: env steps between validations.  instances: of the validation split.  seed: of that split.  against: law or "tuned"."""

    every: int = 2_000_000
    instances: int = 100
    seed: int = 0
    against: str = "pi34"


@dataclass(frozen=True)
class Config:
    """A whole run; see the module's text."""

    name: str
    algorithm: str
    seed: int = 0
    env: dict[str, Any] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    train: dict[str, Any] = field(default_factory=dict)
    evaluate: Evaluate = field(default_factory=Evaluate)

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise unknown("algorithm", self.algorithm, ALGORITHMS)
        if "family" not in self.env and self.env.get("id") is None:
            raise ValueError("config: [env] must name a family")

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the run folder."""
        return json.loads(json.dumps(dataclasses.asdict(self)))


def _section(cls: type, data: Any, name: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"config: [{name}] must be a table")
    known = [f.name for f in dataclasses.fields(cls)]
    for key in data:
        if key not in known:
            raise unknown(f"key in [{name}]", key, known)
    return cls(**data)


def from_dict(data: dict[str, Any]) -> Config:
    """Config from parsed TOML; ValueError naming the key on anything unknown or missing."""
    known = [f.name for f in dataclasses.fields(Config)]
    for key in data:
        if key not in known:
            raise unknown("key of the config", key, known)
    for key in ("name", "algorithm"):
        if key not in data:
            raise ValueError(f"config: {key} is missing")
    data = dict(data)
    data["policy"] = _section(Policy, data.get("policy", {}), "policy")
    data["evaluate"] = _section(Evaluate, data.get("evaluate", {}), "evaluate")
    return Config(**data)


def load(path: str | Path) -> Config:
    """Read a config file, or one of those that ship with the package by its name (`three_body_ppo`)."""
    return from_dict(read(path))


def read(path: str | Path) -> dict[str, Any]:
    """A config file's tables, found as `load` finds them and not looked at yet; ValueError where it is not TOML or not there."""
    path = Path(path)
    if not path.exists():
        shipped = Path(__file__).parent / "configs"
        named = shipped / f"{path.name.removesuffix('.toml')}.toml"
        if not named.exists():
            raise unknown("config", str(path), [p.stem for p in shipped.glob("*.toml")])
        path = named
    try:
        return tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as e:
        raise ValueError(f"{path.name}: not a TOML file: {e}") from None
