"""What a training run of a flow is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ... import flows
from ...integrators.core import options

#: task -> (width, layers, iterations, batch, learning rate) by default
TASKS: dict[str, tuple[int, int, int, int, float]] = {
    "checkerboard": (128, 3, 12_000, 512, 5e-3),
    "moons": (128, 3, 4000, 512, 5e-3),
    "digits": (384, 4, 8000, 256, 1e-3),
    "mnist": (384, 4, 8000, 256, 1e-3),
}


@dataclass(frozen=True)
class FlowConfig:
    """A run.

    task: a name of TASKS.  process: flow_matching, vp, ve or edm; with it goes the loss (`losses`).  seed: of weights,
    data and noise.  width, layers, iterations, batch (items an iteration), learning_rate (of Adam, at the start; it
    falls to zero along a cosine): None for the task's own.  conditional: whether the network is told the class.
    average: the decay an iteration of the exponential mean of the weights, which is the model.
    """

    task: str
    process: str = "flow_matching"
    seed: int = 0
    width: int | None = None
    layers: int | None = None
    iterations: int | None = None
    conditional: bool = False
    batch: int | None = None
    learning_rate: float | None = None
    average: float = 0.999

    def __post_init__(self) -> None:
        options.choice("task", self.task, TASKS)
        options.choice("process", self.process, flows.PROCESSES)
        options.count("seed", self.seed, 0)
        for name in ("width", "layers", "iterations", "batch"):
            options.count(name, getattr(self, name), none=True)
        options.flag("conditional", self.conditional)
        if self.conditional and self.task == "checkerboard":
            raise options.OptionError("conditional must be False of 'checkerboard', which has no classes")
        options.positive("learning_rate", self.learning_rate, none=True)
        options.number("average", self.average, 0.0, below=1.0)

    @property
    def full(self) -> FlowConfig:
        """The same with the task's own numbers where None stood."""
        names = ("width", "layers", "iterations", "batch", "learning_rate")
        own: dict[str, Any] = dict(zip(names, TASKS[self.task], strict=True))
        return replace(self, **{name: own[name] for name in names if getattr(self, name) is None})

    @property
    def name(self) -> str:
        """Task, process and what is not the default, for a folder."""
        width = "" if self.full.width == TASKS[self.task][0] else f"-w{self.width}"
        return f"{self.task}-{self.process}{'-classes' if self.conditional else ''}{width}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data, every number filled in."""
        return asdict(self.full)


def from_dict(data: dict[str, Any]) -> FlowConfig:
    """The config that `FlowConfig.as_dict` has written; OptionError for an unknown key or a missing task."""
    options.check_names("config of a flow", data, [f.name for f in fields(FlowConfig)])
    if "task" not in data:
        raise options.OptionError("config of a flow must name its task")
    return FlowConfig(**data)
