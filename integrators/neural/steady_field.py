"""The map f of a steady state, func(z, x) or func(z), as the solver calls it: checked, counted, over rows."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch.utils import _pytree as tree

from .field import lent
from .rows import check_rows
from .solution import CallCount

Tensor = torch.Tensor


def check_func(func: Any, arguments: int) -> None:
    """ValueError where func cannot be called with so many arguments, z alone or z and x."""
    form = "func(z, x)" if arguments == 2 else "func(z)"
    if not callable(func):
        raise ValueError(f"func must be callable as {form}, got {type(func).__name__}")
    try:
        signature = inspect.signature(func.forward if isinstance(func, torch.nn.Module) else func)
    except (TypeError, ValueError):
        return  # not every builtin has one
    try:
        signature.bind(*[None] * arguments)
    except TypeError:
        what = func.func if isinstance(func, functools.partial) else func
        name = getattr(what, "__name__", None) or type(what).__name__
        why = "since x was given" if arguments == 2 else "since no x was given"
        raise ValueError(f"func is called as {form} here, {why}, and {name} takes {signature}") from None


def check_input(x: Any, z0: Tensor) -> None:
    """ValueError where x is no tensor or collection of tensors, or has not the samples of z0 (B, *features)."""
    if x is None:
        return
    parts = tree.tree_leaves(x)
    for part in parts:
        if not isinstance(part, Tensor):
            raise ValueError(
                f"x must be a tensor or a tuple, list or dict of tensors, got one of {type(part).__name__}: what is no "
                "tensor, func may close over"
            )
    if not parts:
        raise ValueError("x holds no tensor: leave it out, and func is called as func(z)")
    for part in parts if z0.dim() > 1 else ():
        if part.dim() == 0 or len(part) != len(z0):
            raise ValueError(
                f"x must have the {len(z0)} samples of z0 as the first axis of every tensor, and one has shape "
                f"{tuple(part.shape)}: what all samples share, func may close over"
            )


def samples_of(x: Any, index: Tensor) -> Any:
    """x with the samples `index` (n,) of every tensor; None for None."""
    if x is None:
        return None
    return tree.tree_map(lambda part: part[index.to(part.device)], x)


def lent_places(ok: Tensor) -> Tensor:
    """The samples (B,) to take in the place of all, each that is `ok` itself, the others one that is.

    Zero times a derivative that is not finite would be NaN: where gradients are made, func is asked at these alone.
    """
    return torch.where(ok, torch.arange(len(ok), device=ok.device), int(ok.int().argmax()))


class SteadyField:
    """f over rows (lanes, width), counting its calls in `count`; as a call, the slope f - z, at any time.

    func    the caller's, and `called`, what calls it: called(z, x) also where x is None, under the caller's autocast.
    x       its input, one sample a lane, or None.
    shape   that func gets z in: (-1, *features) for a batch, (D,) for one system.
    """

    def __init__(
        self, func: Callable[..., Any], called: Callable[[Tensor, Any], Any], x: Any, shape: tuple[int, ...]
    ) -> None:
        self.func, self.called, self.x, self.shape, self.count = func, called, x, shape, CallCount()

    def __call__(self, t: Tensor, rows: Tensor) -> Tensor:
        return self.value(rows) - rows

    def take(self, keep: Tensor) -> None:
        """Go on with the lanes `keep` (n,) alone."""
        self.x = samples_of(self.x, keep)

    def value(self, rows: Tensor) -> Tensor:
        """f at the states `rows`.  ValueError where it is no tensor like z, and where func writes to z or x."""
        z = rows.view(self.shape)
        self.count.calls += 1
        # writes that torch does not count are looked for in the first call
        before = z.detach().clone() if self.count.calls == 1 else None
        given, spec = tree.tree_flatten(() if self.x is None else self.x)
        (own, *parts), written = lent(z, *given)
        try:
            found = self.called(own, tree.tree_unflatten(parts, spec))
        except (RuntimeError, TypeError) as error:
            self._explain(error, z)
        if not isinstance(found, Tensor):
            raise ValueError(f"func must return a tensor like z, got {type(found).__name__}")
        if found.shape != z.shape or found.dtype != z.dtype or found.device != z.device:
            raise ValueError(
                f"func must return a tensor like z, of shape {tuple(z.shape)}, {z.dtype}, {z.device}; got "
                f"{tuple(found.shape)}, {found.dtype}, {found.device}"
            )
        if written() or before is not None and not torch.equal(before.nan_to_num(), z.detach().nan_to_num()):
            raise ValueError(in_place())
        return found.reshape(rows.shape)

    def _explain(self, error: Exception, z: Tensor) -> NoReturn:
        """Raise func's `error`, as a ValueError that names the remedy where the cause is known."""
        if "in-place operation" in str(error) and "leaf" in str(error):
            raise ValueError(in_place()) from error
        for name, p in self.func.named_parameters() if isinstance(self.func, torch.nn.Module) else ():
            if p.device != z.device or p.dtype != z.dtype:
                raise ValueError(
                    f"z0 is {z.dtype} on {z.device}, func's parameter {name!r} is {p.dtype} on {p.device}, and func "
                    f"failed: {error}"
                ) from error
        raise error


def in_place() -> str:
    """What is wrong with a func that writes to its arguments."""
    return (
        "func modifies z or x in place, and the solver still needs those numbers: use operations that return a new "
        "tensor (z * 2 for z.mul_(2)), or begin with z = z.clone()"
    )


def check_samples(func: Any, slope: Callable[[Tensor], Tensor], z: Tensor, k1: Tensor, ok: Tensor) -> None:
    """ValueError where what func gives for one sample depends on others; the arguments are those of `check_rows`."""
    try:
        check_rows(func, slope, z, k1, ok)
    except ValueError as error:
        raise ValueError(
            "what func gives for one sample changes with the other samples (batch normalisation, or attention or sums "
            "over the batch?), and every sample has steps and a steady state of its own here: call func.eval(), or "
            "take a normalisation within the sample (LayerNorm, GroupNorm)"
        ) from error
