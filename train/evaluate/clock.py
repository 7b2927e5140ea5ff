"""Clocks of contestants that take turns on one thread: ensembles with their lanes busy, and solves one at a time.

**Lanes** ("wall").  What is timed is the solver at work with its lanes busy, as it is where there are thousands of
similar problems: every run stands in the ensemble as often as it takes (`copies`), long runs first.  Otherwise the
seconds would be those of the longest run, alone in its block.

**Single solves** ("single").  What is timed is the compiled kernel that `ss.solve` calls, with the same arguments, and
without the Python around it (`stats.wall_s`), on a few instances and tolerances.

Either way seconds are turned into a rate, seconds a unit of work at every value of the knob, by which all runs are
charged.  The contestants take turns in rounds, in an order that is drawn anew for every turn, and every round is kept:
the rate is that of the median round, after what a turn did to all of them alike has been taken out
(`rates.without_turns`).  A turn that is over at once is taken several times, and the least counts (`least`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...integrators import methods
from ..run.progress import Progress
from .contestants import Contestant, Entry
from .curves import Array
from .rates import Rate, rate_of, without_turns
from .splits import Split, Sweep

#: how often a run may stand in an ensemble that is timed
MOST_COPIES = 64
#: instances and values of the knob of which single solves are timed
SINGLE_INSTANCES, SINGLE_KNOBS = 16, 5
#: a turn of fewer seconds is taken again until its calls last so long together, or there are so many of them
ENOUGH, MOST_CALLS = 0.02, 10
#: how far beyond the family's band of error levels the errors of single solves that are timed may lie
SINGLE_REACH = 3.0


def wall_clock(
    table: Sequence[Entry], split: Split, repeats: int, max_steps: int, bar: Progress
) -> dict[str, Rate]:
    """The rates of contestants in lanes, by name, from `repeats` rounds: an ensemble's seconds over its work.

    Runs that fail are not timed, for they have no error to be matched; they are charged the rate of the others.  A
    contestant none of whose runs succeeds has no clock and is left out.
    """
    from ...integrators.kernels.build import lanes_for

    lanes = lanes_for(split.batch.n)
    # an implicit method solves its systems lane by lane, but decides for all lanes at once
    busy = 1.0 if methods.get(split.method).implicit else 2.0

    def seconds(e: Contestant, s: Sweep, k: int, rows: NDArray[np.intp]) -> float:
        count = copies(s.work[rows, k], lanes, busy)
        return e.seconds(split, k, np.repeat(rows, count), max_steps) / count

    turns = {e.name: {k: _longest_first(s, k) for k in range(e.knob.size)} for e, s in table}
    return _in_turn(table, turns, seconds, repeats, bar)


def single_clock(
    table: Sequence[Entry], split: Split, repeats: int, max_steps: int, bar: Progress
) -> dict[str, Rate]:
    """The rates of contestants in single solves, by name, from `repeats` rounds.

    Timed are the first `SINGLE_INSTANCES` instances whose run finished, at no more than `SINGLE_KNOBS` values of the
    knob, at which the typical error lies in the family's band or near it; in between the rate is interpolated.
    """

    def seconds(e: Contestant, s: Sweep, k: int, rows: NDArray[np.intp]) -> float:
        return e.single_seconds(split, k, rows, max_steps)

    turns = {
        e.name: {k: np.flatnonzero(np.isfinite(s.err[:, k]))[:SINGLE_INSTANCES] for k in _near(s, split.family.levels)}
        for e, s in table
    }
    return _in_turn(table, turns, seconds, repeats, bar)


def copies(work: Array, lanes: int, busy: float = 2.0, most: int = MOST_COPIES) -> int:
    """How often runs of so much work (R,) must stand in an ensemble so that all lanes have work to the end.

    With so many copies the longest run takes at most 1/`busy` of what each lane has to do.
    """
    return int(np.clip(np.ceil(busy * lanes * work.max() / work.sum()), 1, most))


def least(seconds: Callable[[], float]) -> float:
    """The least of several calls' seconds where a call is short: an interruption of a few milliseconds, which a call of
    a second hides, would double it.
    """
    found = total = seconds()
    for _ in range(MOST_CALLS - 1):
        if total >= ENOUGH:
            break
        spent = seconds()
        found, total = min(found, spent), total + spent
    return found


def _in_turn(
    table: Sequence[Entry],
    turns: Mapping[str, Mapping[int, NDArray[np.intp]]],
    seconds: Callable[[Contestant, Sweep, int, NDArray[np.intp]], float],
    repeats: int,
    bar: Progress,
) -> dict[str, Rate]:
    """The rates of contestants, from the seconds of the runs that `turns` names: rows by knob, by contestant."""
    chosen = {name: [k for k, rows in mine.items() if rows.size] for name, mine in turns.items()}
    most = max((len(mine) for mine in chosen.values()), default=0)
    spent = np.full((len(table), repeats, most), np.nan)
    rng = np.random.default_rng(0)
    for r in range(repeats):
        for j in range(most):
            for c in rng.permutation(len(table)):
                e, s = table[c]
                if j < len(chosen[e.name]):
                    k = chosen[e.name][j]
                    spent[c, r, j] = least(functools.partial(seconds, e, s, k, turns[e.name][k]))
            bar.advance(len(table) / most)
    spent = without_turns(spent)
    out = {}
    for c, (e, s) in enumerate(table):
        knobs = chosen[e.name]
        if knobs:
            work = np.array([s.work[turns[e.name][k], k].sum() for k in knobs])
            out[e.name] = rate_of(spent[c, :, : len(knobs)] / work, np.array(knobs), e.knob.size)
    return out


def _near(s: Sweep, levels: tuple[float, float]) -> list[int]:
    """Values of the knob of which single solves are timed."""
    done = np.isfinite(s.err).any(axis=0)
    typical = np.array([np.median(e[np.isfinite(e)]) if np.isfinite(e).any() else np.nan for e in s.err.T])
    low, high = min(levels) / SINGLE_REACH, max(levels) * SINGLE_REACH
    near = np.flatnonzero(done & (typical >= low) & (typical <= high))
    near = near if near.size else np.flatnonzero(done)
    pick = np.unique(np.linspace(0, near.size - 1, min(SINGLE_KNOBS, near.size)).round().astype(int))
    return [int(k) for k in near[pick]]


def _longest_first(s: Sweep, k: int) -> NDArray[np.intp]:
    """Rows of the runs at knob k that finished, the one of most work first."""
    good = np.flatnonzero(np.isfinite(s.err[:, k]))
    return good[np.argsort(-s.work[good, k], kind="stable")]
