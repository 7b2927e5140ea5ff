"""What simple rules come to on the split "test" against the law of `steady_state`, and how many steps the environment
makes in a second.

Their constants are chosen on the split "train", each by the geometric mean of f-evaluations over the law's.  A solve
that does not arrive counts with what it spent until it was cut: its true cost is higher.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .core import SteadyCore, make_core
from .kernel import LOG_FACTOR_MOST

#: lanes, each with as many solves of its own
LANES, SOLVES = 256, 4
RESAMPLES = 4000
Rule = Callable[[SteadyCore], np.ndarray]


def still(core: SteadyCore) -> np.ndarray:
    """Action zero: the size is kept."""
    return np.zeros(core.lanes)


def by_radius(share: float, most: float) -> Rule:
    """h = share / radius, the largest stiffness estimate of late, and growth by a factor `most` at most."""

    def rule(core: SteadyCore) -> np.ndarray:
        radius = core.rows("radius")
        wanted = np.log(share / np.where(radius > 0.0, radius, 1.0) / core.rows("h"))
        return np.where(radius > 0.0, np.minimum(wanted, np.log(most)), 0.0)

    return rule


def by_slope(up: float, down: float) -> Rule:
    """Grow by the factor `up` where the last attempt made the slope smaller, else shrink by `down`."""

    def rule(core: SteadyCore) -> np.ndarray:
        found = np.where(core.rows("fell") > 0.0, np.log(down), np.log(up))
        return np.where((core.rows("last") == 0.0) | (core.rows("rejected") > 0.0), 0.0, found)

    return rule


def by_error(share: float, most: float) -> Rule:
    """The error estimate is to be this share of what the first slope moves: h times (share / the last one)^(1/4), for
    the share goes as h^4; growth by a factor `most`, and shrinking to a quarter, at most."""

    def rule(core: SteadyCore) -> np.ndarray:
        seen = core.rows("share")
        wanted = np.log(share / np.where(seen > 0.0, seen, share)) / 4.0
        found = np.clip(wanted, -LOG_FACTOR_MOST, np.log(most))
        return np.where((core.rows("last") == 0.0) | (core.rows("rejected") > 0.0), 0.0, found)

    return rule


def by_policy(path: str) -> Rule:
    """The deterministic policy of a file of Stable-Baselines3's PPO, as `stepsmith train steady_state_ppo` keeps it."""
    from stable_baselines3 import PPO

    model: Any = PPO.load(path, device="cpu")
    return lambda core: LOG_FACTOR_MOST * model.predict(core.obs, deterministic=True)[0][:, 0]


#: rules with the constants among which the split "train" chooses
RULES: dict[str, tuple[Callable[..., Rule], tuple[tuple[float, ...], ...]]] = {
    "h = {0} / radius, growth {1} at most": (by_radius, ((0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.5, 2.0), (1.2, 1.5))),
    "h times {0} where the slope fell, else times {1}": (by_slope, ((1.05, 1.1, 1.2, 1.3, 1.5), (0.3, 0.5, 0.7, 0.8))),
    "error / move = {0}, growth {1} at most": (by_error, ((0.002, 0.005, 0.0075, 0.01, 0.0125, 0.015), (1.2, 1.5))),
}


def solves(rule: Rule, split: str) -> np.ndarray:
    """Statistics (LANES * SOLVES, columns) of each lane's first solves under a rule."""
    core = make_core(LANES, True, split=split)
    core.seed(np.arange(LANES, dtype=np.uint64))
    core.reset()
    found = np.zeros((LANES, SOLVES, len(core.columns)))
    count = np.zeros(LANES, np.int64)
    while (count < SOLVES).any():
        actions = np.clip(rule(core) / LOG_FACTOR_MOST, -1.0, 1.0)
        ended = core.ended[: core.step(actions[:, None])]
        keep = ended[count[ended] < SOLVES]
        found[keep, count[keep]] = core.stats[keep]
        count[keep] += 1
    return found.reshape(-1, len(core.columns))


def ratios(stats: np.ndarray) -> np.ndarray:
    """(instances,) the mean logarithm of f-evaluations over the law's, by instance."""
    nfev, baseline, instance = (stats[:, SteadyCore.columns.index(n)] for n in ("nfev", "baseline", "instance"))
    place = np.unique(instance, return_inverse=True)[1]
    return np.bincount(place, np.log(nfev / baseline)) / np.bincount(place)


def interval(logs: np.ndarray) -> tuple[float, float, float]:
    """Geometric mean and its 95 % bootstrap interval over instances."""
    drawn = np.random.default_rng(0).integers(0, len(logs), (RESAMPLES, len(logs)))
    low, high = np.percentile(logs[drawn].mean(1), [2.5, 97.5])
    return float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))


def chosen(make: Callable[..., Rule], grid: tuple[tuple[float, ...], ...]) -> tuple[float, ...]:
    """The constants with the least geometric mean on the split "train"."""
    return min(itertools.product(*grid), key=lambda given: ratios(solves(make(*given), "train")).mean())


def main(policies: Sequence[str] = ()) -> None:
    """Print the table: f-evaluations over the law's, and how many solves arrived; policies: files of PPO."""
    learned = {f"PPO {i}: {path}": by_policy(path) for i, path in enumerate(policies)}
    print(f"{LANES} lanes, {SOLVES} solves each, split test, tol 1e-3; constants of rules chosen on the split train")
    print("| rule | f-evaluations over the law's, 95 % | arrived |")
    print("|---|---|---|")
    print("| law pi34 of `steady_state` | 1 | 1.000 |", flush=True)
    rules: dict[str, Rule] = {"zero: h = 1": still}
    for name, (make, grid) in RULES.items():
        best = chosen(make, grid)
        rules[name.format(*(f"{x:g}" for x in best))] = make(*best)
    rules |= learned
    for name, rule in rules.items():
        stats = solves(rule, "test")
        middle, low, high = interval(ratios(stats))
        arrived = (stats[:, SteadyCore.columns.index("status")] == 1.0).mean()
        print(f"| {name} | {middle:.3f} [{low:.3f}, {high:.3f}] | {arrived:.3f} |", flush=True)
    core = make_core(LANES, True, split="test")
    core.seed(np.arange(LANES, dtype=np.uint64))
    core.reset()
    begun, steps, none = time.perf_counter(), 0, np.zeros((LANES, 1))
    while time.perf_counter() - begun < 3.0:
        core.step(none)
        steps += LANES
    print(f"{steps / (time.perf_counter() - begun) / 1e6:.3f} million steps a second")
