"""The configuration of a training run of a neural differential equation; `stepsmith train` knows it by its [task] table.

    name = "mnist5k"
    seed = 0

    [task]                       # digits, mnist5k, pbcseq or japanese_vowels; the rest are the model's own arguments (`models`)
    name = "mnist5k"
    hidden = 100

    [solver]
    method = "tsit5"
    controller = "pi34"          # a law, a zoo name, or the path of a controller file
    tolerance = 1e-5             # rtol and atol
    adjoint = "discrete"
    per_sample = false           # one step size for the whole batch, as in the papers
    warm_start = false           # begin with the size that suited the last iteration's first step
    options = {}                 # further arguments of odeint

    [regulariser]                # without this table: none
    name = "er_mean"
    strength = {kind = "exponential", l0 = 100.0, l1 = 10.0}      # over all iterations of the run, unless it says n
    options = {}
    plus = [{name = "sr_max", weight = 1e-3}]     # terms added to it before the strength multiplies the sum

    [train]
    epochs = 75
    batch = 512
    optimiser = "momentum"       # momentum, adam, adamax
    learning_rate = 0.1
    decay = 1e-5                 # gradients are divided by 1 + decay k at iteration k = 1, 2, ...
    schedule = "constant"        # or "cosine": the rate falls to zero over the run
    keep = [0, 5, 75]            # epochs after which the weights are kept for `fields`; 0: before the first
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any

from ...integrators.names import unknown

TASKS = ("digits", "japanese_vowels", "mnist5k", "pbcseq")
OPTIMISERS = ("adam", "adamax", "momentum")
SCHEDULES = ("constant", "cosine")
DTYPES = ("float32", "float64")


def _positive(table: str, **values: float) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and value > 0):
            raise ValueError(f"[{table}] {name} must be positive and finite, got {value!r}")


def _whole(table: str, **values: int) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"[{table}] {name} must be a whole number of at least 1, got {value!r}")


@dataclass(frozen=True)
class SolverSpec:
    """What `NeuralODE` is given; `tolerance` is rtol and atol."""

    method: str = "tsit5"
    controller: str = "pi34"
    tolerance: float = 1e-5
    adjoint: str = "discrete"
    per_sample: bool = False
    warm_start: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _positive("solver", tolerance=self.tolerance)
        for name in ("per_sample", "warm_start"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"[solver] {name} must be true or false, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class RegulariserSpec:
    """name and options of `stepsmith.neural.regulariser`; strength: keywords of `controllers.strength.make`, the iteration count `n` filled
    in from the run where a schedule needs one; plus: further terms, each a table of name, weight (1) and options."""

    name: str
    strength: dict[str, Any] = field(default_factory=lambda: {"kind": "constant", "value": 1.0})
    options: dict[str, Any] = field(default_factory=dict)
    plus: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        for term in self.plus:
            for key in term:
                if key not in ("name", "weight", "options"):
                    raise unknown("key of a term in [regulariser] plus", key, ("name", "weight", "options"))
            if "name" not in term:
                raise ValueError("[regulariser] every term of plus must have a name")


@dataclass(frozen=True)
class TrainSpec:
    """epochs; batch size; optimiser and its rate; evaluations every so many epochs; epochs whose weights to keep; dtype, device and
    numeric threads of the run."""

    epochs: int = 20
    batch: int = 512
    optimiser: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    decay: float = 0.0
    schedule: str = "constant"
    evaluate_every: int = 1
    keep: list[int] = field(default_factory=list)
    dtype: str = "float64"
    device: str = "cpu"
    threads: int = 1

    def __post_init__(self) -> None:
        _whole("train", epochs=self.epochs, batch=self.batch, evaluate_every=self.evaluate_every, threads=self.threads)
        _positive("train", learning_rate=self.learning_rate)
        if not isinstance(self.keep, list) or not all(type(e) is int and 0 <= e <= self.epochs for e in self.keep):
            raise ValueError(f"[train] keep must be a list of epochs from 0 to {self.epochs}, got {self.keep!r}")
        if not 0 <= self.momentum < 1 or not (math.isfinite(self.decay) and self.decay >= 0):
            raise ValueError(f"[train] needs 0 <= momentum < 1 and decay >= 0, got {self.momentum!r} and {self.decay!r}")
        if self.optimiser not in OPTIMISERS:
            raise unknown("optimiser", self.optimiser, OPTIMISERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.dtype not in DTYPES:
            raise unknown("dtype", self.dtype, DTYPES)


@dataclass(frozen=True)
class NeuralConfig:
    """A whole run; see the module's text.  `task` holds the task's name and its model's arguments."""

    name: str
    task: dict[str, Any]
    seed: int = 0
    solver: SolverSpec = field(default_factory=SolverSpec)
    regulariser: RegulariserSpec | None = None
    train: TrainSpec = field(default_factory=TrainSpec)

    def __post_init__(self) -> None:
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"config: seed must be a whole number, not negative; got {self.seed!r}")
        if "name" not in self.task:
            raise ValueError("config: [task] must have a name")
        if self.task["name"] not in TASKS:
            raise unknown("task", self.task["name"], TASKS)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the run folder; `from_dict` reads it again."""
        data = json.loads(json.dumps(dataclasses.asdict(self)))
        return data if self.regulariser is not None else {k: v for k, v in data.items() if k != "regulariser"}


def from_dict(data: dict[str, Any]) -> NeuralConfig:
    """Config from parsed TOML; ValueError naming the key on anything unknown, missing or out of range."""
    known = [f.name for f in dataclasses.fields(NeuralConfig)]
    for key in data:
        if key not in known:
            raise unknown("key of the config", key, known)
    if "name" not in data:
        raise ValueError("config: name is missing")
    data = dict(data)
    if not isinstance(data.get("task"), dict):
        raise ValueError("config: [task] must be a table")
    for key, cls in (("solver", SolverSpec), ("train", TrainSpec), ("regulariser", RegulariserSpec)):
        if key in data:
            data[key] = _table(cls, data[key], key)
    return NeuralConfig(**data)


def _table(cls: type, data: Any, name: str) -> Any:
    if not isinstance(data, dict):
        raise ValueError(f"config: [{name}] must be a table")
    fields = dataclasses.fields(cls)
    for key in data:
        if key not in [f.name for f in fields]:
            raise unknown(f"key in [{name}]", key, [f.name for f in fields])
    missing = [f.name for f in fields if f.name not in data and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise ValueError(f"config: [{name}] must have {', '.join(missing)}")
    return cls(**data)
