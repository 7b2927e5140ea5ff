"""The configuration of a training run of a neural differential equation; `stepsmith train` knows it by its [task]
table.

    name = "mnist5k"
    seed = 0

    [task]                       # a name of TASKS; the rest are the model's own arguments (`models`)
    name = "mnist5k"
    hidden = 100

    [solver]
    method = "tsit5"
    controller = "pi34"          # a law, a zoo name, or the path of a controller file
    tolerance = 1e-5             # rtol and atol
    adjoint = "discrete"
    per_sample = false           # one step size for the whole batch, as in the papers
    warm_start = false           # begin with the size that suited the last iteration's first step
    options = {}                 # further arguments of NeuralODE: steps = "auto", checkpoint = "auto",
                                 # checkpoint_mb = 500.0, tolerance = "torchdiffeq"; on_failure = "mask": samples that
                                 # fail in training leave the loss, where per_sample = true ("raise": the run ends)

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
from dataclasses import dataclass, field
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown
from ..config import settings
from ..config.settings import Rules, check, choice, count, flag, mapping, number, text

TASKS = ("digits", "japanese_vowels", "mnist5k", "pbcseq")
OPTIMISERS = ("adam", "adamax", "momentum")
SCHEDULES = ("constant", "cosine")
DTYPES = ("float32", "float64")


#: rules of [solver], [regulariser] and [train]
SOLVER: Rules = {
    "method": text, "controller": text, "tolerance": number(above=0.0, high=1.0), "adjoint": text, "per_sample": flag,
    "warm_start": flag, "options": mapping,
}  # fmt: skip
TERM: Rules = {"name": text, "weight": number(), "options": mapping}
REGULARISER: Rules = {
    "name": text, "strength": lambda name, value: _strength(name, value), "options": mapping,
    "plus": lambda name, value: _terms(name, value),
}  # fmt: skip
TRAIN: Rules = {
    "epochs": count(1, 10**9), "batch": count(), "optimiser": choice(*OPTIMISERS), "learning_rate": number(above=0.0),
    "momentum": lambda name, value: options.number(name, value, 0.0, below=1.0), "decay": number(0.0),
    "schedule": choice(*SCHEDULES),
    "evaluate_every": count(), "keep": settings.many(count(0), "epochs", least=0), "dtype": choice(*DTYPES),
    "device": text,
    "threads": count(1, 1024),
}  # fmt: skip
#: rules of the models' sizes in [task]
SIZES: Rules = {
    "hidden": count(1, 4096), "width": count(1, 4096), "latent": count(1, 4096), "state": count(1, 4096),
    "pairs": count(1, 100),
    "sigma": number(above=0.0),
}  # fmt: skip


def _strength(name: str, value: Any) -> dict[str, Any]:
    """Keywords of `neural.strength.make`, which looks the kind up: names, truth values, numbers, lists of numbers, and
    under "of" the rule that a ratio follows.  A text alone is a kind without keywords: "auto"."""
    if isinstance(value, str):
        value = {"kind": value}
    rules: dict[str, Any] = {
        "kind": text, "watch": text, "file": text, "of": _strength, "relative": options.flag,
        "higher_is_better": options.flag, "ceiling": options.flag,
        "every": options.count, "floor_patience": options.count, "bandit": text, "seed": count(0),
        "warm_up": count(0), "terms": count(0), "arms": settings.many(number(), "numbers"),
        "context_range": settings.many(number(), "numbers", 2, 2),
    }  # fmt: skip
    return {k: rules.get(k, options.number)(f"{name}.{k}", v) for k, v in mapping(name, value).items()}


def take_direction(strength: dict[str, Any], higher_is_better: bool) -> None:
    """Let a dual_ascent that watches validation take its direction from the task's metric, in place; ValueError where
    it says the contrary."""
    if strength.get("kind") != "dual_ascent" or strength.get("watch") != "validation":
        return
    if strength.setdefault("higher_is_better", higher_is_better) != higher_is_better:
        metric = "a score, of which more is better" if higher_is_better else "a loss, of which less is better"
        said = str(not higher_is_better).lower()
        raise options.OptionError(
            f"[regulariser] strength: higher_is_better = {said} contradicts the task, whose metric is {metric}: leave "
            "it out, the task decides"
        )


def _terms(name: str, value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(term, dict) for term in value):
        raise options.refuse(name, "a list of tables {name, weight, options}", value)
    for term in value:
        for key in term:
            if key not in TERM:
                raise unknown("key of a term in [regulariser] plus", key, TERM)
        if "name" not in term:
            raise options.OptionError("[regulariser] every term of plus must have a name")
    return [{k: TERM[k](f"{name}[{i}].{k}", v) for k, v in term.items()} for i, term in enumerate(value)]


def _checked(made: Any, table: str, rules: Rules) -> None:
    for name, value in check(table, vars(made), rules).items():
        object.__setattr__(made, name, value)


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
        _checked(self, "solver", SOLVER)


@dataclass(frozen=True)
class RegulariserSpec:
    """The regulariser of a run.

    name        of `stepsmith.neural.regulariser`, and its `options`
    strength    keywords of `neural.strength.make`; where a schedule needs the iteration count `n`, it is
                filled in from the run, and `higher_is_better` of a dual_ascent that watches validation from the task
    plus        further terms, each a table of name, weight (1) and options
    """

    name: str
    strength: dict[str, Any] = field(default_factory=lambda: {"kind": "constant", "value": 1.0})
    options: dict[str, Any] = field(default_factory=dict)
    plus: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        _checked(self, "regulariser", REGULARISER)


@dataclass(frozen=True)
class TrainSpec:
    """How a run trains.

    epochs            how many there are
    batch             subjects a step
    optimiser         one of `OPTIMISERS`, with `learning_rate` and, of "momentum", `momentum`
    decay             gradients are divided by 1 + decay k at iteration k = 1, 2, ...
    schedule          "constant", or "cosine": the rate falls to zero over the run
    evaluate_every    epochs between evaluations
    keep              epochs after which the weights are kept; 0: before the first
    dtype, device, threads    of the numbers, where they are, and torch's threads
    """

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
        _checked(self, "train", TRAIN)
        if not all(epoch <= self.epochs for epoch in self.keep):
            raise options.refuse("[train] keep", f"a list of epochs from 0 to {self.epochs}", self.keep)


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
        settings.run_name("name", self.name)
        settings.seed("seed", self.seed)
        for name, cls in (("solver", SolverSpec), ("train", TrainSpec), ("regulariser", RegulariserSpec)):
            made = getattr(self, name)
            if not isinstance(made, cls) and not (name == "regulariser" and made is None):
                raise options.refuse(name, f"a {cls.__name__}", made)
        if not isinstance(self.task, dict):
            raise options.refuse("config: [task]", "a table", self.task)
        if "name" not in self.task:
            raise options.OptionError("config: [task] must have a name")
        options.choice("task", self.task["name"], TASKS)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for the run folder; `from_dict` reads it again."""
        data = json.loads(json.dumps(dataclasses.asdict(self)))
        return data if self.regulariser is not None else {k: v for k, v in data.items() if k != "regulariser"}


def from_dict(data: dict[str, Any]) -> NeuralConfig:
    """Config from parsed TOML; ValueError naming the key on anything unknown, missing or out of range."""
    if not isinstance(data, dict):
        raise options.refuse("config", "a table", data)
    known = [f.name for f in dataclasses.fields(NeuralConfig)]
    for key in data:
        if key not in known:
            raise unknown("key of the config", key, known)
    if "name" not in data:
        raise options.OptionError("config: name is missing")
    data = dict(data)
    if not isinstance(data.get("task"), dict):
        raise options.OptionError("config: [task] must be a table")
    for key, cls in (("solver", SolverSpec), ("train", TrainSpec), ("regulariser", RegulariserSpec)):
        if key in data:
            data[key] = _table(cls, data[key], key)
    return NeuralConfig(**data)


def _table(cls: type, data: Any, name: str) -> Any:
    if not isinstance(data, dict):
        raise options.OptionError(f"config: [{name}] must be a table, got {options.shown(data)}")
    fields = dataclasses.fields(cls)
    for key in data:
        if key not in [f.name for f in fields]:
            raise unknown(f"key in [{name}]", key, [f.name for f in fields])
    missing = [f.name for f in fields if f.name not in data and f.default is f.default_factory is dataclasses.MISSING]
    if missing:
        raise options.OptionError(f"config: [{name}] must have {', '.join(missing)}")
    return cls(**data)
