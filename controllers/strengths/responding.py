"""What strengths have in common that go by the gradient of a validation loss in the logarithm of the strength.

    rule.total(loss, penalty).backward()                    # iterations of training
    if rule.due:                                            # now and then
        rule.respond(validation_loss, ...)

The logarithm l goes by Adam's steps and stays between log low and log high.  During the first `warm_up` iterations
nothing is due, and `respond` changes nothing.  A validation loss that is not finite, or a gradient whose square is not,
is left out with a warning; after `PATIENCE` of them in a row the strength is off.
"""

from __future__ import annotations

import math
import time
import warnings
from abc import abstractmethod
from typing import Any

import torch

from ...integrators.core import options
from ...integrators.core.errors import outside
from ...integrators.neural.strength.base import PATIENCE, Strength
from ...integrators.neural.strength.groups import Parameters
from . import adam

Tensor = torch.Tensor


class Responding(Strength):
    """See the module's text.

    log_level    l, the logarithm of the strength.
    responses    how many validation losses it has gone by.
    """

    remembered = (*Strength.remembered, "log_level", "responses", "_moments", "_responded", "_missed")
    needs_response = True

    def __init__(self, numbers: dict[str, Any]) -> None:
        super().__init__()
        self.numbers = numbers
        self.log_level = math.log(numbers["start"])
        self.responses = self._responded = self._missed = 0
        self._moments = [0.0, 0.0, 0.0]

    @property
    def level(self) -> float:
        return math.exp(self.log_level)

    @property
    def due(self) -> bool:
        since = self.iteration - self._responded
        return not self.off and self.iteration >= self.numbers["warm_up"] and since >= self.numbers["every"]

    def respond(
        self,
        validation_loss: Tensor,
        training_loss: Tensor | None = None,
        penalty: Tensor | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """One step of the strength, by the rule of its kind; neither weights nor their `grad` change.

        Raises ValueError for losses that are not 0-d or have no gradient, and for what else the rule needs.
        """
        with_graph("the validation loss", validation_loss)
        if self.off or self.iteration < self.numbers["warm_up"]:
            return
        began = time.perf_counter()
        if self._began is None:
            self._began = began
        gradients = self.gradients(validation_loss, training_loss, penalty, parameters)
        self._measuring += time.perf_counter() - began
        self._responded = self.iteration
        loss = float(validation_loss.detach())
        if gradients is None:
            return
        # Adam squares them
        if not all(map(math.isfinite, (loss, *(g * g for g in gradients)))):
            self._miss(f"the validation loss is {loss:g}, its gradient in the strength {gradients[0]:g}")
            return
        self._missed = 0
        self.responses += 1
        self.step(gradients)

    @abstractmethod
    def gradients(
        self,
        validation_loss: Tensor,
        training_loss: Tensor | None,
        penalty: Tensor | None,
        parameters: Parameters | None,
    ) -> tuple[float, ...] | None:
        """Of the validation loss: in l first, then in what else is learned; None: this response says nothing."""

    def step(self, gradients: tuple[float, ...]) -> None:
        """Change l, and what else is learned."""
        self._moments, change = adam.step(self._moments, gradients[0], self.numbers["rate"])
        low, high = (math.log(self.numbers[name]) for name in ("low", "high"))
        self.log_level = min(max(self.log_level + change, low), high)

    def _miss(self, what: str) -> None:
        self._missed += 1
        if self._missed >= PATIENCE:
            self.switch_off(f"{what} at iteration {self.iteration}, the third time in a row")
        elif self._missed == 1:
            warnings.warn(f"{what} at iteration {self.iteration}: the strength stays as it is", stacklevel=outside())

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, **self.numbers}


def with_graph(name: str, found: Any) -> Tensor:
    """A 0-d tensor with a gradient, as it is; ValueError for anything else."""
    if not isinstance(found, Tensor) or found.dim() != 0:
        raise options.refuse(name, "a 0-d tensor", getattr(found, "shape", found))
    if not found.requires_grad:
        raise ValueError(f"{name} has no gradient: compute it with gradients enabled, and do not detach it")
    return found


def common(start: Any, rate: Any, every: Any, warm_up: Any, low: Any, high: Any) -> dict[str, Any]:
    """The numbers that all of these strengths have, checked."""
    numbers = {
        "start": options.positive("start", start),
        "rate": options.positive("rate", rate),
        "every": options.count("every", every),
        "warm_up": options.count("warm_up", warm_up, low=0),
        "low": options.positive("low", low),
        "high": options.positive("high", high),
    }
    if not numbers["low"] <= numbers["start"] <= numbers["high"]:
        raise ValueError(f"start must lie between low and high, got low={low!r}, start={start!r}, high={high!r}")
    return numbers
