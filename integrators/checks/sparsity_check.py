"""Does a problem's `sparsity` leave out an entry that is not zero?  What f_i does not depend on changes it by rounding
alone.

Columns are moved by a thousandth, and a row whose pattern has none of them must stay where it was, but for a few times
the round-off of f. One column at a time finds every missing entry, at n evaluations; the automatic check of a large
system moves random sets of all sizes instead.  They find a pattern that misses a diagonal or a block; of a single
missing entry they find most where rows have a few entries (.95 with seven a row of 300), and few where they have
dozens.
"""

from __future__ import annotations

import numpy as np

from ..problems.problem import Problem
from .plain import Fault, Slopes, noise, short, sizes

SETS = 60  # of the automatic check, together


def find_fault(
    problem: Problem,
    slopes: Slopes,
    t: float,
    y: np.ndarray,
    outside: np.ndarray,
    most: int | None = None,
    seed: int = 0,
) -> Fault | None:
    """An entry of `outside` (n, n) bool, entries said to be zero, that is not zero at (t, y), or None.

    most: in more columns than so many, move sets of them, drawn with `seed`, and not each alone.
    """
    n, f, size = problem.n, slopes.one(t, y), sizes(y)
    slack = 8.0 * noise(slopes, t, y, f)

    def changed(columns: np.ndarray) -> np.ndarray:
        """(n,) bool: rows of f that differ once these columns have moved."""
        z = y.copy()
        z[columns] += 1e-3 * size[columns]
        g = slopes.one(t, z)
        with np.errstate(invalid="ignore"):
            return (np.abs(g - f) > slack) & np.isfinite(g) & np.isfinite(f)

    for columns in np.arange(n)[:, None] if most is None or n <= most // 2 else _sets(n, seed):
        wrong = changed(columns)
        for i in np.flatnonzero(wrong):
            if not outside[i, columns].all():
                continue
            j = next((int(c) for c in columns if changed(np.array([c]))[i]), None)
            where = f"on y[{j}], entry ({i}, {j})" if j is not None else f"on some of y[{columns.tolist()}]"
            text = f"sparsity of problem {problem.name!r} is too narrow: f[{i}] depends {where}, "
            text += f"at t = {t:.6g}, y = {short(y)}"
            return Fault(text)
    return None


def _sets(n: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    counts = [n >> k for k in range(1, n.bit_length())]
    return [rng.choice(n, counts[k % len(counts)], replace=False) for k in range(SETS)]
