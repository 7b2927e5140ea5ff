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
    """Collects the attempts that at least one lane accepted, each as one row over all `lanes`."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.rows: list[np.ndarray] = []

    def add(self, ids: np.ndarray, accept: np.ndarray, *columns: np.ndarray) -> None:
        """Keep an attempt of the lanes `ids`: `accept` and the columns t, end, h, err, hs of `Grid`, each of the shape
        of `ids`."""
        row = np.zeros((1 + len(columns), self.lanes))
        row[0, ids] = accept
        for i, column in enumerate(columns):
            row[1 + i, ids] = np.where(accept, column, 0.0)
        self.rows.append(row)

    def grid(self, t_start: np.ndarray, stiff: bool) -> Grid:
        """The grid of what was added; `t_start` (lanes,) is the time of lanes without a step, `stiff` says whether hs
        was measured."""
        if not self.rows:
            empty = np.zeros((0, self.lanes))
            return Grid(empty, empty, empty, empty, empty if stiff else None, np.zeros(self.lanes, dtype=np.int64))
        table = np.stack(self.rows, axis=1)
        accepted = table[0] == 1.0
        count = accepted.sum(0)
        # a stable sort brings each lane's accepted attempts to the front, in their order
        order = np.argsort(~accepted, axis=0, kind="stable")[: count.max()]
        t, end, h, err, hs = (np.take_along_axis(column, order, axis=0) for column in table[1:])
        pad = np.arange(len(order))[:, None] >= count
        last = np.where(count > 0, np.take_along_axis(end, np.maximum(count - 1, 0)[None], axis=0)[0], t_start)
        t, end = np.where(pad, last, t), np.where(pad, last, end)
        h, err = np.where(pad, 0.0, h), np.where(pad, 0.0, err)
        return Grid(t, end, h, err, np.where(pad, 0.0, hs) if stiff else None, count)
