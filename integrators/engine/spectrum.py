"""The eigenvalue of largest modulus of a Jacobian df/dy, from differences of the right-hand side in plain Python.

Up to `FULL` dimensions the Jacobian is formed column by column.  Above, the power method applies it to one vector after
another, v <- J v / |J v|, at one evaluation each; with a, b, c, d the products (v, Jv), |Jv|^2, (v, JJv), (Jv, JJv) of
its last iterates, the eigenvalue is a root of the quadratic that fits JJv = s Jv + q v best, so that a complex pair is
found as well.  Where many eigenvalues lie close together, as with diffusion, the answer is some percent short.

What is found is for a judgement, not for a result: a few digits, at n + 1 or at `ITERATIONS` + 1 evaluations.
Functions run on lists of Python's floats, which is several times faster than on NumPy's arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from ..checks.interpreted import interpreted

FULL = 16
ITERATIONS = 12
SHARE = 1e-7  # of a component, the increment of its difference
SMALL = 1e-3  # of the largest component, what a smaller one counts as


class Field:
    """A right-hand side with its parameters (m,), in plain Python.  rhs: as in `Problem`."""

    def __init__(self, rhs: Callable[..., None], p: np.ndarray) -> None:
        self._rhs, self._p = interpreted(rhs), p.tolist()

    def __call__(self, t: float, y: list[float]) -> list[float]:
        """f(t, y), a fresh list; raises what the function raises."""
        out = [math.nan] * len(y)
        self._rhs(t, y, self._p, out)
        return out

    def dominant(self, t: float, y: list[float], least: float = 0.0) -> complex:
        """The eigenvalue of largest modulus at (t, y), unit 1/time; 0 where its modulus is surely below `least`."""
        return self._of_matrix(t, y, least) if len(y) <= FULL else self._by_powers(t, y)

    def _of_matrix(self, t: float, y: list[float], least: float) -> complex:
        n, f = len(y), self(t, y)
        scale = _sizes(y)
        columns, square = [], 0.0
        for j in range(n):
            moved = y.copy()
            moved[j] += SHARE * scale[j]
            up = 1.0 / (moved[j] - y[j])
            column = [(b - a) * up for a, b in zip(f, self(t, moved), strict=True)]
            square += sum(v * v for v in column)
            columns.append(column)
        if square < least * least:  # Frobenius' norm bounds every eigenvalue
            return 0j
        found = np.linalg.eigvals(np.array(columns))
        return complex(found[np.argmax(np.abs(found))])

    def _by_powers(self, t: float, y: list[float]) -> complex:
        at, f = np.array(y), np.array(self(t, y))
        scale = np.array(_sizes(y))

        def product(v: np.ndarray) -> np.ndarray:
            step = SHARE * float(scale.max()) / float(np.abs(v).max())
            return (np.array(self(t, (at + step * v).tolist())) - f) / step

        v = np.cos(1.0 + 2.0 * np.arange(at.size) ** 2)  # no special direction
        v /= np.linalg.norm(v)
        w = product(v)
        for _ in range(ITERATIONS - 2):
            v = w / np.linalg.norm(w)
            w = product(v)
        size = float(np.linalg.norm(w))
        if not size > 0.0:
            return 0j
        x = product(w / size) * size
        s, q = np.linalg.lstsq(np.stack([w, v], axis=1), x, rcond=None)[0]
        roots = np.roots([1.0, -s, -q])
        return complex(roots[np.argmax(np.abs(roots))])


def _sizes(y: list[float]) -> list[float]:
    """What a component counts as for its increment: itself, or a share of the largest."""
    top = max(map(abs, y)) or 1.0
    return [max(abs(v), SMALL * top) for v in y]
