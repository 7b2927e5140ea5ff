"""Coefficients of an ESDIRK pair: diagonally implicit with one diagonal coefficient and an explicit first stage.

For y' = f(t, y), one attempt of step h from y takes the increments z_i = h k_i,

    z_1 = h f(t, y),    z_i = h f(t + c_i h, g_i),    g_i = y + sum_{j<i} a_ij z_j + gamma z_i    (i = 2 ... s),

    y_new = y + sum_i b_i z_i,        error estimate  sum_i e_i z_i = y_new - y_hat,    e = b - b_hat.

The methods are stiffly accurate: the last row of A is b, hence y_new = g_s, and z_1 of the next step is z_s times
h_next / h.  Simplified Newton solves for z_i with one factorisation of E = I / (h gamma) - J:

    E delta = (f(t + c_i h, g_i) - z_i / h) / gamma,    z_i <- z_i + delta,    g_i <- g_i + gamma delta,

from z_i = sum_{j<i} predictor_ij z_j.  z_i comes from this recursion, not from f at the end of it, which would multiply
what Newton left over by h ||J||.  The dense output

    y(t + theta h) = y + sum_i z_i sum_j P_ij theta^(j+1),    0 <= theta <= 1,

is evaluated as (1 - theta) y + theta y_new + theta (1 - theta) sum_j theta^j K_j with K_j = sum_i D_ij z_i.

No dense output is published for the two pairs here, and the cubic Hermite interpolant does not suit stiff problems: its
h f(t, y) grows without bound with the stiffness where y is off the slow manifold.  `damped_dense` derives one that does
not.  With A = [0 0; a A'] and R(theta, z) = 1 + z b(theta) (I - zA)^-1 1 the interpolant of y' = lambda y, a bounded
R(theta, infinity) needs b_1 = b' A'^-1 a, and then R(theta, infinity) = 1 - b' A'^-1 (1 + A'^-1 a).  b(theta) is the
one polynomial of degree 4 that satisfies this with R(theta, infinity) = (1 - theta)^4 and, the stages having order 2,
as many of

    b . 1 = theta,  b . c = theta^2 / 2,  b . c^2 = theta^3 / 3,  b . c^3 = theta^4 / 4,  b . A c^2 = theta^4 / 12

as there are stages for: all of them (order 4) with seven, all but the last (order 3) with six.  b itself satisfies them
at theta = 1, so that the interpolant ends in y_new.

Sources: A. Kvaerno, Singly diagonally implicit Runge-Kutta methods with an explicit first stage, BIT Numer. Math. 44
(2004) 489-502; C. A. Kennedy, M. H. Carpenter, Diagonally implicit Runge-Kutta methods for stiff ODEs, Appl. Numer.
Math. 146 (2019) 221-244.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb

import numpy as np

from ..rational import Matrix, Vector, array, bridge, dot, identity, product, solve, square, vector

# Decimals and radicals are cut no earlier; the embedded weights of esdirk43 are rational approximations to 1e-24.
ROUNDED = Fraction(1, 10**20)


@dataclass(frozen=True, eq=False)
class EsdirkTableau:
    """A stiffly accurate ESDIRK pair; s = `stages`, q = degree of the dense output.

    Fields
        name            method name.
        order           order of y_new.
        embedded_order  the error estimate behaves as h^k with a controller's k = embedded_order + 1.
        gamma           the diagonal coefficient of stages 2 ... s, > 0; stage 1 is explicit.
        c, a            nodes (s) and strictly lower rows (row i holds i entries).
        b, e            weights and error weights b - b_hat (s).
        dense           P, s rows of q entries; its row sums are b.
        dense_order     order at which P holds for every theta.
        predictor       rows of starting values for z_i (row i holds i entries); row 0 is empty.

    Raises ValueError from the constructor where the parts do not fit together.
    """

    name: str
    order: int
    embedded_order: int
    gamma: Fraction
    c: Vector
    a: Matrix
    b: Vector
    e: Vector
    dense: Matrix
    dense_order: int
    predictor: Matrix

    def __post_init__(self) -> None:
        def need(ok: bool, what: str) -> None:
            if not ok:
                raise ValueError(f"tableau {self.name!r}: {what}")

        s = len(self.c)
        need(s > 1, "c needs two nodes or more")
        need(self.gamma > 0, f"gamma must be positive, got {float(self.gamma)}")
        for label, rows in (("a", self.a), ("predictor", self.predictor)):
            need(len(rows) == s, f"{label} has {len(rows)} rows, c has {s} nodes")
            for i, row in enumerate(rows):
                need(len(row) == i, f"row {i} of {label} must have {i} entries, has {len(row)}")
        for label, weights in (("b", self.b), ("e", self.e)):
            need(len(weights) == s, f"{label} must have {s} entries, has {len(weights)}")
        need(len(self.dense) == s, f"dense must have {s} rows, has {len(self.dense)}")
        need(len({len(row) for row in self.dense}) == 1, "rows of dense differ in length")
        need(self.c[0] == 0, "the first stage is explicit: c[0] must be 0")
        for i in range(1, s):
            need(abs(sum(self.a[i]) + self.gamma - self.c[i]) <= ROUNDED, f"c[{i}] is not the sum of row {i} of A")
            need(abs(sum(self.predictor[i], Fraction(-1))) <= ROUNDED, f"row {i} of predictor does not sum to 1")
        need(self.c[-1] == 1, "stiff accuracy needs c[-1] = 1")
        need(self.b == (*self.a[-1], self.gamma), "stiff accuracy needs b to be the last row of A")
        need(abs(sum(self.e, Fraction(0))) <= ROUNDED, "error weights do not sum to 0")
        for i, (row, weight) in enumerate(zip(self.dense, self.b, strict=True)):
            need(abs(sum(row) - weight) <= ROUNDED, f"row {i} of dense does not sum to b[{i}]")

    @property
    def stages(self) -> int:
        """Stages, the explicit one included: an attempt solves stages - 1 systems."""
        return len(self.c)

    @cached_property
    def matrix(self) -> Matrix:
        """A with its diagonal, (s, s) exact fractions."""
        return full(self.a, self.gamma)

    @cached_property
    def gamma_float(self) -> float:
        """gamma as a float."""
        return float(self.gamma)

    @cached_property
    def C(self) -> np.ndarray:
        """Nodes, (s,) float64, read-only."""
        return vector(self.c)

    @cached_property
    def A(self) -> np.ndarray:
        """Strictly lower rows padded with zeros, without the diagonal gamma, (s, s) float64, read-only."""
        return array(self.a, self.stages)

    @cached_property
    def B(self) -> np.ndarray:
        """Weights, (s,) float64, read-only."""
        return vector(self.b)

    @cached_property
    def E(self) -> np.ndarray:
        """Error weights, (s,) float64, read-only."""
        return vector(self.e)

    @cached_property
    def P(self) -> np.ndarray:
        """Dense output in powers, (s, q) float64, read-only; column j multiplies theta^(j+1)."""
        return array(self.dense, len(self.dense[0]))

    @cached_property
    def D(self) -> np.ndarray:
        """Dense output between its ends, (s, q - 1) float64, read-only; K_j = sum_i D_ij z_i."""
        return array(bridge(self.dense), len(self.dense[0]) - 1)

    @cached_property
    def predictors(self) -> np.ndarray:
        """Rows of starting values padded with zeros, (s, s) float64, read-only; rows 1 ... s - 1 apply."""
        return array(self.predictor, self.stages)


def full(a: Matrix, gamma: Fraction) -> Matrix:
    """A, (s, s), from its strictly lower rows and the diagonal (0, gamma, ..., gamma)."""
    return square(a, [Fraction(0), *[gamma] * (len(a) - 1)])


def damped_dense(c: Vector, a: Matrix, gamma: Fraction) -> Matrix:
    """P, s rows of 4 entries, of the dense output derived above; six or seven stages."""
    s, zero, one = len(c), Fraction(0), Fraction(1)
    matrix = full(a, gamma)
    inner = solve(tuple(row[1:] for row in matrix[1:]), identity(s - 1))
    slope = product(inner, tuple((row[0],) for row in matrix[1:]))
    damping = product(inner, tuple((one + x,) for (x,) in slope))
    squares = tuple(x * x for x in c)
    conditions = [
        ([one] * s, (one, zero, zero, zero)),
        (c, (zero, one / 2, zero, zero)),
        (squares, (zero, zero, one / 3, zero)),
        ([one, *[-x for (x,) in slope]], (zero, zero, zero, zero)),
        ([zero, *[x for (x,) in damping]], tuple(Fraction(-comb(4, j) * (-1) ** j) for j in (1, 2, 3, 4))),
        ([x * y for x, y in zip(c, squares, strict=True)], (zero, zero, zero, one / 4)),
        ([dot(row, squares) for row in matrix], (zero, zero, zero, one / 12)),
    ]
    if s not in (6, 7):
        raise ValueError(f"damped_dense is made for 6 or 7 stages, got {s}")
    left, right = zip(*conditions[:s], strict=True)
    return solve(left, right)


def quadratic_predictor(c: Vector, i: int) -> Vector:
    """Weights of z_0 ... z_(i-1) that give z_i where y' is a polynomial of degree min(i - 1, 2); least sum of squares.

    Degree 2 is what the stages' own order, 2, is good for; the freedom of later stages keeps the weights small.
    """
    rows = tuple(tuple(x**n for x in c[:i]) for n in range(min(i, 3)))
    columns = tuple(zip(*rows, strict=True))
    multipliers = solve(product(rows, columns), tuple((c[i] ** n,) for n in range(len(rows))))
    return tuple(x for (x,) in product(columns, multipliers))
