"""Functions that come in sizes: one right-hand side for every number of cells, bodies or units.

A module with a family of sizes calls `sized` once, makes its families under `family_of_size`, and its `__getattr__`
asks `by_name`, so that the functions of every size, samplers among them, are found by name where they are pickled.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from .families import Family

#: functions of a family that differ from size to size
OF_FAMILIES = ("sampler", "published")


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


def family_of_size(of_size: Callable[[int], Family]) -> Callable[[int], Family]:
    """`of_size` with one family a size, whose own functions (`OF_FAMILIES`) are picklable by the names <label>_<size>
    of its module.
    """

    @functools.cache
    def once(size: int) -> Family:
        family = of_size(size)
        for label in OF_FAMILIES:
            function: Any = getattr(family, label)
            if function is not None:
                function.__name__ = function.__qualname__ = f"{label}_{size}"
        return family

    return functools.wraps(of_size)(once)


def by_name(
    system: Callable[[int], Any],
    of_size: Callable[[int], Family],
    module: str,
    name: str,
    labels: tuple[str, ...] = ("rhs", "jac"),
) -> Callable[..., Any]:
    """A module's `__getattr__`: the function called <label>_<size>. AttributeError for other names."""
    label, _, size = name.rpartition("_")
    if size.isdigit() and label in OF_FAMILIES:
        return getattr(of_size(int(size)), label)
    if size.isdigit() and label in labels:
        return system(int(size))[labels.index(label)]
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
