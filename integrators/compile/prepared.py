"""A Problem or Batch as kernels take it: numbers that its functions close over are in p, small arrays come apart into
numbers, and what uses arrays otherwise, or is not compiled at all, is called by its address.
"""

from __future__ import annotations

import warnings
import weakref
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from ..core.errors import UncompiledWarning, outside
from ..problems.events import Event
from ..problems.foreign import callback_of
from ..problems.forms import FUNCTIONS
from ..problems.problem import Batch, Problem
from ..problems.styles import name_of, style_of
from . import separate
from .callback import caller
from .lift import lifted
from .shortened import shortened
from .unrolled import unrolled

Source = TypeVar("Source", Problem, Batch)


def prepared(source: Source) -> Source:
    """`source`, or a copy whose functions stand in kernels, with further parameters behind the problem's own."""
    given = source
    if not is_apart(source):
        source = moved_to_p(source)
    if any(style_of(getattr(source, name)) is not None for name in FUNCTIONS):
        source = _by_address(source)
    return _with_own_parameters(source, given)


def _with_own_parameters(source: Source, given: Source) -> Source:
    """`source`, or a copy whose functions that are still those of `given` take the parameters of `given` alone, where
    there are more.
    """
    if source.m == given.m:
        return source
    same = {name: getattr(source, name) for name in (*FUNCTIONS, "accel")}
    changed = {k: shortened(fn, given.m) for k, fn in same.items() if callable(fn) and fn is getattr(given, k)}
    copy = object.__new__(type(source))
    vars(copy).update(vars(source), **changed)
    return copy


def is_apart(source: Problem | Batch) -> bool:
    """Whether the functions of `source` are compiled as functions of their own."""
    style = style_of(source.rhs)
    return style is not None and style.apart


def moved_to_p(source: Source) -> Source:
    """`source`, or a copy with the floats that its functions close over in p, where that can be done, and small arrays
    as numbers.
    """
    if style_of(source.rhs) is not None or style_of(source.jac) is not None:
        return unrolled(source, lift=source.accel is None)
    return lifted(source) if getattr(source.rhs, "__closure__", None) is not None else source


def event_by_address(source: Source, events: tuple[Event, ...], given: Any) -> tuple[Source, tuple[Event, ...]]:
    """Events as kernels take them: functions that use arrays, or run in Python, are called by address, which stands in
    further parameters of the source that is returned.  given: the caller's Problem or Batch.
    """
    if isinstance(given, Problem):
        t, y, p = given.t_span[0], given.y0, given.p
    elif len(given):
        t, y, p = float(given.t0[0]), given.y0[0], given.p[0]
    else:
        return source, events
    more: list[float] = []

    def called(fn: Any, role: str) -> Any:
        style = style_of(fn)
        if fn is None or style is None:
            return fn
        callback = callback_of(fn)
        if callback is not None:
            _warn_once(fn, style)
        place = callback.address if callback is not None else separate.address(fn, style, t, y, p)
        more.append(float(place))
        return caller(role, source.n, style.m, source.m + len(more) - 1)

    events = tuple(replace(e, value=called(e.value, "event"), reset=called(e.reset, "reset")) for e in events)
    return _with_own_parameters(_with_places(source, more, {}), given) if more else source, events


_WARNED: weakref.WeakSet = weakref.WeakSet()


def _warn_once(fn: Any, style: Any) -> None:
    if fn not in _WARNED:
        _WARNED.add(fn)
        warnings.warn(
            f"{name_of(style)} runs as plain Python (compiled=False): each call takes microseconds, where a compiled "
            "one takes nanoseconds",
            UncompiledWarning,
            stacklevel=outside(),
        )


def _by_address(source: Source) -> Source:
    """The source with functions that call by address those that are compiled separately, or run in Python."""
    changed: dict[str, Any] = {}
    more: list[float] = []
    if isinstance(source, Problem):
        t, y, p = source.t_span[0], source.y0, source.p
    elif len(source):
        t, y, p = float(source.t0[0]), source.y0[0], source.p[0]
    else:
        return source
    for name, role in FUNCTIONS.items():
        fn = getattr(source, name)
        style = style_of(fn)
        if style is None:
            continue
        callback = callback_of(fn)
        if callback is not None:
            _warn_once(fn, style)
            place = callback.address
        else:
            place = separate.address(fn, style, t, y, p[: style.m])
        changed[name] = caller(role, source.n, style.m, source.m + len(more))
        more.append(float(place))
    return _with_places(source, more, changed)


def _with_places(source: Source, more: list[float], changed: dict[str, Any]) -> Source:
    """A copy of the source with addresses behind its parameters, and functions that were changed."""
    places = np.broadcast_to(np.array(more), (*source.p.shape[:-1], len(more)))
    copy = object.__new__(type(source))
    vars(copy).update(
        vars(source), p=np.ascontiguousarray(np.concatenate([source.p, places], axis=-1)), **changed
    )
    return copy
