"""Clocks of contestants that take turns on one thread: ensembles with their lanes busy, and solves one at a time.

**Lanes** ("wall").  What is timed is the solver at work with its lanes busy, as it is where there are thousands of
similar problems: every run stands in the ensemble as often as it takes (`copies`), long runs first.  Otherwise the
seconds would be those of the longest run, alone in its block.

**Single solves** ("single").  What is timed is the compiled kernel that `ss.solve` calls, with the same arguments, and
without the Python around it (`stats.wall_s`), on a few instances and tolerances.

Either way seconds are turned into a rate, seconds a unit of work at every value of the knob, by which all runs are
charged.  The contestants take turns in rounds (`turns`), and every round is kept: the rate is that of the median round,
after what a turn did to all of them alike has been taken out (`rates.without_turns`).  With `apart`, as for every
figure that a table prints, each round is taken in a process of its own (`fresh`); one that cannot be is taken here, and
`said` gets a sentence on it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ...integrators import methods
from ...integrators.compile import cache
from ..run.progress import Progress
from . import fresh
from .contestants import Entry
from .curves import Array
from .rates import Rate, rate_of, without_turns
from .splits import Split, Sweep
from .turns import Programme, Turn

#: how often a run may stand in an ensemble that is timed
MOST_COPIES = 64
#: instances and values of the knob of which single solves are timed
SINGLE_INSTANCES, SINGLE_KNOBS = 16, 5
#: how far beyond the family's band of error levels the errors of single solves that are timed may lie
SINGLE_REACH = 3.0


def wall_clock(
    table: Sequence[Entry], split: Split, repeats: int, max_steps: int, bar: Progress, said: list[str] | None = None,
    apart: bool = False,
) -> dict[str, Rate]:  # fmt: skip
    """The rates of contestants in lanes, by name, from `repeats` rounds: an ensemble's seconds over its work.

    Runs that fail are not timed, for they have no error to be matched; they are charged the rate of the others.  A
    contestant none of whose runs succeeds has no clock and is left out.
    """
    from ...integrators.kernels.build import lanes_for

    lanes = lanes_for(split.batch.n)
    # an implicit method solves its systems lane by lane, but decides for all lanes at once
    busy = 1.0 if methods.get(split.method).implicit else 2.0

    def turns(s: Sweep, k: int) -> Turn:
        rows = _longest_first(s, k)
        work = s.work[rows, k]
        count = copies(work, lanes, busy) if rows.size else 0
        return Turn(k, rows, count, count * float(work.sum()))

    entries = tuple((e, tuple(t for k in range(e.knob.size) if (t := turns(s, k)).rows.size)) for e, s in table)
    return _rates(Programme(split, max_steps, entries), repeats, bar, said, apart)


def single_clock(
    table: Sequence[Entry], split: Split, repeats: int, max_steps: int, bar: Progress, said: list[str] | None = None,
    apart: bool = False,
) -> dict[str, Rate]:  # fmt: skip
    """The rates of contestants in single solves, by name, from `repeats` rounds.

    Timed are the first `SINGLE_INSTANCES` instances whose run finished, at no more than `SINGLE_KNOBS` values of the
    knob, at which the typical error lies in the family's band or near it; in between the rate is interpolated.
    """

    def turns(s: Sweep, k: int) -> Turn:
        rows = np.flatnonzero(np.isfinite(s.err[:, k]))[:SINGLE_INSTANCES]
        return Turn(k, rows, 0, float(s.work[rows, k].sum()))

    entries = tuple(
        (e, tuple(t for k in _near(s, split.family.levels) if (t := turns(s, k)).rows.size)) for e, s in table
    )
    return _rates(Programme(split, max_steps, entries), repeats, bar, said, apart)


def copies(work: Array, lanes: int, busy: float = 2.0, most: int = MOST_COPIES) -> int:
    """How often runs of so much work (R,) must stand in an ensemble so that all lanes have work to the end.

    With so many copies the longest run takes at most 1/`busy` of what each lane has to do.
    """
    return int(np.clip(np.ceil(busy * lanes * work.max() / work.sum()), 1, most))


def _rates(
    programme: Programme, repeats: int, bar: Progress, said: list[str] | None, apart: bool
) -> dict[str, Rate]:
    """The rates of a programme's contestants, by name."""
    why = ""
    if apart and cache.fleeting():
        why = "some kernels cannot be kept on disk, and each process would compile them again"
    rounds = []
    for r in range(repeats):
        if apart and not why:
            try:
                rounds.append(fresh.call(Programme.round, programme, r))
            except fresh.NotFresh as error:
                why = str(error)
        if len(rounds) == r:
            rounds.append(programme.round(r))
        bar.advance(len(programme.entries))
    if why and said is not None:
        said.append(
            "clocks: rounds were not taken in processes of their own, so that the intervals leave out where a process "
            f"places its code and data ({why})"
        )
    spent = without_turns(np.stack(rounds, axis=1))
    out = {}
    for (e, turns), timed in zip(programme.entries, spent, strict=True):
        if turns:
            out[e.name] = rate_of(timed[:, : len(turns)], np.array([t.knob for t in turns]), e.knob.size)
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
