"""Data of the foreign training scripts, in NumPy and single precision, in the order in which a seed deals them out.

It is imported by the scripts beside it and has no command of its own.  Images are MNIST-5k; `spirals` are the noisy
spirals of torchdiffeq's example latent_ode.py, made here; `pbcseq` are patients at irregular visits, with values that
are missing.  docs/neural.md and `stepsmith.train.data` say where the data come from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from stepsmith.train.data import load

#: iterations of a trial run
QUICK = 3


@dataclass(frozen=True)
class Visits:
    """Series of B subjects, padded to T visits.

    inputs  (B, T, K) what the encoder reads.  real: (B, T) bool, false at padding
    times   (B, T) ascending from the start of the solve; padding repeats the subject's last time
    values  (B, T, D) what is to be predicted.  mask: (B, T, D), 1 where it was observed, else 0
    """

    inputs: Any
    real: Any
    times: Any
    values: Any
    mask: Any

    def rows(self, which: Any) -> Visits:
        return Visits(*(getattr(self, name)[which] for name in self.__dataclass_fields__))

    def merged(self) -> tuple[np.ndarray, np.ndarray]:
        """All times of these subjects, (U,) ascending, and where each subject's own are among them, (B, T)."""
        union = np.unique(self.times)
        return union, np.searchsorted(union, self.times)


@dataclass(frozen=True)
class Series:
    """A task of the latent ODE.  noise: standard deviation of an observation, which the likelihood takes for known.

    batches: one array of subjects for each iteration; every epoch has `per_epoch` of them.
    """

    train: Visits
    held_out: Visits
    noise: float
    batches: list[np.ndarray]
    per_epoch: int


def series(task: str, seed: int, quick: bool) -> Series:
    """The task `spirals` or `pbcseq`, with its batches under `seed`."""
    if task == "spirals":
        train, held_out = spirals(1000, 0.3, 0), spirals(200, 0.3, 1, clean=True)
        whole = [np.arange(1000)] * (QUICK if quick else 200)
        return Series(train, held_out, 0.3, whole, 1)
    train, held_out = patients()
    batches, per_epoch = dealt(len(train.times), 16, 20, seed, quick)
    return Series(train, held_out, 0.5, batches, per_epoch)


def dealt(n: int, size: int, epochs: int, seed: int, quick: bool) -> tuple[list[np.ndarray], int]:
    """Batches of `size` of n subjects, shuffled anew every epoch, the incomplete last one left out; how many an epoch
    has.
    """
    rng, found = np.random.default_rng(seed), []
    for _ in range(epochs):
        order = rng.permutation(n)
        found += [order[i : i + size] for i in range(0, n - size + 1, size)]
    return found[: QUICK if quick else None], n // size


def images(seed: int, quick: bool, epochs: int = 5) -> tuple[Any, ...]:
    """Training images (N, 1, 28, 28) and labels, test images and labels, batches of 128 and how many an epoch has."""
    found = load("mnist5k")
    x = found.x.reshape(-1, 1, 28, 28).astype(np.float32)
    train, test = found.split.train, found.split.test
    batches, per_epoch = dealt(len(train), 128, epochs, seed, quick)
    return x[train], found.labels[train], x[test], found.labels[test], batches, per_epoch


def spirals(count: int, noise: float, seed: int, clean: bool = False) -> Visits:
    """`count` pieces of 100 points of two spirals, one clockwise and one not, observed with noise.

    clean: what is to be predicted are the points without noise.
    """
    total, points, stop, growth = 500, 100, 6.0 * np.pi, 0.3
    angle = np.linspace(0.0, stop, total)
    back, radius = stop + 1.0 - angle, growth * 50.0 / (stop + 1.0 - angle)
    clockwise = np.stack([radius * np.cos(back) - 5.0, radius * np.sin(back)], axis=1)
    counter = np.stack([growth * angle * np.cos(angle) + 5.0, growth * angle * np.sin(angle)], axis=1)
    rng = np.random.default_rng(seed)
    begin = rng.integers(points, total - points, count)
    whole = np.where(rng.random(count)[:, None, None] > 0.5, counter, clockwise)
    truth = np.take_along_axis(whole, (begin[:, None] + np.arange(points))[:, :, None], axis=1)
    seen = (truth + noise * rng.standard_normal(truth.shape)).astype(np.float32)
    times = np.broadcast_to(angle[:points].astype(np.float32), (count, points))
    values = truth.astype(np.float32) if clean else seen
    return Visits(seen, np.ones((count, points), bool), times, values, np.ones_like(seen))


def patients() -> tuple[Visits, Visits]:
    """Patients of pbcseq with two visits at least: those for training, and those of the test split.

    The encoder reads the values, which of them are there, and the time since the visit before.
    """
    found = load("pbcseq")
    visits = np.arange(found.times.shape[1])
    real = visits < found.count[:, None]
    last = np.take_along_axis(found.times, found.count[:, None] - 1, axis=1)
    times = np.where(real, found.times, last)
    gaps = np.diff(times, axis=1, prepend=0.0)
    inputs = np.concatenate([found.values, found.mask, gaps[:, :, None]], axis=2)
    single = (np.float32(x) for x in (inputs, times, found.values, found.mask))
    inputs, times, values, mask = single
    every = Visits(inputs, real, times, values, mask)
    enough = found.count >= 2
    parts = [part[enough[part]] for part in (found.split.train, found.split.test)]
    return every.rows(parts[0]), every.rows(parts[1])
