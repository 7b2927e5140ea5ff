"""Intervals of Brownian motion ahead of every sample: a list of pieces a sample, which can be split and joined.

A piece ends at a time and holds the increment W over it and its space-time Levy area H (`noise.bridge`).  The pieces of
a sample follow each other from its present time on.  The nearest stands last, so that the usual changes are at the end
of a row.
"""

from __future__ import annotations

import numpy as np
import torch

from ...core.binding import bind
from ...noise import bridge

Tensor = torch.Tensor
_TORCH = {"sqrt": torch.sqrt}
draw, split, split_plain, join = (
    bind(fn, _TORCH) for fn in (bridge.draw, bridge.split, bridge.split_plain, bridge.join)
)


class Pieces:
    """Pieces of `samples` samples with `width` Brownian motions each.

    end    (samples, places) float64, where the pieces end, falling along a row; NaN behind a sample's last one.
    name   (samples, places) int64, a number of the caller's for each.
    count  (samples,) pieces of every sample.
    w, h   (samples, places, width) float64; h is None without Levy area.
    """

    def __init__(self, samples: int, width: int, levy: bool, device: torch.device, places: int = 4) -> None:
        self.end, self.name = np.full((samples, places), np.nan), np.zeros((samples, places), dtype=np.int64)
        self.count = np.zeros(samples, dtype=np.int64)
        self.w = torch.zeros(samples, places, width, dtype=torch.float64, device=device)
        self.h = torch.zeros_like(self.w) if levy else None

    def insert(
        self, rows: np.ndarray, place: np.ndarray, end: np.ndarray, name: np.ndarray, w: Tensor, h: Tensor | None
    ) -> None:
        """Put a piece into each of the rows (n,), at `place` (n,); end, name (n,), w, h (n, width)."""
        if self.count[rows].max() == self.end.shape[1]:
            self._widen()
        at = torch.from_numpy(rows).to(self.w.device)
        if (place < self.count[rows]).any():
            self._shift(rows, place, at)
        self.count[rows] += 1
        self.put(rows, place, end, name, w, h)

    def put(
        self, rows: np.ndarray, place: np.ndarray, end: np.ndarray, name: np.ndarray, w: Tensor, h: Tensor | None
    ) -> None:
        """As `insert`, in the place of the piece that is there."""
        self.end[rows, place], self.name[rows, place] = end, name
        at, where = (torch.from_numpy(x).to(self.w.device) for x in (rows, place))
        self.w[at, where] = w
        if self.h is not None and h is not None:
            self.h[at, where] = h

    def take(self, rows: np.ndarray, place: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """w and h (n, width) of the pieces at `place` (n,) of the rows (n,)."""
        at, where = (torch.from_numpy(x).to(self.w.device) for x in (rows, place))
        return self.w[at, where], None if self.h is None else self.h[at, where]

    def start(self, rows: np.ndarray, place: np.ndarray, now: np.ndarray) -> np.ndarray:
        """Where the pieces at `place` of the rows begin, each (n,): where the next nearer ends, or at `now` (n,)."""
        nearest = place + 1 >= self.count[rows]
        return np.where(nearest, now, self.end[rows, np.where(nearest, 0, place + 1)])

    def _shift(self, rows: np.ndarray, place: np.ndarray, at: Tensor) -> None:
        """Make room at `place` (n,) of the rows (n,)."""
        slots = np.arange(self.end.shape[1])
        source = slots - (slots > place[:, None])
        self.end[rows] = np.take_along_axis(self.end[rows], source, axis=1)
        self.name[rows] = np.take_along_axis(self.name[rows], source, axis=1)
        index = torch.from_numpy(source).to(at.device)[:, :, None].expand(-1, -1, self.w.shape[2])
        self.w[at] = self.w[at].gather(1, index)
        if self.h is not None:
            self.h[at] = self.h[at].gather(1, index)

    def _widen(self) -> None:
        more = self.end.shape[1]
        self.end = np.pad(self.end, ((0, 0), (0, more)), constant_values=np.nan)
        self.name = np.pad(self.name, ((0, 0), (0, more)))
        self.w = torch.nn.functional.pad(self.w, (0, 0, 0, more))
        self.h = None if self.h is None else torch.nn.functional.pad(self.h, (0, 0, 0, more))
