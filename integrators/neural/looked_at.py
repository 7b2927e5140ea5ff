"""Which funcs have been looked at: what a func is made of, and whether a func of the same parts was found in order
before.

A func made anew counts as the same while its code and what it closes over are the same.  Modules count as others when
they have changed between training and eval mode.
"""

from __future__ import annotations

import collections
import functools
import itertools
import types
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch

#: types that are told apart by value
_PLAIN = (bool, int, float, complex, str, bytes, type(None))
#: what leads to others without being a place of its own
_FLAT = (types.FunctionType, types.MethodType, functools.partial, tuple)
_COLLECTIONS = (tuple, list, set, frozenset, collections.deque)
#: what has no modules in it
_WITHOUT = (*_PLAIN, torch.Tensor, np.ndarray, types.ModuleType, types.BuiltinFunctionType, type)
#: what every module has
_STANDARD = frozenset(vars(torch.nn.Module()))
#: how deep modules are looked for, at how many things, and at how many of one collection
_DEEP, _MOST, _EACH = 4, 2000, 200
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
    elif isinstance(thing, types.FunctionType) and not _of_torch(thing):
        yield thing.__code__
        for value in _used_by(thing):
            yield from _parts(value, seen)
    elif isinstance(thing, tuple):
        for value in thing:
            yield from _parts(value, seen)
    elif isinstance(thing, functools.partial):
        for value in (thing.func, *thing.args, *thing.keywords.values()):
            yield from _parts(value, seen)
    else:
        yield thing


def _of_torch(function: types.FunctionType) -> bool:
    return (function.__module__ or "").partition(".")[0] == "torch"


def _used_by(function: types.FunctionType) -> Iterator[Any]:
    """What a function closes over, its global names and those of the functions in it, and its defaults."""
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:
            pass  # an empty cell
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        for name in code.co_names:
            yield function.__globals__.get(name)
        codes += [x for x in code.co_consts if isinstance(x, types.CodeType)]
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()


def modules(*functions: Callable[..., Any]) -> Iterator[torch.nn.Module]:
    """The modules that the functions use and the modules in these, each once, the nearest first.

    They are found through closures, global names, defaults, methods and partials, and up to `_DEEP` lists, dicts, sets
    and objects within each other.  That ends after `_MOST` things, of which one collection has at most `_EACH`.
    """
    todo, seen = collections.deque((f, 0) for f in functions), set[int]()
    for _ in range(_MOST):
        if not todo:
            return
        thing, deep = todo.popleft()
        if isinstance(thing, torch.nn.Module):
            for module in thing.modules():
                if id(module) not in seen:
                    seen.add(id(module))
                    yield module
                    todo += _further(_held_by(module), deep + 1)
        elif id(thing) not in seen:
            seen.add(id(thing))
            todo += _further(_inside(thing), deep if isinstance(thing, _FLAT) else deep + 1)


def _further(values: Iterable[Any], deep: int) -> list[tuple[Any, int]]:
    """Those of the values that may have modules in them, each with how deep it lies."""
    if deep > _DEEP:
        return [(x, deep) for x in values if isinstance(x, (torch.nn.Module, *_FLAT))]
    return [(x, deep) for x in values if not isinstance(x, _WITHOUT)]


def _held_by(module: torch.nn.Module) -> Iterator[Any]:
    """What a module has besides parameters, buffers and modules, and what its `forward` uses."""
    yield from (value for name, value in vars(module).items() if name not in _STANDARD)
    forward = getattr(type(module), "forward", None)
    if isinstance(forward, types.FunctionType) and not _of_torch(forward):
        yield from _used_by(forward)


def _inside(thing: Any) -> Iterable[Any]:
    """What a function uses, and what a method, a partial, a collection or an object has."""
    if isinstance(thing, types.MethodType):
        return thing.__self__, thing.__func__
    if isinstance(thing, functools.partial):
        return thing.func, *thing.args, *thing.keywords.values()
    if isinstance(thing, _COLLECTIONS):
        return itertools.islice(thing, _EACH)
    if isinstance(thing, dict):
        return itertools.islice(thing.values(), _EACH)
    own: Iterable[Any] = itertools.islice(getattr(thing, "__dict__", {}).values(), _EACH)
    if isinstance(thing, types.FunctionType):
        return own if _of_torch(thing) else itertools.chain(own, _used_by(thing))
    call = type(thing).__call__
    if isinstance(call, types.FunctionType) and not _of_torch(call):
        own = itertools.chain(own, _used_by(call))
    slots = (getattr(thing, name, None) for name in _slots(type(thing)))
    return itertools.chain(own, slots)


def _slots(kind: type) -> tuple[str, ...]:
    """The names of the slots of a class."""
    slots = getattr(kind, "__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


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
