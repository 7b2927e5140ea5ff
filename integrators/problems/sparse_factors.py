"""Where the factors of a sparse matrix are non-zero: an order of elimination that fills in little, and the fill it
causes.

The pivots stay on the diagonal, so that all of this is known before any number is (the way of KPP: V. Damian et al.,
Computers Chem. Engng 26 (2002) 1567; matrices shift I - J of stiff systems bear it, since a smaller step makes the
diagonal larger).  The order is multiple minimum degree on the pattern of A + A^T (J. W. H. Liu, ACM TOMS 11 (1985) 141)
from SciPy's SuperLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Factors:
    """L and U in one matrix, column by column: `ptr` (n + 1,), `row` ascending in a column, `diag` (n,) where the
    diagonal stands.

    work: multiplications of a factorisation.
    """

    ptr: np.ndarray
    row: np.ndarray
    diag: np.ndarray
    work: int


def minimum_degree(pattern: np.ndarray) -> np.ndarray:
    """Order (n,) int64 of elimination for a bool pattern (n, n) with its diagonal set: `order[q]` is eliminated as
    number q.
    """
    from scipy.sparse import csc_matrix
    from scipy.sparse.linalg import splu

    n = len(pattern)
    i, j = np.nonzero(pattern | pattern.T)
    # numbers that need no exchange: only the order is of interest
    matrix = csc_matrix((np.where(i == j, n + 1.0, -1.0), (i, j)), shape=(n, n))
    found = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    return np.argsort(found.perm_c).astype(np.int64)


def fill(pattern: np.ndarray, most: float = np.inf) -> Factors | None:
    """The factors' pattern for elimination in the given order, without exchanges; None where it takes `most`
    multiplications or more.
    """
    n = len(pattern)
    # of row k, columns behind the diagonal
    right = [
        set(np.flatnonzero(pattern[k, k + 1 :]) + k + 1) for k in range(n)
    ]
    below = [set(np.flatnonzero(pattern[k + 1 :, k]) + k + 1) for k in range(n)]  # of column k, rows under it
    above: list[list[int]] = [[] for _ in range(n)]
    work = 0
    for k in range(n):
        work += len(below[k]) * (len(right[k]) + 1)
        if work >= most:
            return None
        for j in right[k]:
            above[j].append(k)
        for i in below[k]:
            new = right[k] - right[i] - {i}
            right[i] |= {j for j in new if j > i}
            for j in new:
                if j < i:
                    below[j].add(i)
    columns = [np.array([*above[j], j, *sorted(below[j])], dtype=np.int64) for j in range(n)]
    ptr = np.concatenate([[0], np.cumsum([len(c) for c in columns])]).astype(np.int64)
    diag = ptr[:-1] + np.array([len(a) for a in above])
    return Factors(ptr, np.concatenate(columns), diag.astype(np.int64), work)
