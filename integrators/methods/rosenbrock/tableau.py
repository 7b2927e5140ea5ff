"""Coefficients of a linearly implicit Rosenbrock (or Rosenbrock-W) method in the form without matrix-vector products.

For y' = f(t, y) with J ~ df/dy and f_t = df/dt at (t, y), one attempt of step h solves, with ONE factorisation of
E = I / (h gamma) - J, for i = 1 ... s

    g_i = y + sum_{j<i} a_ij u_j,
    E u_i = f(t + c_i h, g_i) + (1/h) sum_{j<i} C_ij u_j + h d_i f_t,

    y_new = y + sum_i m_i u_i,        error estimate  sum_i e_i u_i = y_new - y_hat.

The u are increments: they carry h.  f_t is left out for autonomous problems.  The dense output

    y(t + theta h) = y + sum_i u_i sum_j P_ij theta^(j+1),    0 <= theta <= 1,

is evaluated as (1 - theta) y + theta y_new + theta (1 - theta) sum_j theta^j K_j with K_j = sum_i D_ij u_i, which is
exact at both ends.

In the classical variables k_i of h k_i = h f(g_i) + h J sum_j Gamma_ij h k_j, alpha = a Gamma and b = m Gamma, where
Gamma^-1 = diag(1/gamma) - C and u = Gamma h k; c and d are the row sums of alpha and Gamma.

`order` presumes J = df/dy.  A W-method keeps its order with any matrix in the place of J (`w_order`, and
`embedded_w_order` for y_hat).  In between, a J that differs from df/dy by O(h), as one kept over a few steps does,
leaves min(order, w_order + 1).

Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 2nd ed., Springer 1996, section IV.7.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

from ..rational import Matrix, Vector, array, bridge, dot, identity, product, solve, square, vector

# Published decimals have some 16 digits: their row sums agree to about that.
ROUNDED = Fraction(1, 10**13)


@dataclass(frozen=True, eq=False)
class RosenbrockTableau:
    """A Rosenbrock pair; s = `stages`, q = degree of the dense output.

    Fields
        name            method name.
        order           order of y_new with the exact Jacobian.
        embedded_order  the error estimate behaves as h^k with a controller's k = embedded_order + 1.
        w_order         order of y_new with any matrix in the place of the Jacobian.
        embedded_w_order  the same of y_hat.
        gamma           the one diagonal coefficient, > 0.
        c, d            nodes and weights of f_t (s).
        a, C            strictly lower rows (row i holds i entries).
        m, e            weights of y_new and of the error estimate (s).
        dense           P, s rows of q entries; its row sums are m.
        dense_order     order at which P holds for every theta.
        stiffly_accurate  True: y_new = g_s + u_s, and R(infinity) = 0.

    Raises ValueError from the constructor where the parts do not fit together.
    """

    name: str
    order: int
    embedded_order: int
    w_order: int
    embedded_w_order: int
    gamma: Fraction
    c: Vector
    d: Vector
    a: Matrix
    C: Matrix
    m: Vector
    e: Vector
    dense: Matrix
    dense_order: int
    stiffly_accurate: bool

    def __post_init__(self) -> None:
        def need(ok: bool, what: str) -> None:
            if not ok:
                raise ValueError(f"tableau {self.name!r}: {what}")

        s = len(self.c)
        need(s > 0, "c is empty")
        need(self.gamma > 0, f"gamma must be positive, got {float(self.gamma)}")
        for label, rows in (("a", self.a), ("C", self.C)):
            need(len(rows) == s, f"{label} has {len(rows)} rows, c has {s} nodes")
            for i, row in enumerate(rows):
                need(len(row) == i, f"row {i} of {label} must have {i} entries, has {len(row)}")
        for label, weights in (("d", self.d), ("m", self.m), ("e", self.e)):
            need(len(weights) == s, f"{label} must have {s} entries, has {len(weights)}")
        need(len(self.dense) == s, f"dense must have {s} rows, has {len(self.dense)}")
        need(len({len(row) for row in self.dense}) == 1, "rows of dense differ in length")
        need(0 <= self.w_order <= self.order, f"w_order must lie in 0 ... {self.order}, got {self.w_order}")
        need(0 <= self.embedded_w_order <= self.embedded_order, "embedded_w_order must not exceed embedded_order")
        alpha, gammas, b = self.classical
        for i in range(s):
            need(abs(sum(alpha[i]) - self.c[i]) <= ROUNDED, f"c[{i}] is not the sum of row {i} of alpha")
            need(abs(sum(gammas[i]) - self.d[i]) <= ROUNDED, f"d[{i}] is not the sum of row {i} of Gamma")
            need(abs(sum(self.dense[i]) - self.m[i]) <= ROUNDED, f"row {i} of dense does not sum to m[{i}]")
        need(abs(sum(b, Fraction(-1))) <= ROUNDED, "the weights b = m Gamma do not sum to 1")
        need(
            abs(dot(self.e, [sum(row, Fraction(0)) for row in gammas])) <= ROUNDED,
            "the error weights e Gamma do not sum to 0",
        )
        accurate = self.m[-1] == 1 and self.m[:-1] == self.a[-1] and self.c[-1] == 1
        need(accurate or not self.stiffly_accurate, "stiffly_accurate needs c[-1] = 1, m[-1] = 1 and m[:-1] = a[-1]")

    @property
    def stages(self) -> int:
        """Stages: an attempt costs as many evaluations of f and solves, and one factorisation."""
        return len(self.c)

    @cached_property
    def classical(self) -> tuple[Matrix, Matrix, Vector]:
        """alpha (s, s), Gamma (s, s, with its diagonal) and b (s), exact fractions."""
        s = len(self.c)
        inverse = square([[-x for x in row] for row in self.C], [1 / self.gamma] * s)
        gammas = solve(inverse, identity(s))
        alpha = product(square(self.a, [Fraction(0)] * s), gammas)
        return alpha, gammas, product((self.m,), gammas)[0]

    @cached_property
    def estimates_linear(self) -> bool:
        """Whether the estimate is of use for y' = J y: its terms e Gamma (alpha + Gamma)^(k-1) 1 (hJ)^k are not all 0
        (to rounding).
        """
        alpha, gammas, _ = self.classical
        beta = tuple(tuple(x + y for x, y in zip(*rows, strict=True)) for rows in zip(alpha, gammas, strict=True))
        weights, power, seen = product((self.e,), gammas)[0], [Fraction(1)] * self.stages, False
        for _ in range(self.stages):
            power = [dot(row, power) for row in beta]
            seen = seen or abs(dot(weights, power)) > ROUNDED
        return seen

    @cached_property
    def gamma_float(self) -> float:
        """gamma as a float."""
        return float(self.gamma)

    @cached_property
    def nodes(self) -> np.ndarray:
        """c, (s,) float64, read-only."""
        return vector(self.c)

    @cached_property
    def time_weights(self) -> np.ndarray:
        """d, (s,) float64, read-only."""
        return vector(self.d)

    @cached_property
    def A(self) -> np.ndarray:
        """a padded with zeros, (s, s) float64, read-only."""
        return array(self.a, self.stages)

    @cached_property
    def coupling(self) -> np.ndarray:
        """C padded with zeros, (s, s) float64, read-only; divide by h."""
        return array(self.C, self.stages)

    @cached_property
    def M(self) -> np.ndarray:
        """m, (s,) float64, read-only."""
        return vector(self.m)

    @cached_property
    def E(self) -> np.ndarray:
        """e, (s,) float64, read-only."""
        return vector(self.e)

    @cached_property
    def P(self) -> np.ndarray:
        """Dense output in powers, (s, q) float64, read-only; column j multiplies theta^(j+1)."""
        return array(self.dense, len(self.dense[0]))

    @cached_property
    def D(self) -> np.ndarray:
        """Dense output between its ends, (s, q - 1) float64, read-only; K_j = sum_i D_ij u_i."""
        return array(bridge(self.dense), len(self.dense[0]) - 1)


def transformed(
    alpha: Sequence[Sequence[Fraction]], gammas: Sequence[Sequence[Fraction]], gamma: Fraction
) -> tuple[Matrix, Matrix, Matrix]:
    """(a, C, Gamma^-1) from strictly lower classical rows alpha and Gamma; weights m = b Gamma^-1 follow by `product`.
    """
    s = len(alpha)
    inverse = solve(square(gammas, [gamma] * s), identity(s))
    a = product(square(alpha, [Fraction(0)] * s), inverse)
    return (
        tuple(row[:i] for i, row in enumerate(a)),
        tuple(tuple(-x for x in row[:i]) for i, row in enumerate(inverse)),
        inverse,
    )
