"""Brownian motion as the solver asks for it: increments over [t, end] of every sample at its own times, such that
whatever is asked, rejected and asked again belongs to one path.

`Memory` draws over the interval of an attempt.  A shorter attempt after a rejection splits that interval by the exact
bridge, and the rest stays ahead, so that the path's law does not depend on which steps were rejected (RSwM3 of C.
Rackauckas, Q. Nie, Discrete Contin. Dyn. Syst. B 22 (2017) 2731).  Drawing anew instead would prefer increments that
are easily accepted.  Every draw is named by a count of the sample's own.

`Tree` is the path as a function of (seed, sample, t): the span is halved again and again, and the numbers of a half are
named by its place in the tree.  Steps of any solve of the same span see the same path, whatever the controller, the
tolerance and the method.  Times are rounded to 2^-48 of the span.

In both a sample's path is a function of (seed, its number), and of its own attempts in `Memory`; other samples of the
batch have no part in it.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from .normals import normals, streams
from .pieces import Pieces, draw, join, split, split_plain

Tensor = torch.Tensor
#: halvings of the span that `Tree` resolves
DEPTH = 48
#: an adaptive step of `Tree` ends on a grid this many halvings below its size
BITS = 3


class Source(Protocol):
    """Where increments come from.

    finest   (samples,) or a number: the smallest step whose increment it can give.
    """

    finest: Any

    def snapped(self, t: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The end of an attempt from t that should end at `end`, each (samples,): that, or an earlier time."""

    def increment(self, t: np.ndarray, end: np.ndarray, run: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """W and H over [t, end] of the samples in `run`, each (samples,): (samples, width) float64, zero for the
        others; H is None where it is not kept."""

    def accept(self, done: np.ndarray) -> None:
        """The samples in `done` (samples,) go on from the end of the last increment."""


class Memory:
    """See the file's text.

    seed, samples  the samples' numbers (n,) and the seed name the paths.
    width          Brownian motions of a sample.
    levy           keep the Levy area too.
    """

    finest: Any = 0.0

    def __init__(self, seed: int, samples: np.ndarray, width: int, levy: bool, device: torch.device) -> None:
        self.own = streams(seed, samples, device)
        self.pieces = Pieces(len(samples), width, levy, device)
        self.width, self.levy = width, levy
        #: draws of every sample, and the first of the pieces that the last increment was joined of
        self.draws, self.first = np.zeros(len(samples), dtype=np.int64), np.zeros(len(samples), dtype=np.int64)

    def snapped(self, t: np.ndarray, end: np.ndarray) -> np.ndarray:
        return end

    def units(self, t: np.ndarray) -> np.ndarray:
        """Times as the pieces have them."""
        return t

    def accept(self, done: np.ndarray) -> None:
        self.pieces.count = np.where(done, self.first, self.pieces.count)
        self.pieces.end[np.arange(self.pieces.end.shape[1]) >= self.pieces.count[:, None]] = np.nan

    def increment(self, t: np.ndarray, end: np.ndarray, run: np.ndarray) -> tuple[Tensor, Tensor | None]:
        now, until = self.units(t), self.units(end)
        self._reach(now, until, run)
        place = self._place(until)
        while True:
            rows = np.flatnonzero(run)
            rows = rows[self.pieces.end[rows, place[rows]] > until[rows]]
            if len(rows) == 0:
                break
            self._split(rows, place[rows], now[rows], until[rows])
            place = self._place(until)
        self.first = np.where(run, place, self.pieces.count)
        return self._joined(now, run)

    def _place(self, until: np.ndarray) -> np.ndarray:
        """The place of the piece that `until` (samples,) lies in, or ends."""
        with np.errstate(invalid="ignore"):
            return np.maximum((self.pieces.end >= until[:, None]).sum(1) - 1, 0)

    def _reach(self, now: np.ndarray, until: np.ndarray, run: np.ndarray) -> None:
        """Draw what is not there yet up to `until`."""
        pieces = self.pieces
        start = np.where(pieces.count > 0, pieces.end[:, 0], now)
        rows = np.flatnonzero(run & (start < until))
        if len(rows) == 0:
            return
        w, h = draw(self._length(until[rows] - start[rows]), *self._numbers(rows, self._names(rows)))
        none = np.zeros(len(rows), dtype=np.int64)
        pieces.insert(rows, none, until[rows], none, w, h if self.levy else None)

    def _names(self, rows: np.ndarray) -> np.ndarray:
        """Names (n,) of the next draws of the rows (n,)."""
        self.draws[rows] += 1
        return self.draws[rows]

    def _numbers(self, rows: np.ndarray, names: np.ndarray) -> tuple[Tensor, Tensor]:
        """Two times (n, width) normal numbers of the draws `names` (n,) of the rows (n,)."""
        own = self.own[torch.from_numpy(rows).to(self.own.device)]
        both = normals(own, names, 2 * self.width if self.levy else self.width)
        return both[:, : self.width], both[:, self.width :] if self.levy else both

    def _length(self, units: np.ndarray) -> Tensor:
        """Lengths (n, 1) in time."""
        return torch.from_numpy(units).to(self.own.device)[:, None]

    def _split(self, rows: np.ndarray, place: np.ndarray, now: np.ndarray, until: np.ndarray) -> None:
        """Split the pieces at `place` (n,) of the rows (n,) at `until` (n,)."""
        self._cut(rows, place, now, until, self._names(rows))

    def _cut(self, rows: np.ndarray, place: np.ndarray, now: np.ndarray, middle: np.ndarray, names: np.ndarray) -> None:
        pieces = self.pieces
        start, end = pieces.start(rows, place, now), pieces.end[rows, place]
        a, b = self._length(middle - start), self._length(end - middle)
        (w, h), (z1, z2) = pieces.take(rows, place), self._numbers(rows, names)
        if h is None:
            (w_a, w_b), h_a, h_b = split_plain(a, b, w, z1), None, None
        else:
            w_a, h_a, w_b, h_b = split(a, b, w, h, z1, z2)
        pieces.put(rows, place, end, self._right(names), w_b, h_b)
        pieces.insert(rows, place + 1, middle, self._left(names), w_a, h_a)

    def _left(self, names: np.ndarray) -> np.ndarray:
        return names

    def _right(self, names: np.ndarray) -> np.ndarray:
        return names

    def _joined(self, now: np.ndarray, run: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """The increment of the samples in `run` over their pieces from `first` on."""
        pieces = self.pieces
        last = np.where(run, pieces.count - 1, 0)
        w, h = pieces.take(np.arange(len(last)), last)
        if not run.all():
            mask = torch.from_numpy(run.copy()).to(w.device)[:, None]
            w, h = torch.where(mask, w, 0.0), None if h is None else torch.where(mask, h, 0.0)
        for back in range(1, int((last - self.first)[run].max(initial=0)) + 1):
            rows = np.flatnonzero(run & (last - back >= self.first))
            at, place = torch.from_numpy(rows).to(w.device), last[rows] - back
            w_b, h_b = pieces.take(rows, place)
            start, end = pieces.end[rows, place + 1], pieces.end[rows, place]
            if h is None or h_b is None:
                w[at] += w_b
            else:
                a, b = self._length(start - now[rows]), self._length(end - start)
                w[at], h[at] = join(a, b, w[at], h[at], w_b, h_b)
        return w, h


class Tree(Memory):
    """See the file's text.  start, span: the whole interval, numbers."""

    def __init__(
        self, seed: int, samples: np.ndarray, width: int, device: torch.device, start: float, span: float
    ) -> None:
        super().__init__(seed, samples, width, True, device)
        self.t0, self.span, self.finest = start, span, span * 2.0 ** (BITS + 1 - DEPTH)
        rows, none = np.arange(len(samples)), np.zeros(len(samples), dtype=np.int64)
        w, h = draw(self._length(np.full(len(samples), 2.0**DEPTH)), *self._numbers(rows, none))
        self.pieces.insert(rows, none, np.full(len(samples), 2.0**DEPTH), none + 1, w, h)

    def units(self, t: np.ndarray) -> np.ndarray:
        return np.rint((t - self.t0) / self.span * 2.0**DEPTH)

    def _length(self, units: np.ndarray) -> Tensor:
        return super()._length(units * (self.span * 2.0**-DEPTH))

    def snapped(self, t: np.ndarray, end: np.ndarray) -> np.ndarray:
        now, until = self.units(t), self.units(end)
        grid = 2.0 ** (np.floor(np.log2(np.maximum(until - now, 1.0))) - BITS)
        grid = np.maximum(grid, 1.0)
        return self.t0 + np.floor(until / grid) * grid * (self.span * 2.0**-DEPTH)

    def _reach(self, now: np.ndarray, until: np.ndarray, run: np.ndarray) -> None:
        """The whole span is there."""

    def _split(self, rows: np.ndarray, place: np.ndarray, now: np.ndarray, until: np.ndarray) -> None:
        """Halve the pieces."""
        start = self.pieces.start(rows, place, now)
        self._cut(rows, place, now, 0.5 * (start + self.pieces.end[rows, place]), self.pieces.name[rows, place])

    def _left(self, names: np.ndarray) -> np.ndarray:
        return 2 * names

    def _right(self, names: np.ndarray) -> np.ndarray:
        return 2 * names + 1


class Foreign:
    """A torchsde BrownianInterval (or what is called like one) over clocks that all samples share.

    torchsde's U is int (W_s - W_t) ds over the interval, so that H = U/h - W/2.
    """

    finest: Any = 0.0

    def __init__(self, interval: Any, shape: tuple[int, int], levy: bool, device: torch.device) -> None:
        self.interval, self.shape, self.levy, self.device = interval, shape, levy, device

    def snapped(self, t: np.ndarray, end: np.ndarray) -> np.ndarray:
        return end

    def increment(self, t: np.ndarray, end: np.ndarray, run: np.ndarray) -> tuple[Tensor, Tensor | None]:
        if not run.any():
            return torch.zeros(self.shape, dtype=torch.float64, device=self.device), None
        ta, tb = float(t[0]), float(end[0])
        if not self.levy:
            return self._like(self.interval(ta, tb)), None
        w, u = (self._like(x) for x in self.interval(ta, tb, return_U=True))
        return w, u / (tb - ta) - 0.5 * w

    def _like(self, x: Tensor) -> Tensor:
        return x.detach().to(device=self.device, dtype=torch.float64).reshape(self.shape)

    def accept(self, done: np.ndarray) -> None:
        """Nothing is kept: the interval remembers by itself."""
