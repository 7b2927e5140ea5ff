"""From a checked problem to its solution with a gradient, in one of four ways.

A batch with one step size gets its gradient from the adaptive pass itself (`direct`), unless its graph takes more than
the budget.  So do steps per sample, with a look at what rejected lanes make of it (`guarded`).  Checkpoints take an
adaptive pass without gradient and a replay of its steps with gradient (`replay`).  The continuous adjoints solve for
the gradient backwards in time (`adjoint`).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from ..methods.explicit.tableau import ExplicitTableau
from . import adjoint, held, time_rows
from .adaptive import adaptive_pass
from .checks import SolverOptions
from .clock import Clock
from .direct import direct
from .events import EventFunction, LaneEvents
from .field import Field, Func
from .guarded import guarded
from .hooks import NO_HOOKS, Hooks
from .replay import Replay, replay
from .rows import check_rows
from .scheme import Auto, Scheme
from .settings import Settings
from .step import Slope
from .stops import Stops
from .totals import Pass

Tensor = torch.Tensor


@dataclass(frozen=True)
class Problem:
    """What `odeint` is asked, checked: func, y0 and the options `asked` as it takes them, the times (T,) or (T, B), the
    method's coefficients, a controller object, and whether steps are per sample.

    hooks   what else the caller hangs into the forward pass.
    back    settings of a continuous adjoint's backward solve that are not those of the forward one, by name.
    origin  the caller's func, where `func` is made of it; None: `func` itself.
    stops   times at which steps end; None: only at the end.
    event   what ends a lane's solve; None: nothing does.
    moved   the times as a tensor of the shape of `times`, where their gradient is wanted; None where it is not.
    slopes  the slopes at the outputs are wanted, of a discrete adjoint with one step size.
    between the limit of attempts is one between two outputs.
    """

    func: Func
    y0: Tensor
    times: np.ndarray
    tableau: ExplicitTableau
    controller: Any
    per_sample: bool
    asked: SolverOptions
    hooks: Hooks = NO_HOOKS
    back: Mapping[str, Any] = field(default_factory=dict)
    origin: Any = None
    stops: Stops | None = None
    event: EventFunction | LaneEvents | None = None
    moved: Tensor | None = None
    slopes: bool = False
    between: bool = False

    @property
    def asked_func(self) -> Any:
        """The caller's func."""
        return self.func if self.origin is None else self.origin

    @property
    def single(self) -> bool:
        """Whether y0 is one system (D,) instead of a batch."""
        return self.y0.dim() == 1

    @property
    def batch(self) -> int:
        """Number of samples."""
        return 1 if self.single else self.y0.shape[0]

    @property
    def differentiate(self) -> bool:
        """Whether the discrete adjoint is wanted, and gradients are on."""
        return self.asked.adjoint == "discrete" and torch.is_grad_enabled()

    def scheme(self) -> Scheme:
        """Which states a replay keeps."""
        budget = self.asked.checkpoint_bytes
        return Scheme(self.asked.checkpoint_every) if budget is None else Auto(budget)

    def slope(self) -> Field:
        """func over rows, with a count of its own."""
        shape = tuple(self.y0.shape) if self.single else (-1, *self.y0.shape[1:])
        return Field(self.func, shape, not self.per_sample)

    def rows(self) -> Tensor:
        """y0 as (lanes, width), one lane a sample or one for the whole batch.

        A copy, for the caller's y0 is not for func to see, and row after row whatever the strides of y0.
        """
        lanes = self.batch if self.per_sample else 1
        return self.y0.reshape(lanes, -1).clone(memory_format=torch.contiguous_format)

    def settings(self) -> Settings:
        """What the adaptive pass is asked for."""
        asked, t = self.asked, self.times
        return Settings(
            self.tableau,
            self.controller,
            t,
            asked.rtol,
            asked.atol,
            asked.first_step,
            asked.max_steps,
            asked.compact,
            asked.heuristics,
            asked.graph,
            asked.even_steps,
            Clock(self.y0.dtype, t[0], t[-1] - t[0]),
            watch_draws=True,
            check_start=functools.partial(check_rows, self.asked_func) if self.per_sample and self.batch > 1 else None,
            hooks=self.hooks,
            start=asked.start,
            slopes=self.slopes,
            stops=self.stops,
            event=self.event,
            between=self.between,
        )


@dataclass(frozen=True)
class Solved:
    """A problem's solution.

    settings   of the adaptive pass `done`.
    rows       y0 as (lanes, width).
    y          (T, lanes, width) the outputs, with their gradient where there is one; with an event one row more, its
               states.
    again      what carries gradient besides: E and S.  None where nothing does.
    forward    func as the adaptive pass called it; `backward`, as replay or backward solve call it.
    """

    problem: Problem
    settings: Settings
    rows: Tensor
    done: Pass
    y: Tensor
    again: Replay | None
    forward: Field
    backward: Field

    @property
    def slope(self) -> Slope:
        """func at times of any dtype at which steps end, as backward passes call it."""
        return _in_time(self.backward, self.settings, at_end=True)


def _in_time(field: Field, settings: Settings, at_end: bool) -> Slope:
    """func at times (lanes,) of any dtype at which steps end, or begin: where the field jumps there, a little before,
    or behind, in the direction of time."""
    clock, stops = settings.clock, settings.stops
    assert clock is not None  # `Problem.settings` makes one

    def slope(t: Tensor, y: Tensor) -> Tensor:
        dtype = clock.time_dtype
        return field(t.to(dtype) if stops is None else stops.moved(t, dtype, settings.sign, at_end), y)

    return slope


def solve(problem: Problem) -> Solved:
    """Solve `problem`."""
    asked, settings, rows = problem.asked, problem.settings(), problem.rows()
    forward, backward = problem.slope(), problem.slope()
    moved = None if asked.adjoint == "none" else problem.moved
    if moved is not None:
        start, rows = rows, time_rows.start_at(moved[0], rows, _in_time(backward, settings, at_end=False))
    again: Replay | None = None

    # what passes without gradient would put into a cache of parametrizations has no graph
    apart = held.uncached if torch.is_grad_enabled() else contextlib.nullcontext

    def replayed(done: Pass, y0: Tensor) -> Replay:
        with held.uncached():
            return replay(backward, settings, done, y0, problem.scheme())

    kept = problem.differentiate and asked.checkpoint_every is None
    if kept and len(rows) > 1 and asked.checkpoint_bytes is None:
        done, again = guarded(forward, settings, rows, replayed)
        y = again.y
    elif kept and len(rows) == 1:
        done, again = direct(forward, settings, rows, asked.checkpoint_bytes)
        if again is None:  # over the budget
            again = replayed(done, rows)
        y = again.y
    elif asked.adjoint in adjoint.CONTINUOUS:
        task = adjoint.Continuous(
            asked.adjoint, forward, backward, settings, asked.back_rtol, asked.back_atol, not problem.per_sample
        )
        if problem.hooks is not NO_HOOKS or problem.back:
            task.back = replace(settings, **{"hooks": NO_HOOKS, "first_step": None, **problem.back})
        with apart():
            done, y = adjoint.solve(task, rows, adjoint.parameters_of(problem.asked_func, asked.adjoint_params))
    else:
        with apart(), torch.no_grad():
            done = adaptive_pass(forward, settings, rows.detach(), want_output=not problem.differentiate)
        if problem.differentiate:
            again = replayed(done, rows)
        answer = again.y if again is not None else done.y
        assert answer is not None
        y = answer
    if moved is not None:
        # the first output is y0 itself, whenever the solve starts
        outputs = time_rows.outputs_at(moved, y[: len(moved)], _in_time(backward, settings, at_end=True))
        y = torch.cat([start[None], outputs[1:], y[len(moved) :]])
    return Solved(problem, settings, rows, done, y, again, forward, backward)
