"""Functions that come in sizes: one right-hand side for every number of cells, bodies or units.

A module with a family of sizes calls `sized` once, and its `__getattr__` asks `by_name`, so that the functions of every
size are found by name where they are pickled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np


def sized(
    build: Callable[[int], Any], labels: tuple[str, ...] = ("rhs", "jac"), what: str = "cells", least: int = 3
) -> Callable[[int], Any]:
    """`build(size)`, a tuple of one function a label, made once a size and picklable by the names <label>_<size> of the
    module of `build` (see `by_name`).

    Raises ValueError unless the size, called `what`, is a whole number of at least `least`.
    """

    @functools.cache
    def system(size: int) -> Any:
        if not isinstance(size, (int, np.integer)) or isinstance(size, bool) or size < least:
            raise ValueError(f"{what} must be a whole number, at least {least}, got {size!r}")
        functions = build(int(size))
        for label, fn in zip(labels, functions, strict=True):
            fn.__name__ = fn.__qualname__ = f"{label}_{size}"
            fn.__module__ = build.__module__
        return functions

    return system


def by_name(
    system: Callable[[int], Any], module: str, name: str, labels: tuple[str, ...] = ("rhs", "jac")
) -> Callable[..., Any]:
    """A module's `__getattr__`: the function called <label>_<size>. AttributeError for other names."""
    label, _, size = name.rpartition("_")
    if label not in labels or not size.isdigit():
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    return system(int(size))[labels.index(label)]
