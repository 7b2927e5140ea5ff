"""Aggregates over runs and protocols with 95 % intervals (Agarwal et al. 2021, "Deep reinforcement learning at the edge
of the statistical precipice", arXiv:2108.13264), of work ratios: less is better, 1 is the protocol's law.

    mean      mean over protocols of the mean over seeds
    median    median over protocols of the mean over seeds
    iqm       interquartile mean: of all runs, without the best and the worst quarter
    excess    mean of max(ratio - 1, 0): what the runs that cost more than the law cost more (the optimality gap)
    better    probability that a run costs less than the law, mean over protocols; a tie counts a half

Intervals are percentiles over stratified resamples: the seeds of each protocol are drawn anew.  They say how much the
figures depend on the training seeds, for these protocols.  With few seeds they are too narrow; five are few.  One seed
says nothing about others: the ends are then NaN.

These are the published formulas of the package rliable, written out: rliable 1.2.0 needs arch < 8, which does not
import beside pandas 3, and draws from NumPy's global generator whatever seed it is given.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with the ends of its interval, which are NaN where there is one seed."""

    value: float
    low: float
    high: float


def mean(ratios: np.ndarray) -> np.ndarray:
    """Of ratios (..., seeds, protocols); so are all figures below."""
    return ratios.mean(axis=-2).mean(axis=-1)


def median(ratios: np.ndarray) -> np.ndarray:
    """Median over protocols of the mean over seeds."""
    return np.median(ratios.mean(axis=-2), axis=-1)


def iqm(ratios: np.ndarray) -> np.ndarray:
    """Mean of what is left of all runs without the smallest and the largest quarter, each rounded down, as
    `scipy.stats.trim_mean` with 0.25.
    """
    flat = np.sort(ratios.reshape(*ratios.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return flat[..., cut : flat.shape[-1] - cut].mean(axis=-1)


def excess(ratios: np.ndarray) -> np.ndarray:
    """Mean of max(ratio - 1, 0)."""
    return np.maximum(ratios - 1.0, 0.0).mean(axis=(-2, -1))


def better(ratios: np.ndarray) -> np.ndarray:
    """Share of runs below 1, a run within rounding of 1 counting a half, mean over protocols."""
    level = np.isclose(ratios, 1.0, rtol=0.0, atol=1e-6)
    return np.where(level, 0.5, ratios < 1.0).mean(axis=(-2, -1))


FIGURES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "iqm": iqm, "median": median, "mean": mean, "excess": excess, "better": better,
}  # fmt: skip


def estimates(ratios: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Every figure of `FIGURES` of a row's ratios (seeds, protocols), with its interval.

    seed: of the resampling.  A ratio that is infinite makes the figures that see it infinite.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(ratios), (resamples, *ratios.shape))
    again = np.take_along_axis(np.broadcast_to(ratios, drawn.shape), drawn, axis=1)
    found = {}
    for name, figure in FIGURES.items():
        tail = 50.0 * (1.0 - LEVEL)
        with np.errstate(invalid="ignore"):
            low, high = np.percentile(figure(again), [tail, 100.0 - tail], method="linear")
        if len(ratios) == 1:
            low = high = np.nan
        found[name] = Estimate(float(figure(ratios)), float(low), float(high))
    return found


def profile(ratios: np.ndarray, at: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> np.ndarray:
    """Performance profile: the share of runs whose ratio is at most each of `at` (K,), with its interval.

    ratios: (seeds, protocols).  Returns (3, K): value, low, high.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(ratios), (resamples, *ratios.shape))
    again = np.take_along_axis(np.broadcast_to(ratios, drawn.shape), drawn, axis=1)
    value = (ratios[..., None] <= at).mean(axis=(0, 1))
    tail = 50.0 * (1.0 - LEVEL)
    low, high = np.percentile(
        np.stack([(again <= level).mean(axis=(1, 2)) for level in at], axis=-1), [tail, 100.0 - tail], axis=0
    )
    return np.stack([value, low, high])
