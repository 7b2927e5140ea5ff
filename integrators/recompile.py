"""Copies of functions whose compiled helpers are compiled anew.

Numba freezes the globals of a function when it first compiles it.  A right-hand side that calls such a helper would go on with a value
of a constant that its owner has changed since, although its key (`digest`) says the new one.  So a kernel is made of copies: every function
of the user's that was compiled by Numba is wrapped again, with its own options, and whatever calls it calls the copy.
"""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any

from .digest import LIBRARIES, names_of

_EMPTY = object()


def fresh(fn: Callable) -> Callable:
    """`fn`, or a copy of it where it is, or calls, a function of the user's that was compiled by Numba."""
    return _Copies().of(fn) if _reaches_compiled(fn, set()) else fn


def compiled(value: Any) -> bool:
    """Whether `value` is a dispatcher of Numba's for the CPU, other than one of a library's (this package's among them)."""
    if not (hasattr(value, "py_func") and hasattr(value, "targetoptions") and hasattr(value, "overloads")):
        return False
    return (value.py_func.__module__ or "").split(".")[0] not in LIBRARIES


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _named(fn: types.FunctionType) -> list[Any]:
    """What a function names: contents of its cells, its globals, and attributes of the user's modules among them."""
    found = [_content(cell) for cell in fn.__closure__ or ()]
    loaded, attributes = names_of(fn.__code__)
    found += [fn.__globals__[name] for name in loaded if name in fn.__globals__]
    for value in list(found):
        found += [vars(module)[name] for module in _modules(value, attributes) for name in attributes if name in vars(module)]
    return found


def _modules(value: Any, attributes: tuple[str, ...], above: tuple = ()) -> list[types.ModuleType]:
    """`value`, if it is a module of the user's, and modules that are reached through it."""
    if not isinstance(value, types.ModuleType) or value in above or value.__name__.split(".")[0] in LIBRARIES:
        return []
    found = [value]
    for name in attributes:
        found += _modules(vars(value).get(name), attributes, (*above, value))
    return found


def _reaches_compiled(value: Any, seen: set[int]) -> bool:
    if compiled(value):
        return True
    if not isinstance(value, types.FunctionType) or id(value) in seen:
        return False
    seen.add(id(value))
    return any(_reaches_compiled(v, seen) for v in _named(value))


class _Copies:
    """Copies made so far, by the original's identity: functions may call each other in circles."""

    def __init__(self) -> None:
        self.made: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        if id(value) in self.made:
            return self.made[id(value)]
        if compiled(value):
            import numba

            inner = self.plain(value.py_func)
            options = {k: v for k, v in value.targetoptions.items() if k != "nopython"}
            copy = self.made[id(value)] = numba.jit(nopython=True, locals=getattr(value, "locals", {}), **options)(inner)
            self.fill(value.py_func, inner)
            return copy
        if isinstance(value, types.FunctionType) and _reaches_compiled(value, set()):
            copy = self.made[id(value)] = self.plain(value)
            self.fill(value, copy)
            return copy
        if isinstance(value, types.ModuleType) and any(_reaches_compiled(v, set()) for v in vars(value).values()) and _modules(value, ()):
            copy = self.made[id(value)] = types.ModuleType(value.__name__)
            vars(copy).update({name: self.of(v) for name, v in vars(value).items()})
            return copy
        return value

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
        for old, new in zip(fn.__closure__ or (), copy.__closure__ or (), strict=True):
            if _content(old) is not _EMPTY:
                new.cell_contents = self.of(old.cell_contents)
        for name in names_of(fn.__code__)[0]:
            if name in fn.__globals__:
                copy.__globals__[name] = self.of(fn.__globals__[name])
