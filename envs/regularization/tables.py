"""The data that the trainings of `stepsmith/Regularization-v0` learn from: four real tables and five made ones.

| name | rows | features | what is learnt | from |
|---|---|---|---|---|
| `wine` | 178 | 13 | 3 classes | scikit-learn |
| `cancer` | 569 | 30 | 2 classes | scikit-learn |
| `iris` | 150 | 4 | 3 classes | scikit-learn |
| `diabetes` | 442 | 10 | a number | scikit-learn |
| `spirals`, `moons`, `rings`, `checks` | 300 | 2 | 2 classes | made: plane figures with noise |
| `waves` | 300 | 3 | a number | made: sin(2 x_0) + x_1 x_2 / 2 with noise |

An instance takes a part of a table: a subsample of its rows, and at most `MOST_FEATURES` of its features.  None of the
data sets that reports are made on (`train/data`) is among them.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from .draws import normal, uniform

MOST_FEATURES = 10
REAL = ("wine", "cancer", "iris", "diabetes")
MADE = ("spirals", "moons", "rings", "checks", "waves")
ROWS = 300


@dataclass(frozen=True)
class Table:
    """x (n, d) float64; y (n,) float64: class numbers, or values where `classes` is 0."""

    x: np.ndarray
    y: np.ndarray
    classes: int


@functools.cache
def real(name: str) -> Table:
    """A real table.  ModuleNotFoundError naming the extra where scikit-learn is missing."""
    try:
        from sklearn import datasets
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the table {name!r} comes with scikit-learn: pip install 'stepsmith[neural-data]'", name=error.name
        ) from None
    load = {"wine": "wine", "cancer": "breast_cancer", "iris": "iris", "diabetes": "diabetes"}[name]
    found = getattr(datasets, f"load_{load}")()
    y = found.target.astype(np.float64)
    return Table(found.data.astype(np.float64), y, 0 if name == "diabetes" else int(y.max()) + 1)


def made(name: str, seed: int, noise: float) -> Table:
    """A table of ROWS points made with a seed; noise: its size in units of the figure's, about .02 to .3."""
    row = np.arange(ROWS)
    u, v = uniform(seed, 11, row), uniform(seed, 12, row)
    x = np.stack([normal(seed, 13, row), normal(seed, 14, row), normal(seed, 15, row)], 1)
    if name == "waves":
        value = np.sin(2.0 * x[:, 0]) + 0.5 * x[:, 1] * x[:, 2] + noise * normal(seed, 16, row)
        return Table(x, value, 0)
    side = (row % 2).astype(np.float64)
    if name == "spirals":
        angle = np.sqrt(u) * 2.5 * np.pi
        turned = angle + np.pi * side
        point = np.stack([angle * np.cos(turned), angle * np.sin(turned)], 1) / (2.5 * np.pi)
        noise = 0.2 * noise
    elif name == "moons":
        angle = np.pi * u
        point = np.stack([np.cos(angle), np.sin(angle)], 1) * (1.0 - 2.0 * side)[:, None]
        point = point + side[:, None] * np.array([1.0, 0.5])
    elif name == "rings":
        radius, angle = 1.0 - 0.6 * side, 2.0 * np.pi * u
        point = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    else:
        point = 3.0 * np.stack([u, v], 1) - 1.5
        side = (np.floor(point).sum(1) % 2 != 0).astype(np.float64)
        noise = 0.2 * noise
    return Table(point + noise * x[:, :2], side, 2)
