"""`odeint` with a method on a grid: no error estimate and no controller, the steps being those of the grid.

The arithmetic is that of `fixed`, which autograd goes through, the times too; this file makes a NeuralSolution of it,
for a batch, one system, or samples with times of their own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ..kernels.layout import MESSAGES, NON_FINITE, SUCCESS, message
from . import adjoint as continuous
from . import augmented, autocast, checks, fixed, held, time_rows
from .field import Field
from .forms import Form
from .rows import check_rows
from .solution import NeuralSolution, NeuralStats

Tensor = torch.Tensor
#: arguments of `odeint` that a grid has, besides func, y0, t and method
KNOWN = frozenset({"adjoint", "adjoint_params", "heuristics", "per_sample", "step_size", "resolve"})


def refuse_unused(method: str, given: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """ValueError where an argument that means nothing to a method on a grid is not its default."""
    unused = sorted(
        name
        for name, value in given.items()
        if name not in KNOWN and not _same(value, defaults[name])
    )
    if unused:
        verb = "means" if len(unused) == 1 else "mean"
        raise ValueError(
            f"method {method!r} takes the steps of a grid, and {', '.join(unused)} {verb} "
            'nothing to it: pass step_size, or t as the grid; "tsit5" and the other pairs choose their steps'
        )
    checks.heuristics(given["heuristics"])
    if given["heuristics"] in ("E", "S"):
        raise ValueError(f"method {method!r} has no error estimate, and so no heuristics {given['heuristics']!r}")


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) in (int, float, str) and value == default)


class _Solve:
    """One solve on a grid: `rows` (lanes, width) from the times t, a tensor (T,) or (T, lanes) on their device."""

    def __init__(self, func: Any, form: Form, t: Tensor, grid: fixed.Grid) -> None:
        y0 = form.y0
        self.lanes = len(y0) if form.per_sample else 1
        self.rows = y0.reshape(self.lanes, -1)
        self.t, self.grid = t, grid
        shape = tuple(y0.shape) if y0.dim() == 1 else (-1, *y0.shape[1:])
        self.fields = [Field(form.func(func), shape, not form.per_sample) for _ in range(2)]
        self.field = self.fields[0]

    def slope(self, t: Tensor, y: Tensor) -> Tensor:
        """The slope of rows at one time, or at (lanes, 1) times."""
        return self.field(t.reshape(-1).to(y.dtype).expand(self.lanes), y)

    def flat_slope(self, t: Tensor, y: Tensor) -> Tensor:
        """The slope of the rows as one vector."""
        return self.slope(t, y.view(self.rows.shape)).reshape(-1)

    def forward(self, rows: Tensor, t: Tensor) -> Tensor:
        """The outputs (T, lanes, width)."""
        if t.dim() == 1:
            return fixed.integrate(self.grid, self.slope, rows, t)
        stepper, found = self.grid.method.steps(self.grid, self.slope), [rows]
        for t0, t1 in zip(t[:-1, :, None], t[1:, :, None], strict=True):
            found.append(stepper.step(t0, t1, found[-1])[0])
        return torch.stack(found)

    def backsolve(self, params: tuple[Tensor, ...]) -> Tensor:
        """The outputs with the gradient of the continuous adjoint on the same grid."""
        t = self.t.detach()

        def outputs(y: Tensor) -> tuple[Tensor, Tensor]:
            found = self.forward(y.view(self.rows.shape), t).flatten(1)
            self.field = self.fields[1]  # what follows is the backward pass
            return found, t

        start = time_rows.start_at(self.t[0], self.rows, self.slope)
        back = replace(self.grid, method=augmented.Back(self.grid.method))

        def interval(system: augmented.Augmented, z: Tensor, t: Tensor) -> Tensor:
            return fixed.integrate(back, system, z, t)[1]

        task = augmented.Backwards(outputs, self.flat_slope, interval)
        y = augmented.solve(task, start.reshape(-1), params).view(-1, *self.rows.shape)
        moved = time_rows.outputs_at(self.t, y, self.slope)
        return torch.cat([self.rows[None], moved[1:]])


def checked(method: str, adjoint: Any, adjoint_params: Any, step_size: Any) -> Any:
    """The step size, or None; ValueError for it or an adjoint that the method cannot work with."""
    checks.belong(adjoint, {"adjoint_params": adjoint_params}, {})
    if adjoint == "interpolating":
        raise ValueError(f'method {method!r} has no dense output to go back along: use "discrete" or "backsolve"')
    return fixed.step_size(step_size)


def solve(func: Any, form: Form, t: Any, method: str, given: Mapping[str, Any], began: float) -> NeuralSolution:
    """Solve by the method on a grid of this name; `given`: the arguments of `odeint` by name."""
    values = checks.times(t, len(form.y0) if form.per_sample else None)
    times = t if isinstance(t, Tensor) and t.is_floating_point() else torch.from_numpy(values)
    times, adjoint = times.to(form.y0.device), given["adjoint"]
    size = checked(method, adjoint, given["adjoint_params"], given["step_size"])
    if times.dim() > 1 and size is not None:
        raise ValueError("step_size needs one t for all samples: with times (T, B) these are the grid of every sample")
    if adjoint == "backsolve" and times.dim() > 1:
        raise ValueError(f'adjoint="backsolve" with method {method!r} needs one t for all samples; use "discrete"')
    with (
        held.of_solve(adjoint == "backsolve", func, None) as (own, _),
        autocast.of_solve(own, form.y0.device, form.y0.dtype) as asked_func,
    ):
        work = _Solve(asked_func, form, times, fixed.Grid(method, fixed.RULES[method], size, interp="cubic"))
        if times.dim() > 1:
            _check_rows(work, func)
        if adjoint == "backsolve":
            y = work.backsolve(continuous.parameters_of(func, given["adjoint_params"]))
        else:
            with torch.set_grad_enabled(torch.is_grad_enabled() and adjoint == "discrete"):
                y = work.forward(work.rows, times)
    return _solution(work, form, t, y, values, adjoint == "backsolve", began)


def _check_rows(work: _Solve, func: Any) -> None:
    """ValueError where the slope of a row depends on other rows, which stand at other times."""
    with torch.no_grad():
        at, y = work.t[0][:, None], work.rows.detach()
        k1 = work.slope(at, y).clone()
        check_rows(func, lambda rows: work.slope(at, rows), y, k1, torch.isfinite(k1).all(1))


def _solution(
    work: _Solve, form: Form, t: Any, y: Tensor, values: np.ndarray, back: bool, began: float
) -> NeuralSolution:
    finite = torch.isfinite(y.detach()).all(2).cpu().numpy()
    reached = np.logical_and.accumulate(finite, axis=0)
    last = np.maximum(reached.sum(0) - 1, 0)
    if not reached.all():
        y = torch.where(torch.from_numpy(reached).to(y.device)[:, :, None], y, torch.nan)
    batch = 1 if form.y0.dim() == 1 else len(form.y0)

    def spread(x: Any, kind: Any = np.int64) -> np.ndarray:
        return np.broadcast_to(np.asarray(x, dtype=kind), (batch,)).copy()

    status = np.where(reached[-1], SUCCESS, NON_FINITE)
    steps = len(work.grid.times(work.t.detach())) - 1 if work.t.dim() == 1 else len(values) - 1
    good = bool(reached[-1].all())
    table = np.broadcast_to(values.reshape(len(values), -1), (len(values), work.lanes))
    lanes = np.arange(work.lanes)
    index = torch.from_numpy(last).to(y.device)
    y_last = y.detach()[index, torch.arange(work.lanes, device=y.device)]
    nothing, calls = spread(0), work.fields[0].calls
    stats = NeuralStats(
        nfev=calls, nfev_check=0, naccept=steps * work.lanes, nreject=0, nfallback=0, status=spread(status),
        nfev_per_sample=spread(calls), naccept_per_sample=spread(steps), nreject_per_sample=nothing,
        nfallback_per_sample=nothing, naccept_over=0, naccept_over_per_sample=nothing,
        wall_s=time.perf_counter() - began, first_step=spread(np.nan, np.float64),
        _gradient_calls=work.fields[1].count, _continuous=back,
    )  # fmt: skip
    count = len(values)
    return NeuralSolution(
        t=torch.as_tensor(t), y=form.back(y.reshape(count, *form.y0.shape)), success=good,
        message=message(SUCCESS) if good else MESSAGES[NON_FINITE], t_last=spread(table[last, lanes], np.float64),
        y_last=form.back(y_last.reshape(form.y0.shape).clone()), stats=stats, heuristics=None,
    )  # fmt: skip
