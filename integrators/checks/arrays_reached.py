"""Can a user's function index a NumPy array?  Compiled code would do so without a check, and read or write foreign
memory.

The answer is yes unless it is known to be no: an index check costs nothing where there is no array.
"""

from __future__ import annotations

import builtins
import dis
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..compile.library import of_library
from ..compile.sources import PACKAGE, VECMATH

_NUMBERS = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range)
_CONTAINERS = (tuple, list, set, frozenset)


def indexes_arrays(fn: Any) -> bool:
    """Whether a function may index an array: one that it reaches through its globals, cells, defaults, tuples, lists,
    modules or the functions that it calls, or one that it makes, with NumPy's functions for instance.

    A helper that is handed an array does not know: where this holds for a right-hand side, all that it calls is to be
    checked.
    """
    return _reaches(fn, frozenset(), set())


def _instructions(code: types.CodeType) -> Iterator[dis.Instruction]:
    """Those of the functions inside it too."""
    yield from dis.get_instructions(code)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            yield from _instructions(inner)


def _reaches(value: Any, names: frozenset[str], seen: set[int]) -> bool:
    """Whether there is an array behind `value`, which stands in a function that asks for the attributes `names`."""
    if isinstance(value, _NUMBERS) or (isinstance(value, np.generic) and not isinstance(value, np.void)):
        return False
    if id(value) in seen:
        return False
    if isinstance(value, _CONTAINERS):
        return any(_reaches(v, names, seen) for v in value)
    if isinstance(value, types.ModuleType):
        return _module(value, names, seen)
    if isinstance(value, np.ufunc):
        return False
    if isinstance(value, type):
        return not (issubclass(value, (np.generic, BaseException)) or value.__module__ == "builtins")
    if isinstance(value, types.BuiltinFunctionType):
        return value.__module__ not in ("builtins", "math", "cmath")
    if getattr(value, "__module__", "") == VECMATH:  # they take and give numbers
        return False
    plain = value if isinstance(value, types.FunctionType) else getattr(value, "py_func", value)
    if not isinstance(plain, types.FunctionType):
        return True
    if of_library(plain.__module__) and (plain.__module__ or "").split(".")[0] != PACKAGE:
        return True
    seen.add(id(value))
    return _function(plain, seen)


def _module(module: types.ModuleType, names: frozenset[str], seen: set[int]) -> bool:
    if module.__name__ in ("math", "cmath"):
        return False
    seen.add(id(module))
    found = any(_reaches(vars(module)[name], names, seen) for name in names if name in vars(module))
    seen.discard(id(module))  # another function may name more of it
    return found


def _function(fn: types.FunctionType, seen: set[int]) -> bool:
    code = list(_instructions(fn.__code__))
    if any(op.opname == "IMPORT_NAME" for op in code):  # it would have to be followed
        return True
    loaded = {op.argval for op in code if op.opname in ("LOAD_GLOBAL", "LOAD_NAME")}
    names = frozenset(op.argval for op in code if op.opname in ("LOAD_ATTR", "LOAD_METHOD"))
    reached = [fn.__globals__[name] if name in fn.__globals__ else getattr(builtins, name, None) for name in loaded]
    reached += [*(fn.__defaults__ or ()), *(fn.__kwdefaults__ or {}).values()]
    for cell in fn.__closure__ or ():
        try:
            reached.append(cell.cell_contents)
        except ValueError:  # not filled yet
            pass
    return any(_reaches(value, names, seen) for value in reached)
