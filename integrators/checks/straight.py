"""Does a function do the same whatever the data are?  Then one run of it has seen all that it can do."""

from __future__ import annotations

import dis
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from ..compile.sources import VECMATH
from .interpreted import plain_function

#: functions that make floats of floats, and whole numbers of whole numbers alone
_FLOATS = frozenset(
    """range len abs min max float pow exp exp2 expm1 log log2 log10 log1p sin cos tan asin acos atan atan2 sinh cosh
    tanh asinh acosh atanh arcsin arccos arctan arctan2 arcsinh arccosh arctanh sqrt cbrt pow_ power fabs absolute
    hypot minimum maximum fmin fmax fmod copysign erf erfc gamma lgamma pi e tau inf nan square float64 radians
    degrees""".split()
)
#: beginnings of the names of instructions that decide on what comes next, or that cannot be followed
_DECISIONS = tuple(
    "POP_JUMP JUMP_IF COMPARE CONTAINS IS_OP UNARY_NOT MAKE_ IMPORT STORE_GLOBAL SETUP_ RAISE".split()
)


def straight(fn: Callable, seen: set[int]) -> bool:
    """Whether no data can decide on what a function does next, nor on a place it writes to: no branches but loops over
    whole numbers, and nothing that makes whole numbers or truth of floats.  False where that cannot be told.
    """
    plain = plain_function(fn)
    if not isinstance(plain, types.FunctionType) or id(plain) in seen:
        return isinstance(plain, types.FunctionType)
    seen.add(id(plain))
    code = plain.__code__
    if any(isinstance(c, types.CodeType) for c in code.co_consts):
        return False
    glb = plain.__globals__
    for op in dis.get_instructions(code):
        if op.opname.startswith(_DECISIONS):
            return False
        if op.opname in ("LOAD_ATTR", "LOAD_METHOD") and op.argval not in _FLOATS:
            return False
        if op.opname in ("LOAD_GLOBAL", "LOAD_NAME") and not _harmless(glb.get(op.argval, op.argval), op.argval, seen):
            return False
    try:
        return all(_harmless(cell.cell_contents, "", seen) for cell in plain.__closure__ or ())
    except ValueError:
        return False


def _harmless(value: Any, name: str, seen: set[int]) -> bool:
    if isinstance(value, (bool, int, float, np.number, np.ndarray)):
        return True
    if isinstance(value, types.ModuleType):  # whose attributes are looked at by name
        return value.__name__ in ("math", "numpy") or value.__name__ == VECMATH
    if isinstance(value, tuple):
        return all(_harmless(v, "", seen) for v in value)
    if isinstance(value, str):  # a builtin's name
        return name in _FLOATS
    if isinstance(value, types.BuiltinFunctionType) or isinstance(value, np.ufunc):
        return value.__name__ in _FLOATS
    if hasattr(value, "py_func") and isinstance(value, types.FunctionType):
        return value.__name__ in _FLOATS or value.__name__ == "where"
    return hasattr(value, "py_func") and straight(value, seen)
