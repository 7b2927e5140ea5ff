"""What the training solves of a NeuralODE leave for later ones: the size of a warm start, and the record of
steps="auto".

Both are buffers, so that a training run that goes on from a state_dict is the same, and they are no weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from . import checks
from .solution import NeuralSolution
from .step_choice import EVEN, PLAIN, StepChoice

Tensor = torch.Tensor
#: the buffers' names
BUFFERS = ("first_step_size", "step_record")


class Remembering(torch.nn.Module):
    """A module whose training solves begin as `warm_start` and `steps` say.

    first_step_size   0-d float64, the size that suited the last solve's first step; NaN where none is known.
    step_record       the numbers of a `StepChoice`, with steps="auto" alone.
    """

    first_step_size: Tensor
    step_record: Tensor
    warm_start: bool = False
    steps: str = "plain"

    @property
    def remembers(self) -> bool:
        """Whether solves leave anything for later ones."""
        return self.warm_start or self.steps == "auto"

    def begin_warm(self, per_sample: bool | None, first_step: Any) -> None:
        """Make the buffers that `warm_start` and `steps` need; ValueError where the options leave them nothing to
        do."""
        if not self.remembers:
            return
        name = "warm_start" if self.warm_start else 'steps="auto"'
        if per_sample is not False:
            raise ValueError(f"{name} needs per_sample=False: the samples of a new batch are not those of the last one")
        if first_step is not None and not (isinstance(first_step, str) and first_step == "bold"):
            raise ValueError(f"{name} chooses the first step, and first_step was given too")
        for buffer, value in self._blank().items():
            self.register_buffer(buffer, value)

    def _blank(self) -> dict[str, Tensor]:
        """The buffers as they begin."""
        found = {"first_step_size": torch.tensor(math.nan, dtype=torch.float64)}
        if self.steps == "auto":
            found["step_record"] = torch.zeros(StepChoice.NUMBERS, dtype=torch.float64)
        return found

    def remembered(self, solve: Callable[..., NeuralSolution], t: Any) -> NeuralSolution:
        """`solve`, which takes options of `odeint` that differ from the module's, through the times t."""
        choice = StepChoice(self.step_record) if self.steps == "auto" and self.training else None
        way = PLAIN if choice is None else choice.next()
        keeps = choice is not None or (self.warm_start and self.training)
        warm = keeps and (choice is None or way != PLAIN)
        given: dict[str, Any] = {}
        if warm and math.isfinite(size := float(self.first_step_size)) and size > 0:
            times = checks.times(t)
            given["first_step"] = min(size, abs(float(times[-1] - times[0])))
        if way == EVEN:
            given["even_steps"] = True
        solution = solve(**given)
        # the size after the cautious first step of a plain solve is small: one that is grown already outlives a probe
        probe = way == PLAIN and choice is not None and choice.way != PLAIN and solution.success
        if keeps and not probe:
            # a solve that failed is no example to follow: the next one chooses for itself
            self.first_step_size.fill_(float(solution.stats.first_step[0]) if solution.success else math.nan)
        if choice is not None:
            stats = solution.stats
            if solution.success:
                choice.solved(way, stats.nfev - stats.nfev_check, stats.naccept)
            else:
                choice.failed()
        return solution

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Remembering:
        # counts and sizes stay float64 where weights become half: bfloat16 cannot count beyond 256
        before = {name: getattr(self, name) for name in BUFFERS if name in self._buffers}
        super()._apply(fn, recurse)
        for name, exact in before.items():
            setattr(self, name, exact.to(getattr(self, name).device))
        return self

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        # a model loads into one that has no memory, and from one
        blank = self._blank() if self.remembers else {}
        for name in BUFFERS:
            if name in blank:
                state_dict.setdefault(f"{prefix}{name}", blank[name])
            else:
                state_dict.pop(f"{prefix}{name}", None)
        super()._load_from_state_dict(state_dict, prefix, *rest)
