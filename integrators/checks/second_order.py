"""Is a problem one of second order, q'' = a(t, q), as its layout says?  Its functions are run in plain Python.

Methods that compute with accelerations take y = (q, v), v = q' and accelerations that do not depend on v for granted.
Where that does not hold their answer has order 1 or is that of another problem, and nothing in it tells so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..compile import digest
from ..compile.sources import PACKAGE
from ..core.errors import shown
from ..problems.foreign import callback_of
from .interpreted import interpreted
from .plain import nearby
from .rhs_check import refusal
from .stand_ins import SECONDS, UNUSABLE, Enough, Filled, Frozen, Run, limited

#: how far the right-hand side and the accelerations may differ, over the largest acceleration
ALIKE = 1e-9
#: where along the span they are compared; from the second place on at positions near those of y0
PLACES = (0.0, 0.37)
#: rows of a batch that are looked at, at most
ROWS = 8

REMEDY = "methods such as 'dop853' solve the right-hand side as it is"

#: what was looked at: functions, dimension, parameters
_SEEN: set[tuple] = set()


class _Unknown(Exception):
    """Why a function cannot be run here."""


def check(source: Any, method: Any) -> None:
    """ValueError where accelerations read velocities and, where `method` uses the right-hand side too, where that is
    another system's; where one of them cannot be run here, too.

    source: a Problem or Batch as it was given, not as kernels take it.  Of a batch the first and the last instance are
    looked at, and those with the largest parameters.  What was found is remembered by what the functions compute and by
    the parameters; functions of this package are of second order whatever these are.
    """
    if method.uses == "rhs" or (source.accel is None and source.nbody is None):
        return
    rhs = source.rhs if method.uses == "both" else None
    in_python = callback_of(rhs) is not None
    own = () if in_python else (digest.identity(rhs), digest.identity(source.accel), source.n)
    known = all(_of_package(fn) for fn in (rhs, source.accel) if fn is not None)
    for span, y, p in _rows(source):
        key = (*own, p.size if known else p.tobytes())
        if not in_python and key in _SEEN:
            continue
        if np.isfinite(y).all():
            _check_one(rhs, source.accel, span, y, p)
        if not in_python:
            if len(_SEEN) > 4096:
                _SEEN.clear()
            _SEEN.add(key)


def _of_package(fn: Any) -> bool:
    plain = getattr(fn, "py_func", fn)
    return (getattr(plain, "__module__", None) or "").split(".")[0] == PACKAGE


def _rows(source: Any) -> Iterator[tuple[tuple[float, float], np.ndarray, np.ndarray]]:
    """Spans, states and parameters to look at."""
    if source.y0.ndim == 1:
        yield source.t_span, source.y0, source.p
        return
    last = len(source.y0) - 1
    if last < 0:
        return
    for row in list(dict.fromkeys([0, last, *np.abs(source.p).argmax(axis=0).tolist()]))[:ROWS]:
        yield (float(source.t0[row]), float(source.t1[row])), source.y0[row], source.p[row]


def _check_one(
    rhs: Callable | None, accel: Callable | None, span: tuple[float, float], y: np.ndarray, p: np.ndarray
) -> None:
    words = velocity_read(accel, span[0], y, p) if accel is not None else ""
    if accel is not None and words:
        raise refusal(accel, "accel", words, UNUSABLE)
    if rhs is None:
        return
    try:
        words = disagreement(rhs, accel, span, y, p)
    except _Unknown as error:
        raise refusal(
            rhs, "rhs", f"{error}; {REMEDY}", "cannot be compared with q'' = a(t, q) at the start of the span"
        ) from None
    if words:
        raise refusal(rhs, "rhs", words, "is not of second order")


class _Positions(Frozen):
    """y, of which the second half, the velocities, must not be read."""

    def __getitem__(self, i: Any) -> Any:
        at = self.run.index(self.name, i, len(self.values))
        if at >= len(self.values) // 2:
            raise self.run.fail(
                f"it reads y[{i}], a velocity, and q'' = a(t, q) depends on time and positions alone; {REMEDY}"
            )
        return self.values[at]


def velocity_read(accel: Callable, t: float, y: np.ndarray, p: np.ndarray) -> str:
    """What the accelerations read that they must not, in words; "" for nothing."""
    run = Run()
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = interpreted(accel)
            with limited(SECONDS):
                plain(np.float64(t), _Positions(run, "y", y), Frozen(run, "p", p), Filled(run, "a", y.size // 2))
    except (Exception, Enough):  # the user's own, at a state that may be outside its domain
        pass
    words = run.broken or ""
    return words if "a velocity" in words else ""


def disagreement(rhs: Callable, accel: Callable | None, span: tuple[float, float], y: np.ndarray, p: np.ndarray) -> str:
    """How a right-hand side is not (v, a(t, q)) with the accelerations given, in words; "" where it is.

    `_Unknown`, with the reason, where one of them cannot be run at the start of the span.
    """
    half = y.size // 2
    for k, place in enumerate(PLACES):
        t = span[0] + place * (span[1] - span[0])
        q, v = y[:half] if k == 0 else nearby(y[:half]), y[half:]
        moved = np.concatenate([q, v + (1.0 + np.abs(v).max()) * (0.3 + np.arange(half) / half)])
        hidden = np.concatenate([q, np.full(half, np.nan)])  # a system at rest hides what velocities do
        try:
            dy, without = (_slope(rhs, t, state, p, y.size) for state in (moved, hidden))
            a = None if accel is None else _slope(accel, t, moved, p, half)
        except _Unknown:
            if k == 0:
                raise
            continue
        for i in _unlike(dy[:half], moved[half:], np.abs(moved[half:])):
            return f"dy[{i}] is not y[{half + i}]: q'' = a(t, q) has y = (positions, velocities); {REMEDY}"
        for i in np.flatnonzero(np.isnan(without[half:]) & ~np.isnan(dy[half:])):
            return f"dy[{half + i}] depends on velocities, and q'' = a(t, q) does not; {REMEDY}"
        if a is None:
            continue
        largest = np.abs(dy[half:], where=np.isfinite(dy[half:]), out=np.zeros(half)).max()
        for i in _unlike(dy[half:], a, np.abs(a) + largest):
            told = f"{shown(float(dy[half + i]))} and {shown(float(a[i]))} at t = {t:g}"
            where = "with" if k == 0 else "near"
            return f"dy[{half + i}] is not a[{i}] of `accel`: they are {told} {where} the positions of y0"
    return ""


def _unlike(a: np.ndarray, b: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Where two arrays differ by more than rounding; numbers that are not finite are like themselves."""
    with np.errstate(all="ignore"):
        alike = (a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= ALIKE * scale) & np.isfinite(a)
    return np.flatnonzero(~alike)


def _slope(fn: Callable, t: float, y: np.ndarray, p: np.ndarray, size: int) -> np.ndarray:
    """What a function fills, (size,) float64, in plain Python or, where that fails, compiled; `_Unknown`."""
    out = np.full(size, np.nan)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if callback_of(fn) is not None:
                fn(np.float64(t), y.copy(), p.copy(), out)
            else:
                plain = interpreted(fn)
                with limited(SECONDS):
                    plain(np.float64(t), y.copy(), p.copy(), out)
            return out
        except Enough:
            why = f"it takes more than {SECONDS} s in plain Python"
        except Exception as error:
            why = f"it raises {type(error).__name__}: {error}"
        if callback_of(fn) is not None:
            raise _Unknown(why)
        try:
            _compiled(fn)(float(t), y.copy(), p.copy(), out)
        except Exception:
            raise _Unknown(why) from None
    return out


def _compiled(fn: Callable) -> Callable:
    import numba

    from ..compile.recompile import fresh

    copy: Any = fresh(fn, check_indices=True)
    return copy if hasattr(copy, "py_func") else numba.njit(error_model="numpy", boundscheck=True)(copy)
