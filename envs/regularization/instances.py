"""What an episode of `stepsmith/Regularization-v0` trains: a data set, a model and settings, all from one number.

    split         instances                                   tables
    "train"       0 ... TRAIN - 1                             those of `TABLES["train"]`
    "validation"  TRAIN ... TRAIN + VALIDATION - 1            the same, other draws
    "test"        the last TEST                               those of `TABLES["test"]`, which no policy is trained on

An instance is a subsample of a table, standardised by its training rows; a field of 4 to 16 hidden units, with an outer
tanh or without; an initialisation; a learning rate; and a tolerance, rtol = atol, from 1e-3 to 1e-7.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from . import tables
from .draws import hashed, uniform

TRAIN, VALIDATION, TEST = 96, 24, 24
TABLES = {
    "train": ("wine", "cancer", "spirals", "moons", "checks", "waves"),
    "validation": ("wine", "cancer", "spirals", "moons", "checks", "waves"),
    "test": ("iris", "diabetes", "rings"),
}
SPLITS = {
    "train": range(TRAIN), "validation": range(TRAIN, TRAIN + VALIDATION),
    "test": range(TRAIN + VALIDATION, TRAIN + VALIDATION + TEST),
}  # fmt: skip
INSTANCES = TRAIN + VALIDATION + TEST
#: rows that are trained on, and rows that the quality is measured on
TRAIN_ROWS, HELD_ROWS = 96, 96
#: columns of zeros that a state has besides the features (an augmented neural ODE)
EXTRA = 2
WIDTH, HIDDEN, CLASSES = tables.MOST_FEATURES + EXTRA, 16, 3


@dataclass(frozen=True)
class Instance:
    """One training.

    x (rows, WIDTH), y (rows,)  the training rows, then the held-out ones; zero beyond `features`.
    train, held                 how many rows there are of each.
    features, hidden            columns of the state in use, and units of the field in use.
    classes                     0: a number is learnt.
    bounded                     whether the field has an outer tanh.
    rate, tolerance             of the optimiser, and rtol = atol of the solver.
    seed                        of the initial weights.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    train: int
    held: int
    features: int
    hidden: int
    classes: int
    bounded: bool
    rate: float
    tolerance: float
    seed: int


def split_of(number: int) -> str:
    """The split of an instance."""
    return next(name for name, numbers in SPLITS.items() if number in numbers)


@functools.lru_cache(maxsize=256)
def instance(number: int) -> Instance:
    """Instance `number`."""

    def u(what: int) -> float:
        return float(uniform(90_001, number, what))

    names = TABLES[split_of(number)]
    name = names[number % len(names)]
    table = tables.real(name) if name in tables.REAL else tables.made(name, number, 0.05 + 0.25 * u(1))
    rows = np.argsort(uniform(90_002, number, np.arange(len(table.x))), kind="stable")
    rows = rows[: int(len(rows) * (0.6 + 0.4 * u(2)))]
    train = min(TRAIN_ROWS, len(rows) // 2)
    held = min(HELD_ROWS, len(rows) - train)
    rows = rows[: train + held]
    columns = np.argsort(uniform(90_003, number, np.arange(table.x.shape[1])), kind="stable")
    columns = np.sort(columns[: tables.MOST_FEATURES])
    x, y = table.x[np.ix_(rows, columns)], table.y[rows]
    mean, size = x[:train].mean(0), x[:train].std(0)
    x = (x - mean) / np.where(size > 0.0, size, 1.0)
    if table.classes == 0:
        y = (y - y[:train].mean()) / y[:train].std()
    wide = np.zeros((train + held, WIDTH))
    wide[:, : x.shape[1]] = x
    return Instance(
        name, wide, y, train, held, x.shape[1] + EXTRA, 4 + int(u(3) * 13), table.classes, u(4) < 0.5,
        float(0.005 * 10.0 ** u(5)), float(10.0 ** (-3.0 - 4.0 * u(6))), int(hashed(90_004, number)),
    )  # fmt: skip
