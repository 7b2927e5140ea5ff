"""Times ahead that rejected attempts have looked at, which later steps must not skip.

An attempt shows the controller something of the path up to its end.  A step that went past such a time would be chosen
by what is known of its own increment, and methods need not converge then; one that ends there is not.  So an attempt
that would go past the nearest such time ends at it.

J. Foster, A. Jelincic, On the convergence of adaptive approximations for stochastic differential equations,
arXiv:2311.14201, section 3 ("revisit").
"""

from __future__ import annotations

import numpy as np


class Ahead:
    """The times of each of `lanes` lanes, the nearest last in a row."""

    def __init__(self, lanes: int) -> None:
        self.times, self.count = np.full((lanes, 4), np.inf), np.zeros(lanes, dtype=np.int64)

    def nearest(self) -> np.ndarray:
        """(lanes,) the nearest times; infinite where there is none."""
        found = self.times[np.arange(len(self.count)), np.maximum(self.count - 1, 0)]
        return np.where(self.count > 0, found, np.inf)

    def limited(self, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends of steps that would end at `end`, and which of them are limited; each (lanes,)."""
        near = self.nearest()
        return np.minimum(near, end), near <= end

    def keep(self, lanes: np.ndarray, end: np.ndarray) -> None:
        """The `lanes` (lanes,) have looked up to `end` (lanes,) and rejected it."""
        new = lanes & (end < self.nearest())
        if not new.any():
            return
        if self.count[new].max() == self.times.shape[1]:
            self.times = np.pad(self.times, ((0, 0), (0, self.times.shape[1])), constant_values=np.inf)
        self.times[new, self.count[new]] = end[new]
        self.count += new

    def reached(self, lanes: np.ndarray, end: np.ndarray) -> None:
        """The `lanes` (lanes,) are at `end` (lanes,) now."""
        while (past := lanes & (self.nearest() <= end)).any():
            self.count -= past
