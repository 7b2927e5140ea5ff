"""How many trajectories of an ensemble are done, while its threads run."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from ..kernels.drivers import PLACE

_CURSOR, _FREE = PLACE.index("cursor"), PLACE.index("free")


class Tally:
    """Adds up what the threads of `run_ranges` have done, and hands the sum to `report` whenever it has changed.

    report: called with a number of trajectories; two threads never call it at once.  width: lanes of a block.  before:
    trajectories that were done in earlier chunks.
    """

    def __init__(self, report: Callable[[int], None], width: int, before: int = 0) -> None:
        self._report, self._width, self._before = report, width, before
        self._done: dict[tuple[int, int], int] = {}
        self._lock = threading.Lock()

    def under_way(self, span: tuple[int, int], place: np.ndarray) -> None:
        """The thread that runs trajectories span[0]..span[1]-1 is at `place` (`drivers.PLACE`)."""
        running = self._width - int(place[_FREE])
        self._put(span, max(int(place[_CURSOR]) - span[0] - running, 0))

    def finished(self, span: tuple[int, int]) -> None:
        """Trajectories span[0]..span[1]-1 are done."""
        self._put(span, span[1] - span[0])

    def _put(self, span: tuple[int, int], done: int) -> None:
        with self._lock:
            if self._done.get(span) != done:
                self._done[span] = done
                self._report(self._before + sum(self._done.values()))
