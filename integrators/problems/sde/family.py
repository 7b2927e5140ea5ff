"""A family of stochastic differential equations: one drift and diffusion, a distribution of starts and parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...core import options
from .problem import Exact, SDEProblem

Sampler = Callable[[np.random.Generator, int], tuple[Any, Any]]
#: streams of random numbers that are disjoint, as in `problems.families`
SPLITS = {"train": 0, "validation": 1, "test": 2, "sample": 3}


@dataclass(frozen=True, eq=False)
class SDEFamily:
    """A distribution of problems.

    name, doc       what it is called and is, the source among it.
    drift, diffusion, noise, interpretation, t_span, exact  as in `SDEProblem`; t_span holds for all instances.
    y0, p           start (n,) and parameters (m,) of its own instance.
    sampler         `sampler(rng, count)` -> y0 (count, n), p (count, m); arrays that broadcast to these.
    moments         `moments(t, y0, p)` -> mean and variance of the components at times t (k,), each (k, n), where they
                    are known, else None.
    method          the method that suits it.
    """

    name: str
    doc: str
    drift: Callable[..., None]
    diffusion: Callable[..., None]
    y0: tuple[float, ...]
    p: tuple[float, ...]
    sampler: Sampler
    noise: str = "diagonal"
    interpretation: str | None = "ito"
    t_span: tuple[float, float] = (0.0, 1.0)
    exact: Exact | None = None
    moments: Callable[..., tuple[np.ndarray, np.ndarray]] | None = None
    method: str = "sosri"

    @property
    def n(self) -> int:
        """Dimension of the state."""
        return len(self.y0)

    def problem(self, seed: int | None = None) -> SDEProblem:
        """One instance: its own, or the one drawn with `seed`."""
        if seed is None:
            return self.at(self.y0, self.p)
        y0, p = self.draw(1, seed)
        return self.at(y0[0], p[0])

    def at(self, y0: Any, p: Any) -> SDEProblem:
        """The instance with this start and these parameters."""
        return SDEProblem(
            self.drift, self.diffusion, y0, self.t_span, p, self.noise, self.interpretation, self.exact, self.name,
            self.name,
        )  # fmt: skip

    def draw(self, count: int, seed: int, split: str = "sample") -> tuple[np.ndarray, np.ndarray]:
        """Starts (count, n) and parameters (count, m) of a split's instances."""
        options.choice("split", split, SPLITS)
        key = [options.count("seed", seed, low=0), SPLITS[split], *self.name.encode()]
        y0, p = self.sampler(np.random.default_rng(np.random.SeedSequence(key)), options.count("count", count))
        return tuple(
            np.array(np.broadcast_to(np.asarray(value, dtype=np.float64), (count, size)))
            for value, size in ((y0, self.n), (p, len(self.p)))
        )  # type: ignore[return-value]


def uniform(rng: np.random.Generator, count: int, *ranges: tuple[float, float]) -> np.ndarray:
    """(count, len(ranges)) numbers, each column uniform in its range."""
    low, high = np.array(ranges).T
    return rng.uniform(low, high, (count, len(ranges)))
