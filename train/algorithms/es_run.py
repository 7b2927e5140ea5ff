"""The loop of a run by evolution strategy: generations, validation beside them, the log, and the best controller.

What is learnt on (instances of a family, fields of neural training runs) is the fitness; what is validated on is the
caller's `ratio`; what is kept is written by the caller's `keep`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...controllers.file import load
from ..run.board import Board, Clock, tags
from ..run.progress import Progress
from ..run.provenance import provenance
from ..run.rundir import RunDir
from ..run.runfiles import plain
from . import evolution


class EveryAttempts:
    """A validation is due once `every` attempts have been made since the last one; `first`: attempts at the next."""

    def __init__(self, first: int, every: int) -> None:
        self.next, self.every = first, every

    def __call__(self, generation: int, attempts: int) -> bool:
        return attempts >= self.next

    def made(self, attempts: int) -> None:
        """A validation has been made after so many attempts."""
        self.next = attempts + self.every


class EveryGenerations:
    """A validation is due every so many generations."""

    def __init__(self, every: int) -> None:
        self.every = every

    def __call__(self, generation: int, attempts: int) -> bool:
        return generation % self.every == 0

    def made(self, attempts: int) -> None:
        """A validation has been made; the next one does not depend on it."""


def evolve_run(
    run: RunDir,
    first: evolution.Evolved,
    fitness: evolution.Scores,
    state: dict[str, Any] | None,
    due: EveryAttempts | EveryGenerations,
    ratio: Callable[[Any], float],
    keep: Callable[[Any, dict[str, Any], dict[str, Any]], None],
    seed: int,
    name: str,
    progress: bool,
    validated: str = "ratio",
) -> None:
    """Evolve `first` to the last generation, or on from `state`, and keep what is best on validation in the run folder.

    due        says at which generations to validate; the last one is validated anyway
    ratio      the validation figure of a controller, less is better
    keep       saves the best so far: of the generation's mean, what made it (env steps, generation) and its measured
               figure
    seed       of the strategy;   name: of the run, for the progress bar
    validated  what `ratio` is: "ratio", or "minus_return", a mean return with its sign turned
    """
    s = fitness.settings
    total, unit = (s.total_steps, "attempts") if s.total_steps else (s.generations, "generations")
    bar = Progress(f"es {name}", total, unit, progress)
    before = None if state is None else int(state["attempts"])
    board, clock = Board(run.path, before), Clock(before or 0)
    best, logged = run.best, {row.get("generation"): row for row in run.logged()}
    try:
        for generation, attempts, cost, mean in evolution.evolve(first, fitness, seed, run.checkpoint, state):
            # an episode is a whole solve, and its reward what the strategy lowers, with the sign turned
            trained = {"train/loss": cost, "rollout/ep_rew_mean": -cost, "time/iterations": generation}
            board.add(attempts, {**trained, **clock.now(attempts)})
            if (made_before := logged.get(generation, {}).get("validation")) is not None:  # its events were purged
                board.add(attempts, tags(validated, made_before, logged[generation]["best"]))
            if (due(generation, attempts) or s.last(generation, attempts)) and generation not in logged:
                due.made(attempts)
                figure = ratio(mean)
                board.add(attempts, tags(validated, figure, min(figure, best)))
                if figure < best:
                    best = figure
                    made = {"env_steps": attempts, "generation": generation}
                    keep(mean, made, {"validation_ratio": figure})
                run.log(generation=generation, env_steps=attempts, fitness=cost, validation=figure, best=best)
            bar.update(attempts if s.total_steps else generation, fitness=cost, validation=best)
    finally:
        bar.close()
        board.close()


def after_start(start: str | None, made: dict[str, Any]) -> dict[str, Any]:
    """What made a controller of a run that began from the file `start`: the attempts that made that one are added.

    A law whose search is given the budget of such a training (`tune.budget`) is given both.
    """
    if start is None:
        return made
    before = load(start).provenance.get("env_steps")
    begun = {"file": Path(start).name, "env_steps": before}
    return {**made, "env_steps": made["env_steps"] + int(before or 0), "start": begun}


def provenance_of(facts: dict[str, Any], made: dict[str, Any], more: dict[str, Any] | None = None) -> dict[str, Any]:
    """What a saved controller says of its training: facts of the run, of the generation, and versions and commit.

    It is plain data: null stands for a number that is not known, such as the seconds of costs that a config gives.
    """
    return plain({**facts, **made, **(more or {}), **provenance()})
