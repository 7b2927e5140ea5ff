"""A Problem or Batch as kernels take it: numbers that its functions close over are in p, small arrays come apart into
numbers, and functions that are not compiled are called back.
"""

from __future__ import annotations

import warnings
import weakref
from typing import Any, TypeVar

import numpy as np

from ..core.errors import UncompiledWarning, outside
from ..problems.foreign import callback_of
from ..problems.problem import Batch, Problem
from ..problems.styles import name_of, style_of
from .callback import caller
from .lift import lifted
from .unrolled import unrolled

Source = TypeVar("Source", Problem, Batch)


def prepared(source: Source) -> Source:
    """`source`, or a copy whose functions can be compiled, with further parameters behind the problem's own."""
    if callback_of(source.rhs) is not None or callback_of(source.jac) is not None:
        return _called_back(source)
    return moved_to_p(source)


def moved_to_p(source: Source) -> Source:
    """`source`, or a copy with the floats that its functions close over in p, where that can be done, and small arrays
    as numbers.
    """
    if style_of(source.rhs) is not None or style_of(source.jac) is not None:
        return unrolled(source, lift=True)
    return lifted(source) if getattr(source.rhs, "__closure__", None) is not None else source


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


def _called_back(source: Source) -> Source:
    changed: dict[str, Any] = {}
    more: list[float] = []
    for role in ("rhs", "jac"):
        fn = getattr(source, role)
        callback = callback_of(fn)
        if callback is not None:
            _warn_once(fn, fn.stepsmith_style)
            changed[role] = caller(role, source.n, source.m, source.m + len(more))
            more.append(float(callback.address))
    places = np.broadcast_to(np.array(more), (*source.p.shape[:-1], len(more)))
    p = np.concatenate([source.p, places], axis=-1)
    copy = object.__new__(type(source))
    vars(copy).update(vars(source), p=np.ascontiguousarray(p), **changed)
    return copy
