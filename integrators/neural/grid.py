"""The accepted steps of a pass: a log that is written attempt by attempt, and the grid that it is sorted into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass
class Grid:
    """The accepted steps of every lane.  All arrays but `count` have the shape (n_steps, lanes), n_steps being the
    largest `count`.

    t, end   start and end time of the step; behind a lane's last step, the time where the lane stopped.
    h        signed size; 0 behind a lane's last step.
    err      scaled error estimate; 0 behind a lane's last step.
    hs       |h| times the stiffness estimate S; 0 behind a lane's last step.  None where S was not asked for.
    count    (lanes,) number of steps of each lane.
    """

    t: np.ndarray
    end: np.ndarray
    h: np.ndarray
    err: np.ndarray
    hs: np.ndarray | None
    count: np.ndarray


class GridLog:
    """Collects the attempts that at least one of `lanes` lanes accepted."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def add(self, ids: np.ndarray, accept: np.ndarray, *columns: np.ndarray) -> None:
        """Keep an attempt of the lanes `ids`: `accept` and the columns t, end, h, err, hs of `Grid`, each of the shape
        of `ids`.  `ids` and `accept` must stay as they are."""
        self.rows.append((ids, accept, np.array(columns)))

    def grid(self, t_start: np.ndarray, stiff: bool) -> Grid:
        """The grid of what was added; `t_start` (lanes,) is the time of lanes without a step, `stiff` says whether hs
        was measured."""
        count = np.zeros(self.lanes, dtype=np.int64)
        if not self.rows:
            empty = np.zeros((0, self.lanes))
            return Grid(empty, empty, empty, empty, empty if stiff else None, count)
        parts = []
        for ids, accept, values in self.rows:
            some = np.flatnonzero(accept)
            lane = ids.take(some)
            parts.append((count.take(lane), lane, values.take(some, axis=1)))
            count[lane] += 1
        step, lane, values = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        columns = np.zeros((len(values), count.max(), self.lanes))
        columns[:, step, lane] = values
        t, end, h, err, hs = columns
        pad = np.arange(len(t))[:, None] >= count
        last = np.where(count > 0, end[np.maximum(count - 1, 0), np.arange(self.lanes)], t_start)
        return Grid(np.where(pad, last, t), np.where(pad, last, end), h, err, hs if stiff else None, count)
