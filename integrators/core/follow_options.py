"""Options of solves that follow a trajectory: bounds on the step, times that are hit exactly, which states are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import options
from .errors import OptionError
from .solver_options import numbers

#: two stops are at least so many numbers of the clock apart
APART = 64.0
EPS = 2.220446049250313e-16


@dataclass(frozen=True)
class Follow:
    """events: as the caller gave them.  dense: whether dense output is kept.  max_step, min_step: bounds on the step.
    tstops: times that are hit exactly, or None.  save_every: accepted steps to a state that is kept.
    """

    events: tuple[Any, ...] = ()
    dense: bool = False
    max_step: float | None = None
    min_step: float | None = None
    tstops: Any = None
    save_every: int = 1

    @property
    def asked(self) -> bool:
        """Whether any of it differs from a plain solve."""
        plain = self.max_step is None and self.min_step is None and self.tstops is None and self.save_every == 1
        return bool(self.events) or self.dense or not plain


def checked(
    events: tuple[Any, ...], dense: Any, max_step: Any, min_step: Any, tstops: Any, save_every: Any
) -> Follow:
    """The options, checked by themselves; OptionError for what is none of them."""
    largest = None
    if max_step is not None and not (isinstance(max_step, (float, np.floating)) and max_step == math.inf):
        largest = options.positive("max_step", max_step)
    smallest = options.number("min_step", min_step, 0.0, none=True)
    if smallest and largest is not None and smallest > largest:
        raise OptionError(f"min_step must be at most max_step, {largest:g}, got {smallest:g}")
    every = options.count("save_every", save_every)
    if tstops is not None and numbers("tstops", tstops).size == 0:
        tstops = None
    return Follow(events, options.flag("dense", dense), largest, smallest or None, tstops, every)


def stops(tstops: Any, t0: np.ndarray, t1: np.ndarray) -> np.ndarray:
    """`tstops` of trajectories from t0 to t1, each (B,), along each span, as (1, k) or (B, k), NaN behind the last.

    Given as (k,) or (B, k), in any order; times at the ends of a span and repeated ones say nothing more, and neither
    does NaN in (B, k), which fills rows with fewer times.  OptionError for times outside a span, NaN in (k,), and times
    closer together than a step can be.
    """
    if tstops is None:
        return np.empty((1, 0))
    t = np.atleast_1d(numbers("tstops", tstops))
    t = t[None] if t.ndim == 1 else t
    if t.ndim != 2 or t.shape[0] not in (1, len(t0)):
        raise OptionError(f"tstops must have shape (k,) or ({len(t0)}, k), got {np.shape(tstops)}")
    none = np.isnan(t) if np.ndim(tstops) == 2 else np.zeros(t.shape, bool)
    if not np.all(np.isfinite(t) | none):
        raise OptionError("tstops must be finite (in (B, k) NaN fills the rows of trajectories that have fewer)")
    lo, hi = np.minimum(t0, t1)[:, None], np.maximum(t0, t1)[:, None]
    if not np.all((t >= lo) & (t <= hi) | none):
        span = f"the span [{lo[0, 0]}, {hi[0, 0]}]" if len(t0) == 1 else "every trajectory's span"
        strange = np.broadcast_to(t, (len(lo), t.shape[1]))[~((t >= lo) & (t <= hi) | none)][0]
        raise OptionError(f"tstops must lie within {span}, got {strange:g}")
    same = len(t) == 1 and np.all(t0 == t0[:1]) and np.all(t1 == t1[:1])
    rows = [_row(t[0 if len(t) == 1 else b], float(t0[b]), float(t1[b])) for b in range(1 if same else len(t0))]
    out = np.full((len(rows), max(map(len, rows), default=0)), np.nan)
    for row, found in zip(out, rows, strict=True):
        row[: len(found)] = found
    return out


def _row(t: np.ndarray, t0: float, t1: float) -> np.ndarray:
    inner = np.unique(t[(t != t0) & (t != t1) & ~np.isnan(t)])
    if t1 < t0:
        inner = inner[::-1]
    every = np.array([t0, *inner, t1])
    near = np.abs(np.diff(every)) < APART * EPS * np.maximum(np.abs(every[1:]), np.abs(every[:-1]))
    if inner.size and np.any(near):
        k = int(np.argmax(near))
        raise OptionError(
            f"tstops must be apart by what the time variable resolves, got {every[k]!r} and {every[k + 1]!r}"
        )
    return inner
