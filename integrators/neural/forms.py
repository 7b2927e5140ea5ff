"""The form of a state (one tensor of any shape, or a collection of tensors) as `odeint` takes it and gives it back.

A tensor with a batch axis, or with one axis, is what the solver works on.  Anything else becomes such a tensor: the
vector (D,) of all numbers where one step size serves the whole state, else one row a sample, (B, D).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as tree

from . import checks
from .pytree import Layout

Tensor = torch.Tensor


class RowLayout(Layout):
    """The layout of a sample of y0, whose parts all begin with the batch axis: states are rows (B, D).

    Raises ValueError as `Layout` does, and where the parts have no batch axis or different ones.
    """

    def __init__(self, y0: Any) -> None:
        parts = tree.tree_leaves(y0)
        for part in parts:
            if isinstance(part, Tensor) and part.dim() == 0:
                raise ValueError("per_sample=True needs the batch axis B first in every part of y0, and one is 0-d")
        sizes = {len(part) for part in parts if isinstance(part, Tensor)}
        if len(sizes) > 1:
            raise ValueError(
                f"per_sample=True needs the batch axis B first in every part of y0; they begin with {sorted(sizes)}"
            )
        super().__init__(tree.tree_map(lambda part: part[0] if isinstance(part, Tensor) and len(part) else part, y0))
        self.axes = max(len(shape) for shape in self.shapes) + 1

    def flat(self, state: Any) -> Tensor:
        return torch.cat([part.reshape(len(part), -1) for part in tree.tree_leaves(state)], 1)

    def field(self, func: Callable[[Tensor, Any], Any]) -> Callable[[Tensor, Tensor], Tensor]:
        def slope(t: Tensor, rows: Tensor) -> Tensor:
            at = t.view(-1, *(1,) * (self.axes - 1)) if t.dim() else t
            return self.flat_slope(func(at, self.state(rows)), t, rows.shape[:1])

        return slope


@dataclass(frozen=True)
class Form:
    """How the caller's state and the solver's tensor belong together.

    y0          the solver's tensor: (B, *features), or (D,).
    per_sample  whether steps are per sample.
    layout      of what is no such tensor itself; None where y0 is the caller's.
    """

    y0: Tensor
    per_sample: bool
    layout: Layout | None = None

    def func(self, func: Any) -> Any:
        """The caller's func as one of the solver's tensor."""
        return func if self.layout is None else self.layout.field(func)

    def back(self, y: Tensor) -> Any:
        """States (..., *y0.shape) in the caller's form."""
        return y if self.layout is None else self.layout.state(y)

    def norm(self, own: Callable[[Any], Any] | None) -> Callable[[Tensor], Tensor] | None:
        """The norm of the solver's rows: `own` of a state, else that of a state of several parts; None for the root
        mean square."""
        if own is None:
            return None if self.layout is None else self.layout.norm()
        return (self.layout or Layout(self.y0)).norm(own)

    def alone(self) -> Layout:
        """The layout of what has one error norm: a sample with steps per sample, else the whole state."""
        if self.layout is not None:
            return self.layout
        return Layout(self.y0[0] if self.per_sample else self.y0)


def form_of(y0: Any, per_sample: Any) -> Form:
    """The form of y0; `per_sample` as `odeint` takes it: None is True for a tensor with a batch axis and False else.

    Raises ValueError where y0 is no state, or has not the axes that per_sample=True needs.
    """
    if isinstance(y0, Tensor) and y0.dim() > 0:
        checks.state(y0)
        return Form(y0, bool(checks.per_sample(per_sample, y0)))
    if not isinstance(y0, (Tensor, tuple, list, dict)):
        checks.state(y0)
    if checks.per_sample(per_sample):
        rows = RowLayout(y0)
        return Form(rows.flat(y0), True, rows)
    layout = Layout(y0)
    return Form(layout.flat(y0), False, layout)
