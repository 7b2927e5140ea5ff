"""Coefficients as floats whose sums are those of the exact ones.

The entries of a stage add up to its node, the weights to 1, and every order condition builds on that.  Rounded one by
one, entries of a hundred miss the sum by some 1e-14, in the same way at every step: the answer drifts by that much
times the number of steps, and no tolerance brings it below.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from .tableau import ExplicitTableau

#: a tableau that misses no sum by more has no large entries: it is rounded entry by entry, as everybody does it
SLACK = 10 * 2.0**-52

Floats = tuple[float, ...]


@functools.lru_cache(maxsize=64)
def rounded(tableau: ExplicitTableau) -> tuple[tuple[Floats, ...], Floats]:
    """The rows `a` and the weights `b` in float64.  Where a sum would be missed by more than `SLACK`, the smallest
    entry of each row takes up what the others miss.
    """
    exact = (*tableau.a, tableau.b)
    rows = [tuple(float(x) for x in row) for row in exact]
    if max(abs(_miss(*pair)) for pair in zip(exact, rows, strict=True)) > SLACK:
        rows = [_compensated(*pair) for pair in zip(exact, rows, strict=True)]
    return tuple(rows[:-1]), rows[-1]


def _miss(exact: Sequence[Any], floats: Floats) -> Fraction:
    """What the floats' sum lacks."""
    return sum(map(Fraction, exact), Fraction(0)) - sum(map(Fraction, floats), Fraction(0))


def _compensated(exact: Sequence[Any], floats: Floats) -> Floats:
    filled = [k for k, x in enumerate(floats) if x != 0.0]
    if not filled:
        return floats
    least = min(filled, key=lambda k: abs(floats[k]))
    changed = float(Fraction(floats[least]) + _miss(exact, floats))
    return (*floats[:least], changed, *floats[least + 1 :])
