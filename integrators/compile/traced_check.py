"""Whether what was noted while a function ran on symbols (`unrolled`) is what the function computes.

Symbols are no floats, and arrays of them have another dtype: a function may look at that (`isinstance(x, float)`), or a
function of NumPy's may.  It may catch the exception of a symbol that refuses, or keep a number between calls.  So the
code is looked at, and both are compared at some states.
"""

from __future__ import annotations

import dis
import types
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..checks.interpreted import interpreted
from ..problems.styles import Style, arguments, blank, shaped

#: instructions of `try` and `with`, which may hide what a symbol says, and of variables that outlive the call
_CATCHES = frozenset({"PUSH_EXC_INFO", "SETUP_FINALLY", "SETUP_WITH", "BEFORE_WITH"})
_KEEPS = frozenset({"STORE_GLOBAL", "DELETE_GLOBAL"})
#: largest difference, of the largest slope: sums may be added up in another order
_CLOSE = 1e-8


def hides_or_keeps(functions: Iterable[Callable[..., Any]]) -> bool:
    """Whether the code of one of these catches exceptions, or sets a variable that outlives the call."""
    return any(_does(fn.__code__) for fn in functions)


def _does(code: types.CodeType, outer: frozenset[str] = frozenset()) -> bool:
    """outer: variables of functions around this code whose calls are over when it runs again."""
    outer = outer or frozenset(code.co_freevars)
    for op in dis.get_instructions(code):
        if op.opname in _CATCHES or op.opname in _KEEPS:
            return True
        if op.opname in ("STORE_DEREF", "DELETE_DEREF") and op.argval in outer:
            return True
    own = outer - set(code.co_cellvars)
    return any(_does(c, own or frozenset({""})) for c in code.co_consts if isinstance(c, types.CodeType))


def same_values(
    written: Callable[..., None], style: Style, form: str, more: list[float], at: tuple[float, np.ndarray, np.ndarray]
) -> bool:
    """Whether `written(t, y, p, out)` and the person's function agree at the state `at`, (t, y (n,), p (m,)), and at
    some states around it; more: what `written` reads behind p.  States at which the person's function fails do not
    count.
    """
    fn = interpreted(style.fn)
    rng = np.random.default_rng(0)
    for scale in (0.0, 0.1, 1.0, 1.0, 3.0):
        t, y, p = (_moved(np.asarray(v), scale, rng) for v in at)
        y = np.where(rng.uniform(size=y.shape) < 0.25 * scale, -y, y)
        shape = (style.n, style.n) if style.role == "jac" else (style.n,)
        own, other = np.zeros(shape), np.zeros(shape)
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                own.reshape(-1)[:] = _values(fn, style, form, float(t), y, p)
            except Exception:  # not a state of this problem
                continue
            try:
                written(np.float64(t), y.copy(), np.concatenate([p, more]), other)
            except (ArithmeticError, ValueError):  # of `math`, where compiled code gives NaN
                continue
        finite = np.isfinite(own) & np.isfinite(other)
        size = np.abs(own[finite]).max(initial=0.0)
        if np.abs(own - other)[finite].max(initial=0.0) > _CLOSE * size:
            return False
    return True


def _moved(v: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Numbers further from zero, those at zero away from it."""
    return v + scale * (rng.uniform(0.2, 1.0, v.shape) * np.abs(v) + rng.normal(size=v.shape) * (v == 0))


def _values(fn: Callable[..., Any], style: Style, form: str, t: float, y: np.ndarray, p: np.ndarray) -> np.ndarray:
    args = [np.float64(t), shaped(style, y.copy()), *arguments(style, form, p.copy())]
    if "fill" in form:
        answer: Any = blank(style)
        fn(*args, answer)
    else:
        answer = fn(*args)
    return np.asarray(answer, dtype=np.float64).reshape(-1)
