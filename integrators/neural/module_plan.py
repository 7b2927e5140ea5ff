"""What a NeuralODE with a regulariser solves in training, for a state of any form.

Regularisers plan for one tensor, (B, *features) or (D,) (`regularisers/plan.py`).  A state of another form is flattened
for them as it is for the solver (`forms`), while the solve itself is that of the state as it was given, so that error
norm, tolerances of components and events are those of `odeint`.  Columns that a regulariser adds are one more part of
the state then.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as tree

from . import shaping
from .forms import Form
from .pytree import Layout
from .regularisers import Plan, Solver
from .shaping import Shaping
from .solution import NeuralSolution

Tensor = torch.Tensor


@dataclass(frozen=True)
class Task:
    """What is solved, func, y0 and t as `odeint` takes them, and what reads (y, penalty) off the solution, y in the
    caller's form."""

    func: Any
    y0: Any
    t: Tensor
    read: Callable[[NeuralSolution], tuple[Any, Tensor]]


class Flat(torch.nn.Module):
    """A func of states as one of vectors (D,), or of rows (B, D)."""

    def __init__(self, func: Any, layout: Layout) -> None:
        super().__init__()
        self.inner, self._layout = func, layout

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self._layout.field(self.inner)(t, y)


class Widened(torch.nn.Module):
    """A func of rows with columns behind them, (B, D + m), as one of (state, columns); of one system B = 1."""

    def __init__(self, func: Any, layout: Layout, columns: int) -> None:
        super().__init__()
        self.inner, self._layout, self._columns = func, layout, columns

    def forward(self, t: Tensor, state: Any) -> Any:
        parts, columns = state
        flat = self._layout.flat(parts)
        slope = self.inner(t, torch.cat([flat.reshape(len(columns), -1), columns], 1))
        y = slope[:, : -self._columns].reshape(flat.shape)
        return self._layout.state(y), slope[:, -self._columns :]


def _like(func: Any, wrapped: torch.nn.Module) -> Any:
    """`wrapped`, a Module where func is one: a plain function must not pass for a Module without parameters."""
    return wrapped if isinstance(func, torch.nn.Module) else lambda t, y: wrapped(t, y)


def flat_of(func: Any, form: Form) -> Any:
    """func over the solver's tensor."""
    return func if form.layout is None else _like(func, Flat(func, form.layout))


def task_of(plan: Plan, func: Any, y0: Any, form: Form) -> Task:
    """What is solved for `plan`, which was made for `flat_of(func, form)` and `form.y0`."""
    if plan.columns and form.layout is None:
        return Task(plan.func, plan.y0, plan.t, plan.read)
    if plan.columns:
        wide = _like(func, Widened(plan.func, form.layout, plan.columns))  # type: ignore[arg-type]  # it has a layout
        y0, func = (y0, plan.y0[:, -plan.columns :]), wide

    def read(solution: NeuralSolution) -> tuple[Any, Tensor]:
        parts = tree.tree_leaves(solution.y)
        lead = (len(parts[0]), *plan.y0.shape[:1])
        y = parts[0] if form.layout is None else torch.cat([part.reshape(*lead, -1) for part in parts], -1)
        found, penalty = plan.read(replace(solution, y=y.reshape(len(y), *plan.y0.shape)))
        return form.back(found), penalty

    return Task(func, y0, plan.t, read)


def solver_of(method: Any, rtol: Any, atol: Any, norm: Any, form: Form) -> Solver:
    """The main solve's method, tolerances and error norm, as they are for `form`."""
    relative, absolute, each, _ = shaping.tolerances(form, rtol, atol, 1.0)
    return Solver(method, relative, absolute, form.per_sample, Shaping(norm=norm).hooks(form, each)[0])
