"""Copies of functions whose helpers are compiled: those that are plain Python, and anew those that Numba compiled.

Numba freezes the globals of a function when it first compiles it.  A right-hand side that calls such a helper would go
on with a value of a constant that its owner has changed since, although its key (`digest`) says the new one.  So a
kernel is made of copies: every function of the user's that was compiled by Numba is wrapped again, with its own
options, and whatever calls it calls the copy.  A plain Python function of the user's is compiled there too: people
write helpers without a decorator.  Where they may index NumPy arrays (`arrays_reached`) the copies raise
IndexError outside of them.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from ..checks.arrays_reached import indexes_arrays
from .digest import names_of
from .library import of_library
from .watch import MISSING, cell_content


def fresh(fn: Callable, check_indices: bool = False) -> Callable:
    """`fn`, or a copy of it where it is a function that Numba compiled, or calls one of the user's.

    check_indices: let these raise IndexError where they index an array outside of it, whatever their own options say.
    """
    # what is traced runs in Python, and so do its helpers
    root = None if getattr(fn, "traced", False) else fn
    return _Copies(check_indices and indexes_arrays(fn), root).of(fn, ()) if _reaches(fn, (), set(), root) else fn


def helper(value: Any) -> bool:
    """Whether `value` is a plain function of the user's."""
    return isinstance(value, types.FunctionType) and not hasattr(value, "py_func") and not of_library(value.__module__)


def compiled(value: Any) -> bool:
    """Whether `value` is a dispatcher of Numba's for the CPU, other than one of a library's (this package's among
    them).
    """
    if isinstance(value, types.FunctionType) or not (hasattr(value, "py_func") and hasattr(value, "targetoptions")):
        return False
    return hasattr(value, "overloads") and not of_library(value.py_func.__module__)


def _reaches(value: Any, attributes: tuple[str, ...], seen: set[int], root: Any) -> bool:
    """Whether `value` is a function of the user's other than `root`, or names one: directly, in a tuple, or as an
    attribute of a module.  root None: only functions that Numba compiled count.
    """
    if compiled(value) or (root is not None and value is not root and helper(value)):
        return True
    if id(value) in seen:
        return False
    if isinstance(value, (tuple, list)):
        return any(_reaches(v, attributes, seen, root) for v in value)
    if isinstance(value, types.ModuleType) and not of_library(value.__name__):
        seen.add(id(value))
        found = (vars(value)[name] for name in attributes if name in vars(value))
        return any(_reaches(v, attributes, seen, root) for v in found)
    if not isinstance(value, types.FunctionType):
        return False
    seen.add(id(value))
    loaded, used = names_of(value.__code__)
    named = [cell_content(cell) for cell in value.__closure__ or ()] + [
        value.__globals__[n] for n in loaded if n in value.__globals__
    ]
    return any(_reaches(v, used, seen, root) for v in named)


class _Copies:
    """Copies made so far, by the original's identity: functions may call each other in circles."""

    def __init__(self, check_indices: bool, root: Any) -> None:
        self.check_indices, self.root = check_indices, root
        self.made: dict[Any, Any] = {}
        self.kept: list[Any] = []

    def of(self, value: Any, attributes: tuple[str, ...]) -> Any:
        key = (id(value), attributes if isinstance(value, types.ModuleType) else ())
        if key in self.made:
            return self.made[key]
        self.kept.append(value)
        if compiled(value):
            return self.dispatcher(value, key)
        if self.root is not None and value is not self.root and helper(value):
            return self.helper(value, key)
        if not _reaches(value, attributes, set(), self.root):
            return value
        if isinstance(value, types.FunctionType):
            copy = self.made[key] = self.plain(value)
            self.fill(value, copy)
            return copy
        if isinstance(value, types.ModuleType):
            module = self.made[key] = types.ModuleType(value.__name__)
            vars(module).update(vars(value))
            vars(module).update({n: self.of(vars(value)[n], attributes) for n in attributes if n in vars(value)})
            return module
        members = [self.of(v, attributes) for v in value]
        return type(value)(*members) if hasattr(value, "_fields") else type(value)(members)

    def helper(self, value: types.FunctionType, key: Any) -> Any:
        """A plain function, compiled."""
        import numba

        inner = self.plain(value)
        copy = self.made[key] = numba.njit(error_model="numpy", boundscheck=self.check_indices)(inner)
        self.fill(value, inner)
        return copy

    def dispatcher(self, value: Any, key: Any) -> Any:
        """The function compiled anew with its own options, for its own signatures where it was given some."""
        import numba

        inner = self.plain(value.py_func)
        options: dict[str, Any] = {k: v for k, v in value.targetoptions.items() if k != "nopython"}
        options |= {"nopython": True, "locals": getattr(value, "locals", {})}
        if self.check_indices:
            options["boundscheck"] = True
        if getattr(value, "_can_compile", True):
            copy = self.made[key] = numba.jit(**options)(inner)
            self.fill(value.py_func, inner)
        else:  # compiled at once
            self.fill(value.py_func, inner)
            copy = self.made[key] = numba.jit(list(value.nopython_signatures), **options)(inner)
        return copy

    @staticmethod
    def plain(fn: types.FunctionType) -> types.FunctionType:
        """A copy with namespaces and cells of its own, filled in afterwards."""
        cells = tuple(types.CellType() for _ in fn.__closure__ or ())
        copy = types.FunctionType(fn.__code__, dict(fn.__globals__), fn.__name__, fn.__defaults__, cells or None)
        copy.__kwdefaults__ = fn.__kwdefaults__
        copy.__module__, copy.__qualname__, copy.__doc__ = fn.__module__, fn.__qualname__, fn.__doc__
        vars(copy).update(vars(fn))
        return copy

    def fill(self, fn: types.FunctionType, copy: types.FunctionType) -> None:
        loaded, used = names_of(fn.__code__)
        for old, new in zip(fn.__closure__ or (), copy.__closure__ or (), strict=True):
            if cell_content(old) is not MISSING:
                new.cell_contents = self.of(old.cell_contents, used)
        for name in loaded:
            if name in fn.__globals__:
                copy.__globals__[name] = self.of(fn.__globals__[name], used)
