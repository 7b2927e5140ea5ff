"""Parts of the torchode host: the state of a controller during a solve, and a solver whose samples fail alone."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch

from ...integrators.engine.trained_method import warn_once_in
from .fitting import library

Tensor = torch.Tensor

#: the library, which every file of this host takes from here
torchode: Any = library("torchode", "1.0", "1.1")
_Solver: Any = torchode.AutoDiffAdjoint
#: torchode's choice of a first size, as a function whose first argument is a `Start`
first_size: Any = torchode.IntegralController._select_initial_step

#: torchode's step methods, and the names of the same pairs here
PAIRS = {"Dopri5": "dopri5", "Tsit5": "tsit5"}


def told(controller: Any, method: str | None, order: Any) -> None:
    """Warn of a controller that was trained with another method; torch.compile leaves it out."""
    if not torch.compiler.is_compiling():
        warn_once_in("torchode", controller, method, order, PAIRS)


class State(NamedTuple):
    """The controller's state during a solve, for B samples; float64 where nothing is said.

    rows      (B, n_state) state of the controller.
    want      (B,) size that it asked for, positive: the attempt under way is of this size, or shorter to land.
    ended     (B,) int64: status of the samples that have failed, else 0.
    lost      (B,) attempts in a row that were not finite.
    attempts  (B,) attempts made.
    t_end     (B,) end times, of the dtype of time.
    sign      (B,) direction of time, 1 or -1, of the dtype of time.
    span      (B,) length of the span, positive.
    order     exponent order of the method.
    apart     whether torchode takes step sizes out of the graph, as far as is known.
    first     (B,) sizes proposed after the first accepted step, NaN before, written in place; None without warm_start.
    """

    rows: Tensor
    want: Tensor
    ended: Tensor
    lost: Tensor
    attempts: Tensor
    t_end: Tensor
    sign: Tensor
    span: Tensor
    order: float
    first: Tensor | None
    apart: bool

    def off_graph(self, dt: Tensor) -> bool:
        """Whether torchode takes sizes out of the graph: known, or seen from a size dt that had a gradient here."""
        return self.apart or (self.want.requires_grad and not dt.requires_grad)

    def without_graph(self, dt: Tensor) -> State:
        """The same without gradients, for an attempt of size dt, which has none."""
        return self._replace(rows=self.rows.detach(), want=self.want.detach(), apart=self.off_graph(dt))


class Isolated(_Solver):
    """torchode's AutoDiffAdjoint whose failed samples have NaN outputs; `StepSizes.solver` makes it."""

    def solve(self, problem: Any, term: Any = None, dt0: Any = None, args: Any = None) -> Any:
        """As AutoDiffAdjoint.solve."""
        solution = super().solve(problem, term=term, dt0=dt0, args=args)
        stats, ys = solution.stats, solution.ys
        reached = stats["n_initialized"] if problem.t_eval is not None else torch.zeros_like(stats["n_initialized"])
        lacking = torch.arange(ys.shape[1], device=ys.device) >= reached[:, None]
        solution.ys = torch.where(((solution.status > 0)[:, None] & lacking)[:, :, None], math.nan, ys)
        stats["n_steps"] = stats["n_accepted"] + stats["n_rejected"]
        return solution


class Start:
    """What torchode's choice of a first size asks of a controller: the error's scale at y0 in the place of atol."""

    def __init__(self, term: Any, norm: Any, scale: Tensor) -> None:
        self.term, self.norm, self.atol, self.rtol = term, norm, scale, 0.0


def readable(*tensors: Tensor) -> bool:
    """Whether compiled code can read the tensors: float32 or float64 on the CPU, not traced, not wrapped by
    torch.func.
    """
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor
    return not torch.compiler.is_compiling() and all(
        x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64) and not wrapped(x) for x in tensors
    )


def left_of(state: State, t: Tensor) -> Tensor:
    """Distance to the end (B,), positive, float64."""
    return (state.sign * (state.t_end - t)).double()


def resolved(t: Tensor) -> Tensor:
    """The smallest size that the time variable resolves at t, float64."""
    dtype = torch.finfo(t.dtype)
    return torch.clamp(10.0 * dtype.eps * t.detach().abs().double(), min=max(1e-300, dtype.tiny))


def even(want: Tensor, left: Tensor) -> Tensor:
    """The largest of equal sizes that are no longer than `want` and end after `left`; all positive, (B,)."""
    # rounding must not add a step where the size divides what is left
    count = torch.ceil(left / want * (1.0 - 1e-10))
    # longer than what is left, so that torchode shortens it: its end time carries the gradient
    return torch.where(count > 1.0, left / torch.clamp(count, min=1.0), torch.maximum(want, 2.0 * left))
