"""Does a row's slope depend on that row alone?  Steps per sample need that it does, and a func that it does not is
refused.

With steps per sample the stages of different rows stand at different times, and rejected rows hold trial states: batch
normalisation or attention across the batch would mix them. So the first slope is evaluated once more with half of the
rows replaced by copies of the other half, states that func is known to accept. The rows that stay must keep their
slopes. The number of rows is the same, as func may hold something for each of them, and where it raises all the same
nothing is said; round-off is told apart by what a plain repetition yields. That is one evaluation of func more, in its
first solve: a func made anew counts as the same while its code and what it closes over are the same; modules are looked
at again when they change between training and eval mode. What depends on a few rows alone, a maximum over the batch for
instance, may be missed where those are among the rows that stay.

A func that draws random numbers in every call is another matter: it brings a warning (`Draws`).
"""

from __future__ import annotations

import functools
import types
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

Tensor = torch.Tensor
#: what is told apart by value
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
#: by code object or callable: the modules and functions in use (weakly) with their modes, of solves that were found in
#: order
_SEEN: weakref.WeakKeyDictionary[Any, list[tuple[list[Callable[[], Any]], list[bool]]]] = weakref.WeakKeyDictionary()


def check_rows(func: Callable[..., Any], slope: Callable[[Tensor], Tensor], y: Tensor, k1: Tensor, ok: Tensor) -> None:
    """ValueError where a row's slope depends on others.  y, k1 (lanes, width), k1 = slope(y); ok (lanes,): both are
    finite there."""
    if int(ok.sum()) < 2 or _known(func):
        return
    keep, mixed = _mix(y, ok)
    state = _generator_state(y.device)
    buffers = [(b, b.detach().clone()) for m in _modules(func) for b in m.buffers()]
    try:
        with torch.no_grad():
            try:
                found = slope(mixed)
            except Exception:
                # a func that holds something for each row may refuse the rows of others: that says nothing of
                # dependence
                return
            off = (found - k1)[keep].abs()
            if bool((off > 0).any()) or not bool(torch.isfinite(off).all()):
                # random draws and inexact sums are no dependence: repeat, each time with the same draws
                _restore(state)
                plain = slope(y)
                _restore(state)
                noise = (slope(y) - plain)[keep].abs().amax()
                off = (found - plain)[keep].abs()
                limit = 100 * noise + 1e3 * torch.finfo(y.dtype).eps * plain[keep].abs().amax(1, keepdim=True)
                if not bool((off <= limit).all()):
                    raise ValueError(
                        "the slope that func gives for one row changes with the other rows (batch normalisation, or "
                        "attention or sums over the batch?), which steps per sample would mix at different times: use "
                        "per_sample=False, one step for the batch"
                    )
    finally:
        _restore(state)
        with torch.no_grad():
            for buffer, before in buffers:  # running statistics
                if buffer.shape == before.shape and not torch.equal(buffer, before):
                    buffer.copy_(before)
    _remember(func)


def _mix(y: Tensor, ok: Tensor) -> tuple[Tensor, Tensor]:
    """Rows to keep, and y with the others replaced by copies of them.  The first, the last and the larger rows are
    replaced."""
    good = torch.nonzero(ok)[:, 0]
    size = y[good].abs().amax(1)
    size[0] = torch.inf
    if len(good) > 3:
        size[-1] = torch.inf
    order = good[torch.argsort(size, stable=True)]
    keep = order[: len(order) // 2]
    other = torch.ones(len(y), dtype=torch.bool, device=y.device)
    other[keep] = False
    places = torch.nonzero(other)[:, 0]
    mixed = y.clone()
    mixed[places] = y[keep[torch.arange(len(places), device=y.device) % len(keep)]]
    if torch.equal(mixed, y):
        # all rows are alike: a small change, which most fields can take
        mixed[places] = mixed[places] * (1 + 2**-6) + 2**-8
    return keep, mixed


def _generator_state(device: torch.device) -> tuple[Tensor, Tensor | None, torch.device]:
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, device


def _restore(state: tuple[Tensor, Tensor | None, torch.device]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], state[2])


class Draws:
    """Warns where func draws from torch's generators after its first call: noise drawn once a solve is none of that."""

    def __init__(self, device: torch.device) -> None:
        self.state = _generator_state(device)

    def warn(self) -> None:
        now = _generator_state(self.state[2])
        if not all(a is None or b is None or torch.equal(a, b) for a, b in zip(self.state[:2], now[:2], strict=True)):
            warnings.warn(
                "func draws random numbers in every call (dropout, or noise in training mode?): the step sizes then "
                "follow the noise, and a replay or backward solve draws others. Call func.eval(), or draw the noise "
                "once a solve",
                stacklevel=2,
            )


# -- which funcs have been looked at -----------------------------------------------------------------------------------


def _parts(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Modules, functions, objects and numbers that `thing` is made of, as far as a closure, a global name, a method or
    a partial shows."""
    if isinstance(thing, _PLAIN):
        yield thing
        return
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, torch.nn.Module):
        yield thing
    elif isinstance(thing, types.MethodType):
        yield from _parts(thing.__self__, seen)
        yield from _parts(thing.__func__, seen)
    elif isinstance(thing, types.FunctionType) and (thing.__module__ or "").partition(".")[0] != "torch":
        yield thing.__code__
        for cell in thing.__closure__ or ():
            try:
                yield from _parts(cell.cell_contents, seen)
            except ValueError:
                pass  # an empty cell
        for name in thing.__code__.co_names:
            yield from _parts(thing.__globals__.get(name), seen)
        for value in (*(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()):
            yield from _parts(value, seen)
    elif isinstance(thing, tuple):
        for value in thing:
            yield from _parts(value, seen)
    elif isinstance(thing, functools.partial):
        for value in (thing.func, *thing.args, *thing.keywords.values()):
            yield from _parts(value, seen)
    else:
        yield thing


def _modules(func: Callable[..., Any]) -> Iterator[torch.nn.Module]:
    for part in _parts(func, set()):
        for thing in (part, *getattr(part, "__dict__", {}).values()):
            if isinstance(thing, torch.nn.Module) and not isinstance(part, types.ModuleType):
                yield thing


def _reference(part: Any) -> Callable[[], Any]:
    """What gives the part again while it lives; TypeError where it cannot be told from another later."""
    if isinstance(part, _PLAIN):
        return lambda: part
    return weakref.ref(part)


def _same(a: Any, b: Any) -> bool:
    return a is b or isinstance(a, _PLAIN) and type(a) is type(b) and a == b


def _description(func: Callable[..., Any]) -> tuple[list[Any], list[bool]]:
    parts = [func] if isinstance(func, types.BuiltinFunctionType) else list(_parts(func, set()))
    return parts, [m.training for part in parts if isinstance(part, torch.nn.Module) for m in part.modules()]


def _known(func: Callable[..., Any]) -> bool:
    parts, modes = _description(func)
    try:
        records = _SEEN.get(parts[0], [])
    except TypeError:
        return False  # no weak references to such an object
    return any(
        modes == mode and len(refs) == len(parts) and all(_same(r(), p) for r, p in zip(refs, parts, strict=True))
        for refs, mode in records
    )


def _remember(func: Callable[..., Any]) -> None:
    parts, modes = _description(func)
    try:
        refs = [_reference(part) for part in parts]
        alive = [
            r
            for r in _SEEN.get(parts[0], [])
            if all(not isinstance(ref, weakref.ref) or ref() is not None for ref in r[0])
        ]
        _SEEN[parts[0]] = [*alive[-31:], (refs, modes)]
    except TypeError:
        pass
