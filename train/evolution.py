"""Evolution strategy (CMA-ES by pycma) on a controller's weights: whole episodes inside compiled code, no gradient.

A candidate's fitness is minus its mean matched-error return over `instances` training instances at `tolerances` relative tolerances.
The runs stay the same for `redraw` generations: chaos makes single runs so noisy that fresh ones every generation drown the signal.

    mean over runs of   log w - log w_base(e)  +  fail [failed]  +  window max(0, |log10(e/e_base(tol))| - 1)

with w the right-hand sides, e the error reached, w_base the baseline's work on that instance at that error.  One evaluation is one
ensemble solve; the weights are data, so nothing is compiled twice.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cma
import numpy as np

from ..controllers.learned import Learned
from ..envs.pool import ERROR_GRID, LARGEST, Pool
from ..integrators.ensemble import solve_ensemble
from ..integrators.measure import errors


BEYOND = 0.5 * np.log(10.0)  # how far training errors reach beyond the band at both ends


@dataclass(frozen=True)
class Settings:
    """generations; population (0: pycma's default); sigma, the first step in weight space; instances and tolerances a generation;
    redraw: generations between draws of the runs; fail and window as above; decay: weight of the squared weights in the fitness; max_steps: attempts a run."""

    generations: int = 800
    population: int = 16
    sigma: float = 0.2
    instances: int = 128
    tolerances: int = 3
    redraw: int = 200
    fail: float = 2.0
    window: float = 0.3
    decay: float = 1e-4
    max_steps: int = 1_500

    def __post_init__(self) -> None:
        for name in ("generations", "instances", "tolerances", "redraw", "max_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not self.sigma > 0:
            raise ValueError(f"sigma must be positive, got {self.sigma}")


def uniform_lookup(table: np.ndarray, rows: np.ndarray, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """table[rows] (.., G) at x by linear interpolation on the uniform `grid`, held at its ends."""
    k = np.clip((x - grid[0]) / (grid[1] - grid[0]), 0.0, len(grid) - 1.0)
    j = np.minimum(k.astype(np.int64), len(grid) - 2)
    lo = table[rows, j]
    return lo + (k - j) * (table[rows, j + 1] - lo)


class Fitness:
    """The fitness of controllers on a pool; `draw` fixes the runs of a generation."""

    def __init__(self, pool: Pool, method: str, rtol: tuple[float, float], settings: Settings) -> None:
        self.pool, self.method, self.rtol, self.settings = pool, method, rtol, settings
        self.attempts = 0

    def draw(self, rng: np.random.Generator) -> None:
        """Draw a generation's instances and tolerances: for every instance, tolerances at which the baseline's errors are spread evenly
        over the family's band of error levels (a decade wider at both ends), where the comparison will be made."""
        s, pool = self.settings, self.pool
        size = min(s.instances, len(pool.batch))
        pick = rng.choice(len(pool.batch), size, replace=False)
        self.index = np.repeat(pick, s.tolerances)
        u = (np.tile(np.arange(s.tolerances), size) + rng.random(size * s.tolerances)) / s.tolerances
        lo, hi = np.log(pool.family.levels[0]) - BEYOND, np.log(pool.family.levels[1]) + BEYOND
        wanted = pool.log_rtol_for(self.index, lo + u * (hi - lo))
        self.log_rtol = np.clip(wanted, np.log(self.rtol[1]), np.log(self.rtol[0]))
        # longest runs first: lanes are refilled from the queue, and a long run at its end would leave the others idle
        longest = np.argsort(-uniform_lookup(pool.at_tol[0], self.index, self.log_rtol, pool.log_rtol), kind="stable")
        self.index, self.log_rtol = self.index[longest], self.log_rtol[longest]
        self.batch = pool.batch[self.index]
        self.ref = pool.ref[self.index]
        self.times = self.batch.times(pool.family.fractions)
        self.base_error = uniform_lookup(pool.at_tol[1], self.index, self.log_rtol, pool.log_rtol)

    def __call__(self, controller: Any) -> float:
        s, fam = self.settings, self.pool.family
        rtol = np.exp(self.log_rtol)
        sol = solve_ensemble(
            self.batch, self.method, controller, rtol, (rtol * fam.atol_factor)[:, None], t_eval=self.times, max_steps=s.max_steps
        )
        self.attempts += int(sol.stats.naccept.sum() + sol.stats.nreject.sum())
        e = errors(fam, self.batch, sol.y_eval, self.ref, sol.success)
        good = np.isfinite(e)
        le = np.log(np.clip(np.where(good, e, LARGEST), 1e-300, LARGEST))
        base = uniform_lookup(self.pool.table, self.index, le, ERROR_GRID)
        off = np.maximum(0.0, np.abs(le - self.base_error) / np.log(10.0) - 1.0)
        cost = np.log(sol.stats.nfev) - base + np.where(good, s.window * off, s.fail)
        return float(cost.mean())


def evolve(
    learned: Learned,
    fitness: Fitness,
    seed: int,
    checkpoint: Path | None = None,
    resume: bool = False,
) -> Iterator[tuple[int, int, float, Learned]]:
    """Run the strategy; after every generation yields (generation, attempts so far, mean fitness of it, controller of the mean).

    checkpoint: file that is rewritten every 25 generations (a pickle of pycma's own state: read back only from one's own run folder).
    """
    s = fitness.settings
    options: dict[str, Any] = {"seed": seed + 1, "verbose": -9, "maxiter": s.generations, "CMA_diagonal": learned.n_weights > 400}
    if s.population:
        options["popsize"] = s.population
    start = 0
    if resume and checkpoint is not None and checkpoint.exists():
        es, start, fitness.attempts = pickle.loads(checkpoint.read_bytes())
    else:
        es = cma.CMAEvolutionStrategy(np.asarray(learned.weights, float), s.sigma, options)
    for generation in range(start, s.generations):
        if generation == start or generation % s.redraw == 0:
            fitness.draw(np.random.default_rng([seed, 77, generation // s.redraw]))
        xs = es.ask()
        costs = [fitness(learned.with_weights(x)) + s.decay * float(np.mean(np.square(x))) for x in xs]
        es.tell(xs, costs)
        if checkpoint is not None and (generation + 1) % 25 == 0:
            tmp = checkpoint.with_suffix(".tmp")
            tmp.write_bytes(pickle.dumps((es, generation + 1, fitness.attempts)))
            tmp.replace(checkpoint)
        yield generation + 1, fitness.attempts, float(np.mean(costs)), learned.with_weights(es.mean)


