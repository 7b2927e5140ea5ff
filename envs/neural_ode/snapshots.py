"""The snapshots of trainings that `stepsmith/NeuralODE-v0` plays: made anew from the instances of
`stepsmith/Regularization-v0`, and written where the family `neural_training` reads them."""

from __future__ import annotations

import numpy as np

from ...controllers.strengths.observation import OFF
from ...integrators.problems.nonstiff.neural_training import BOUNDED, FILE, PARAMETERS, POINTS, WEIGHTS
from ..regularization.flow import FIELD
from ..regularization.instances import HIDDEN, SPLITS, TABLES, WIDTH, instance
from ..regularization.trainings import COUNT, Trainings

#: how many of the instances of a split are trained, the first ones
COUNTS = {"train": 32, "validation": 12, "test": 12}
#: ratio of the penalty on the error estimate, in every other pass through the tables of a split
RATIO = 0.3
#: rows of the training data that are kept of each
KEPT = 24
#: iterations without a penalty at the beginning
WARM_UP = 6


def ratio_of(split: str, place: int) -> float:
    """The penalty's ratio in training `place` of a split: none and `RATIO` in turn, each on every table."""
    return RATIO if (place // len(TABLES[split])) % 2 else 0.0


def fields(numbers: list[int], ratios: list[float], points: tuple[int, ...] = POINTS) -> np.ndarray:
    """(trainings, points, PARAMETERS) float32: p of the family's instances after so many iterations, of trainings of
    these instances with a penalty of these ratios.  RuntimeError where a training fails."""
    block = np.zeros((len(numbers), COUNT))
    work = Trainings(block)
    work.begin(np.arange(len(numbers)), np.array(numbers))
    work["level_s"][:], work["level_t"][:] = OFF, 0.0
    found = np.zeros((len(numbers), len(points), PARAMETERS), np.float32)
    found[:, :, BOUNDED] = np.array([instance(number).bounded for number in numbers])[:, None]
    found[:, 0, :WEIGHTS] = _as_parameters(work)
    for k, (begin, end) in enumerate(zip(points, points[1:], strict=False), 1):
        levels = [np.log10(ratio) if ratio > 0.0 and begin >= WARM_UP else OFF for ratio in ratios]
        for done in range(begin, end, WARM_UP):
            work["decision"][:] = done // WARM_UP
            work["level_e"][:] = levels
            work.train(WARM_UP)
        found[:, k, :WEIGHTS] = _as_parameters(work)
    if not work["alive"].all():
        raise RuntimeError(f"trainings of instances {np.array(numbers)[work['alive'] == 0.0].tolist()} failed")
    return found


def _as_parameters(work: Trainings) -> np.ndarray:
    """The weights of the lanes' fields: W1, b1, W2, b2 lie in a training's row as in the family's p."""
    assert FIELD == WEIGHTS == HIDDEN * (2 * WIDTH + 2) + WIDTH
    return work.theta[:, :FIELD].detach().numpy()


def rows(number: int) -> np.ndarray:
    """(KEPT, WIDTH) float32: the first rows that the instance trains on."""
    one = instance(number)
    return one.x[: one.train][:KEPT].astype(np.float32)


def write() -> None:
    """Write the family's file; some minutes."""
    kept: dict[str, np.ndarray] = {}
    for split, count in COUNTS.items():
        numbers = list(SPLITS[split])[:count]
        ratios = [ratio_of(split, i) for i in range(count)]
        kept[f"{split}_numbers"], kept[f"{split}_ratios"] = np.array(numbers), np.array(ratios)
        kept[f"{split}_fields"] = fields(numbers, ratios)
        kept[f"{split}_rows"] = np.stack([rows(number) for number in numbers])
        print(f"{split}: {count} trainings of {POINTS[-1]} iterations", flush=True)
    np.savez_compressed(FILE, allow_pickle=False, **kept)
    print(f"{FILE.name}: {FILE.stat().st_size / 1e3:.0f} kB")
