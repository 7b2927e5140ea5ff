"""Trials of libraries, timed in turn, and their times at equal error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from stepsmith.train.evaluate.curves import log_work_at

Run = Callable[[], np.ndarray]
#: a method is timed again only where its first time at some level is at most this many times its library's best
WORTH = 1.5


@dataclass
class Trial:
    """One library, method and tolerance: its error, and the least CPU seconds a trajectory so far."""

    library: str
    method: str
    tol: float
    error: float
    run: Run
    trajectories: int = 1
    seconds: float = field(default=np.inf)


def once(run: Run) -> float:
    """CPU seconds of one call, all threads added up."""
    start = time.process_time()
    run()
    return time.process_time() - start


def time_in_turn(trials: Sequence[Trial], turn: int, seconds: Callable[[Run], float] = once) -> None:
    """Time every trial once; those of like error stand next to each other, and the libraries' order turns."""
    libraries = list(dict.fromkeys(trial.library for trial in trials))

    def place(trial: Trial) -> tuple[float, int]:
        return round(np.log10(trial.error)), (libraries.index(trial.library) + turn) % len(libraries)

    for trial in sorted(trials, key=place):
        trial.seconds = min(trial.seconds, seconds(trial.run) / trial.trajectories)


def curves(trials: Iterable[Trial]) -> dict[tuple[str, str], list[Trial]]:
    """The trials of every library and method, from the loosest tolerance to the tightest."""
    found: dict[tuple[str, str], list[Trial]] = {}
    for trial in sorted(trials, key=lambda t: -t.tol):
        found.setdefault((trial.library, trial.method), []).append(trial)
    return found


def needed(trials: Iterable[Trial], levels: Sequence[float]) -> list[Trial]:
    """The trials between which a time at some level is interpolated."""
    kept = []
    for curve in curves(trials).values():
        errors = np.array([trial.error for trial in curve])
        wanted: set[int] = set()
        for level in levels:
            inside = np.flatnonzero(errors <= level)
            if len(inside):
                wanted |= {max(int(inside[0]) - 1, 0), int(inside[0])}
        kept += [curve[k] for k in sorted(wanted)]
    return [trial for trial in kept if np.isfinite(trial.error)]


def at_levels(trials: Iterable[Trial], levels: Sequence[float]) -> dict[tuple[str, str], np.ndarray]:
    """Seconds of every library and method at the levels, linear in logarithms of error and time; NaN: not reached.

    A level that is looser than every run counts as the cheapest run.
    """
    return {
        key: np.exp(log_work_at([t.error for t in curve], [t.seconds for t in curve], levels, looser=True))
        for key, curve in curves(trials).items()
    }


def best(times: dict[tuple[str, str], np.ndarray], library: str, count: int) -> tuple[np.ndarray, list[str]]:
    """The least seconds of a library at each of `count` levels, NaN where it gets to none, and the method that takes
    them.
    """
    rows = {method: row for (own, method), row in times.items() if own == library}
    table = np.array([np.full(count, np.nan), *rows.values()])
    table[np.isnan(table)] = np.inf
    names = ["", *rows]
    least = table.min(axis=0)
    return np.where(np.isfinite(least), least, np.nan), [names[k] for k in table.argmin(axis=0)]


def worth(trials: Sequence[Trial], levels: Sequence[float]) -> list[Trial]:
    """The trials of the methods that are near their library's best at some level."""
    times = at_levels(trials, levels)
    near = {
        (library, method)
        for (library, method), row in times.items()
        if np.any(row <= WORTH * best(times, library, len(levels))[0])
    }
    return [trial for trial in trials if (trial.library, trial.method) in near]


def measured(trials: Sequence[Trial], levels: Sequence[float], repeats: int, seconds=once) -> list[Trial]:
    """The trials that decide the times at the levels, with the best of `repeats` times."""
    left = needed(trials, levels)
    for turn in range(repeats):
        time_in_turn(left if turn == 0 else worth(left, levels), turn, seconds)
    return left
