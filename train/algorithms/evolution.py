"""Evolution strategy (CMA-ES by pycma) on a controller's weights: whole episodes inside compiled code, no gradient.

A candidate's fitness is the figure that the comparison will use, on the training split: the mean over instances and
error levels of

    log w(level) - log w_base(level)

with w(level) the work (right-hand sides, and linear algebra at its measured cost) on the candidate's lower envelope
over the family's tolerances (`train.evaluate.curves`), w_base that of the baseline; of a suite, the mean over its
families.  A level that the candidate does not reach is charged its dearest run and `miss` on top.  Only tolerances at
which the baseline's error lies within `reach` decades of the band are run.  Single runs are no substitute: chaotic
errors scatter by a decade, and an envelope over many tolerances gains from scatter what a mean over runs does not see.

The instances stay the same for `redraw` generations.  One evaluation is one ensemble solve; the weights are data, so
nothing is compiled twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import cma
import numpy as np

from ...integrators.engine.ensemble import available_cores, solve_ensemble
from ...integrators.engine.measure import errors, sweep
from ...integrators.engine.spread import Shared, spread
from ..config.algorithms import ES
from ..config.settings import check
from ..evaluate import curves
from ..evaluate.splits import Split
from ..run.checkpoint import Checkpoint
from . import es_state

EVERY = 25  # generations between checkpoints, of a fitness that scores one controller at a time


@dataclass(frozen=True)
class Settings:
    """Settings of the strategy.

    generations    how many there are
    population     candidates a generation; 0: pycma's default
    sigma          first step in weight space
    instances      training instances a generation
    redraw         generations between draws of instances
    dearest        instances whose runs cost the baseline more work than this are left out: a few would take most of
                   the time
    reach          decades around the band of errors within which tolerances are run
    miss           what a level out of reach is charged on top, in the log of the work
    decay          weight of the mean squared weight in the fitness
    max_steps      attempts a run may make
    total_steps    attempts after which no generation begins, all candidates together; 0: `generations` alone decides
    """

    generations: int = 800
    population: int = 16
    sigma: float = 0.2
    instances: int = 96
    redraw: int = 10_000
    dearest: float = 30_000.0
    reach: float = 1.5
    miss: float = 1.0
    decay: float = 1e-4
    max_steps: int = 2_000
    total_steps: int = 0

    def __post_init__(self) -> None:
        for name, value in check("train", vars(self), ES).items():
            object.__setattr__(self, name, value)

    def last(self, generation: int, attempts: int) -> bool:
        """Whether no generation follows the one that has this number (from 1 on), after so many attempts in all."""
        return generation >= self.generations or 0 < self.total_steps <= attempts


class Evolved(Protocol):
    """What `evolve` needs of what it learns: weights (n_weights,), and another one with other weights."""

    @property
    def n_weights(self) -> int: ...

    @property
    def weights(self) -> np.ndarray: ...

    def with_weights(self, weights: np.ndarray) -> Any: ...


class Scores(Protocol):
    """What `evolve` needs of a fitness.

    It has `settings`, counts `attempts`, fixes the instances of the coming generations by `draw`, and scores a
    controller when it is called; less is better.  One that scores a whole generation at once has `generation` too,
    which takes its controllers and returns their scores; one that shares them out has `scores`, which does the same.
    """

    @property
    def settings(self) -> Settings: ...

    @property
    def attempts(self) -> int: ...

    @attempts.setter
    def attempts(self, value: int) -> None: ...

    def draw(self, rng: np.random.Generator) -> None: ...

    def __call__(self, controller: Any) -> float: ...


@dataclass(frozen=True)
class Drawn:
    """The instances of some generations, ready to be solved: what a candidate's score depends on, and nothing else.

    row, tol    (R,) of every run, its instance's number among those drawn and its tolerance's
    batch, ref, times, rtol    of every run
    base        (I, L) log work of the baseline at the error levels, by drawn instance
    """

    family: Any
    method: str
    costs: Any
    tolerances: np.ndarray
    row: np.ndarray
    tol: np.ndarray
    batch: Any
    ref: np.ndarray
    times: np.ndarray
    rtol: np.ndarray
    base: np.ndarray
    max_steps: int
    miss: float

    def score(self, controller: Any, threads: int | None = None) -> tuple[float, int]:
        """A controller's score, less is better, and the attempts that it took."""
        fam = self.family
        sol = solve_ensemble(
            self.batch, self.method, controller, self.rtol, (self.rtol * fam.atol_factor)[:, None], t_eval=self.times,
            max_steps=self.max_steps, threads=threads,
        )  # fmt: skip
        assert sol.y_eval is not None  # t_eval was given
        shape = (len(self.base), len(self.tolerances))
        err, work = np.full(shape, np.inf), np.ones(shape)
        err[self.row, self.tol] = errors(fam, self.batch, sol.y_eval, self.ref, sol.success)
        work[self.row, self.tol] = self.costs.work(sol.stats)
        own = curves.log_work_at(err, work, fam.error_levels, looser=True)
        own = np.where(np.isfinite(own), own, np.log(work.max(axis=1))[:, None] + self.miss)
        gap = np.where(np.isfinite(self.base), own - self.base, np.nan)
        attempts = int(sol.stats.naccept.sum() + sol.stats.nreject.sum())
        return float(np.nanmean(np.nanmean(gap, axis=1))), attempts


class Fitness:
    """The fitness of controllers on a training split, against the law `baseline`; `draw` fixes the instances."""

    def __init__(self, split: Split, baseline: Any, settings: Settings) -> None:
        self.split, self.settings = split, settings
        self.attempts = 0
        fam = split.family
        self.tolerances = np.array(fam.tolerances)
        err, work = sweep(fam, split.batch, split.ref, split.method, baseline, self.tolerances, costs=split.costs)
        self.base = curves.log_work_at(err, work, fam.error_levels)
        lo, hi = (np.log10(v) for v in fam.levels)
        with np.errstate(divide="ignore"):
            decade = np.log10(err)
        near = (decade >= lo - settings.reach) & (decade <= hi + settings.reach)
        # from the loosest to the tightest of those near the band, without holes
        t = np.arange(len(self.tolerances))
        first = np.where(near.any(1), near.argmax(1), len(t))
        last = len(t) - 1 - near[:, ::-1].argmax(1)
        self.use = (t >= first[:, None]) & (t <= last[:, None])
        cost = np.where(self.use, work, 0.0).sum(axis=1)
        self.pick = np.flatnonzero((cost <= settings.dearest) & np.isfinite(self.base).any(axis=1) & near.any(1))
        if self.pick.size == 0:
            known = cost[np.isfinite(self.base).any(axis=1) & near.any(1)]
            least = f"the cheapest costs {known.min():.3g}" if known.size else "none comes near the family's errors"
            raise ValueError(
                f"no training instance costs the baseline at most {settings.dearest:g} (work in right-hand sides, over "
                f"all tolerances near the family's errors; {least}): set dearest in [train]"
            )
        self.cost = work

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the instances of the coming generations."""
        instances = rng.permutation(self.pick)[: self.settings.instances]
        row, tol = np.nonzero(self.use[instances])
        # longest runs first: lanes are refilled from the queue, and a long run at its end would leave the others idle
        order = np.argsort(-self.cost[instances[row], tol], kind="stable")
        row, tol = row[order], tol[order]
        index = instances[row]
        split, s = self.split, self.settings
        self.drawn = Drawn(
            split.family, split.method, split.costs, self.tolerances, row, tol, split.batch[index], split.ref[index],
            split.batch[index].times(split.family.fractions), self.tolerances[tol], self.base[instances], s.max_steps,
            s.miss,
        )  # fmt: skip

    def __call__(self, controller: Any, threads: int | None = None) -> float:
        score, attempts = self.drawn.score(controller, threads)
        self.attempts += attempts
        return score


class Together:
    """The mean fitness over several splits.

    executor: scores the candidates of a generation side by side, to the same numbers; None: one after the other here.
    """

    def __init__(self, members: Sequence[Fitness], executor: Executor | None = None) -> None:
        self.members = list(members)
        self.settings = self.members[0].settings
        self.executor = executor

    @property
    def attempts(self) -> int:
        """Attempts so far, all members together."""
        return sum(m.attempts for m in self.members)

    @attempts.setter
    def attempts(self, value: int) -> None:
        for m in self.members:
            m.attempts = 0
        self.members[0].attempts = value

    def draw(self, rng: np.random.Generator) -> None:
        """Draw the instances of the coming generations."""
        for m in self.members:
            m.draw(rng)
        self.shared = Shared([m.drawn for m in self.members])

    def scores(self, controllers: Sequence[Any]) -> list[float]:
        """The scores of several controllers, which the executor's workers share."""
        if self.executor is None:
            return [self(c) for c in controllers]
        found = spread(_scored, controllers, self.executor, shared=self.shared, what="candidate")
        self.members[0].attempts += sum(attempts for _, attempts in found)
        return [score for score, _ in found]

    def __call__(self, controller: Any) -> float:
        if len(self.members) == 1:
            return self.members[0](controller)
        # an ensemble of a few instances fills one core
        with ThreadPoolExecutor(available_cores()) as pool:
            return float(np.mean(list(pool.map(lambda m: m(controller, threads=1), self.members))))


def _scored(drawn: list[Drawn], controller: Any) -> tuple[float, int]:
    """The mean score of a controller over several splits, and the attempts that it took."""
    found = [each.score(controller) for each in drawn]
    scores = [score for score, _ in found]
    return scores[0] if len(scores) == 1 else float(np.mean(scores)), sum(attempts for _, attempts in found)


def scores_of(fitness: Scores, candidates: list[Any]) -> list[float]:
    """The scores of a generation, or of any controllers on the same instances."""
    together = getattr(fitness, "generation", None) or getattr(fitness, "scores", None)
    return [fitness(c) for c in candidates] if together is None else [float(score) for score in together(candidates)]


def evolve(
    learned: Evolved,
    fitness: Scores,
    seed: int,
    checkpoint: Checkpoint | None = None,
    state: dict[str, Any] | None = None,
) -> Iterator[tuple[int, int, float, Any]]:
    """Run the strategy; yields (generation, attempts so far, its mean fitness, controller of the mean) after each.

    checkpoint: where the state goes at the start, every `EVERY` generations (each, if
                a generation is scored as a whole) and at the end.  state: what
    `checkpoint.load()` gave; the strategy goes on from there to the same numbers.  ValueError where it is no state of
    such a strategy.
    """
    s = fitness.settings
    options: dict[str, Any] = {
        "seed": seed + 1,
        "verbose": -9,
        "maxiter": s.generations,
        "CMA_diagonal": learned.n_weights > 400,
    }
    if s.population:
        options["popsize"] = s.population

    def make() -> Any:
        return cma.CMAEvolutionStrategy(np.asarray(learned.weights, float), s.sigma, dict(options))

    start = 0
    # one that is scored as a whole takes minutes
    every = 1 if hasattr(fitness, "generation") else EVERY
    if state is None:
        es = make()
    else:
        try:
            es, start, attempts = (
                es_state.build(make, state["strategy"]),
                int(state["generation"]),
                int(state["attempts"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the checkpoint holds no state of this strategy ({error!r})") from None
        fitness.attempts = attempts
    saved = start if state is not None else -1

    def save(generation: int) -> None:
        if checkpoint is not None and generation != saved:
            checkpoint.save({"strategy": es_state.state_of(es), "generation": generation, "attempts": fitness.attempts})

    save(start)
    if start and s.last(start, fitness.attempts):
        return
    for generation in range(start, s.generations):
        if generation == start or generation % s.redraw == 0:
            fitness.draw(np.random.default_rng([seed, 77, generation // s.redraw]))
        xs = es.ask()
        scores = scores_of(fitness, [learned.with_weights(x) for x in xs])
        costs = [score + s.decay * float(np.mean(np.square(x))) for score, x in zip(scores, xs, strict=True)]
        es.tell(xs, costs)
        last = s.last(generation + 1, fitness.attempts)
        yield generation + 1, fitness.attempts, float(np.mean(costs)), learned.with_weights(es.mean)
        # not before: what the caller logs of a generation comes before the state that follows it
        if (generation + 1) % every == 0 or last:
            save(generation + 1)
        if last:
            return
