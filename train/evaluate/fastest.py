"""The law that is fastest by a clock on the validation split: the denominator of that clock's figures.

It need not be the law with the fewest evaluations, for a shorter formula may take less time than the evaluations that a
longer one saves.  Laws whose work is more than `NEAR` times that of the best are not timed: no published formula is so
much shorter.  The others take turns in the kernels that they share; the `FINALISTS` fastest of them take turns again,
in kernels of their own, as they will on the test split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .contestants import Entry
from .curves import Array
from .headline import choose_denominator
from .metric import work_ratio
from .own_kernels import own_kernels
from .rates import Rate
from .runs import Runs
from .splits import Split

#: laws are timed whose weighted work is at most this multiple of the best one's
NEAR = 1.15
FINALISTS = 3

#: rates by name of the contestants of a table
Clock = Callable[[Sequence[Entry]], Mapping[str, Rate]]


def near(table: Sequence[Entry], ratios: Mapping[str, float]) -> list[Entry]:
    """The laws of a table whose work is within `NEAR` of the least; ratios: of the laws, by name (`least_ratio`)."""
    least = min(ratios.values())
    return [(e, s) for e, s in table if ratios.get(e.name, float("inf")) <= NEAR * least]


def least_ratio(a: Runs, b: Runs, levels: Array) -> float:
    """Weighted work of A over B's, with lost instances charged or without, whichever is less: a law that loses one may
    still be the fastest.
    """
    found = work_ratio(a, b, levels, "work", intervals=False)
    assert found is not None  # every Runs has "work"
    return float(np.nanmin([found.figure.ratio, found.uncharged.ratio, np.inf]))


def fastest(
    table: Sequence[Entry], split: Split, name: str, clock: Clock, levels: Array
) -> tuple[str, list[str]]:
    """The fastest law of a table by the clock `name` ("wall", "single"), and the finalists, itself among them."""

    def ratios(entries: Sequence[Entry]) -> tuple[str, dict[str, float]]:
        rates = clock(entries)
        runs = [e.runs(split, s, {name: rates[e.name]}) for e, s in entries if e.name in rates]
        return choose_denominator(runs, levels, name)

    first, of_all = ratios(table)
    names = sorted(of_all, key=lambda k: (of_all[k], k))[:FINALISTS]
    if len(names) == 1:
        return first, names
    finalists = [(e, s) for e, s in table if e.name in names]
    return ratios(own_kernels(finalists, names))[0], names
