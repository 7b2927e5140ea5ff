"""The sizes of an attempt: what the controller asks for, held against what time resolves and where the end is; and its
record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..core import record as rec


@dataclass(slots=True)
class Sizes:
    """Sizes of one attempt, positive.  All arrays have the shape (lanes in the batch,).

    left        distance to the end time.
    want        the size that the controller asks for, at least what the time variable resolves.
    size        the size of the attempt.
    lands       whether the attempt ends at the end time.
    truncated   whether it was shortened for that.
    """

    left: np.ndarray
    want: np.ndarray
    size: np.ndarray
    lands: np.ndarray
    truncated: np.ndarray


def resolved(t: np.ndarray) -> np.ndarray:
    """The smallest size that the time variable resolves at t, of t's shape."""
    return np.maximum(2.220446049250313e-15 * np.abs(t), 1e-300)


def choose(
    t: np.ndarray, h: np.ndarray, hmin: np.ndarray, t_end: np.ndarray, sign: np.ndarray, even: bool
) -> Sizes:
    """The sizes of an attempt from t where the controller asks for h; none is below `hmin` but for the sake of the end
    time `t_end`, which lies in the direction `sign`.

    even: equal steps to the end, as `adaptive` explains.
    """
    left = np.abs(t_end - t)
    want = np.where(h >= hmin, h, hmin)
    lands = sign * ((t + sign * want) - t_end) >= 0.0
    size = np.where(lands, left, want)
    if even:
        # rounding must not add a step where the size divides what is left, as one that a dead band keeps does
        count = np.ceil(left / want * (1.0 - 1e-10))
        lands |= count <= 1.0
        size = np.where(lands, left, left / np.maximum(count, 1.0))
    return Sizes(left, want, size, lands, lands & (want > left))


def record_of(
    seen: dict[int, np.ndarray], sizes: Sizes, order: int, cost: np.ndarray, rtol: float | np.ndarray, span: np.ndarray
) -> list[np.ndarray]:
    """The attempt record (`core.record`): one array (lanes,) a slot, NaN where neither the sizes nor the measurements
    `seen` fill it.

    order: the error estimate's order.  rtol: of the solve, or of every lane.  cost, span (lanes,): evaluations of the
    attempt, and lengths of the whole spans.
    """
    lanes = len(sizes.size)
    record = [np.full(lanes, np.nan)] * rec.N_RECORD
    record[rec.H], record[rec.H_FREE], record[rec.T_LEFT] = sizes.size, sizes.want, sizes.left
    record[rec.ORDER], record[rec.NF] = np.full(lanes, float(order)), cost.astype(np.float64)
    record[rec.TRUNCATED], record[rec.RTOL] = sizes.truncated.astype(np.float64), np.full(lanes, rtol)
    record[rec.SPAN] = span
    for slot, value in seen.items():
        record[slot] = value
    return record
