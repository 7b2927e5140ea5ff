"""Which laws are timed in kernels of their own.

A published law shares a kernel with the others, which saves compiling dozens.  A kernel that is specialised to a law's
coefficients is a few instructions shorter: the laws that a claim is made against run in theirs, as the tuned law does
anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from .contestants import Entry
from .metric import DENOMINATOR_KINDS, Runs, point_ratio
from .splits import Split


def headline_kernels(table: Sequence[Entry], base: Runs, split: Split, more: Collection[str] = ()) -> list[Entry]:
    """The table with the laws that the headline may be against in kernels of their own.

    These are the denominator `base`, the law that may beat it on the test split, and those named in `more`.
    """
    laws = [e.runs(split, s) for e, s in table if e.kind in DENOMINATOR_KINDS]
    ratios = [point_ratio(law, base, split.family.error_levels) for law in laws]
    rival = laws[int(np.nanargmin(ratios))].name if np.isfinite(ratios).any() else base.name
    return own_kernels(table, {base.name, rival, *more})


def own_kernels(table: Sequence[Entry], names: Collection[str]) -> list[Entry]:
    """The table with the laws of these names in kernels that are specialised to their coefficients.

    A law with the coefficients of one of them (`arkode` is `h0321`) takes that one's kernel: the same decisions must
    take the same time.
    """
    own = [_params(e) for e, _ in table if e.name in names]
    twins = {e.name for e, _ in table if any(_same(_params(e), p) for p in own)}
    return [(replace(e, at=functools.partial(_specialised, e.at)) if e.name in twins else e, s) for e, s in table]


def _params(entry: Any) -> Any:
    law = entry.at(float(entry.knob[0])) if entry.by_tolerance else None
    return law.params if isinstance(law, Law) and law.kind == "linear" else None


def _same(a: Any, b: Any) -> bool:
    return a is not None and b is not None and np.array_equal(a, b)


def _specialised(at: Callable[[float], Any], value: float) -> Any:
    law = at(value)
    return law.specialised() if isinstance(law, Law) else law
