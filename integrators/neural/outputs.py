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
    """Collector for the outputs `t` (T,) float64, monotone, of `lanes` lanes.

    Row 0 of the answer is y0.  Outputs that a lane never reaches are NaN.
    """

    def __init__(self, t: np.ndarray, lanes: int) -> None:
        self.sign = 1.0 if t[-1] > t[0] else -1.0
        self.t, self.due = t, t * self.sign
        self.next = np.ones(lanes, dtype=np.int64)
        self.where = np.full((len(t), lanes), -1, dtype=np.int64)
        self.values: list[Tensor] = []
        self.rows = 0

    def passed(self, lanes: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
        """Pairs (position in `lanes`, output) that the lanes pass when they reach the times `end`; None without any."""
        start = self.next[lanes]
        stop = np.searchsorted(self.due, end * self.sign, side="right")
        count = np.maximum(stop - start, 0)
        total = int(count.sum())
        if total == 0:
            return None
        position = np.repeat(np.arange(len(lanes)), count)
        offset = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        self.next[lanes] = np.maximum(start, stop)
        return position, start[position] + offset

    def groups(self, ids: np.ndarray, t0: np.ndarray, t1: np.ndarray) -> Iterator[tuple]:
        """What the lanes `ids` pass on the way from t0 to t1, each (len(ids),): at most two groups.

        A group is (output, position, theta), each (p,): indices into t, indices into `ids`, and the fraction of the
        step.  theta is None for the group whose times are step ends.
        """
        hit = self.passed(ids, t1)
        if hit is None:
            return
        position, output = hit
        at_end = self.t[output] == t1[position]
        if at_end.any():
            yield output[at_end], position[at_end], None
        if not at_end.all():
            position, output = position[~at_end], output[~at_end]
            yield output, position, (self.t[output] - t0[position]) / (t1[position] - t0[position])

    def within(self, ids: np.ndarray, end: np.ndarray) -> np.ndarray:
        """Whether the lanes `ids` have an output before they reach the times `end`, each (len(ids),); passes none."""
        nxt = self.next[ids]
        return (nxt < len(self.due)) & (self.due[np.minimum(nxt, len(self.due) - 1)] < end * self.sign)

    def add(self, output: np.ndarray, ids: np.ndarray, values: Tensor) -> None:
        """Keep `values` (p, width) as outputs `output` (p,) of lanes `ids` (p,)."""
        self.where[output, ids] = self.rows + np.arange(len(output))
        self.rows += len(output)
        self.values.append(values)

    def assemble(self, y0: Tensor) -> Tensor:
        """The answer, (T, lanes, width), with y0 (lanes, width) as its first row."""
        lanes, width = y0.shape
        order = np.arange(lanes, lanes * len(self.t)).reshape(-1, lanes)
        if len(self.values) == len(order) and np.array_equal(self.where[1:] + lanes, order):
            return torch.stack([y0, *self.values])
        row = np.where(self.where >= 0, self.where + lanes, lanes + self.rows)
        row[0] = np.arange(lanes)
        blank = torch.full((1, width), float("nan"), dtype=y0.dtype, device=y0.device)
        index = torch.from_numpy(row.reshape(-1)).to(y0.device)
        return torch.cat([y0, *self.values, blank])[index].view(len(self.t), lanes, width)


def rows_of(x: Tensor, index: np.ndarray) -> Tensor:
    """x[index] for increasing row numbers `index`; x itself where they name every row."""
    if len(index) == len(x):
        return x
    return x[torch.from_numpy(index).to(x.device)]
