"""Arrays of different lengths, one for every trajectory, kept as one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..problems.states import State


class Ragged:
    """`ragged[i]`: the array of trajectory i, (k_i, ...), a view of `flat` (sum of k, ...).  counts: k, int64 (B,)."""

    def __init__(self, flat: np.ndarray, counts: np.ndarray) -> None:
        self.flat, self.counts = flat, counts
        self._ends = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, i: int) -> np.ndarray:
        i = range(len(self))[i]
        return self.flat[self._ends[i] : self._ends[i + 1]]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        rows = f" of {self.counts.min()} to {self.counts.max()} rows" if len(self) else ""
        return f"<Ragged: {len(self)} arrays{rows}>"

    def shaped(self, state: State) -> Ragged:
        """The same of states in a problem's own shape."""
        return Ragged(state.shaped(self.flat), self.counts)

    def padded(self, fill: float = np.nan) -> np.ndarray:
        """(B, most, ...): the arrays, with `fill` behind their ends."""
        out = np.full((len(self), int(self.counts.max(initial=0)), *self.flat.shape[1:]), fill, self.flat.dtype)
        for row, array in zip(out, self, strict=True):
            row[: len(array)] = array
        return out


def joined(parts: list[Ragged]) -> Ragged:
    """The arrays of several, one after the other; at least one."""
    return Ragged(np.concatenate([part.flat for part in parts]), np.concatenate([part.counts for part in parts]))
