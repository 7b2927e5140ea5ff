"""A state of any form (a tensor of any shape, a tuple, a dict, nested ones of these) as one vector, and back.

The solver works on one system (D,): all numbers of all parts.  Its error norm for a state of several parts is
torchdiffeq's, the largest of the parts' root mean squares.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils import _pytree as tree

from ..core import options
from .checks import state as check_state
from .field import lent

Tensor = torch.Tensor
Func = Callable[[Tensor, Any], Any]


class Layout:
    """The form of the state y0.

    shapes   of its parts; `sizes`, the numbers in each, and `width`, in all.
    dtype, device   of the state; all parts have the same.
    parted   whether the state is a collection of tensors, not one tensor.

    Raises ValueError where y0 is no state: parts that are no tensors, that are empty, of different dtypes, complex or
    of half precision.
    """

    def __init__(self, y0: Any) -> None:
        self.parted = not isinstance(y0, Tensor)
        parts, self.spec = tree.tree_flatten(y0)
        if not parts:
            raise ValueError("y0 holds no tensor")
        for part in parts:
            if not isinstance(part, Tensor):
                raise ValueError(f"y0 must be a tensor or a tuple or dict of tensors, got {type(part).__name__}")
            check_state(part.reshape(1) if part.dim() == 0 else part)
        #: the form of y0, with the number of each part in its place
        self.model = tree.tree_unflatten(list(range(len(parts))), self.spec)
        self.plain_spec = tree.tree_structure(in_order(self.model, self.model))
        self.shapes = [part.shape for part in parts]
        #: a plain tuple of tensors, as most states of several parts are
        self.plain = type(y0) is tuple and all(isinstance(part, Tensor) for part in y0)
        self.sizes = [part.numel() for part in parts]
        self.width = sum(self.sizes)
        self.dtype, self.device = parts[0].dtype, parts[0].device
        for part in parts[1:]:
            if part.dtype != self.dtype or part.device != self.device:
                raise ValueError(
                    f"all parts of y0 must have one dtype and device, got {self.dtype} on {self.device} and "
                    f"{part.dtype} on {part.device}"
                )

    def flat(self, state: Any) -> Tensor:
        """The vector (width,) of a state of this form."""
        parts = tree.tree_leaves(state)
        return torch.cat([part.reshape(-1) for part in parts]) if self.parted else parts[0].reshape(-1)

    def state(self, flat: Tensor) -> Any:
        """The state of a vector, or of vectors (..., width), whose parts then have the leading axes."""
        if not self.parted:
            return flat.view((*flat.shape[:-1], *self.shapes[0]))
        lead = flat.shape[:-1]
        parts = [
            part.reshape(lead + shape) for part, shape in zip(flat.split(self.sizes, -1), self.shapes, strict=True)
        ]
        return tuple(parts) if self.plain else tree.tree_unflatten(parts, self.spec)

    def field(self, func: Func) -> Callable[[Tensor, Tensor], Tensor]:
        """func(t, state) as a function of the vector; ValueError where it returns no slope of the state's form."""

        def slope(t: Tensor, flat: Tensor) -> Tensor:
            return self.flat_slope(func(t, self.state(flat)), t)

        return slope

    def flat_slope(self, slope: Any, t: Tensor, lead: tuple[int, ...] = ()) -> Tensor:
        """The vector (*lead, width) of what func has returned at the time t, whose parts begin with the axes `lead`;
        slopes of t's dtype are taken in the state's."""
        if not self.parted and isinstance(slope, Tensor) and not lead:
            if slope.shape == self.shapes[0] and slope.dtype == self.dtype:
                return slope.reshape(-1)
        parts, same = slope, self.plain and isinstance(slope, (tuple, list)) and len(slope) == len(self.shapes)
        if not same:
            parts, spec = tree.tree_flatten(slope)
            same = spec == self.spec or (isinstance(slope, list) and tree.tree_structure(tuple(slope)) == self.spec)
        if not same:
            parts, same = self._ordered(slope)
        if not same or not all(isinstance(part, Tensor) for part in parts):
            what = "a tensor like y" if not self.parted else "tensors in the form of y"
            raise ValueError(f"func must return {what}, got {_named(slope)}")
        for i, (part, alone) in enumerate(zip(parts, self.shapes, strict=True)):
            shape = (*lead, *alone)
            if part.shape != shape or part.dtype not in (self.dtype, t.dtype):
                where = f"part {i} of " if self.parted else ""
                raise ValueError(
                    f"func must return {where}a slope like y, of shape {tuple(shape)} and {self.dtype}; got "
                    f"{tuple(part.shape)} and {part.dtype}"
                )
        flat = [part.reshape(*lead, -1).to(self.dtype) for part in parts]
        return torch.cat(flat, -1) if self.parted else flat[0]

    def _ordered(self, slope: Any) -> tuple[list[Any], bool]:
        """The parts of a slope whose dicts have their keys in another order, and whether it has y's form then."""
        try:
            found = in_order(slope, self.model)
        except KeyError:
            return [], False
        return tree.tree_leaves(found), tree.tree_structure(found) == self.plain_spec

    def each(self, name: str, value: Any) -> Tensor:
        """A tolerance for every number of the state, (width,): from a number, from a tensor that broadcasts to the
        state or has as many numbers, or from a sequence with one of these for each part.  OptionError for other
        forms."""
        parts = list(value) if self.parted and isinstance(value, (tuple, list)) else [value] * len(self.shapes)
        what = f"one of them for each of {len(self.shapes)} parts" if self.parted else "a tensor of y0's shape"
        wrong = options.refuse(name, f"a number, or {what}", value)
        if len(parts) != len(self.shapes):
            raise wrong
        rows = []
        for part, shape in zip(parts, self.shapes, strict=True):
            try:
                found = torch.as_tensor(part, dtype=self.dtype, device=self.device).detach()
                alike = found.dim() > 0 and found.numel() == shape.numel()
                rows.append(found.reshape(-1) if alike else found.expand(shape).reshape(-1))
            except (RuntimeError, TypeError, ValueError):
                raise wrong from None
        return torch.cat(rows)

    def norm(self, own: Callable[[Any], Any] | None = None) -> Callable[[Tensor], Tensor] | None:
        """The norm of rows (1, width), as `hooks` take it: `own` of a state, else the largest of the parts' root mean
        squares; None for one tensor, whose norm is the solver's.  That of `own` raises ValueError where it gives more
        than one number, or writes to its argument."""
        if own is None:
            return mixed_norm(self.sizes) if self.parted else None

        def norm(rows: Tensor) -> Tensor:
            (given,), written = lent(rows)
            found = torch.as_tensor(own(self.state(given[0])))
            if found.numel() != 1:
                raise ValueError(f"norm must return one number, got shape {tuple(found.shape)}")
            if written():
                raise ValueError("norm must not modify its argument, which is the solver's own: begin with a clone")
            return found.reshape(1).abs()

        return norm

    def twice(self, norm: Callable[[Tensor], Tensor] | None) -> Callable[[Tensor], Tensor] | None:
        """The norm of rows (1, 2 width), state and cotangent: the larger of both."""
        if norm is None:
            return None
        return lambda rows: torch.maximum(norm(rows[:, : self.width]), norm(rows[:, self.width :]))


def in_order(given: Any, model: Any) -> Any:
    """A collection with the keys of its dicts in the order that those of `model` have; KeyError for other keys."""
    if isinstance(given, dict):
        if not isinstance(model, dict) or given.keys() != model.keys():
            raise KeyError(*given)
        return {key: in_order(given[key], part) for key, part in model.items()}
    if type(given) in (tuple, list) and isinstance(model, (tuple, list)) and len(given) == len(model):
        return type(given)(in_order(part, like) for part, like in zip(given, model, strict=True))
    return given


def mixed_norm(sizes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """The largest root mean square of parts of these sizes, of rows (1, sum of sizes): (1,)."""

    def norm(rows: Tensor) -> Tensor:
        parts = rows.split(list(sizes), 1)
        means = [
            torch.linalg.vector_norm(part, dim=1, dtype=torch.float64) / part.shape[1] ** 0.5 for part in parts
        ]
        return torch.stack(means).amax(0)

    return norm


def _named(slope: Any) -> str:
    if isinstance(slope, (tuple, list)):
        return f"a {type(slope).__name__} of {len(slope)}"
    if isinstance(slope, dict):
        return f"a dict of {', '.join(map(repr, slope))}"
    return type(slope).__name__
