"""A function that Numba has compiled, and those that it calls, as the plain Python that they were."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any


def plain_function(fn: Callable[..., Any]) -> Callable[..., Any]:
    """The Python function of one that Numba compiled; a function that wraps such a one, and took over its attributes,
    is itself.
    """
    return fn if isinstance(fn, types.FunctionType) else getattr(fn, "py_func", fn)


def interpreted(fn: Callable, done: dict[int, Callable] | None = None) -> Callable:
    """`fn` as plain Python that calls nothing compiled by Numba: not the functions it names, nor those these name."""
    done = {} if done is None else done
    plain = plain_function(fn)
    if not isinstance(plain, types.FunctionType):
        return fn
    if id(plain) in done:
        return done[id(plain)]
    cells = tuple(types.CellType() for _ in plain.__closure__ or ())
    glb = dict(plain.__globals__)
    copy = types.FunctionType(plain.__code__, glb, plain.__name__, plain.__defaults__, cells or None)
    copy.__kwdefaults__ = plain.__kwdefaults__
    done[id(plain)] = copy
    names = _names(plain.__code__)
    for name in names & glb.keys():
        glb[name] = _stand_in(glb[name], names, done)
    for cell, given in zip(cells, plain.__closure__ or (), strict=True):
        try:
            cell.cell_contents = _stand_in(given.cell_contents, names, done)
        except ValueError:  # not filled yet
            pass
    return copy


def _stand_in(value: Any, names: set[str], done: dict[int, Callable]) -> Any:
    if isinstance(value, types.FunctionType):
        # those of `vecmath` take Python's numbers as they are
        return value if hasattr(value, "py_func") else interpreted(value, done)
    if hasattr(value, "py_func"):
        return interpreted(value, done)
    if isinstance(value, types.ModuleType):
        found = {k: _stand_in(v, names, done) for k, v in vars(value).items() if k in names and hasattr(v, "py_func")}
        if found:
            stand_in = types.ModuleType(value.__name__)
            vars(stand_in).update({**vars(value), **found})
            return stand_in
    return value


def _names(code: types.CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))
