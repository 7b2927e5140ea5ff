"""Coefficients of an explicit Runge-Kutta-Nystrom pair, with its error weights and its dense output.

For q'' = a(t, q), v = q'.  One attempt from (t, q, v) with step h takes the stages

    g_i = q + c_i h v + h^2 sum_{j<i} a_ij k_j,    k_i = a(t + c_i h, g_i),

    q_new = q + h v + h^2 sum_i b_i k_i,    v_new = v + h sum_i bv_i k_i,

estimates its errors by h^2 sum_i e_i k_i and h sum_i ev_i k_i (e and ev are b and bv less the embedded formula's), and
interpolates by

    q(t + theta h) = q + theta h v + h^2 sum_i k_i sum_j P_ij theta^(j+1),    v(t + theta h) its derivative.

A method is FSAL (first same as last) where its last stage is a(t + h, q_new): c_s = 1, a_s = b, b_s = 0.  That
acceleration is the next step's first, although bv_s need not be 0.  A method that is not FSAL has a first dense stage,
the acceleration at the step's end, with which the next step begins where it was evaluated.

Source: E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., Springer 1993, II.14.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ..rational import Matrix, Vector, bridge, centred, solve


@dataclass(frozen=True)
class NystromTableau:
    """A Runge-Kutta-Nystrom pair; s = `stages`, d = stages of dense output alone, m = degree of the dense output.

    name            method name.
    order           of q_new and v_new.
    embedded_order  of the embedded formula, in both.
    c, a            nodes (s) and strictly lower rows (row i holds i entries).
    b, bv           weights (s) of positions and velocities.
    e, ev           error weights (s) of positions and velocities.
    dense           P, (s + d) rows of m entries: coefficient of theta^(j+1) in column j; the first column is 0.
    dense_order     order at which the velocities of the dense output hold for every theta; positions hold to one more.
    dense_c, dense_a  nodes and rows of the dense stages; row i holds s + i entries.
    """

    name: str
    order: int
    embedded_order: int
    c: Vector
    a: Matrix
    b: Vector
    bv: Vector
    e: Vector
    ev: Vector
    dense: Matrix
    dense_order: int
    dense_c: Vector = ()
    dense_a: Matrix = ()

    @property
    def stages(self) -> int:
        """Stages of one attempt, the FSAL one included."""
        return len(self.c)

    @property
    def fsal(self) -> bool:
        """Whether the last stage is the next step's first."""
        return self.c[-1] == 1 and self.a[-1] == self.b[:-1] and self.b[-1] == 0

    @property
    def end(self) -> int:
        """Which of the s + d accelerations is the one at the step's end."""
        return self.stages - 1 if self.fsal else self.stages

    @property
    def dense_velocity(self) -> Matrix:
        """P of the velocities, (s + d) rows of m - 1 entries, with h in the place of h^2 and no term theta h v."""
        return tuple(tuple((j + 2) * x for j, x in enumerate(row[1:])) for row in self.dense)

    @property
    def bridges(self) -> tuple[Matrix, Matrix]:
        """B of positions and of velocities, (s + d) rows each, such that both ends are exact whatever rounding does:

            q(t + theta h) = (1 - theta) q + theta q_new + h^2 theta (1 - theta) sum_i k_i sum_j B_ij (2 theta - 1)^j

        and the same of v with h in the place of h^2.
        """
        return centred(bridge(self.dense)), centred(bridge(self.dense_velocity))


def through(b: Vector, bv: Vector, at: dict[int, Fraction]) -> Matrix:
    """Dense weights P of the polynomial of least degree through position and velocity at both ends of the step and the
    accelerations of some stages: at[i] is where the i-th is, in units of h.

    b, bv: weights, (s + d) entries each, zeros for dense stages.  P has (s + d) rows of len(at) + 3 entries.
    """
    powers = range(1, len(at) + 3)  # of theta^(j + 1)
    left = [[Fraction(1) for _ in powers], [Fraction(j + 1) for j in powers]]
    left += [[(j + 1) * j * c ** (j - 1) for j in powers] for c in at.values()]
    right = [b, bv, *(tuple(Fraction(i == k) for i in range(len(b))) for k in at)]
    return tuple((Fraction(0), *row) for row in zip(*solve(left, right), strict=True))
