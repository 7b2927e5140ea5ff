"""One round of timing: all contestants take their turns on one thread, in an order that is drawn for every turn."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .contestants import Contestant
from .curves import Array
from .splits import Split

#: a turn of fewer seconds is taken again until its calls last so long together, or there are so many of them
ENOUGH, MOST_CALLS = 0.02, 10


@dataclass(frozen=True)
class Turn:
    """What is timed at one go.

    knob    number of the value of the knob
    rows    the instances, in their order
    copies  how often each stands in the ensemble; 0: they are solved one after the other
    work    the work of all that is solved, copies included
    """

    knob: int
    rows: NDArray[np.intp]
    copies: int
    work: float

    def seconds(self, e: Contestant, split: Split, max_steps: int) -> float:
        """Seconds of the solver."""
        if not self.copies:
            return e.single_seconds(split, self.knob, self.rows, max_steps)
        return e.seconds(split, self.knob, np.repeat(self.rows, self.copies), max_steps)


@dataclass(frozen=True)
class Programme:
    """Contestants with their turns on a split."""

    split: Split
    max_steps: int
    entries: tuple[tuple[Contestant, tuple[Turn, ...]], ...]

    @property
    def longest(self) -> int:
        """Turns of the contestant that has most of them."""
        return max((len(turns) for _, turns in self.entries), default=0)

    def round(self, seed: int) -> Array:
        """Seconds (C, J) a unit of work by contestant and turn; NaN is a turn that a contestant does not have.

        Every contestant solves once before, so that its kernel is there when its first turn comes.
        """
        spent = np.full((len(self.entries), self.longest), np.nan)
        rng = np.random.default_rng(seed)
        for e, turns in self.entries:
            if turns:
                turns[-1].seconds(e, self.split, self.max_steps)
        for j in range(self.longest):
            for c in rng.permutation(len(self.entries)):
                e, turns = self.entries[c]
                if j < len(turns):
                    turn = turns[j]
                    spent[c, j] = least(functools.partial(turn.seconds, e, self.split, self.max_steps)) / turn.work
        return spent


def least(seconds: Callable[[], float]) -> float:
    """The least of several calls' seconds where a call is short: an interruption of a few milliseconds, which a call of
    a second hides, would double it.
    """
    found = total = seconds()
    for _ in range(MOST_CALLS - 1):
        if total >= ENOUGH:
            break
        spent = seconds()
        found, total = min(found, spent), total + spent
    return found
