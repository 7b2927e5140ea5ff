"""From the seconds of rounds of timing to seconds a unit of work."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curves import Array


@dataclass(frozen=True)
class Rate:
    """What a clock said of a contestant.

    seconds    (K,) seconds a unit of work at every value of the knob
    rounds     (R, K) those of every round over them
    """

    seconds: Array
    rounds: Array


def without_turns(seconds: Array) -> Array:
    """Seconds (C, R, J) of contestants by round and turn, less what a turn did to all contestants alike.

    A machine that is slower for a while slows all who take that turn.  What they share is the median over contestants
    of the deviation from their own median round, in logarithms (a few steps of Tukey's median polish); the ratio of
    two contestants in a turn stays what it was.  NaN is a turn that a contestant did not take.  A turn that one alone
    took is left as it is: what is shared cannot be told from what is its own.
    """
    logs = np.log(seconds)
    several = np.isfinite(logs).sum(axis=0) > 1
    for _ in range(3):
        logs -= np.where(several, _median(logs - _median(logs, 1), 0), 0.0)
    return np.asarray(np.exp(logs))


def _median(values: Array, axis: int) -> Array:
    """Median along an axis, which is kept, NaN left out; 0 where there is nothing else."""
    known = np.isfinite(values).any(axis=axis, keepdims=True)
    return np.asarray(np.nanmedian(np.where(known, values, 0.0), axis=axis, keepdims=True))


def rate_of(timed: Array, knobs: Array, count: int) -> Rate:
    """The rate at all `count` values of the knob, from those (R, J) at `knobs`.

    In between it is interpolated in the logarithm; beyond the first and the last the largest known one counts.
    """
    middle = np.median(timed, axis=0)
    at = np.arange(count)
    most = int(np.argmax(middle))
    inside = (at >= knobs[0]) & (at <= knobs[-1])

    def spread(rate: Array) -> Array:
        return np.where(inside, np.exp(np.interp(at, knobs, np.log(rate))), rate[most])

    seconds = spread(middle)
    return Rate(seconds, np.array([spread(r) for r in timed]) / seconds)
