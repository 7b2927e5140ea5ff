"""The user's func as the solver calls it: its shapes, its number of calls, and what it must not do.

Nothing here copies a state: torch counts the writes to a tensor (`_version`), so a func that modifies its argument, or
a result that it returned before, is found for the price of comparing two numbers.  Writes that torch does not count
(`y.data`, a NumPy view) are looked for in the first call of a solve, bit by bit.
"""

from __future__ import annotations

import functools
import inspect
import weakref
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from .solution import CallCount

Tensor = torch.Tensor
Func = Callable[[Tensor, Tensor], Tensor]

#: what is said of a func that returns something of this type
_REMEDY = {
    "NoneType": ": does it lack a return?",
    "ndarray": ": torch.from_numpy makes a tensor of it, without gradient",
    "tuple": ": torch.cat or torch.stack makes one tensor of it",
    "list": ": torch.cat or torch.stack makes one tensor of it",
}
#: whole numbers of a dtype's size, to compare bit by bit (NaN equals itself)
_BITS = {torch.float32: torch.int32, torch.float64: torch.int64}


class Field:
    """The user's `func(t, y)` over rows (lanes, width), counting its calls in `count`.

    func      gets y of the given `shape`, and t 0-d where one step size serves the whole batch, else (B, 1, ..., 1)
              with as many axes as y, so that a formula written for one number t broadcasts as meant.  Returns y's shape
              and dtype.
    shape     (-1, *features) for a batch, (D,) for one system.
    coupled   one step size serves the whole batch.

    Times come as they are given, in y's dtype or in float64 (`clock`); a slope in float64 is then rounded to y's dtype.
    """

    def __init__(self, func: Func, shape: tuple[int, ...], coupled: bool) -> None:
        self.func, self.shape, self.coupled, self.count = func, shape, coupled, CallCount()
        self._returned: dict[int, tuple[weakref.ref[Tensor], int]] = {}

    @property
    def calls(self) -> int:
        return self.count.calls

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        self.count.calls += 1
        state = y.view(self.shape)
        at = t[0] if self.coupled else t.view(-1, *(1,) * (state.dim() - 1))
        dy = call(self.func, at, state, self.count.calls == 1)
        if torch.is_grad_enabled():
            dy = self._kept(dy)
        return dy.reshape(y.shape)

    def _kept(self, dy: Tensor) -> Tensor:
        """A slope that stays in use beyond this call, as it is now.

        Copied, with its gradient, where func may write there again: what has no gradient, what was written to (a buffer
        that is filled anew in every call) and views (of such a buffer, whose own count of writes says nothing).  A new
        tensor is taken as it is, and func must leave it alone from then on.
        """
        if not dy.requires_grad:
            return dy.clone()
        place = dy.untyped_storage().data_ptr()
        known = self._returned.get(place)
        if known is not None:
            old = known[0]()
            if old is not None and old._version != known[1]:
                raise ValueError(
                    "func returned a tensor and wrote over it in a later call, while its gradient was still needed: "
                    "return a new tensor each time, or the buffer's .clone()"
                )
        if dy._is_view() or dy._version > 0:
            return dy.clone()
        if len(self._returned) >= 64:
            self._returned.clear()
        self._returned[place] = weakref.ref(dy), dy._version
        return dy


def call(func: Func, t: Tensor, y: Tensor, thorough: bool = False) -> Tensor:
    """func(t, y), refused where it is no tensor like y or where func has written to t or y; `thorough`: compare all
    bits."""
    counted = not (t.is_inference() or y.is_inference())
    before = t._version + y._version if counted else 0
    copies = (t.clone(), y.detach().clone()) if thorough or not counted else None
    try:
        dy = func(t, y)
    except (RuntimeError, TypeError) as error:
        _explain(func, t, y, error)
    if type(dy) is not Tensor and not isinstance(dy, Tensor):
        kind = type(dy).__name__
        raise ValueError(f"func must return a tensor like y, got {kind}{_REMEDY.get(kind, '')}")
    if dy.dtype != y.dtype and dy.dtype == t.dtype:
        dy = dy.to(y.dtype)
    if dy.shape != y.shape or dy.dtype != y.dtype or dy.device != y.device:
        raise ValueError(
            f"func must return a tensor like y, of shape {tuple(y.shape)}, {y.dtype}, {y.device}; "
            f"got {tuple(dy.shape)}, {dy.dtype}, {dy.device}"
        )
    if counted and t._version + y._version != before or copies is not None and not _same_bits(copies, (t, y.detach())):
        raise ValueError(in_place())
    return dy


def lent(*own: Tensor) -> tuple[tuple[Tensor, ...], Callable[[], bool]]:
    """The solver's `own` tensors to hand to a caller's function, and what says after the call whether it has written to
    them.  Inference tensors, whose writes torch does not count, are lent as copies."""
    if any(x.is_inference() for x in own):
        return tuple(x.clone() for x in own), lambda: False
    before = [x._version for x in own]
    return own, lambda: [x._version for x in own] != before


def in_place() -> str:
    """What is wrong with a func that writes to its arguments."""
    return (
        "func modifies its argument in place, and the solver still needs those numbers: use operations that return a "
        "new tensor (y * 2 for y.mul_(2)), or begin with y = y.clone()"
    )


def _same_bits(a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> bool:
    return all(torch.equal(x.view(_BITS[x.dtype]), z.view(_BITS[z.dtype])) for x, z in zip(a, b, strict=True))


def _explain(func: Func, t: Tensor, y: Tensor, error: Exception) -> NoReturn:
    """Raise func's `error`, as a ValueError that names the remedy where the cause is known."""
    func = inspect.unwrap(func)
    if isinstance(error, TypeError):
        check_callable(func, error)
        raise error
    if "in-place operation" in str(error) and "leaf" in str(error):
        raise ValueError(in_place()) from error
    if t.dtype != y.dtype:
        raise ValueError(
            f"func failed: {error}.  Its t is {t.dtype} here, since {y.dtype} does not resolve the steps at "
            f"t = {float(t.reshape(-1)[0]):.10g}: count t from a nearer origin, make y0 and func float64, or let func "
            "cast what it computes from t to y.dtype"
        ) from error
    for name, p in func.named_parameters() if isinstance(func, torch.nn.Module) else ():
        if p.device != y.device or p.dtype != y.dtype:
            raise ValueError(
                f"y0 is {y.dtype} on {y.device}, func's parameter {name!r} is {p.dtype} on {p.device}, and func "
                f"failed: {error}"
            ) from error
    raise error


def check_callable(func: Any, error: Exception | None = None) -> None:
    """ValueError where `func` cannot be called, or not with two arguments; `error` is what a call has raised."""
    if not callable(func):
        raise ValueError(f"func must be callable as func(t, y), got {type(func).__name__}")
    try:
        signature = inspect.signature(func.forward if isinstance(func, torch.nn.Module) else func)
    except (TypeError, ValueError):
        return  # not every builtin has one
    try:
        signature.bind(None, None)
    except TypeError:
        what = func.func if isinstance(func, functools.partial) else func
        name = getattr(what, "__name__", None) or type(what).__name__
        raise ValueError(
            f"func is called as func(t, y), and {name} takes {signature}; for a field without time write lambda t, y: "
            "net(y), or a torch.nn.Module with forward(self, t, y) where parameters are to be found"
        ) from error
