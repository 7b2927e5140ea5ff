"""Which steps pass which output times, and the answer that is made of the values they leave.

A step gives a value for each pair (output, lane) that it passes: y1 itself where the time is the step's end, the dense
output elsewhere. Values are kept as rows in the order in which they come, and the answer is one gather at the end,
differentiable like any other: nothing is written in place and no mask is multiplied.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

Tensor = torch.Tensor


class Outputs:
    """Collector for the outputs `t` (T,), or (T, lanes), float64, monotone, of `lanes` lanes.

    Row 0 of the answer is y0.  Outputs that a lane never reaches are NaN.

    event   None, or (lanes,) the times of an event after which a lane has no outputs, infinite until it is found: its
            state then is one more row of the answer, the last.
    """

    def __init__(self, t: np.ndarray, lanes: int, event: np.ndarray | None = None) -> None:
        self.sign = np.broadcast_to(np.where(t[-1] > t[0], 1.0, -1.0), (lanes,))
        self.t, self.event = t, event
        self.due = t * (self.sign if t.ndim > 1 else self.sign[0])
        self.next = np.ones(lanes, dtype=np.int64)
        #: no lane passes an output before this time
        self.soonest = self.due[min(1, len(self.due) - 1)] if self.due.ndim == 1 else -np.inf
        self.where = np.full((len(t) + (event is not None), lanes), -1, dtype=np.int64)
        self.values: list[Tensor] = []
        self.rows = 0

    def passed(self, lanes: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Pairs (position in `lanes`, output) that the lanes pass when they reach the times `end`; None without any."""
        until = self._until(lanes, end) * self.sign[lanes]
        if self.due.ndim == 1 and len(until) and until.max() < self.soonest:
            return None
        start = self.next[lanes]
        if self.due.ndim > 1:
            stop = (self.due[:, lanes] <= until).sum(0)
        else:
            stop = np.searchsorted(self.due, until, side="right")
        count = np.maximum(stop - start, 0)
        total = int(count.sum())
        if total == 0:
            return None
        position = np.repeat(np.arange(len(lanes)), count)
        offset = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        self.next[lanes] = np.maximum(start, stop)
        if self.due.ndim == 1:
            self.soonest = self.due[min(self.next.min(), len(self.due) - 1)]
        return position, start[position] + offset

    def groups(self, ids: np.ndarray, t0: np.ndarray, t1: np.ndarray) -> Iterator[tuple]:
        """What the lanes `ids` pass on the way from t0 to t1, each (len(ids),): at most three groups, the event's last.

        A group is (output, position, theta), each (p,): indices into t, indices into `ids`, and the fraction of the
        step.  theta is None for the group whose times are step ends.
        """
        yield from self._times(ids, t0, t1)
        if self.event is not None:
            at = self.event[ids]
            found = np.flatnonzero((self.sign[ids] * at > self.sign[ids] * t0) & (at == self._until(ids, t1)))
            if len(found):
                theta = (at[found] - t0[found]) / (t1[found] - t0[found])
                yield np.full(len(found), len(self.t)), found, theta

    def _until(self, ids: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The times `end`, or the events before them, of the lanes `ids`; each (len(ids),)."""
        if self.event is None:
            return end
        sign = self.sign[ids]
        return sign * np.minimum(sign * end, sign * self.event[ids])

    def _times(self, ids: np.ndarray, t0: np.ndarray, t1: np.ndarray) -> Iterator[tuple]:
        """The groups of `groups` but the event's."""
        hit = self.passed(ids, t1)
        if hit is None:
            return
        position, output = hit
        due = self.t[output] if self.t.ndim == 1 else self.t[output, ids[position]]
        at_end = due == t1[position]
        if at_end.any():
            yield output[at_end], position[at_end], None
        if not at_end.all():
            position, output, due = position[~at_end], output[~at_end], due[~at_end]
            yield output, position, (due - t0[position]) / (t1[position] - t0[position])

    def within(self, ids: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Whether the lanes `ids` have an output before they reach the times `end`, each (len(ids),); passes none."""
        nxt = self.next[ids]
        place = np.minimum(nxt, len(self.due) - 1)
        due = self.due[place] if self.due.ndim == 1 else self.due[place, ids]
        return (nxt < len(self.due)) & (due < end * self.sign[ids])

    def add(self, output: np.ndarray, ids: np.ndarray, values: Tensor) -> None:
        """Keep `values` (p, width) as outputs `output` (p,) of lanes `ids` (p,)."""
        self.where[output, ids] = self.rows + np.arange(len(output))
        self.rows += len(output)
        self.values.append(values)

    def assemble(self, y0: Tensor) -> Tensor:
        """The answer, (T, lanes, width), with y0 (lanes, width) as its first row."""
        lanes, width = y0.shape
        order = np.arange(lanes, lanes * len(self.where)).reshape(-1, lanes)
        if len(self.values) == len(order) and np.array_equal(self.where[1:] + lanes, order):
            return torch.stack([y0, *self.values])
        row = np.where(self.where >= 0, self.where + lanes, lanes + self.rows)
        row[0] = np.arange(lanes)
        if self.event is not None:
            row[-1] = np.where(self.event == self.t[0], row[0], row[-1])
        blank = torch.full((1, width), float("nan"), dtype=y0.dtype, device=y0.device)
        index = torch.from_numpy(row.reshape(-1)).to(y0.device)
        return torch.cat([y0, *self.values, blank])[index].view(len(self.where), lanes, width)


def rows_of(x: Tensor, index: np.ndarray) -> Tensor:
    """x[index] for increasing row numbers `index`; x itself where they name every row."""
    if len(index) == len(x):
        return x
    return x[torch.from_numpy(index).to(x.device)]
