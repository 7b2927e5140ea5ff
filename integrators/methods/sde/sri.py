"""Coefficients of Roessler's stochastic Runge-Kutta methods of strong order 1.5 for Ito equations with scalar or
diagonal noise.

With h, W and c1, c2, c3 as in `method`, stage i is

    k_i = f(t + c0_i h, H0_i),    H0_i = y + h sum_j a0_ij k_j + c2 sum_j b0_ij g_j,
    g_i = g(t + c1_i h, H1_i),    H1_i = y + h sum_j a1_ij k_j + sqrt(h) sum_j b1_ij g_j,

nodes being the sums of rows, c0 = a0 e and c1 = a1 e, and the step and its estimate are

    e2 = c2 sum_i beta3_i g_i + c3 sum_i beta4_i g_i,
    y1 = y + h sum_i alpha_i k_i + W sum_i beta1_i g_i + c1 sum_i beta2_i g_i + e2,
    e  = delta h sum_i s_i k_i + e2.

s_i is 1 for the stages that are read, or, with estimate="difference", delta is 1 and s = alpha - (1, 0, 0, 0), which
makes e the difference to a solution of strong order 1 (`method`).  The first part of the published e is a size of the
drift, not a difference, so that a tolerance bounds the step itself: that estimate is cautious.

Sources: A. Roessler, Runge-Kutta methods for the strong approximation of solutions of stochastic differential
equations, SIAM J. Numer. Anal. 48 (2010) 922, section 6; the estimate: C. Rackauckas, Q. Nie, Adaptive methods for
stochastic differential equations via natural embeddings and rejection sampling with memory, Discrete Contin. Dyn. Syst.
B 22 (2017) 2731, as StochasticDiffEq.jl has it (perform_step/sri.jl).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

Number = Fraction | float
Row = tuple[Number, ...]


@dataclass(frozen=True)
class SRI:
    """Coefficients as in the file's formulas; row i of a0, a1, b0, b1 holds i entries."""

    a0: tuple[Row, ...]
    a1: tuple[Row, ...]
    b0: tuple[Row, ...]
    b1: tuple[Row, ...]
    alpha: Row
    beta1: Row
    beta2: Row
    beta3: Row
    beta4: Row

    @property
    def stages(self) -> int:
        """Number of stages."""
        return len(self.alpha)

    @property
    def c0(self) -> Row:
        """Nodes of the drift."""
        return tuple(sum(row, Fraction(0)) for row in self.a0)

    @property
    def c1(self) -> Row:
        """Nodes of the diffusion."""
        return tuple(sum(row, Fraction(0)) for row in self.a1)

    def drift_stages(self) -> tuple[int | None, ...]:
        """For every stage the stage whose slope is its k: itself; the first, where H0 is y at time t; None where no
        formula reads it."""
        found: list[int | None] = []
        for i in range(self.stages):
            later = range(i + 1, self.stages)
            read = self.alpha[i] or any(self.a0[j][i] or self.a1[j][i] for j in later)
            same = not any(self.a0[i]) and not any(self.b0[i])
            found.append(None if not read else 0 if same else i)
        return tuple(found)


def against_first(alpha: Row) -> Row:
    """alpha - (1, 0, 0, ...): weights of the drift's slopes in the difference to a solution that reads the first."""
    return alpha[0] - 1, *alpha[1:]


def fractions(*values: str | int) -> Row:
    """The values as exact fractions."""
    return tuple(Fraction(value) for value in values)
