"""Radau IIA of order 5: three stages, collocation, L-stable, stiffly accurate, with the transformation of RADAU5.

For y' = f(t, y), one attempt of step h takes the increments Z_i = g_i - y of the stages,

    Z_i = h sum_j A_ij f(t + c_j h, y + Z_j)    (i = 1, 2, 3),        y_new = y + Z_3.

With T^-1 A^-1 T = [[gamma, 0, 0], [0, alpha, -beta], [0, beta, alpha]] and W = T^-1 Z, simplified Newton factorises one
real and one complex matrix, J ~ df/dy, and solves, with F_i = f(t + c_i h, y + Z_i),

    (gamma / h I - J) dW_1 = (T^-1 F)_1 - gamma / h W_1,
    ((alpha + i beta) / h I - J) (dW_2 + i dW_3) = (T^-1 F)_2 + i (T^-1 F)_3 - (alpha + i beta) / h (W_2 + i W_3),

then W <- W + dW, Z <- T W.  T's last row is (1, 1, 0): Z_3 = W_1 + W_2.  The error estimate reuses the real factors,

    err = (gamma / h I - J)^-1 (f(t, y) + (1/h) sum_i e_i Z_i),

and behaves as h^4; it is y_hat - y_new, where y_hat, of order 3, takes f(t, y) as a fourth stage with the weight 1 /
gamma. For y' = lambda y it tends to -y at infinity; where the first step or a repeated one gives err > 1, RADAU5 puts
f(t, y + err) in the place of f(t, y) and solves again, after which the estimate tends to 0.

The collocation polynomial gives the dense output, of order 3,

    y(t + theta h) = y + sum_i Z_i sum_j P_ij theta^(j+1)
                   = (1 - theta) y + theta y_new + theta (1 - theta) sum_j theta^j sum_i D_ij Z_i,

and, extended beyond theta = 1, the starting values of the next step of size r h, `start(r)`:

    Z_i = q(1 + r c_i) - q(1) = sum_j start(r)_ij Z_j(previous),    W = T^-1 Z.        (Z = 0 for the first step.)

Source: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 2nd ed., Springer 1996, sections IV.5 and
IV.8. Every coefficient is formed exactly from sqrt 6, 3^(1/3) and 3^(1/6) to 60 decimals and rounded to float64 once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from ..implicit import implicit
from ..rational import Matrix, Vector, array, bridge, identity, product, root, solve, vector

ROUNDED = Fraction(1, 10**50)


@dataclass(frozen=True, eq=False)
class RadauTableau:
    """A collocation method with three stages, one real and one complex pair of eigenvalues of A^-1.

    Fields
        name            method name.
        order           order of y_new.
        embedded_order  the error estimate behaves as h^k with a controller's k = embedded_order + 1.
        c, a            nodes (3) and A, full rows (3, 3); the last row holds the weights.
        gamma           real eigenvalue of A^-1.
        alpha, beta     the complex ones are alpha +- i beta.
        t, ti           T and T^-1 (3, 3).
        e               weights of Z in the error estimate (3), as above: divided by h, next to f(t, y).
        dense           P, 3 rows of 3 entries, weights of Z.
        dense_order     order at which P holds for every theta.

    Raises ValueError from the constructor where the parts do not fit together.
    """

    name: str
    order: int
    embedded_order: int
    c: Vector
    a: Matrix
    gamma: Fraction
    alpha: Fraction
    beta: Fraction
    t: Matrix
    ti: Matrix
    e: Vector
    dense: Matrix
    dense_order: int

    def __post_init__(self) -> None:
        def need(ok: bool, what: str) -> None:
            if not ok:
                raise ValueError(f"tableau {self.name!r}: {what}")

        need(len(self.c) == 3, f"c must have 3 nodes, has {len(self.c)}")
        for label, rows in (("a", self.a), ("t", self.t), ("ti", self.ti), ("dense", self.dense)):
            need(len(rows) == 3 and all(len(row) == 3 for row in rows), f"{label} must have 3 rows of 3 entries")
        need(len(self.e) == 3, f"e must have 3 entries, has {len(self.e)}")
        need(self.gamma > 0 and self.beta > 0, "gamma and beta must be positive")
        need(self.c[-1] == 1, "stiff accuracy needs c[-1] = 1")
        for i, row in enumerate(self.a):
            need(abs(sum(row) - self.c[i]) <= ROUNDED, f"c[{i}] is not the sum of row {i} of a")
        unit, zero = identity(3), Fraction(0)
        block = ((self.gamma, zero, zero), (zero, self.alpha, -self.beta), (zero, self.beta, self.alpha))
        for i, row in enumerate(product(self.t, self.ti)):
            need(all(abs(x - y) <= ROUNDED for x, y in zip(row, unit[i], strict=True)), "ti is not the inverse of t")
        rotated = product(self.ti, solve(self.a, self.t))
        for left, right in zip(rotated, block, strict=True):
            need(
                all(abs(x - y) <= ROUNDED for x, y in zip(left, right, strict=True)), "ti a^-1 t is not the block form"
            )
        for i, row in enumerate(self.dense):
            need(sum(row) == int(i == 2), f"row {i} of dense must sum to {int(i == 2)}")

    @property
    def stages(self) -> int:
        """Stages: an iteration costs as many evaluations of f, one real and one complex solve."""
        return len(self.c)

    @cached_property
    def eigenvalues(self) -> tuple[float, float, float]:
        """gamma, alpha and beta as floats."""
        return float(self.gamma), float(self.alpha), float(self.beta)

    @cached_property
    def C(self) -> np.ndarray:
        """Nodes, (3,) float64, read-only."""
        return vector(self.c)

    @cached_property
    def A(self) -> np.ndarray:
        """Stage coefficients, (3, 3) float64, read-only."""
        return array(self.a, 3)

    @cached_property
    def B(self) -> np.ndarray:
        """Weights, the last row of A, (3,) float64, read-only."""
        return vector(self.a[-1])

    @cached_property
    def T(self) -> np.ndarray:
        """T, (3, 3) float64, read-only; Z = T W."""
        return array(self.t, 3)

    @cached_property
    def TI(self) -> np.ndarray:
        """T^-1, (3, 3) float64, read-only; W = T^-1 Z."""
        return array(self.ti, 3)

    @cached_property
    def E(self) -> np.ndarray:
        """Weights of Z / h in the error estimate, (3,) float64, read-only."""
        return vector(self.e)

    @cached_property
    def P(self) -> np.ndarray:
        """Collocation polynomial in powers, (3, 3) float64, read-only; column j multiplies theta^(j+1)."""
        return array(self.dense, 3)

    @cached_property
    def D(self) -> np.ndarray:
        """Collocation polynomial between its ends, (3, 2) float64, read-only."""
        return array(bridge(self.dense), 2)

    def start(self, r: float) -> np.ndarray:
        """Weights of the previous Z in the starting values of a step r times as long, (3, 3) float64."""
        theta = 1.0 + r * self.C
        powers = theta[:, None] ** np.arange(1, 4) - 1.0
        return powers @ self.P.T


def _lagrange(nodes: Vector, j: int) -> Vector:
    """Coefficients, ascending, of the polynomial that is 1 at nodes[j] and 0 at 0 and the other nodes; no constant."""
    poly = [Fraction(0), Fraction(1)]
    scale = nodes[j]
    for k, node in enumerate(nodes):
        if k != j:
            poly = [x - node * y for x, y in zip([Fraction(0), *poly], [*poly, Fraction(0)], strict=True)]
            scale *= nodes[j] - node
    return tuple(x / scale for x in poly[1:])


def _radau() -> RadauTableau:
    s6, one = root(6, 2), Fraction(1)
    c = ((4 - s6) / 10, (4 + s6) / 10, one)
    a = (
        ((88 - 7 * s6) / 360, (296 - 169 * s6) / 1800, (-2 + 3 * s6) / 225),
        ((296 + 169 * s6) / 1800, (88 + 7 * s6) / 360, (-2 - 3 * s6) / 225),
        ((16 - s6) / 36, (16 + s6) / 36, one / 9),
    )
    # Roots of x^3 - 9 x^2 + 36 x - 60, the characteristic polynomial of A^-1.
    gamma = 3 + root(9, 3) - root(3, 3)
    alpha = 3 + (root(3, 3) - root(9, 3)) / 2
    beta = (root(3**5, 6) + root(3**7, 6)) / 2
    inverse = solve(a, identity(3))
    # A^-1 v = gamma v and A^-1 (p + iq) = (alpha - i beta) (p + iq) with last entries 1, and 1 for p, 0 for q.
    (m11, m12, m13), (m21, m22, m23), _ = inverse
    v = solve(((m11 - gamma, m12), (m21, m22 - gamma)), ((-m13,), (-m23,)))
    pq = solve(
        (
            (m11 - alpha, m12, -beta, 0 * one),
            (m21, m22 - alpha, 0 * one, -beta),
            (beta, 0 * one, m11 - alpha, m12),
            (0 * one, beta, m21, m22 - alpha),
        ),
        ((-m13,), (-m23,), (0 * one,), (0 * one,)),
    )
    t = (
        (v[0][0], pq[0][0], pq[2][0]),
        (v[1][0], pq[1][0], pq[3][0]),
        (one, one, 0 * one),
    )
    dense = tuple(_lagrange(c, j) for j in range(3))
    return RadauTableau(
        name="radau5",
        order=5,
        embedded_order=3,
        c=c,
        a=a,
        gamma=gamma,
        alpha=alpha,
        beta=beta,
        t=t,
        ti=solve(t, identity(3)),
        e=((-13 - 7 * s6) / 3, (-13 + 7 * s6) / 3, -one / 3),
        dense=dense,
        dense_order=3,
    )


TABLEAU = _radau()


def _parts(tableau: Any, source: Any, slots: frozenset[int]) -> Any:
    from ...kernels.implicit.radau import radau_parts

    return radau_parts(tableau, source, slots)


METHOD = implicit(
    TABLEAU, "Radau IIA, three stages, collocation, stiffly accurate, L-stable",
    "E. Hairer, G. Wanner, Solving ODEs II, 1996, IV.8", _parts, newton=True, law="radau5",
    factor_pairs=True,
)  # fmt: skip
