"""The forward solution as a function of time: what the interpolating adjoint reads y(t) from.

A step leaves the coefficients of its dense output, y(t_n + theta h) = sum_j q_j theta^j: for a polynomial of degree q
that is q + 1 states a step, without graph.  A lookup finds each lane's own step by bisection on the device, so that it
costs no transfer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from .step import Step, Stepper
from .watch import Attempt, Watch

Tensor = torch.Tensor


class Recorder(Watch):
    """Collects the polynomials of a pass over `lanes` lanes; `sign`, 0-d or (lanes,), is the direction of time."""

    dense = True

    def __init__(self, lanes: int, sign: np.ndarray) -> None:
        self.lanes, self.sign = lanes, np.broadcast_to(sign, (lanes,))
        self.parts: list[Tensor] = []
        self.rows: list[tuple[np.ndarray, ...]] = []

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        took = np.flatnonzero(at.accept)
        if len(took):
            self.parts.append(stepper.polynomial(step, took))
            self.rows.append((at.ids[took], at.t[took], at.end[took]))

    def trajectory(self) -> Trajectory | None:
        """What was recorded; None if no lane took a step."""
        if not self.parts:
            return None
        lane, start, end = (np.concatenate(column) for column in zip(*self.rows, strict=True))
        # each lane's pieces in the order of time; unused places end at infinity, where no lookup arrives
        order = np.argsort(lane, kind="stable")
        count = np.bincount(lane, minlength=self.lanes)
        place = np.arange(len(order)) - np.repeat(np.cumsum(count) - count, count)
        shape = (self.lanes, int(count.max()))
        row, begin, size = np.zeros(shape, dtype=np.int64), np.zeros(shape), np.ones(shape)
        until = np.full(shape, np.inf)
        at = lane[order], place
        row[at], begin[at], size[at] = order, start[order], (end - start)[order]
        until[at] = self.sign[lane[order]] * end[order]
        device = self.parts[0].device
        last = np.maximum(count - 1, 0)
        table = [torch.from_numpy(x).to(device) for x in (row, begin, size, until, last, self.sign[:, None].copy())]
        return Trajectory(torch.cat(self.parts), *table)


class Trajectory(NamedTuple):
    """y(t) of every lane.

    q       (pieces, degree + 1, width) coefficients.
    row, begin, size, until   (lanes, most steps): a piece's row in q, start, signed size, and sign * end.
    last    (lanes,) a lane's last piece.
    sign    (lanes, 1) the direction of time.
    """

    q: Tensor
    row: Tensor
    begin: Tensor
    size: Tensor
    until: Tensor
    last: Tensor
    sign: Tensor

    def take(self, keep: np.ndarray) -> Trajectory:
        """The trajectory of the lanes `keep`; coefficients are shared."""
        index = torch.from_numpy(keep).to(self.q.device)
        return Trajectory(self.q, *(x[index] for x in self[1:]))

    def __call__(self, t: Tensor) -> Tensor:
        """y at one time a lane, t (lanes,): (lanes, width), without gradient."""
        t = t.double()[:, None]
        piece = torch.searchsorted(self.until, self.sign * t).minimum(self.last[:, None])
        theta = ((t - self.begin.gather(1, piece)) / self.size.gather(1, piece)).to(self.q.dtype)
        q = self.q.index_select(0, self.row.gather(1, piece)[:, 0])
        y = q[:, -1]
        for j in range(q.shape[1] - 2, -1, -1):
            y = torch.addcmul(q[:, j], y, theta)
        return y
