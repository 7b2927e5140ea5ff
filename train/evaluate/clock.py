"""Wall clock of contestants that take turns on one thread.

What is timed is the solver at work with its lanes busy, as it is where there are thousands of similar problems: every
run stands in the ensemble as often as it takes (`copies`), long runs first.  Otherwise the seconds would be those of
the longest run, alone in its block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from ...integrators import methods
from ..run.progress import Progress
from .contestants import Entry
from .curves import Array
from .metric import DENOMINATOR_KINDS, Runs, point_ratio
from .splits import Split, Sweep

#: how often a run may stand in an ensemble that is timed
MOST_COPIES = 64


def wall_clock(
    table: Sequence[Entry], split: Split, repeats: int, max_steps: int, bar: Progress
) -> dict[str, Array]:
    """Seconds (B, K) of every contestant by its name: an ensemble's seconds, shared out by work.

    The contestants take turns at every value of the knob, in `repeats` rounds, and the least of the rounds counts.
    Runs that fail are not timed, for they have no error to be matched; they are charged the rate of the others.  A
    contestant none of whose runs succeeds has no clock and is left out.
    """
    from ...integrators.kernels.build import lanes_for

    lanes = lanes_for(split.batch.n)
    # an implicit method solves its systems lane by lane, but decides for all lanes at once
    busy = 1.0 if methods.get(split.method).implicit else 2.0
    most = max(e.knob.size for e, _ in table)
    timed = {(e.name, k): _longest_first(s, k) for e, s in table for k in range(e.knob.size)}
    least = {e.name: np.full(e.knob.size, np.inf) for e, _ in table}
    for _ in range(repeats):
        for k in range(most):
            for e, s in table:
                if k < e.knob.size and (rows := timed[e.name, k]).size:
                    count = copies(s.work[rows, k], lanes, busy)
                    once = e.seconds(split, k, np.repeat(rows, count), max_steps) / count
                    least[e.name][k] = min(least[e.name][k], once)
            bar.advance(len(table) / most)
    out = {}
    for e, s in table:
        spent = np.array([s.work[timed[e.name, k], k].sum() for k in range(e.knob.size)])
        rate = _rates(least[e.name], spent)
        if rate is not None:
            out[e.name] = s.work * rate
    return out


def copies(work: Array, lanes: int, busy: float = 2.0, most: int = MOST_COPIES) -> int:
    """How often runs of so much work (R,) must stand in an ensemble so that all lanes have work to the end.

    With so many copies the longest run takes at most 1/`busy` of what each lane has to do.
    """
    return int(np.clip(np.ceil(busy * lanes * work.max() / work.sum()), 1, most))


def headline_kernels(table: Sequence[Entry], base: Runs, split: Split) -> list[Entry]:
    """The table with the laws that the headline may be against in kernels of their own, as the tuned law is anyway.

    These are the denominator `base` and the law that may beat it on the test split.  Compiling a kernel for every
    published law would take minutes.
    """
    laws = [e.runs(split, s) for e, s in table if e.kind in DENOMINATOR_KINDS]
    ratios = [point_ratio(law, base, split.family.error_levels) for law in laws]
    rival = laws[ratios.index(min(ratios))].name
    return own_kernels(table, (base.name, rival))


def own_kernels(table: Sequence[Entry], names: Collection[str]) -> list[Entry]:
    """The table with the laws of these names in kernels that are specialised to their coefficients."""
    return [(replace(e, at=functools.partial(_specialised, e.at)) if e.name in names else e, s) for e, s in table]


def _specialised(at: Callable[[float], Any], value: float) -> Any:
    law = at(value)
    return law.specialised() if isinstance(law, Law) else law


def _longest_first(s: Sweep, k: int) -> np.ndarray:
    """Rows of the runs at knob k that finished, the one of most work first."""
    good = np.flatnonzero(np.isfinite(s.err[:, k]))
    return good[np.argsort(-s.work[good, k], kind="stable")]


def _rates(seconds: Array, spent: Array) -> Array | None:
    """Seconds a unit of work (K,); the largest where nothing was timed, None where nothing was at all."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.where(spent > 0, seconds / spent, np.nan)
    known = rate[np.isfinite(rate)]
    return np.where(np.isfinite(rate), rate, known.max()) if known.size else None
