"""Where a Jacobian may be non-zero, and what implicit methods make of it: a band to factor and groups of columns to
difference together.

A pattern that is no band is reordered to one by reverse Cuthill-McKee (E. Cuthill, J. McKee, Proc. 24th ACM Conf. 1969,
157; SciPy's `reverse_cuthill_mckee`), or factored as a sparse matrix (`sparse_factors`), or kept in full, n^2 numbers a
trajectory, whichever takes least: row and column q of the matrix that is factored are row and column `order[q]` of the
Jacobian. Columns that share no row are perturbed in one evaluation (A. R. Curtis, M. J. D. Powell, J. K. Reid, J. Inst.
Maths Applics 13 (1974) 117), largest first.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import mass as masses
from .sparse_factors import Factors, fill, minimum_degree

#: a band is used where its factorisation takes at most this part of the dense one's multiplications
WORTH = 0.5
#: what a multiplication of a sparse factorisation takes, reading its place from a table, in those of a band, of a dense
#: one (measured)
INDIRECT = (3.0, 7.0)


class _Pattern(np.ndarray):
    """A pattern that was checked: bool, read-only, diagonal set where the mass matrix is not 0."""


def checked(value: Any, n: int, mass: np.ndarray | None = None) -> Any:
    """`sparsity` of a Problem as it is kept: None, (lower, upper) as ints, or a read-only bool array (n, n) with the
    diagonal set; with a mass matrix (checked), where that one's is not 0.

    value: None, two whole numbers (diagonals below and above the main one), or an (n, n) array, dense or SciPy sparse,
    non-zero where the Jacobian may be.  ValueError for anything else.
    """
    if value is None:
        return None
    if isinstance(value, tuple) and len(value) == 2:
        if not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and 0 <= v < n for v in value):
            raise ValueError(
                f"sparsity as a band must be (lower, upper), whole numbers from 0 to {n - 1}, got {value!r}"
            )
        return int(value[0]), int(value[1])
    if isinstance(value, _Pattern) and value.shape == (n, n):
        return value  # checked before
    if hasattr(value, "toarray"):
        value = value.toarray()
    pattern = np.array(value)
    if pattern.shape != (n, n) or pattern.dtype.kind not in "fiub":
        raise ValueError(
            f"sparsity must be None, (lower, upper) or an array of shape ({n}, {n}), got {pattern.dtype} "
            f"{pattern.shape}"
        )
    pattern = (pattern != 0).view(_Pattern)
    if mass is None:
        np.fill_diagonal(pattern, True)
    else:
        diagonal = np.asarray(mass) if mass.ndim == 1 else mass.diagonal()
        pattern[np.arange(n), np.arange(n)] |= diagonal != 0.0
    pattern.flags.writeable = False
    return pattern


def key(value: Any) -> Any:
    """A hashable name of a checked `sparsity`."""
    return hashlib.sha256(np.packbits(value).tobytes()).hexdigest() if isinstance(value, np.ndarray) else value


@dataclass(frozen=True, eq=False)
class Structure:
    """lower, upper: diagonals of the matrix that is factored (n - 1 each: dense).  order: (n,) int, its rows as rows of
    the Jacobian, or None where they are the same.  ptr (n + 1,), row: rows, in the factored matrix's numbering, where
    column q may be non-zero. groups: (n,) int, columns of equal number share no row (dense: every column its own).
    factors: where L and U of a matrix that is factored as a sparse one are non-zero (lower and upper are n - 1 then),
    or None.
    """

    n: int
    lower: int
    upper: int
    order: np.ndarray | None
    ptr: np.ndarray
    row: np.ndarray
    groups: np.ndarray
    factors: Factors | None = None

    @property
    def dense(self) -> bool:
        """Whether the matrix is kept in full."""
        return self.lower == self.upper == self.n - 1 and self.factors is None

    @property
    def coloured(self) -> bool:
        """Whether differences take fewer evaluations than there are columns."""
        return int(self.groups.max()) + 1 < self.n


def structure(value: Any, n: int, mass: np.ndarray | None = None) -> Structure:
    """The `Structure` of a checked `sparsity` in dimension n.

    mass: a checked mass matrix M, or None; the structure then holds shift M - J and M + c P J (`mass`).  Sparse
    factors, whose pivots stay on the diagonal, are not used where an entry of that is 0 in J and M alike.
    """
    if mass is None or value is None:
        return _structure(key(value), n, _Held(value), False)
    if isinstance(value, tuple):
        value = _band(n, value)
    whole = masses.pattern_with(np.asarray(value), mass)
    return _structure(key(whole), n, _Held(whole), not np.asarray(value).diagonal().all())


def _band(n: int, value: tuple[int, int]) -> np.ndarray:
    i, j = np.indices((n, n), sparse=True)
    return (i - j <= value[0]) & (j - i <= value[1])


class _Held:
    """A pattern that does not take part in the cache's key (its hash does)."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __hash__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)


@functools.lru_cache(maxsize=64)
def _structure(name: Any, n: int, held: _Held, exchanges: bool) -> Structure:
    """exchanges: rows have to be exchanged, which sparse factors do not."""
    value = held.value
    if value is None:
        return _dense(n)
    if isinstance(value, tuple):
        value = _band(n, value)
    order, (lower, upper) = None, _bandwidth(value)
    if not _worth(n, lower, upper):
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import reverse_cuthill_mckee

        order = np.asarray(reverse_cuthill_mckee(csr_matrix(value | value.T), symmetric_mode=True), dtype=np.int64)
        lower, upper = _bandwidth(value[np.ix_(order, order)])
    banded = _worth(n, lower, upper)
    factors = None
    # a band that is full gains nothing from an order of its own
    if not exchanges and (not banded or np.count_nonzero(value) < 0.5 * n * (lower + upper + 1)):
        sparse = minimum_degree(value)
        factors = fill(
            value[np.ix_(sparse, sparse)],
            lower * (lower + upper + 1) * n / INDIRECT[0] if banded else n**3 / 3.0 / INDIRECT[1],
        )
    if factors is not None:
        order, lower, upper = sparse, n - 1, n - 1
    elif not banded:
        order, lower, upper = None, n - 1, n - 1
    pattern = value if order is None else value[np.ix_(order, order)]
    column, row = np.nonzero(pattern.T)
    ptr = np.searchsorted(column, np.arange(n + 1))
    groups = _colours(pattern)
    if order is not None:  # greedy colours depend on the columns' order
        groups = min(groups, _colours(value)[order], key=np.max)
    return Structure(n, lower, upper, order, ptr, row.astype(np.int64), groups, factors)


def _dense(n: int) -> Structure:
    return Structure(n, n - 1, n - 1, None, np.arange(n + 1) * n, np.tile(np.arange(n), n), np.arange(n))


def _bandwidth(pattern: np.ndarray) -> tuple[int, int]:
    i, j = np.nonzero(pattern)
    return int((i - j).max(initial=0)), int((j - i).max(initial=0))


def _worth(n: int, lower: int, upper: int) -> bool:
    return lower * (lower + upper + 1) * n <= WORTH * n**3 / 3.0 and 2 * lower + upper + 1 < n


def _colours(pattern: np.ndarray) -> np.ndarray:
    """Greedy colouring, the columns with most entries first."""
    n = len(pattern)
    groups = np.full(n, -1)
    taken: list[np.ndarray] = []  # rows that a group's columns reach
    for q in np.argsort(-pattern.sum(axis=0), kind="stable"):
        column = pattern[:, q]
        g = next((g for g, rows in enumerate(taken) if not np.any(rows & column)), len(taken))
        if g == len(taken):
            taken.append(np.zeros(n, bool))
        taken[g] |= column
        groups[q] = g
    return groups
