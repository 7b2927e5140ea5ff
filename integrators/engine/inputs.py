"""Checks of what a solve is given beside problem, method and controller: tolerances, times, first size, limit."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from ..core import options
from ..core.errors import OptionError

EPS = 2.220446049250313e-16

#: families go up to 1, an error as large as the state, and an environment's pool is solved a factor 10 beyond its range
LARGEST_RTOL = 10.0 * (1.0 + 1e-9)


def plain(rtol: Any, atol: Any) -> bool:
    """Two numbers that need no further checks."""
    return type(rtol) is float and type(atol) is float and 100 * EPS <= rtol <= 1.0 and 0.0 <= atol < np.inf


def tolerances(rtol: Any, atol: Any, shape: tuple[int, ...], y0: Any = None) -> tuple[Any, Any]:
    """Checked tolerances broadcast to `shape` (instances, n): rtol (instances,), atol (instances, n).

    Raises OptionError (a ValueError) on negative, NaN or mis-shaped values, on rtol above `LARGEST_RTOL` and where a
    component has neither; warns near machine precision, of `atol` alone by the size of the states y0, (instances, n) or
    (n,), if given.
    """
    count, n = shape
    if plain(rtol, atol):
        return np.full(count, rtol), np.full((count, n), atol)
    r, a = numbers("rtol", rtol), numbers("atol", atol)
    for name, v in (("rtol", r), ("atol", a)):
        if not np.all(v >= 0) or not np.all(np.isfinite(v)):
            raise OptionError(
                f"{name} must be finite and not negative, got {v.tolist() if v.size < 9 else v[~(v >= 0)][:3].tolist()}"
            )
    if np.any(r > LARGEST_RTOL):
        raise OptionError(
            f"rtol must be at most {LARGEST_RTOL:g}, an error far larger than the state itself, got {r.max():g}"
        )
    if r.shape not in ((), (count,)):
        raise OptionError(f"rtol must be a number or have shape ({count},), got shape {r.shape}")
    if a.shape not in ((), (n,), (count, n), (count, 1)):
        raise OptionError(
            f"atol must be a number or have shape ({n},), ({count}, 1) or ({count}, {n}), got shape {a.shape}"
        )
    r = np.ascontiguousarray(np.broadcast_to(r, (count,)))
    a = np.ascontiguousarray(np.broadcast_to(a, (count, n)))
    if np.any((r == 0)[:, None] & (a == 0)):
        raise OptionError("rtol and atol are both 0 for at least one component: the error has no scale")
    if np.any((r < 100 * EPS) & (r > 0)):
        least = float(r[r > 0].min())
        words = f"rtol {least:.2g} is near the precision of float64 ({EPS:.2g}): errors are then round-off"
        warnings.warn(words, stacklevel=3)
    if y0 is not None and np.any(low := (r == 0)[:, None] & (a < 100 * EPS * np.abs(y0))):
        words = f"atol {float(a[low].min()):.2g} is near the precision of float64 at the initial state's size: "
        warnings.warn(words + "errors are then round-off", stacklevel=3)
    return r, a


def numbers(name: str, value: Any) -> np.ndarray:
    """`value`, a real number or an array of them, as float64; OptionError where it is none."""
    try:
        raw = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged, or an object that refuses to become an array
        raise options.refuse(name, "a real number or an array of them", value) from None
    if raw.dtype.kind not in "fiu":
        raise options.refuse(name, "a real number or an array of them", value)
    return raw.astype(np.float64)


def checked_step(first_step: Any, longest: float) -> float | None:
    """`first_step` as a positive float or None; OptionError where it is neither, or exceeds the `longest` span."""
    if first_step is None:
        return None
    size = options.positive("first_step", first_step)
    if size > longest > 0.0:
        raise OptionError(f"first_step must not exceed the span, {longest:g} long, got {size:g}")
    return size


def checked_limit(max_steps: Any) -> int:
    """`max_steps` as a whole number of at least 1."""
    return max_steps if type(max_steps) is int and 0 < max_steps <= 1_000_000 else options.count("max_steps", max_steps)


def output_times(t_eval: Any, t0: float, t1: float) -> np.ndarray:
    """`t_eval` as a (1, nt) float64 array; ValueError where it leaves the span or is not ordered along it."""
    t = np.atleast_1d(numbers("t_eval", t_eval))
    if t.ndim != 1:
        raise OptionError(f"t_eval must be one-dimensional, got shape {t.shape}")
    lo, hi = min(t0, t1), max(t0, t1)
    if not np.all((t >= lo) & (t <= hi)):
        raise OptionError(f"t_eval must lie within the span [{lo}, {hi}]")
    if np.any(np.diff(t) * (1.0 if t1 >= t0 else -1.0) < 0):
        raise OptionError("t_eval must be ordered along the direction of integration")
    return t[None]
