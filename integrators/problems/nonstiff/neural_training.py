"""Fields of neural differential equations as they were in real trainings: y' = W2 tanh(W1 (y, t) + b1) + b2.

Some fields have an outer tanh. The trainings are those of `stepsmith/Regularization-v0`: a small model learns a table
of data, without a penalty or with one on its solver's error estimate. Of each, `SNAPSHOTS` states of the weights are
kept, the first before and the last after the training. The file `neural_training.npz` holds them as float32; `python -m
stepsmith.envs.neural_ode` writes it. Nothing here needs torch or scikit-learn.

An instance is one snapshot and a batch of `ROWS` rows of its training data, which share one step as in the solves of a
neural differential equation: y = (row 0, row 1, ...), each of `WIDTH` columns. Smaller models are padded with zeros:
columns that a model has not are zero and stay zero, and count in the error norm. p = (W1 (`HIDDEN`, `WIDTH` + 1)
row-major, its last column that of the time, b1, W2 (`WIDTH`, `HIDDEN`) row-major, b2, and 1 where there is an outer
tanh, else 0). T = 1. The error is that of the end alone, as for `neural_field`. The splits are by training: no training
has snapshots in two of them, and those of the test split learn other tables.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...compile.vecmath import tanh, where
from ..families import Family, tolerance_grid
from ..problem import Batch

ROWS, WIDTH, HIDDEN = 1, 12, 16
B1 = HIDDEN * (WIDTH + 1)
W2 = B1 + HIDDEN
B2 = W2 + WIDTH * HIDDEN
#: how many weights a field has; behind them in p stands whether it has an outer tanh
WEIGHTS = BOUNDED = B2 + WIDTH
PARAMETERS = WEIGHTS + 1
#: iterations of a training after which its weights are kept
POINTS = (0, 6, 18, 36, 60, 84, 108, 126)
SNAPSHOTS = len(POINTS)
FILE = Path(__file__).with_name("neural_training.npz")


def rhs(t, y, p, dy):
    for r in range(ROWS):
        at = r * WIDTH
        for i in range(WIDTH):
            dy[at + i] = p[B2 + i]
        for j in range(HIDDEN):
            k = (WIDTH + 1) * j
            z = p[k + WIDTH] * t + p[B1 + j]
            for i in range(WIDTH):
                z += p[k + i] * y[at + i]
            u = tanh(z)
            for i in range(WIDTH):
                dy[at + i] += p[W2 + HIDDEN * i + j] * u
        for i in range(WIDTH):
            dy[at + i] = where(p[BOUNDED] > 0.5, tanh(dy[at + i]), dy[at + i])


@dataclass(frozen=True)
class Trainings:
    """The trainings of a split, T of them.

    numbers (T,)                             which instances of `stepsmith/Regularization-v0` they are.
    ratios (T,)                              ratio of the penalty's gradient to the task loss's; 0: no penalty.
    fields (T, SNAPSHOTS, PARAMETERS)        p of every snapshot.
    rows (T, rows, WIDTH)                    rows of the data that they train on, standardised.
    """

    numbers: np.ndarray
    ratios: np.ndarray
    fields: np.ndarray
    rows: np.ndarray


@functools.cache
def trainings(split: str) -> Trainings:
    """The trainings of "train", "validation" or "test", float64, read from the file."""
    with np.load(FILE, allow_pickle=False) as kept:
        found = [kept[f"{split}_{name}"] for name in ("numbers", "ratios", "fields", "rows")]
    numbers, *rest = found
    return Trainings(numbers, *(np.ascontiguousarray(one, np.float64) for one in rest))


def batch_of(split: str, training: np.ndarray, snapshot: np.ndarray, rng: np.random.Generator) -> Batch:
    """Instances of these trainings of a split and snapshots, both (n,), each from rows that `rng` draws."""
    found, n = trainings(split), len(training)
    rows = rng.integers(0, found.rows.shape[1], (n, ROWS))
    y0 = found.rows[training[:, None], rows].reshape(n, ROWS * WIDTH)
    return Batch(rhs, y0, found.fields[training, snapshot], np.zeros(n), np.ones(n), name="neural_training")


def in_order(split: str, count: int, seed: int) -> Batch:
    """The solves of `count` trainings of a split, drawn with `seed`: each training's snapshots in their order, one
    training after the other."""
    rng = np.random.default_rng([seed, ("train", "validation", "test").index(split)])
    total = len(trainings(split).numbers)
    # every training once before one comes again
    order = np.concatenate([rng.permutation(total) for _ in range(-(-count // total))])[:count]
    return batch_of(split, np.repeat(order, SNAPSHOTS), np.tile(np.arange(SNAPSHOTS), count), rng)


def _drawn(split: str, rng: np.random.Generator, n: int) -> Batch:
    training = rng.integers(0, len(trainings(split).numbers), n)
    return batch_of(split, training, rng.integers(0, SNAPSHOTS, n), rng)


def sampler(rng: np.random.Generator, n: int) -> Batch:
    """Instances of the training split."""
    return _drawn("train", rng, n)


def of_split(split: str) -> Callable[[np.random.Generator, int], Batch]:
    """The sampler of a split."""
    return functools.partial(_drawn, split)


FAMILY = Family(
    name="neural_training", doc="tanh vector fields as they were in real trainings, one sample each, T = 1",
    rhs=rhs, n=ROWS * WIDTH, m=PARAMETERS, sampler=sampler, of_split=of_split, error="final",
    tolerances=tolerance_grid(1.0, 1e-7), atol_factor=1.0, levels=(1e-5, 1e-3), method="tsit5",
    tags=("neural", "few steps"),
)  # fmt: skip
