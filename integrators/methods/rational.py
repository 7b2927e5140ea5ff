"""Exact arithmetic behind the tableaus of implicit methods: roots, small linear systems, forms of a dense output.

Matrices are tuples of rows of `Fraction`.  An irrational coefficient enters once, as `root(x, n)` cut to 60 decimals;
what is formed from it (inverses, transformations, order conditions) is exact, and float64 arrays are rounded at the
end, so that no coefficient is off by more than its last bit.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

Vector = tuple[Fraction, ...]
Matrix = tuple[Vector, ...]


def root(x: int, n: int, digits: int = 60) -> Fraction:
    """The real n-th root of the integer x >= 0, cut (not rounded) to `digits` decimals.

    Raises ValueError for x < 0 or n < 1.
    """
    if x < 0 or n < 1:
        raise ValueError(f"root needs x >= 0 and n >= 1, got x = {x}, n = {n}")
    target = x * 10 ** (n * digits)
    low, high = 0, 1 << (target.bit_length() // n + 1)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**n <= target else (low, middle)
    return Fraction(low, 10**digits)


def dot(u: Sequence[Fraction], v: Sequence[Fraction]) -> Fraction:
    """Sum of products; the shorter one is read as padded with zeros."""
    return sum((x * y for x, y in zip(u, v, strict=False) if x and y), Fraction(0))


def product(a: Matrix, b: Matrix) -> Matrix:
    """The matrix a b."""
    columns = tuple(zip(*b, strict=True))
    return tuple(tuple(dot(row, column) for column in columns) for row in a)


def solve(a: Sequence[Sequence[Fraction]], b: Sequence[Sequence[Fraction]]) -> Matrix:
    """X with a X = b by Gauss-Jordan elimination; a is (n, n), b and X are (n, m).

    Raises ValueError where a is singular.
    """
    n = len(a)
    rows = [[*left, *right] for left, right in zip(a, b, strict=True)]
    for k in range(n):
        pivot = next((i for i in range(k, n) if rows[i][k]), None)
        if pivot is None:
            raise ValueError("the matrix is singular")
        rows[k], rows[pivot] = rows[pivot], rows[k]
        scale = rows[k][k]
        rows[k] = [x / scale for x in rows[k]]
        for i in range(n):
            factor = rows[i][k]
            if i != k and factor:
                rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return tuple(tuple(row[n:]) for row in rows)


def identity(n: int) -> Matrix:
    """The unit matrix of n rows."""
    return tuple(tuple(Fraction(i == j) for j in range(n)) for i in range(n))


def square(rows: Sequence[Sequence[Fraction]], diagonal: Sequence[Fraction]) -> Matrix:
    """The lower triangular matrix of the strictly lower `rows` (row i holds i entries) and the `diagonal`."""
    n = len(rows)
    return tuple((*row, diagonal[i], *[Fraction(0)] * (n - i - 1)) for i, row in enumerate(rows))


def bridge(dense: Sequence[Sequence[Fraction]]) -> Matrix:
    """B with P(theta) = theta P(1) + theta (1 - theta) sum_j B_j theta^j, for every row P of a dense output.

    `dense` has rows of q entries, entry j the coefficient of theta^(j+1); the result has rows of q - 1 entries.  Where
    P(1) gives y_new, the interpolant in this form is exact at both ends whatever rounding does:

        y(t + theta h) = (1 - theta) y + theta y_new + theta (1 - theta) sum_j theta^j (sum_i B_ij s_i).
    """
    out = []
    for row in dense:
        # theta^n - theta = -theta (1 - theta) (1 + theta + ... + theta^(n-2)).
        out.append(tuple(-sum(row[j + 1 :], Fraction(0)) for j in range(len(row) - 1)))
    return tuple(out)


def centred(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    """Polynomials of theta, rows of coefficients from theta^0 up, as polynomials of x = 2 theta - 1.

    On [0, 1] theirs are the smaller coefficients, so that values lose less to rounding.
    """
    out = []
    for row in rows:
        value: list[Fraction] = []
        for coefficient in reversed(row):  # Horner's rule with theta = (x + 1)/2
            shifted = [Fraction(0), *value]
            value = [(x + y) / 2 for x, y in zip(shifted, [*value, Fraction(0)], strict=True)]
            value[0] += coefficient
        out.append(tuple(value))
    return tuple(out)


def array(rows: Sequence[Sequence[Fraction]], width: int) -> np.ndarray:
    """Rows padded with zeros, (len(rows), width) float64, read-only, rounded once."""
    out = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        out[i, : len(row)] = [float(x) for x in row]
    out.flags.writeable = False
    return out


def vector(row: Sequence[Fraction]) -> np.ndarray:
    """(len(row),) float64, read-only, rounded once."""
    return array((row,), len(row))[0]
