"""Is a problem one of second order, q'' = a(t, q), as its layout says?  Its functions are run in plain Python.

Methods that compute with accelerations take y = (q, v), v = q' and accelerations that do not depend on v for granted.
Where that does not hold their answer has order 1 or is that of another problem, and nothing in it tells so.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from ..core.errors import shown
from .interpreted import interpreted
from .stand_ins import SECONDS, Enough, Filled, Frozen, Run, limited

#: how far the right-hand side and the accelerations may differ, over the largest acceleration
ALIKE = 1e-9
#: where along the span they are compared
PLACES = (0.0, 0.37)

REMEDY = "methods such as 'dop853' solve the right-hand side as it is"


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
    _values(accel, t, _Positions(run, "y", y), Frozen(run, "p", p), Filled(run, "a", y.size // 2))
    words = run.broken or ""
    return words if "a velocity" in words else ""


def disagreement(rhs: Callable, accel: Callable | None, span: tuple[float, float], y: np.ndarray, p: np.ndarray) -> str:
    """How a right-hand side is not (v, a(t, q)) with the accelerations given, in words; "" where it is, and where it
    cannot be evaluated.
    """
    half = y.size // 2
    moved = y.copy()  # a system that starts at rest hides what velocities do
    moved[half:] += (1.0 + np.abs(y[half:]).max()) * (0.3 + np.arange(half) / half)
    hidden = np.concatenate([y[:half], np.full(half, np.nan)])
    for place in PLACES:
        t = span[0] + place * (span[1] - span[0])
        dy = _slope(rhs, t, moved, p)
        without = None if dy is None else _slope(rhs, t, hidden, p)
        if dy is None or without is None:
            return ""
        for i in np.flatnonzero(np.abs(dy[:half] - moved[half:]) > ALIKE * np.abs(moved[half:])):
            return f"dy[{i}] is not y[{half + i}]: q'' = a(t, q) has y = (positions, velocities); {REMEDY}"
        for i in np.flatnonzero(np.isnan(without[half:]) & ~np.isnan(dy[half:])):
            return f"dy[{half + i}] depends on velocities, and q'' = a(t, q) does not; {REMEDY}"
        a = None if accel is None else _slope(accel, t, moved, p, half)
        if a is None:
            continue
        off = np.abs(dy[half:] - a) > ALIKE * (np.abs(a) + np.abs(dy[half:]).max())
        for i in np.flatnonzero(off):
            told = f"{shown(float(dy[half + i]))} and {shown(float(a[i]))} at t = {t:g}"
            return f"dy[{half + i}] is not a[{i}] of `accel`: they are {told} with the positions of y0"
    return ""


def _slope(fn: Callable, t: float, y: np.ndarray, p: np.ndarray, size: int | None = None) -> np.ndarray | None:
    """What a function fills, (size,) float64; None where it does not come to its end or leaves something out."""
    run = Run()
    out = Filled(run, "dy", y.size if size is None else size)
    done = _values(fn, t, Frozen(run, "y", y), Frozen(run, "p", p), out)
    return np.array(out.values, dtype=np.float64) if done and None not in out.values else None


def _values(fn: Callable, t: float, *args: Any) -> bool:
    """Run the function; whether it came to its end."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = interpreted(fn)
            with limited(SECONDS):
                plain(np.float64(t), *args)
    except (Exception, Enough):  # the user's own, at a state that may be outside its domain
        return False
    return True
