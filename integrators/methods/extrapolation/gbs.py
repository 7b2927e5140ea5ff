"""Gragg-Bulirsch-Stoer extrapolation of variable order and step: the code ODEX.

One attempt of size H.  Row j = 1, 2, ... of a table begins with the modified midpoint rule of n = n_j = 2 j substeps
and a smoothing step (Gragg), h = H/n,

    y_1 = y_0 + h f(t_0, y_0),        y_(i+1) = y_(i-1) + 2 h f(t_0 + i h, y_i),
    T_(j,1) = (y_(n-1) + y_n + h f(t_0 + H, y_n))/2,

whose error expands in even powers of h, so that Aitken's and Neville's scheme in h^2,

    T_(j,k+1) = T_(j,k) + (T_(j,k) - T_(j-1,k))/((n_j/n_(j-k))^2 - 1),

raises the order by two a column: T_(k,k) is of order 2 k, T_(k,k-1) of order 2 k - 2, and err_k = |T_(k,k) - T_(k,k-1)|
behaves as H^(2 k - 1).  The step goes on with T_(k,k), which takes A_k = 1 + n_1 + ... + n_k evaluations.

The smoothing step may be left out (II.9), for an evaluation less a row and about the same work at equal error.  But
then no row evaluates f in the last H/n_k of the step, and a jump of f there goes unseen.

Column and size.  With H_k the size that brings err_k to the tolerance, W_k = A_k/H_k is the work for a unit of time,
and the next attempt aims at the column of the least work among the last one and its neighbours.  Which column is the
last one, and when an attempt is given up, are ODEX's rules (`kernels.gbs`).  The first column is chosen by log10(rtol).

Dense output.  A row of 4 j substeps has a point in the middle of the step, and as many on either side of it.  Its
slopes f_i give the derivatives of y there by central differences,

    y^(q) ~ (2 h)^(1-q) delta^(q-1) f_(2 j),        q = 1, ..., 2 j,        delta f_i = f_(i+1) - f_(i-1),

whose errors expand in even powers of h too.  They are extrapolated, y from rows 1 to k and y^(q) from the rows that
have it, and the polynomial of degree 2 k + 2 is taken that has y_0, y_0', y_1, y_1' at the ends and y, y', ...,
y^(2 k - 2) in the middle; its error is of the order of the step's.  ODEX takes such rows for all of its table where
outputs are wanted (and bounds the step by the polynomial's error, which steps of that size would exceed by far); here
they are computed for the polynomial alone, in steps that need one, and change no step.

Sources: W. B. Gragg, SIAM J. Numer. Anal. 2 (1965) 384; R. Bulirsch, J. Stoer, Numer. Math. 8 (1966) 1; P. Deuflhard,
Numer. Math. 41 (1983) 399; E. Hairer, A. Ostermann, Numer. Math. 58 (1990) 419; E. Hairer, S. P. Norsett, G. Wanner,
Solving ODEs I, 1993, II.9 (the code ODEX).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ...compile import digest
from ...core import record
from ..method import COMMON, Method


@dataclass(frozen=True)
class Extrapolation:
    """Rows and weights of the table.

    Fields
        name        method name.
        substeps    n_1, n_2, ...: substeps of the rows, even.
    """

    name: str
    substeps: tuple[int, ...]

    @property
    def most(self) -> int:
        """Columns of the largest table."""
        return len(self.substeps)

    def cost(self, k: int) -> int:
        """A_k: evaluations of the first k rows, with that of the slope at the start."""
        return 1 + sum(self.substeps[:k])

    def weight(self, j: int, r: int) -> Fraction:
        """1/((n_j/n_(j-r-1))^2 - 1), the weight that leads from column r + 1 to r + 2 in row j; 0 where the row has no
        such column.
        """
        if not 0 <= r < j - 1:
            return Fraction(0)
        return 1 / (Fraction(self.substeps[j - 1], self.substeps[j - r - 2]) ** 2 - 1)


FORMULAS = Extrapolation("gbs", tuple(range(2, 19, 2)))


def _parts(source: Any, slots: frozenset[int]) -> Any:
    from ...kernels.gbs import gbs_parts

    return gbs_parts(FORMULAS, source, slots)


def _key(source: Any) -> tuple:
    return (digest.identity(source.rhs),)


METHOD = Method(
    FORMULAS.name,
    "Gragg-Bulirsch-Stoer extrapolation of the midpoint rule as in ODEX, of orders 4 to 18",
    "E. Hairer, S. P. Norsett, G. Wanner, Solving ODEs I, 1993, II.9",
    2 * FORMULAS.most,
    2 * FORMULAS.most - 2,
    2 * FORMULAS.most,
    COMMON | {record.ERR, record.ORDER, record.YNORM, record.ENORM},
    _parts,
    _key,
)
