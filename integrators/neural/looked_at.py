"""Which funcs have been looked at: what a func is made of, and whether a func of the same parts was found in order
before.

A func made anew counts as the same while its code and what it closes over are the same.  Modules count as others when
they have changed between training and eval mode.
"""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import torch

#: types that are told apart by value
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
#: The funcs that were found in order.  The key is a func's code object or callable; the value has, for each func with
#: this key, weak references to its other parts and the modes of its modules.
_SEEN: weakref.WeakKeyDictionary[Any, list[tuple[list[Callable[[], Any]], list[bool]]]] = weakref.WeakKeyDictionary()


def _parts(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Modules, functions, objects and numbers that `thing` is made of.

    They are found as far as closures, global names, defaults, methods and partials show; `seen` has the ids of what was
    visited.
    """
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


def modules(func: Callable[..., Any]) -> Iterator[torch.nn.Module]:
    """The modules that func uses, as far as its parts and their attributes show."""
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
    """A func's parts, and the modes (training or not) of its modules."""
    parts = [func] if isinstance(func, types.BuiltinFunctionType) else list(_parts(func, set()))
    return parts, [m.training for part in parts if isinstance(part, torch.nn.Module) for m in part.modules()]


def known(func: Callable[..., Any]) -> bool:
    """Whether a func of the same parts, in the same modes, was remembered."""
    parts, modes = _description(func)
    try:
        records = _SEEN.get(parts[0], [])
    except TypeError:
        return False  # no weak references to such an object
    return any(
        modes == mode and len(refs) == len(parts) and all(_same(r(), p) for r, p in zip(refs, parts, strict=True))
        for refs, mode in records
    )


def forget() -> None:
    """Forget every func that was remembered."""
    _SEEN.clear()


def remember(func: Callable[..., Any]) -> None:
    """Remember func, if weak references to its parts are possible; of each key the last 32 are kept."""
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
