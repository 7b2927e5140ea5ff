"""Functions that Numba does not compile (`compiled=False`): the solver calls them back in Python.

Any callable will do: bound methods, SciPy's splines, functions that use classes or other packages.  A call costs a few
microseconds beside what the function itself takes.  A solve's kernel is compiled once for all such functions of the
same dimensions: the place of the function in memory is handed to it behind the problem's own parameters (`prepared` in
`compile.prepared`).

An exception in the function makes its slope NaN, which ends the solve; then the exception is raised.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from . import styles

_C_FUNCTION = ctypes.CFUNCTYPE(None, ctypes.c_double, ctypes.c_void_p)


class Callback:
    """A Python function at an address that compiled code can call: f(t, buffer), the buffer holding y, p and `out`.

    errors: the first exception of every thread that calls it.
    """

    def __init__(self, written: Callable[..., None], style: styles.Style) -> None:
        self.written, self.n, self.m = written, style.n, style.m
        self.shape = style.shape
        self.size = math.prod(self.shape)
        self.errors: dict[int, BaseException] = {}
        self._kept = _C_FUNCTION(self._call)
        self.address = int(ctypes.cast(self._kept, ctypes.c_void_p).value or 0)

    def _call(self, t: float, place: int) -> None:
        length = self.n + self.m + self.size
        buffer = np.ctypeslib.as_array((ctypes.c_double * length).from_address(place))
        out = buffer[self.n + self.m :]
        if threading.get_ident() in self.errors:
            out[:] = np.nan
            return
        try:
            self.written(t, buffer[: self.n].copy(), buffer[self.n : self.n + self.m].copy(), out.reshape(self.shape))
        except BaseException as error:  # it cannot pass through compiled code
            self.errors[threading.get_ident()] = error
            out[:] = np.nan

    def reraise(self, threads: bool) -> None:
        """Raise what a call raised since the last time, in this thread or in any of them."""
        if not self.errors:
            return
        found = [self.errors.pop(key, None) for key in (list(self.errors) if threads else [threading.get_ident()])]
        for error in found:
            if error is not None:
                raise error


def around(style: styles.Style, form: str) -> Callable[..., None]:
    """`style.fn` as f(t, y, p, out) in plain Python, with a `Callback` as its attribute."""
    fill, fn = "fill" in form, style.fn

    def written(t: Any, y: Any, p: Any, out: Any) -> None:
        y, p = np.array(y, dtype=np.float64), np.array(p, dtype=np.float64)
        given = styles.arguments(style, form, p)
        if fill:
            filled = styles.blank(style)
            fn(float(t), styles.shaped(style, y), *given, filled)
            left = styles.unwritten(style, filled)
            if left:
                raise ValueError(f"{styles.WORDS[style.role]} {styles.name_of(style)} does not write {left}")
        else:
            filled = fn(float(t), styles.shaped(style, y), *given)
            styles.check_answer(style, filled)
        if style.role == "jac":
            out[:, :] = filled
        else:
            flat = np.asarray(filled).reshape(-1)
            one = style.state is None or style.single
            out[:] = flat if one or style.state is None else style.state.flat(flat.reshape(style.state.shape))

    made = written
    made.__name__ = made.__qualname__ = styles.name_of(style)
    made.stepsmith_callback = Callback(made, style)  # type: ignore[attr-defined]
    return made


def callback_of(fn: Any) -> Callback | None:
    """The callback of a function that `around` made; None for any other."""
    return getattr(fn, "stepsmith_callback", None)


def reraise(source: Any, threads: bool = False) -> None:
    """Raise what a function of a Problem or Batch raised while a kernel called it.  threads: in any thread, and not
    only in this one.
    """
    for fn in (source.rhs, source.jac, source.spectral_radius):
        callback = callback_of(fn)
        if callback is not None:
            callback.reraise(threads)
