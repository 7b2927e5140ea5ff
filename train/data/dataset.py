"""What a data set is: arrays, and which subjects are for training, validation and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
PARTS = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Ascending, disjoint subject numbers; together they are all of 0..N-1."""

    train: Ints
    validation: Ints
    test: Ints

    def part(self, name: str) -> Ints:
        """"train", "validation" or "test"; ValueError for anything else."""
        if name not in PARTS:
            raise ValueError(f"part must be one of {', '.join(PARTS)}; got {name!r}")
        return getattr(self, name)


@dataclass(frozen=True)
class Images:
    """Images and their classes: x (N, D) float64 grey values in [0, 1]; labels (N,) int64 in 0..classes-1."""

    name: str
    x: Floats
    labels: Ints
    classes: int
    split: Split


@dataclass(frozen=True)
class Series:
    """Time series of N subjects, padded behind their last observation.

    times       (N, T) float64, ascending in the first count[i] columns, 0 behind them; in units of `time_unit`.
    values      (N, T, D) float64, 0 where nothing was observed; each channel is standardised by `centre` and `scale`
                (D,), which the training subjects alone gave.
    mask        (N, T, D) bool: what was observed.
    count       (N,) int64 observation times of each subject, at least 1.
    channels    D names.
    labels      (N,) int64 in 0..classes-1, or None.
    """

    name: str
    times: Floats
    time_unit: str
    values: Floats
    mask: NDArray[np.bool_]
    count: Ints
    channels: tuple[str, ...]
    centre: Floats
    scale: Floats
    split: Split
    labels: Ints | None = None
    classes: int = 0

    def union(self, rows: Ints) -> tuple[Floats, Ints]:
        """All times at which one of the subjects `rows` was observed, (U,) ascending, and where in them each subject's
        own times are, (len(rows), T); padding points at 0.  ValueError without subjects.
        """
        if len(rows) == 0:
            raise ValueError("the union of observation times needs at least one subject")
        times = self.times[rows]
        real = np.arange(times.shape[1]) < self.count[rows][:, None]
        union = np.unique(times[real])
        return union, np.where(real, np.searchsorted(union, times), 0)


def draw_split(n: int, seed: int, validation: float, test: float, labels: Ints | None = None) -> Split:
    """Deal subjects 0..n-1 out once: the shares `validation` and `test`, and the rest for training.

    With labels (n,) the shares hold in every class.
    """
    rng = np.random.default_rng(seed)
    groups = [np.arange(n)] if labels is None else [np.flatnonzero(labels == c) for c in np.unique(labels)]
    parts: list[list[Ints]] = [[], [], []]
    for group in groups:
        drawn = rng.permutation(group)
        n_valid, n_test = round(validation * len(group)), round(test * len(group))
        for part, some in zip(
            parts, np.split(drawn, [len(group) - n_valid - n_test, len(group) - n_test]), strict=True
        ):
            part.append(some)
    train, valid, held = (np.sort(np.concatenate(p)).astype(np.int64) for p in parts)
    return Split(train, valid, held)


def standardised(values: Floats, mask: NDArray[np.bool_], train: Ints) -> tuple[Floats, Floats, Floats]:
    """(values - centre) / scale with 0 where nothing was observed, centre (D,), and scale (D,).

    Centre and scale are mean and standard deviation over what was observed of the training subjects.
    """
    seen, here = values[train], mask[train]
    n = here.sum((0, 1))
    centre = np.where(here, seen, 0.0).sum((0, 1)) / n
    scale = np.sqrt((np.where(here, seen - centre, 0.0) ** 2).sum((0, 1)) / n)
    return np.where(mask, (values - centre) / scale, 0.0), centre, scale
