"""Does a problem's `sparsity` leave out an entry that is not zero?  Needs no differences: what f_i does not read cannot change it.

Columns are moved, one at a time where there are few, else in random sets of every size; a row whose pattern has none of them must come
out to the last bit as before.  Sets find a single missing entry most of the time, a missing diagonal or block practically always.
"""

from __future__ import annotations

import numpy as np

from .plain import Fault, Slopes, short, sizes
from .problem import Problem

SINGLE = 200  # columns up to which each is moved alone
ROUNDS = 10  # of sets of n/2, n/4, ... columns


def find_fault(problem: Problem, slopes: Slopes, t: float, y: np.ndarray, outside: np.ndarray) -> Fault | None:
    """An entry of `outside` (n, n) bool, entries said to be zero, that is not zero at (t, y), or None."""
    n, f, size = problem.n, slopes.one(t, y), sizes(y)

    def changed(columns: np.ndarray) -> np.ndarray:
        """(n,) bool: rows of f that differ once these columns have moved."""
        z = y.copy()
        z[columns] += 1e-3 * size[columns]
        g = slopes.one(t, z)
        return (g != f) & np.isfinite(g) & np.isfinite(f)

    for columns in _sets(n):
        wrong = changed(columns) & outside[:, columns].all(axis=1)
        if not wrong.any():
            continue
        i = int(np.flatnonzero(wrong)[0])
        j = next((int(c) for c in columns if changed(np.array([c]))[i]), None)
        where = f"on y[{j}], entry ({i}, {j})" if j is not None else f"on some of y[{columns.tolist()}]"
        text = f"sparsity of problem {problem.name!r} is too narrow: f[{i}] depends {where}, at t = {t:.6g}, y = {short(y)}"
        return Fault(text)
    return None


def _sets(n: int) -> list[np.ndarray]:
    if n <= SINGLE:
        return list(np.arange(n)[:, None])
    rng = np.random.default_rng(0)
    counts = [n >> k for k in range(1, n.bit_length())]
    return [rng.choice(n, count, replace=False) for _ in range(ROUNDS) for count in counts]
