"""What zero actions and full even steps come to on the test split, against the law from cold starts, and how many steps
the environment makes in a second."""

from __future__ import annotations

import time

import numpy as np

from ...integrators.problems.nonstiff.neural_training import SNAPSHOTS
from ..core import Core
from .core import make_core

#: solves of the pool; lanes; solves that are counted of each lane
POOL, LANES, SOLVES = 96 * SNAPSHOTS, 256, 4 * SNAPSHOTS
RTOL = (1e-2, 1e-6)


def episodes(core: Core, action: np.ndarray, solves: int) -> np.ndarray:
    """Statistics (lanes, solves, columns) of each lane's first solves under one constant action."""
    core.seed(np.arange(core.lanes, dtype=np.uint64))
    core.reset()
    found = np.zeros((core.lanes, solves, len(core.columns)))
    count = np.zeros(core.lanes, np.int64)
    actions = np.tile(np.asarray(action, np.float32), (core.lanes, 1))
    while (count < solves).any():
        ended = core.ended[: core.step(actions)]
        keep = ended[count[ended] < solves]
        found[keep, count[keep]] = core.stats[keep]
        count[keep] += 1
    return found


def main() -> None:
    """Print the table: log work over the cold law's at equal error, and f-evaluations a solve."""
    core = make_core(LANES, True, split="test", pool_size=POOL, rtol=RTOL)
    print(f"{LANES} lanes, {SOLVES} solves each, split test, tolerances {RTOL[0]:g} to {RTOL[1]:g}; law pi34, tsit5")
    print("| actions | f-evaluations a solve | work over the cold law's at equal error, 95 % | solves dearer |")
    print("|---|---|---|---|")
    for name, action in (("zero: warm start", (0, 0, 0)), ("even steps", (0, 0, 1)), ("longer even steps", (0, 0, -1))):
        stats = episodes(core, np.array(action), SOLVES)
        ratio = -stats[:, :, core.columns.index("log_ratio")]
        lost = int((~np.isfinite(stats[:, :, core.columns.index("error")])).sum())
        if lost:
            raise RuntimeError(f"{lost} solves under {name!r} did not reach their end: a mean over them means nothing")
        lanes = ratio.mean(1)
        half = 1.96 * lanes.std(ddof=1) / np.sqrt(len(lanes))
        nfev = stats[:, :, core.columns.index("nfev")].mean()
        low, middle, high = np.exp(lanes.mean() + half * np.array([-1.0, 0.0, 1.0]))
        print(f"| {name} | {nfev:.1f} | {middle:.3f} [{low:.3f}, {high:.3f}] | {(ratio > 0).mean():.2f} |", flush=True)
    begun, steps, still = time.perf_counter(), 0, np.zeros((LANES, core.n_act), np.float32)
    while time.perf_counter() - begun < 3.0:
        core.step(still)
        steps += LANES
    print(f"{steps / (time.perf_counter() - begun) / 1e6:.3f} million steps a second")
