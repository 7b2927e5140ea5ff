"""The options that every solver has (tolerances, first step, attempts, output times, the controller's needs), checked
in one place.

`solve`, `solve_ensemble` and its CUDA host take tolerances a component and an instance, as arrays; the solver in torch
takes one number each.  Errors are `OptionError`s in the wording of `options`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from . import options, record
from .errors import OptionError
from .tolerance_scale import said

EPS = 2.220446049250313e-16
#: families go up to 1, an error as large as the state, and an environment's pool is solved a factor 10 beyond its range
LARGEST_RTOL = 10.0 * (1.0 + 1e-9)


def plain(rtol: Any, atol: Any) -> bool:
    """Whether the tolerances are two numbers that need no further checks."""
    return type(rtol) is float and type(atol) is float and 100 * EPS <= rtol <= 1.0 and 0.0 <= atol < np.inf


def tolerances(
    rtol: Any, atol: Any, shape: tuple[int, ...], y0: Any = None, scale: float = 1.0
) -> tuple[Any, Any]:
    """Checked tolerances broadcast to `shape` (instances, n): rtol (instances,), atol (instances, n).

    scale: the controller's (`tolerance_scale`); what is returned is multiplied by it.  Raises OptionError (a
    ValueError) on negative, NaN or mis-shaped values, on rtol above `LARGEST_RTOL` and where a component has neither;
    warns near machine precision, of `atol` alone by the size of the states y0, (instances, n) or (n,), if given.
    """
    count, n = shape
    if scale == 1.0 and plain(rtol, atol):
        return np.full(count, rtol), np.full((count, n), atol)
    r, a = numbers("rtol", rtol), numbers("atol", atol)
    for name, v in (("rtol", r), ("atol", a)):
        if not np.all(v >= 0) or not np.all(np.isfinite(v)):
            some = v.tolist() if v.size < 9 else v[~(v >= 0)][:3].tolist()
            raise OptionError(f"{name} must be finite and not negative, got {some}")
    _not_too_large(r, 1.0)
    if r.shape not in ((), (count,)):
        raise OptionError(f"rtol must be a number or have shape ({count},), got shape {r.shape}")
    if a.shape not in ((), (n,), (count, n), (count, 1)):
        raise OptionError(
            f"atol must be a number or have shape ({n},), ({count}, 1) or ({count}, {n}), got shape {a.shape}"
        )
    r = np.ascontiguousarray(np.broadcast_to(r, (count,)))
    a = np.ascontiguousarray(np.broadcast_to(a, (count, n)))
    if scale != 1.0:
        with np.errstate(over="ignore"):
            r, a = scale * r, scale * a
        _not_too_large(r, scale)
        if not np.all(np.isfinite(a)):
            raise OptionError(f"atol must be finite{said(scale)}")
    if np.any((r == 0)[:, None] & (a == 0)):
        raise OptionError("rtol and atol are both 0 for at least one component: the error has no scale")
    if np.any((r < 100 * EPS) & (r > 0)):
        warnings.warn(
            f"rtol {float(r[r > 0].min()):.2g}{said(scale)} is near the precision of float64 ({EPS:.2g}): errors are "
            "then round-off",
            stacklevel=3,
        )
    if y0 is not None and np.any(low := (r == 0)[:, None] & (a < 100 * EPS * np.abs(y0))):
        warnings.warn(
            f"atol {float(a[low].min()):.2g}{said(scale)} is near the precision of float64 at the initial state's "
            "size: errors are then round-off",
            stacklevel=3,
        )
    return r, a


def _not_too_large(r: np.ndarray, scale: float) -> None:
    """OptionError where a relative tolerance, already multiplied by the controller's scale, is above
    `LARGEST_RTOL`."""
    if np.any(r > LARGEST_RTOL):
        raise OptionError(
            f"rtol must be at most {LARGEST_RTOL:g}, an error far larger than the state itself, got "
            f"{r.max():g}{said(scale)}"
        )


def one_tolerance_each(rtol: Any, atol: Any, prefix: str = "") -> tuple[float, float]:
    """rtol and atol as floats, for a solver that takes one number each; `prefix` is put before their names in
    errors."""
    for name, value in ((f"{prefix}rtol", rtol), (f"{prefix}atol", atol)):
        if getattr(value, "ndim", 0) > 0 or isinstance(value, (list, tuple)):
            raise OptionError(
                f"{name} must be one number for all components, got {options.shown(value)}; where components need "
                "tolerances of their own, scale the state"
            )
    # an error as large as the solution is no solution; atol is in y's unit
    rtol = options.number(f"{prefix}rtol", rtol, 0.0, 1.0)
    atol = options.number(f"{prefix}atol", atol, 0.0)
    if rtol + atol == 0:
        raise OptionError(f"{prefix}rtol and {prefix}atol must not be both zero")
    return rtol, atol


def numbers(name: str, value: Any) -> np.ndarray:
    """`value`, a real number or an array of them, as a float64 array."""
    try:
        raw = np.asarray(value)
    except (ValueError, TypeError, RuntimeError):  # ragged, or an object that refuses to become an array
        raise options.refuse(name, "a real number or an array of them", value) from None
    if raw.dtype.kind not in "fiu":
        raise options.refuse(name, "a real number or an array of them", value)
    return raw.astype(np.float64)


#: spans that a first step may be long where it is cut to the span
CUT_FROM = 100.0


def checked_step(first_step: Any, longest: float | None = None, *, cut: bool = False) -> float | None:
    """The size of the first attempt as a positive float, or None for the automatic choice.

    longest: the longest span, where it is known.  cut: the solver cuts a longer size to the span.  Another solve may
    have proposed such a size, but one of more than `CUT_FROM` spans is a slip.  Raises OptionError on what is no
    positive number and on sizes that are too long.
    """
    if first_step is None:
        return None
    size = options.positive("first_step", first_step, none=cut)
    if longest is None:
        return size
    if cut and size > CUT_FROM * longest:
        raise OptionError(
            f"first_step must be at most {CUT_FROM:g} times the span of t, which is {longest:g}, got {size:g}"
        )
    if not cut and size > longest > 0.0:
        raise OptionError(f"first_step must not exceed the span, {longest:g} long, got {size:g}")
    return size


def checked_size(step_size: Any, t0: float, t1: float) -> float:
    """The option step_size, that of all steps from t0 to t1; OptionError for what is no positive number, and for a size
    that the times there cannot tell apart."""
    size = options.positive("step_size", step_size)
    least = max(10.0 * EPS * max(abs(t0), abs(t1)), 1e-300)
    if size < least:
        raise OptionError(f"step_size must be at least {least:.2g}, what times up to {t1:g} resolve, got {size:g}")
    return size


def checked_limit(max_steps: Any) -> int:
    """The number of attempts that a trajectory may make, as an int of at least 1."""
    quick = type(max_steps) is int and 0 < max_steps <= 1_000_000  # what nearly everyone passes
    return max_steps if quick else options.count("max_steps", max_steps)


def output_times(t_eval: Any, t0: float, t1: float) -> np.ndarray:
    """`t_eval` of one trajectory as (1, nt) float64; OptionError where it leaves the span or is not ordered along
    it."""
    t = np.atleast_1d(numbers("t_eval", t_eval))
    if t.ndim != 1:
        raise OptionError(f"t_eval must be one-dimensional, got shape {t.shape}")
    lo, hi = min(t0, t1), max(t0, t1)
    return _along(t[None], lo, hi, 1.0 if t1 >= t0 else -1.0, f"the span [{lo}, {hi}]")


def output_grid(t_eval: Any, t0: np.ndarray, t1: np.ndarray) -> np.ndarray:
    """`t_eval` of trajectories from t0 to t1, each (B,), as (1, nt) or (B, nt) float64, (1, 0) where it is None.

    Raises OptionError where it has another shape, leaves a span or is not ordered along it.
    """
    if t_eval is None:
        return np.empty((1, 0))
    t = np.ascontiguousarray(numbers("t_eval", t_eval))
    if t.ndim == 1:
        t = t[None]
    if t.ndim != 2 or t.shape[0] not in (1, len(t0)):
        raise OptionError(f"t_eval must have shape (k,) or ({len(t0)}, k), got {np.shape(t_eval)}")
    sign = np.where(t1 >= t0, 1.0, -1.0)
    lo, hi = np.minimum(t0, t1), np.maximum(t0, t1)
    if len(t) == 1 and len(t0) > 1:  # what all spans share: no arrays of all times of all trajectories
        lo, hi, sign = lo.max(keepdims=True), hi.min(keepdims=True), np.unique(sign)
    return _along(t, lo[:, None], hi[:, None], sign[:, None], "every trajectory's span")


def _along(t: np.ndarray, lo: Any, hi: Any, sign: Any, span: str) -> np.ndarray:
    """Output times t (rows, nt); OptionError unless all lie in [lo, hi], called `span`, and run in the direction
    `sign`."""
    if not np.all((t >= lo) & (t <= hi)):
        raise OptionError(f"t_eval must lie within {span}")
    if np.any(np.diff(t, axis=1) * sign < 0):
        raise OptionError("t_eval must be ordered along the direction of integration")
    return t


def unmet(controller: Any, fills: frozenset[int]) -> str:
    """Names of the record slots that the controller needs and that are not in `fills`, as "err, hs"; empty where none
    is."""
    needs = frozenset(getattr(controller, "needs", ()))
    return ", ".join(sorted(record.NAMES[i] for i in needs - fills))
