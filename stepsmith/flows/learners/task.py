"""What every learner works on: a frozen model, noise to train and to validate on, and a fine solver's answers."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from ..grids import times as grid_times
from ..linear import Rows, adams, run
from ..metrics import paired_error
from ..model import Model
from ..processes import EDM
from ..sampling import scaled

Tensor = torch.Tensor

#: streams of the seed: noise of the training, of the validation, of tests, and what else is drawn
TRAINING, VALIDATION, TEST, OTHER = range(4)
#: steps of the fine solver, of four evaluations each
FINE = 60


class Task:
    """A model's velocity, from `span[0]`, noise, to `span[1]`, data, to be followed in `steps` evaluations.

    model        frozen; its weights are never changed.
    shape        of one sample.
    seed         of all that is drawn; training, validation and tests draw from streams of their own.
    n_train, n_validate   samples of noise.
    seconds      that the training may take, None for as long as its iterations last.
    evaluations  of the velocity so far, one for each sample.
    """

    def __init__(
        self,
        model: Model,
        steps: int,
        shape: tuple[int, ...],
        *,
        seed: int = 0,
        n_train: int = 512,
        n_validate: int = 256,
        batch: int = 256,
        seconds: float | None = None,
        dtype: torch.dtype = torch.float32,
        device: Any = None,
        report: Callable[[str], None] | None = None,
    ) -> None:
        self.model, self.process, self.steps, self.shape = model, model.process, steps, tuple(shape)
        ends = base_times(model, 1)
        self.span = float(ends[0]), float(ends[-1])
        self.seed, self.batch, self.seconds = seed, min(batch, n_train), seconds
        self.dtype, self.device, self.report = dtype, device, report
        self.evaluations = 0
        self.began = time.perf_counter()
        self.generator = generator(seed, OTHER)
        self.training, self.validation = self.noise(n_train, TRAINING), self.noise(n_validate, VALIDATION)
        self._answers: dict[str, Tensor] = {}
        self._path: tuple[Tensor, Tensor, Tensor] | None = None

    def field(self, x: Tensor, t: Tensor) -> Tensor:
        """The velocity, counted."""
        self.evaluations += len(x)
        return self.model.velocity(x, t)

    def noise(self, n: int, stream: int = TEST) -> Tensor:
        """n states at the beginning, (n, *shape): noise from the stream of the seed, scaled as the process wants it."""
        return scaled(self.model, noise(n, self.shape, self.seed, stream, self.dtype, self.device), self.span[0])

    def times(self, steps: int | None = None) -> Tensor:
        """The grid that learners begin with: uniform in the process's time, for EDM that of its authors with rho 7."""
        return base_times(self.model, self.steps if steps is None else steps)

    def start(self) -> Rows:
        """The sampler that learners are measured by: AB2 on `times`."""
        return adams(self.times(), 2)

    @property
    def target(self) -> Tensor:
        """The fine solver's samples of the training noise."""
        return self.path[1][-1]

    @property
    def goal(self) -> Tensor:
        """The fine solver's samples of the validation noise."""
        if "validation" not in self._answers:
            self._answers["validation"] = fine(self.field, self.validation, self.times(FINE), self.model)[0][-1]
        return self._answers["validation"]

    @property
    def path(self) -> tuple[Tensor, Tensor, Tensor]:
        """The fine solver's way of the training noise: times (M+1,), states (M+1, B, ...), velocities (M, B, ...)."""
        if self._path is None:
            times = self.times(FINE)
            states, slopes = fine(self.field, self.training, times, self.model)
            if not torch.isfinite(states[-1]).all():
                raise ValueError("the model's velocity leads to samples that are not finite")
            self._path = times, torch.stack(states), torch.stack(slopes)
        return self._path

    def state_at(self, t: Tensor) -> Tensor:
        """The fine solver's state (B, ...) at a time of shape (), by cubic Hermite interpolation."""
        times, states, slopes = self.path
        i = int(torch.searchsorted(times * self.sign, t.detach() * self.sign, right=True).clamp(1, len(times) - 1)) - 1
        h = float(times[i + 1] - times[i])
        w = ((t - times[i]) / h).to(states.dtype)
        if i + 1 == len(slopes):
            return states[i] + w * (states[i + 1] - states[i])
        a, b = slopes[i] * h, slopes[i + 1] * h
        rise = states[i + 1] - states[i]
        return states[i] + w * (a + w * ((3 * rise - 2 * a - b) + w * (a + b - 2 * rise)))

    @property
    def sign(self) -> float:
        """Of the direction of time."""
        return math.copysign(1.0, self.span[1] - self.span[0])

    def error(self, sample: Callable[[Tensor], Tensor]) -> float:
        """In per cent of the samples' RMS, on the validation noise: infinite where a sample is not finite."""
        with torch.no_grad():
            return percent(sample(self.validation), self.goal)

    def error_of(self, rows: Rows) -> float:
        """The same, of rows."""
        return self.error(lambda x: run(self.field, x, rows)[0])

    @property
    def elapsed(self) -> float:
        """Seconds since the task was made."""
        return time.perf_counter() - self.began

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return self.seconds is not None and self.elapsed >= self.seconds

    def share(self, done: float) -> float:
        """How much of the training is behind: `done`, in [0, 1], or the share of the time where that is more."""
        return done if self.seconds is None else max(done, min(1.0, self.elapsed / self.seconds))

    def say(self, text: str) -> None:
        """One line of progress."""
        if self.report is not None:
            self.report(f"{self.elapsed:6.1f} s  {text}")


def to_stderr(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def generator(seed: int, stream: int) -> torch.Generator:
    """Draws of a stream of a seed."""
    return torch.Generator().manual_seed((seed * 4 + stream) % 2**63)


def noise(n: int, shape: tuple[int, ...], seed: int, stream: int, dtype: torch.dtype, device: Any = None) -> Tensor:
    """n samples of standard normal noise, from a stream of a seed."""
    return torch.randn((n, *shape), generator=generator(seed, stream), dtype=torch.float64).to(device, dtype)


def base_times(model: Model, steps: int) -> Tensor:
    """steps + 1 times that learners begin with, over the noise levels that the model knows."""
    return grid_times("edm" if isinstance(model.process, EDM) else "uniform", steps, model, denoise=False)


@torch.no_grad()
def fine(field: Any, x: Tensor, times: Tensor, model: Model) -> tuple[list[Tensor], list[Tensor]]:
    """States at all times and velocities at all but the last, by the classical fourth-order method of Runge and Kutta.

    Where the velocity cannot be had at the end the last step is one of the midpoint rule.
    """
    states, slopes = [x], list[Tensor]()
    singular = model.singular(float(times[-1]))
    for i in range(len(times) - 1):
        t, h = times[i], float(times[i + 1] - times[i])
        k1 = field(x, t)
        k2 = field(x + h / 2 * k1, t + h / 2)
        if singular and i == len(times) - 2:
            x = x + h * k2
        else:
            k3 = field(x + h / 2 * k2, t + h / 2)
            k4 = field(x + h * k3, times[i + 1])
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(x)
        slopes.append(k1)
    return states, slopes


def percent(found: Tensor, wanted: Tensor) -> float:
    """`paired_error`, infinite where a sample is not finite."""
    error = paired_error(found, wanted)
    return error if math.isfinite(error) else math.inf
