"""What constant strengths come to on every instance: the measure of an episode, computed once and kept in a file.

The cost of a training is half its f-evaluations in training plus half those of a prediction at its end, both over those
without a penalty.  The best constant is the ratio of E, of `RATIOS`, with the least cost whose quality at the end is
within the budget of that without a penalty: .01 of the mean probability of the right class, or 2 % of a squared error.

`python -m stepsmith.envs.regularization` computes `grid.json` anew, some ten minutes on one core, and prints what it
comes to; with `--table` it prints that of the file as it is.  A test computes some of it again.
"""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path

import numpy as np

from ...controllers.strengths.observation import OFF
from .instances import SPLITS, instance
from .trainings import COUNT, Trainings

#: ratios of the gradients; 0 is no penalty
RATIOS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
DECISIONS, ITERATIONS = 20, 6
FILE = Path(__file__).with_name("grid.json")
POINTS, SHARE = 0.01, 0.02
#: most that a loss of quality is charged for, in budgets
WORST = 10.0


def measure(numbers: list[int], ratio: float) -> np.ndarray:
    """(instances, 3): f-evaluations in training, those of the last prediction, and the quality, at a constant ratio."""
    block = np.zeros((len(numbers), COUNT))
    lanes = np.arange(len(numbers))
    work = Trainings(block)
    work.begin(lanes, np.array(numbers))
    off(work)
    work.train(ITERATIONS)
    for decision in range(1, DECISIONS + 1):
        work["decision"][:] = decision
        work["level_e"][:] = np.log10(ratio) if ratio > 0.0 else OFF
        work.train(ITERATIONS)
    _, quality, nfev = work.examine()
    found = np.stack([work["spent"], nfev, quality], 1)
    return np.where(work["alive"][:, None] > 0.0, found, np.inf)


def off(work: Trainings) -> None:
    """No penalty, and the instance's own tolerance."""
    work["level_e"][:], work["level_s"][:], work["level_t"][:] = OFF, OFF, 0.0


def budget(number: int, quality: np.ndarray) -> np.ndarray:
    """How much worse than `quality`, that without a penalty, a training of the instance may be."""
    return np.full_like(quality, POINTS) if instance(number).classes else SHARE * quality


@functools.cache
def table() -> np.ndarray:
    """(instances, len(RATIOS), 3) of `measure`."""
    found = json.loads(FILE.read_text())
    if tuple(found["ratios"]) != RATIOS or [found["decisions"], found["iterations"]] != [DECISIONS, ITERATIONS]:
        raise ValueError(f"{FILE.name} is of other settings: compute it anew")
    return np.array(found["values"])


@functools.cache
def measures() -> dict[str, np.ndarray]:
    """By name, one number an instance: `spent`, `nfev`, `quality` without a penalty, `budget`, and `best`, the cost of
    the best constant, and `ratio`, which it is."""
    values = table()
    plain = values[:, 0]
    allowed = np.array([float(budget(i, plain[i, 2])) for i in range(len(values))])
    cost = 0.5 * (values[:, :, 0] / plain[:, None, 0] + values[:, :, 1] / plain[:, None, 1])
    cost = np.where(values[:, :, 2] <= (plain[:, 2] + allowed)[:, None], cost, np.inf)
    best = cost.argmin(1)
    return {
        "spent": plain[:, 0], "nfev": plain[:, 1], "quality": plain[:, 2], "budget": allowed,
        "best": cost.min(1), "ratio": np.array(RATIOS)[best],
    }  # fmt: skip


@functools.cache
def known(ratio: float | None) -> tuple[np.ndarray, np.ndarray]:
    """(instances,) the cost of a constant of `RATIOS`, and the budgets that its loss of quality is charged for.

    None: the best constant of each instance, which is within the budget.
    """
    found = measures()
    if ratio is None:
        return found["best"], np.zeros(len(found["best"]))
    rows = table()[:, RATIOS.index(ratio)]
    cost = 0.5 * (rows[:, 0] / found["spent"] + rows[:, 1] / found["nfev"])
    return cost, charged((rows[:, 2] - found["quality"]) / found["budget"])


def charged(excess: np.ndarray) -> np.ndarray:
    """What a loss of quality by `excess` budgets is charged for: the budgets beyond the first, at most `WORST`."""
    return np.clip(excess - 1.0, 0.0, WORST)


def summary(split: str) -> str:
    """Means over a split: the cost of every ratio and of each instance's best, and how many are within the budget."""
    rows, values, known = list(SPLITS[split]), table(), measures()
    plain = values[rows][:, :1]
    cost = 0.5 * (values[rows, :, 0] / plain[:, :, 0] + values[rows, :, 1] / plain[:, :, 1])
    within = values[rows, :, 2] <= plain[:, :, 2] + known["budget"][rows][:, None]
    lines = [f"{split}: best of each {known['best'][rows].mean():.2f}"]
    for ratio, a, b in zip(RATIOS, cost.mean(0), within.mean(0), strict=True):
        lines.append(f"  ratio {ratio:<5g} cost {a:.2f}   within the budget {b:.2f}")
    return "\n".join(lines)


def main() -> None:
    """Compute the file, and print what it comes to."""
    if sys.argv[1:] == ["--table"]:
        print("\n".join(summary(split) for split in SPLITS))
        return
    numbers = [n for split in SPLITS.values() for n in split]
    values = []
    for ratio in RATIOS:
        values.append(measure(numbers, ratio))
        print(f"ratio {ratio:g}: f-evaluations in training {values[-1][:, 0].mean():.0f}", flush=True)
    stacked = np.stack(values, 1)
    kept = {"ratios": RATIOS, "decisions": DECISIONS, "iterations": ITERATIONS}
    rows = [[[float(f"{v:.6g}") for v in one] for one in row] for row in stacked.tolist()]
    FILE.write_text(json.dumps({**kept, "values": rows}) + "\n")
    print("\n".join(summary(split) for split in SPLITS))
