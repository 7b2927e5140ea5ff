"""Solves on a grid that is given, by explicit Runge-Kutta methods in plain torch operations, and by others.

There is no error estimate and no controller.  Everything is differentiated by autograd, the times too, so that second
derivatives and `torch.func` (grad, vmap, jacrev) work through a solve by the methods that are here.  They are those
that torchdiffeq has under these names; "rk4" is Kutta's 3/8 rule.  Others are in `implicit` and `adams`.

W. Kutta, Beitrag zur naeherungsweisen Integration totaler Differentialgleichungen, Z. Math. Phys. 46 (1901) 435.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from ..core import options
from ..core.errors import outside
from .events import LaneEvents
from .field import in_place

Tensor = torch.Tensor
Slope = Callable[[Tensor, Tensor], Tensor]
INTERPOLATIONS = ("linear", "cubic")
#: steps that a solve takes before it gives up looking for its event
LONGEST = 20_000
#: steps of a grid that a step size may make
MOST_STEPS = 1e9


class Steps(Protocol):
    """Takes steps of one solve."""

    def step(self, t0: Tensor, t1: Tensor, y: Tensor) -> tuple[Tensor, Callable[[], Tensor]]:
        """The state at t1 from y at t0, and what gives the slope at t0."""

    def at(self, t: Tensor, y: Tensor, towards: Tensor | None = None) -> Tensor:
        """The slope at t; with `perturb` in the grid at the next time `towards` another."""


class Method(Protocol):
    """What steps on a grid are taken by."""

    def steps(self, grid: Grid, slope: Slope) -> Steps:
        """What takes the steps of a solve of y' = slope(t, y)."""

    def steps_back(self, grid: Grid, system: Any) -> Steps:
        """What takes those of the adjoint `system`, a slope of (state, cotangent, parameters' integral)."""


@dataclass(frozen=True)
class Rule:
    """An explicit Runge-Kutta method: nodes c, the first of which is 0, rows a and weights b."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]

    def steps(self, grid: Grid, slope: Slope) -> Steps:
        return Explicit(self, grid, slope)

    steps_back = steps


RULES = {
    "euler": Rule((0.0,), ((),), (1.0,)),
    "midpoint": Rule((0.0, 0.5), ((), (0.5,)), (0.0, 1.0)),
    "heun2": Rule((0.0, 1.0), ((), (1.0,)), (0.5, 0.5)),
    "heun3": Rule((0.0, 1 / 3, 2 / 3), ((), (1 / 3,), (0.0, 2 / 3)), (0.25, 0.0, 0.75)),
    "rk4": Rule(
        (0.0, 1 / 3, 2 / 3, 1.0), ((), (1 / 3,), (-1 / 3, 1.0), (1.0, -1.0, 1.0)), (0.125, 0.375, 0.375, 0.125)
    ),
}


@dataclass(frozen=True)
class Grid:
    """What a solve on a grid is asked for.

    name         of the method.
    method       what takes the steps.
    step_size    distance of the grid's points, the last interval being what is left; None for another grid.
    constructor  t (T,) -> the grid, which begins and ends with t's ends; None for the output times themselves.
    interp       "linear" or "cubic": how outputs between grid points are read off.
    perturb      func gets the times of a step's ends a little inside the step.
    step         called before every step with its start time, the state there, and its positive size; all tensors.
    """

    name: str
    method: Method
    step_size: Tensor | float | None = None
    constructor: Callable[[Tensor], Tensor] | None = None
    interp: str = "linear"
    perturb: bool = False
    step: Callable[[Tensor, Tensor, Tensor], Any] | None = None

    def times(self, t: Tensor) -> Tensor:
        """The grid for the outputs t (T,), in their direction."""
        if self.constructor is not None:
            grid = self.constructor(t)
            if not isinstance(grid, Tensor) or grid.dim() != 1 or not _between(grid, t):
                raise options.refuse(
                    "grid_constructor", "a function whose grid runs from t[0] to t[-1] in one direction", grid
                )
            return grid.to(t)
        if self.step_size is None:
            return t
        sign = 1.0 if t[-1] > t[0] else -1.0
        steps_taken = float(abs(t[-1].detach() - t[0].detach()) / self.step_size)
        if steps_taken > MOST_STEPS:
            raise options.OptionError(
                f"step_size must make at most {MOST_STEPS:g} steps, got {float(self.step_size):g} for a span of "
                f"{steps_taken:g} times that size"
            )
        count = math.ceil(steps_taken + 1)
        steps = sign * (torch.arange(0, count, dtype=t.dtype, device=t.device) * self.step_size)
        return torch.cat([(steps + t[0])[:-1], t[-1:]])


def _between(grid: Tensor, t: Tensor) -> bool:
    steps = grid[1:] > grid[:-1]
    ends = bool(grid[0] == t[0]) and bool(grid[-1] == t[-1])
    return ends and bool(steps.all() if t[-1] > t[0] else (grid[1:] < grid[:-1]).all())


class Stepper:
    """What steppers have in common.

    slope    slope(t, y) of y' = slope(t, y).
    perturb  the slope at a step's ends is asked for a little inside the step.
    """

    def __init__(self, grid: Grid, slope: Slope) -> None:
        self.perturb, self.slope = grid.perturb, slope

    def at(self, t: Tensor, y: Tensor, towards: Tensor | None = None) -> Tensor:
        """The slope at t in y's dtype, or at the next number `towards` another time."""
        at = t.to(y.dtype)
        if towards is not None and self.perturb:
            other = towards.to(y.dtype).detach()
            at = at + (torch.nextafter(at.detach(), other) - at.detach())
        before = None if y.is_inference() else y._version
        f = self.slope(at, y)
        if before is not None and y._version != before:
            raise ValueError(in_place())
        # func may fill the same tensor anew in every call
        return f if f.requires_grad else f.clone()

    def node(self, t0: Tensor, t1: Tensor, c: float, y: Tensor) -> Tensor:
        """The slope at the node c of the step from t0 to t1."""
        if c == 0.0:
            return self.at(t0, y, t1)
        if c == 1.0:
            return self.at(t1, y, t0)
        return self.at(t0 + (t1 - t0) * c, y)


class Explicit(Stepper):
    """Steps of an explicit Runge-Kutta method."""

    def __init__(self, rule: Rule, grid: Grid, slope: Slope) -> None:
        super().__init__(grid, slope)
        self.rule = rule

    def step(
        self, t0: Tensor, t1: Tensor, y: Tensor, first: Tensor | None = None
    ) -> tuple[Tensor, Callable[[], Tensor]]:
        """As `Steps` says; first: the slope at t0, where it is known."""
        dt, rule = (t1 - t0).to(y.dtype), self.rule
        ks: list[Tensor] = [self.at(t0, y, t1) if first is None else first]
        for c, row in zip(rule.c[1:], rule.a[1:], strict=True):
            ks.append(self.node(t0, t1, c, advanced(y, dt, row, ks)))
        return advanced(y, dt, rule.b, ks), lambda: ks[0]


def advanced(y: Tensor, dt: Tensor, weights: Sequence[float], ks: Sequence[Tensor]) -> Tensor:
    """y + dt sum w_i k_i, in which weights of zero take no part."""
    terms = [k if w == 1.0 else w * k for w, k in zip(weights, ks, strict=True) if w != 0.0]
    return y + dt * sum(terms[1:], terms[0]) if terms else y


@dataclass(frozen=True)
class _Taken:
    """A step from (t0, y0) to (t1, y1); f0 and f1 give the slopes at its ends."""

    t0: Tensor
    t1: Tensor
    y0: Tensor
    y1: Tensor
    f0: Callable[[], Tensor]
    f1: Callable[[], Tensor]

    def read(self, t: Tensor, interp: str) -> Tensor:
        """The state at the time t within the step."""
        dt = self.t1 - self.t0
        x = ((t - self.t0) / dt).to(self.y0.dtype)
        if interp == "linear":
            return self.y0 + x * (self.y1 - self.y0)
        h = dt.to(self.y0.dtype)
        rest = 1 - x
        ends = (1 + 2 * x) * rest * rest * self.y0 + x * x * (3 - 2 * x) * self.y1
        return ends + x * rest * h * (rest * self.f0() - x * self.f1())


def _steps(grid: Grid, slope: Slope, pairs: Iterator[tuple[Tensor, Tensor]], y: Tensor) -> Iterator[_Taken]:
    stepper = grid.method.steps(grid, slope)
    for t0, t1 in pairs:
        if grid.step is not None:
            grid.step(t0, y, (t1 - t0).abs())
        y1, f0 = stepper.step(t0, t1, y)
        yield _Taken(t0, t1, y, y1, f0, partial(stepper.at, t1, y1))
        y = y1


def integrate(grid: Grid, slope: Slope, y0: Tensor, t: Tensor) -> Tensor:
    """The states (T, *y0.shape) at the times t (T,), strictly monotone, from y0 at t[0]."""
    if len(t) == 1:
        return y0[None]
    times = grid.times(t)
    points, due = times.detach().tolist(), t.detach().tolist()
    sign = 1.0 if due[-1] > due[0] else -1.0
    #: an output at a grid point that is not made of it moves along the chord
    moves = t.requires_grad and times is not t
    values, j = [y0], 1
    for n, step in enumerate(_steps(grid, slope, zip(times[:-1], times[1:], strict=True), y0), 1):
        while j < len(due) and sign * points[n] >= sign * due[j]:
            whole = points[n] == due[j] and (not moves or n == len(points) - 1)
            values.append(step.y1 if whole else step.read(t[j], grid.interp))
            j += 1
    return torch.stack(values)


def until(grid: Grid, slope: Slope, y0: Tensor, t0: Tensor, sign: float, event: LaneEvents) -> Tensor:
    """The states (2, *y0.shape) at t0 and at the event, which is looked for in the direction `sign` of time.

    Raises ValueError without a step size, and RuntimeError where LONGEST steps do not reach an event.
    """
    if grid.step_size is None:
        raise ValueError(f"event_fn with method {grid.name!r} needs options={{'step_size': ...}}")
    if event.at_start[0]:
        return torch.stack([y0, y0])

    lane = np.zeros(1, dtype=np.int64)

    def pairs() -> Iterator[tuple[Tensor, Tensor]]:
        t = t0
        for _ in range(LONGEST):
            yield t, t + sign * grid.step_size  # type: ignore[operator]
            t = t + sign * grid.step_size  # type: ignore[operator]

    for step in _steps(grid, slope, pairs(), y0):
        begin, end = (np.array([float(x.detach())]) for x in (step.t0, step.t1))

        def dense(_: np.ndarray, theta: np.ndarray, step: _Taken = step) -> Tensor:
            with torch.no_grad():
                return step.read(step.t0 + float(theta[0]) * (step.t1 - step.t0), grid.interp)[None]

        past = event.past(lane, np.ones(1, dtype=bool), end, step.y1[None])
        if past[0]:
            event.locate(lane, past, begin, end, step.y1[None], dense)
            at = step.t1.detach().new_tensor(event.times[0])
            return torch.stack([y0, step.y1 if event.times[0] == end[0] else step.read(at, grid.interp)])
    raise RuntimeError(f"no event within {LONGEST} steps of size {float(grid.step_size):g}")


def step_size(value: Any) -> Any:
    """The option `step_size`, checked: a positive number or 0-d tensor, or None."""
    if isinstance(value, Tensor) and value.dim() == 0 and float(value) > 0.0:
        return value.detach()
    return options.positive("step_size", value, none=True)


def warn_unused(method: str, names: set[str]) -> None:
    """UserWarning for options and callbacks that mean nothing to `method`, as torchdiffeq warns of them."""
    if names:
        warn(f"method {method!r} does not use {', '.join(sorted(names))}")


def warn(text: str) -> None:
    """UserWarning at the caller's line."""
    warnings.warn(text, stacklevel=outside())
