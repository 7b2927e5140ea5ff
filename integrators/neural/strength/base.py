"""What every strength has: the loss of an iteration with the penalty in it, feedback, and a fall back to none.

    loss = strength.total(task_loss, out.penalty)       # task loss + lambda * penalty
    loss.backward()
    ...
    strength.report(validation_loss)                    # now and then, for those that listen to it

A strength is part of one training run and remembers it: it counts iterations, and most change with what they see.  Its
`state_dict` goes into the run's checkpoint.

Whatever happens, a strength does no harm in silence.  Where the penalty is not finite the iteration's loss goes without
it, with a warning; after `PATIENCE` such iterations in a row, or where the task loss itself is not finite, the strength
is off for the rest of the run, says so, and `off` holds the reason.  Of the penalty its value is looked at; its
gradient, which may not be finite where the value is, `ratio` alone looks at, in the iterations in which it measures.
"""

from __future__ import annotations

import copy
import math
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ...core import options
from ...core.errors import outside
from .groups import Groups, Parameters, groups_of

Tensor = torch.Tensor
#: iterations in a row with a penalty that is not finite, after which a strength is off
PATIENCE = 3


@dataclass(frozen=True)
class Measured:
    """What `ratio` has measured of the gradients: the running scale s and that of the last measurement alone, of which
    ||d loss|| = s ||d penalty||, and the last cosine between them."""

    scale: float
    now: float
    cosine: float


@dataclass(frozen=True)
class Seen:
    """What a strength sees of an iteration: the task loss and the penalty, 0-d with their graphs and as numbers, the
    parameters in groups (None: not given), f-evaluations of the solve and the context (None: not told), and inside
    `ratio` what it measured (None: nothing yet)."""

    loss: Tensor
    penalty: Tensor
    task: float
    size: float
    groups: Groups | None
    nfev: float | None
    context: float | None = None
    measured: Measured | None = None


class Lost(Exception):
    """Raised in `see`: this iteration's loss goes without the penalty; the text says why."""


class Strength(ABC):
    """lambda of loss = task loss + lambda * penalty, one number an iteration.

    iteration   how many iterations there have been.
    last        the factor of the penalty in the last of them.
    last_ratio  the same in units of the gradients, where these are measured.
    off         why there is no penalty any more; empty while there is.
    """

    #: name for `make` and for logs
    kind: str
    #: attributes that a checkpoint holds, numbers, texts, None or lists of them
    remembered: tuple[str, ...] = ("iteration", "last", "off", "_lost")
    #: those of them that may be None
    optional: tuple[str, ...] = ()
    #: whether gradients are measured, so that `total` needs the parameters
    needs_parameters = False
    #: whether it learns from validation losses by `respond`, and stays as it is without
    needs_response = False

    def __init__(self) -> None:
        self.iteration = 0
        self.last = 0.0
        self.off = ""
        self._lost = 0
        self._began: float | None = None
        self._measuring = 0.0

    @property
    @abstractmethod
    def level(self) -> float:
        """The strength of the next iteration, as the rule has it; finite and not negative."""

    @property
    def value(self) -> float:
        """The factor of the penalty in the next iteration: zero where the strength is off."""
        return 0.0 if self.off else self.level

    @property
    def last_ratio(self) -> float:
        """`last` in units of the gradients, how hard the penalty pulled over how hard the task did; NaN for strengths
        that measure no gradients."""
        return math.nan

    @property
    def cost(self) -> float:
        """Share of the clock since the first iteration that went into measuring gradients; NaN before it."""
        if self._began is None:
            return math.nan
        return self._measuring / max(time.perf_counter() - self._began, 1e-9)

    @property
    def higher_is_better(self) -> bool:
        """Whether `report` takes a score, of which more is better; otherwise a loss."""
        return False

    @property
    def due(self) -> bool:
        """Whether it is time for `respond`; never for those that do not respond."""
        return False

    def total(
        self,
        loss: Tensor,
        penalty: Tensor,
        parameters: Parameters | None = None,
        *,
        nfev: float | None = None,
        context: float | None = None,
    ) -> Tensor:
        """loss + lambda * penalty, 0-d, and one more iteration.

        loss, penalty   0-d tensors, the penalty not multiplied by any strength.
        parameters      a Module, tensors, an optimiser, or a list of groups of tensors: what gradients are measured in
                        (`ratio`); others do not look at them.
        nfev            f-evaluations of the iteration's solve, for strengths that listen to them.
        context         a number that the best strength may depend on, such as the logarithm of the stiffness, for
                        strengths that read one.

        Without gradient (`torch.no_grad()`, eval mode of NeuralODE) it is the loss, and no iteration is counted.
        Raises ValueError for tensors that are not 0-d, for a penalty that has no gradient though it is not zero, and
        where parameters are needed and were not given.
        """
        for name, found in (("the loss", loss), ("the penalty", penalty)):
            if not isinstance(found, Tensor) or found.dim() != 0:
                raise options.refuse(name, "a 0-d tensor", getattr(found, "shape", found))
        if not torch.is_grad_enabled():
            return loss
        size = float(penalty.detach())
        if not penalty.requires_grad:
            if size != 0.0:
                raise ValueError(
                    'the penalty has no gradient: solve in training mode, with adjoint="discrete" where it is made of '
                    "the estimates of all steps"
                )
            return loss
        if self.off:
            return loss
        if self.needs_parameters and parameters is None:
            raise ValueError(f"a strength of kind {self.kind!r} measures gradients: pass the parameters to total()")
        if nfev is not None:
            nfev = options.number("nfev", nfev, 0.0)
        if context is not None:
            context = options.number("context", context)
        if self._began is None:
            self._began = time.perf_counter()
        task = float(loss.detach())
        if not math.isfinite(task):
            self.switch_off(f"the task loss is {task:g} at iteration {self.iteration}")
            return loss
        if not math.isfinite(size):
            self._lose(f"the penalty is {size:g}")
            return loss
        groups = None if parameters is None else groups_of(parameters)
        self.last = 0.0
        try:
            level = self.see(Seen(loss, penalty, task, size, groups, nfev, context))
            if not math.isfinite(level):
                raise Lost(f"the strength is {level:g}")
        except Lost as lost:
            self._lose(str(lost))
            return loss
        self.iteration += 1
        if self.off:
            return loss
        self._lost, self.last = 0, level
        return loss + level * penalty if level > 0.0 else loss

    def see(self, seen: Seen) -> float:
        """The strength of this iteration, in view of it; `Lost` where there is none."""
        return self.level

    def report(self, metric: float) -> None:
        """A result on validation data, for strengths that listen to it; each says what it takes it for."""
        options.number("metric", metric, -math.inf)

    def respond(
        self,
        validation_loss: Tensor,
        training_loss: Tensor | None = None,
        penalty: Tensor | None = None,
        parameters: Parameters | None = None,
    ) -> None:
        """Go on by the gradient of a validation loss, 0-d with its graph; call it where `due` says so.

        Each strength that responds says what it needs of the rest.  ValueError for those that do not.
        """
        raise ValueError(
            f"a strength of kind {self.kind!r} does not respond to a validation loss: call respond() where due is True"
        )

    def switch_off(self, why: str) -> None:
        """No penalty from now on, with a warning that says why."""
        self.off, self.last = why, 0.0
        warnings.warn(f"the regularisation is off from here on: {why}", stacklevel=outside())

    def _lose(self, what: str) -> None:
        self._lost, self.last = self._lost + 1, 0.0
        self.iteration += 1
        if self._lost >= PATIENCE:
            self.switch_off(f"{what} at iteration {self.iteration - 1}, the third time in a row")
        elif self._lost == 1:
            warnings.warn(
                f"{what} at iteration {self.iteration - 1}, whose loss goes without it", stacklevel=outside()
            )

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """{"kind": ..., and its numbers}: plain data from which `make` builds it anew, at its first iteration."""

    def state_dict(self) -> dict[str, Any]:
        """What it has seen so far, and its kind: plain data."""
        return {"kind": self.kind, **{name: copy.deepcopy(getattr(self, name)) for name in self.remembered}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state.  ValueError, and nothing is changed, where it is that of another kind of strength, or
        damaged."""
        self.check_state(state)
        for name in self.remembered:
            setattr(self, name, copy.deepcopy(state[name]))

    def check_state(self, state: Mapping[str, Any]) -> None:
        """ValueError where `load_state_dict` refuses a state."""
        if not isinstance(state, Mapping) or set(state) != {"kind", *self.remembered} or state["kind"] != self.kind:
            found = state.get("kind") if isinstance(state, Mapping) else None
            raise ValueError(
                f"this is no state of a strength of kind {self.kind!r}"
                + (f", but of kind {found!r}" if isinstance(found, str) and found != self.kind else "")
            )
        for name in self.remembered:
            self.check_value(name, state[name])

    def check_value(self, name: str, value: Any) -> None:
        """ValueError where a value of a state cannot take the place of the attribute `name`."""
        own = getattr(self, name)
        if not (name in self.optional and (own is None or value is None)) and not _alike(own, value):
            raise ValueError(f"the state of a strength of kind {self.kind!r} is damaged: {name} is {value!r}")


def _alike(own: Any, value: Any) -> bool:
    """Whether a value can take the place of an attribute: a number that of a number, and so on."""
    if isinstance(own, (list, tuple)):
        fits = isinstance(value, (list, tuple)) and len(own) == len(value)
        return fits and all(_alike(a, b) for a, b in zip(own, value, strict=True))
    for kind in (str, Mapping):
        if isinstance(own, kind):
            return isinstance(value, kind)
    whole = isinstance(own, int) and isinstance(value, int)
    return (whole or isinstance(own, float) and isinstance(value, (int, float))) and not isinstance(value, bool)
