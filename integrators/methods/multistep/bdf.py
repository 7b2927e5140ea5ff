"""Numerical differentiation formulas (NDF) of orders 1 to 5, which modify the backward differentiation formulas (BDF),
with a fixed leading coefficient.

Let w be the polynomial of degree k through the last k + 1 values y_(n-1), ..., y_(n-1-k), at the times where they
stand.  One attempt of order k and step h from t_(n-1) to t_n solves

    h f(t_n, y_n) = h w'(t_n) + a_k (y_n - w(t_n)),        a_k = (1 - kappa_k) (1 + 1/2 + ... + 1/k),

for y_n by simplified Newton, which factorises a_k/h I - J.  With steps that were all equal this is the formula of
Shampine and Reichelt, sum_m 1/m nabla^m y_n = h f(t_n, y_n) + kappa_k (1 + ... + 1/k) (y_n - w(t_n)), and with
kappa = 0 the BDF.  With steps that vary, the leading coefficient a_k stays what it is (K. R. Jackson, R. Sacks-Davis,
ACM TOMS 6 (1980) 295; DASSL: Brenan, Campbell, Petzold): the matrix changes with h and k alone, while w is exact on the
times that there are, so that the size may change at every step.

With x_i = (t_n - t_(n-i))/h, y smooth and the differences of the numerical solution those of the exact one, the defect
of the formula is

    h y' - h w' - a_j (y - w) = (S_(j+1) - a_j) e_j,      e_j = y_n - w_j(t_n),      S_j = 1/x_1 + ... + 1/x_j,

w_j the polynomial of degree j.  The error estimate of order j is c_j ||e_j|| with c_j = max(|S_(j+1) - a_j|,
(j + 1)/x_(j+1) c_j*), where c_j* = 1/(j + 1) + kappa_j (1 + ... + 1/j) is the value for equal steps, that of Shampine
and Reichelt.  The second term stands in where S_(j+1) - a_j passes through zero, which it does after h has shrunk.  For
every j but k it is what order j would have made of the same step; so orders are compared.

Dense output is the polynomial through y_n, y_(n-1), ..., y_(n-k).

Sources: L. F. Shampine, M. W. Reichelt, The MATLAB ODE Suite, SIAM J. Sci. Comput. 18 (1997) 1, sections 2.1 to 2.3,
table 1 (kappa); K. E. Brenan, S. L. Campbell, L. R. Petzold, Numerical Solution of Initial-Value Problems in
Differential-Algebraic Equations, SIAM 1996, chapter 5.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from ..implicit import implicit


@dataclass(frozen=True, eq=False)
class NdfFormulas:
    """The formulas of all orders.

    Fields
        name    method name.
        kappa   kappa_k for k = 1, 2, ...: the modification of the BDF of that order.
    """

    name: str
    kappa: tuple[Fraction, ...]

    @property
    def order(self) -> int:
        """The greatest order."""
        return len(self.kappa)

    #: the estimate of order k behaves as h^(k + 1), and so does that of the greatest; dense output has the step's order
    embedded_order = dense_order = order

    def sum(self, k: int) -> Fraction:
        """1 + 1/2 + ... + 1/k."""
        return sum((Fraction(1, m) for m in range(1, k + 1)), Fraction(0))

    def leading(self, k: int) -> Fraction:
        """a_k."""
        return (1 - self.kappa[k - 1]) * self.sum(k)

    def error(self, k: int) -> Fraction:
        """c_k*: the error estimate over the norm of y_n - w(t_n) where all steps are equal."""
        return Fraction(1, k + 1) + self.kappa[k - 1] * self.sum(k)


FORMULAS = NdfFormulas(
    "bdf", (Fraction(-37, 200), Fraction(-1, 9), Fraction(-823, 10000), Fraction(-83, 2000), Fraction(0))
)


def _parts(formulas: Any, source: Any, slots: frozenset[int]) -> Any:
    from ...kernels.implicit.bdf import bdf_parts

    return bdf_parts(formulas, source, slots)


_MADE = implicit(
    FORMULAS, "numerical differentiation formulas (modified BDF) of several steps, of orders 1 to 5",
    "L. F. Shampine, M. W. Reichelt, SIAM J. Sci. Comput. 18 (1997) 1", _parts, newton=True, law="multistep",
)  # fmt: skip
#: its history is of y' = f alone
METHOD = replace(_MADE, mass=False)
