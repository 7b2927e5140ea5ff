"""What a training run of a flow is asked for."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from ... import flows
from ...integrators.core import options

#: task -> (width, layers, iterations) by default
TASKS: dict[str, tuple[int, int, int]] = {
    "checkerboard": (128, 3, 8000),
    "moons": (128, 3, 4000),
    "digits": (384, 4, 8000),
    "mnist": (384, 4, 8000),
}


@dataclass(frozen=True)
class FlowConfig:
    """A run.

    task: a name of TASKS.  process: flow_matching, vp, ve or edm; with it goes the loss (`losses`).  seed: of weights,
    data and noise.  width, layers, iterations: None for the task's own.  conditional: whether the network is told the
    class.  batch: items an iteration.  learning_rate: of Adam, at the start; it falls to zero along a cosine.
    average: the decay an iteration of the exponential mean of the weights, which is the model.
    """

    task: str
    process: str = "flow_matching"
    seed: int = 0
    width: int | None = None
    layers: int | None = None
    iterations: int | None = None
    conditional: bool = False
    batch: int = 256
    learning_rate: float = 1e-3
    average: float = 0.999

    def __post_init__(self) -> None:
        options.choice("task", self.task, TASKS)
        options.choice("process", self.process, flows.PROCESSES)
        options.count("seed", self.seed, 0)
        for name in ("width", "layers", "iterations"):
            options.count(name, getattr(self, name), none=True)
        options.flag("conditional", self.conditional)
        if self.conditional and self.task == "checkerboard":
            raise options.OptionError("conditional must be False of 'checkerboard', which has no classes")
        options.count("batch", self.batch)
        options.positive("learning_rate", self.learning_rate)
        options.number("average", self.average, 0.0, below=1.0)

    @property
    def full(self) -> FlowConfig:
        """The same with the task's own numbers where None stood."""
        width, layers, iterations = TASKS[self.task]
        return replace(
            self,
            width=width if self.width is None else self.width,
            layers=layers if self.layers is None else self.layers,
            iterations=iterations if self.iterations is None else self.iterations,
        )

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
