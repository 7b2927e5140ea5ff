"""Coefficients of an explicit Runge-Kutta pair, with its error weights and its dense output.

One attempt from (t, y) with step h takes the stages

    g_i = y + h sum_{j<i} a_ij k_j,    k_i = f(t + c_i h, g_i),    y_new = y + h sum_i b_i k_i,

estimates its error by h sum_i e_i k_i with e = b - b_hat, and interpolates by

    y(t + theta h) = y + h sum_i k_i sum_j P_ij theta^(j+1),    0 <= theta <= 1.

A method is FSAL (first same as last) where its last stage is f(t + h, y_new): c_s = 1, a_s = b, b_s = 0.  That slope is
the next step's first, and an attempt costs s - 1 evaluations.  Without FSAL the first slope of a step is evaluated when
the step begins, once however often it is attempted.  Whether a method is FSAL follows from its coefficients.

The same polynomial, where it joins values and slopes of neighbouring steps (all methods here, by FSAL), reads

    y(t + theta h) = H(theta) + h theta^2 (1 - theta)^2 sum_i k_i sum_j D_ij theta^j

with H the cubic Hermite interpolant of y, y_new, k_first, k_last.  This form is exact at both ends; the power
basis loses about eps h |k| sum |P_ij| there (1e-13 h |k| for DOP853, 1e-14 h |k| for Tsit5).

Coefficients are kept as `Fraction`, also where the published values are decimals: the decimal's own value
is then exact, sums and differences of coefficients are formed without rounding, and every float64 array is
rounded once, at the end.

DOP853 estimates with two embedded formulas (error = "hairer853").  With s_n = ||h sum_i e_n,i k_i /
scale||_rms for n = 5, 3 the scaled error is

    err = s_5^2 / sqrt(s_5^2 + 0.01 s_3^2)        (0 where both are 0), which behaves as h^8.

Source: E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., Springer
1993, chapter II; stiffness detection: E. Hairer, G. Wanner, Solving Ordinary Differential Equations II,
section IV.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, fields
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

Number = Fraction | float
Row = tuple[Number, ...]

@dataclass(frozen=True, eq=False)
class ExplicitTableau:
    """An explicit Runge-Kutta pair; s = `stages`, d = `dense_stages`, q = degree of the dense output.

        heun = ExplicitTableau(
            "heun21", order=2, embedded_order=1, c=(0, 1), a=((), (1,)), b=(F(1, 2), F(1, 2)), b_hat=(1, 0)
        )
        stepsmith.solve(problem, method=heun)

    Name, orders, c, a, b and one of e and b_hat are all that a method needs; coefficients are ints, Fractions, Decimals
    or floats.

    Fields
        name            method name.
        order           order of y_new (local extrapolation).
        embedded_order  the error estimate behaves as h^k with a controller's k = embedded_order + 1.  That is the
                        embedded formula's order; where that is the higher one, as in Fehlberg's pair, k = order + 1,
                        and `order` is kept here.
                        0: no estimate, for tableaus that are only looked at: no solver takes them.
        c, a            nodes (s) and strictly lower rows (row i holds i entries).
        b               weights (s).
        e               error weights b - b_hat (s); for "hairer853" the fifth-order formula's, equal to `e5`.
        b_hat           weights of the embedded formula (s), in the place of e.
        fsal            whether the last stage is f(t + h, y_new).  Left out it is derived; given, it must agree with
                        the coefficients.
        dense           P, (s + d) rows of q entries: coefficient of theta^(j+1) in column j.  Left out it is the cubic
                        Hermite interpolant; without FSAL that takes one dense stage, the slope at the step's end, which
                        is also the next step's first.
        dense_order     order at which P holds for every theta; left out, it is found.
        dense_c, dense_a  nodes and rows of stages needed for dense output alone; row i holds s + i entries.
        error           "embedded" or "hairer853"; the latter uses `e5` and `e3` (s each), see above.
        stiffness       (i, j), counted from 0: the last two stages of an FSAL method, at c = 1 with different stage
                        values, for S = ||k_j - k_i|| / ||g_j - g_i||; None where the method has no such pair.
        exact           True: the method is rational and the coefficients are it; False: published decimals.  Left out:
                        whether all are ints or Fractions.

    Raises ValueError from the constructor where the parts do not fit together, and where the coefficients are not what
    they are said to be: rows of a that do not sum to c, order conditions up to the orders that do not hold (see
    `checks`), an estimate that is always 0. Two tableaus are equal where their fields are.
    """

    name: str
    order: int
    embedded_order: int
    c: Row
    a: tuple[Row, ...]
    b: Row
    e: Row = ()
    fsal: bool = None  # type: ignore[assignment]  # a bool once it is built, as `exact`
    dense: tuple[Row, ...] = ()
    dense_order: int = None  # type: ignore[assignment]
    exact: bool = None  # type: ignore[assignment]
    error: str = "embedded"
    e5: Row | None = None
    e3: Row | None = None
    dense_c: Row = ()
    dense_a: tuple[Row, ...] = ()
    stiffness: tuple[int, int] | None = None
    b_hat: InitVar[Row] = ()

    def __post_init__(self, b_hat: Row) -> None:
        from ..checks import complete

        complete(self, b_hat)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExplicitTableau) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"ExplicitTableau({self.name!r}, order {self.order}({self.embedded_order}), {self.stages} stages)"

    def __getstate__(self) -> dict[str, Any]:
        # the fields alone: arrays are formed anew, read-only
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @cached_property
    def key(self) -> str:
        """Digest of all fields: what kernels and caches are told apart by."""
        return hashlib.sha256(repr([getattr(self, f.name) for f in fields(self)]).encode()).hexdigest()

    @property
    def stages(self) -> int:
        """Stages of one attempt, the FSAL one included."""
        return len(self.c)

    @property
    def step_cost(self) -> int:
        """Evaluations that an accepted step costs: without FSAL its first slope is one of them.  A rejected attempt
        costs stages - 1.
        """
        return self.stages - int(self.fsal)

    @property
    def end(self) -> int | None:
        """Which of the s + d slopes is f(t + h, y_new); None where none is."""
        if self.fsal:
            return self.stages - 1
        for i, (c, row) in enumerate(zip(self.dense_c, self.dense_a, strict=True)):
            if c == 1 and row[: self.stages] == self.b and not any(row[self.stages :]):
                return self.stages + i
        return None

    @property
    def dense_stages(self) -> int:
        """Further stages that dense output needs."""
        return len(self.dense_c)

    @cached_property
    def C(self) -> np.ndarray:
        """Nodes, (s,) float64, read-only."""
        return _array(self.c)

    @cached_property
    def A(self) -> np.ndarray:
        """Stage coefficients padded with zeros, (s, s) float64, read-only."""
        return _padded(self.a, self.stages)

    @cached_property
    def B(self) -> np.ndarray:
        """Weights, (s,) float64, read-only."""
        return _array(self.b)

    @cached_property
    def E(self) -> np.ndarray:
        """Error weights, (s,) float64, read-only."""
        return _array(self.e)

    @cached_property
    def E5(self) -> np.ndarray:
        """Fifth-order error weights of "hairer853", (s,) float64, read-only; ValueError for other methods."""
        return _array(self._hairer(self.e5))

    @cached_property
    def E3(self) -> np.ndarray:
        """Third-order error weights of "hairer853", (s,) float64, read-only; ValueError for other methods."""
        return _array(self._hairer(self.e3))

    @cached_property
    def P(self) -> np.ndarray:
        """Dense output, (s + d, q) float64, read-only; column j multiplies theta^(j+1)."""
        return _padded(self.dense, len(self.dense[0]))

    @cached_property
    def D(self) -> np.ndarray:
        """Dense output beyond the Hermite cubic, (s + d, q - 3) float64, read-only; column j is for theta^j.

        No columns where the cubic is all of it.  ValueError where P does not join values and slopes.
        """
        b = (*self.b, *[Fraction(0)] * self.dense_stages)
        rows = []
        for i, (row, bi) in enumerate(zip(self.dense, b, strict=True)):
            k0, k1 = int(i == 0), int(i == self.stages - 1)
            cubic = (k0, 3 * bi - 2 * k0 - k1, k0 + k1 - 2 * bi)
            rest = list(row) + [Fraction(0)] * (3 - len(row))
            for j, value in enumerate(cubic):
                rest[j] = rest[j] - value
            # Divide the remaining theta^1 ... theta^q by theta^2 (1 - 2 theta + theta^2), lowest power first.
            quotient: list[Number] = []
            for j in range(1, len(rest) - 2):
                lead = rest[j]
                quotient.append(lead)
                rest[j + 1] += 2 * lead
                rest[j + 2] -= lead
            if rest[0] != 0 or any(rest[-2:]):
                raise ValueError(f"tableau {self.name!r}: dense output does not join values and slopes")
            rows.append(quotient)
        return _padded(rows, len(rows[0]))

    @cached_property
    def joins_slopes(self) -> bool:
        """Whether P joins the slopes of neighbouring steps, too, with the last stage as the one at the end: `D` is
        there.
        """
        try:
            _ = self.D
        except ValueError:
            return False
        return self.fsal

    @cached_property
    def V(self) -> np.ndarray:
        """Dense output beyond the chord, (s + d, q - 1) float64, read-only; column j is for theta^j:

        y(t + theta h) = (1 - theta) y + theta y_new + h theta (1 - theta) sum_i k_i sum_j V_ij theta^j, for any P that
        joins values.
        """
        rows = []
        for row, bi in zip(self.dense, (*self.b, *[Fraction(0)] * self.dense_stages), strict=True):
            # (P_i - b_i theta)/theta over 1 - theta, lowest power first
            quotient: list[Number] = []
            lead: Number = row[0] - bi
            for x in row[1:]:
                quotient.append(lead)
                lead = lead + x
            rows.append(quotient)
        return _padded(rows, len(rows[0]))

    @cached_property
    def dense_C(self) -> np.ndarray:
        """Nodes of the dense stages, (d,) float64, read-only."""
        return _array(self.dense_c)

    @cached_property
    def dense_A(self) -> np.ndarray:
        """Rows of the dense stages padded with zeros, (d, s + d) float64, read-only."""
        return _padded(self.dense_a, self.stages + self.dense_stages)

    def _hairer(self, row: Row | None) -> Row:
        if row is None:
            raise ValueError(f"tableau {self.name!r} has one embedded formula: use E, not E5 or E3")
        return row

    @cached_property
    def last_pair(self) -> tuple[int, int] | None:
        """`stiffness`; of a method that is not FSAL its last two stages, where both are at c = 1 and differ."""
        i, j = self.stages - 2, self.stages - 1
        if self.stiffness is not None or self.fsal or i < 1:
            return self.stiffness
        same = self.c[i] == self.c[j] == 1 and (*self.a[i], *[0] * (len(self.a[j]) - len(self.a[i]))) != self.a[j]
        return (i, j) if same else None

    @cached_property
    def stability_polynomial(self) -> tuple[Number, ...]:
        """R(z) = 1 + z b^T (I - zA)^-1 1, ascending; y_new = R(h lambda) y for y' = lambda y."""
        coefficients: list[Number] = [Fraction(1)]
        vector: list[Number] = [Fraction(1)] * self.stages
        for _ in range(self.stages):
            coefficients.append(_dot(self.b, vector))
            vector = [_dot(row, vector) for row in self.a]
        while len(coefficients) > 1 and coefficients[-1] == 0:
            coefficients.pop()
        return tuple(coefficients)

    @cached_property
    def stability_radius(self) -> float:
        """Largest x such that |R(z)| <= 1 on the whole of [-x, 0] of the negative real axis.

        A march outwards finds the first crossing, bisection its place.  A polynomial leaves the unit disc
        in the end, so the march ends; ValueError for a method that is unstable from the start.
        """
        ascending = [float(r) for r in self.stability_polynomial]
        if len(ascending) < 2:
            raise ValueError(f"tableau {self.name!r}: stability polynomial is constant")

        def outside(x: float) -> bool:
            value = 0.0
            for r in reversed(ascending):
                value = value * -x + r
            return abs(value) > 1.0

        step = 1.0 / 128.0
        low = step
        if outside(low):
            raise ValueError(f"tableau {self.name!r} is unstable near 0 on the negative real axis")
        while not outside(low + step):
            low += step
        high = low + step
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if outside(middle) else (middle, high)
        return low


def fractions(*decimals: str | int) -> tuple[Fraction, ...]:
    """Exact fractions from decimal or "p/q" strings."""
    return tuple(Fraction(x) for x in decimals)


def hermite_quartic(b: Sequence[Number], d: Sequence[Number]) -> tuple[Row, ...]:
    """Dense weights: cubic Hermite interpolant plus theta^2 (1 - theta)^2 d_i, as rows (theta ... theta^4).

    The cubic joins y, y_new and their slopes k_0 and k_last (FSAL, or a last row for the slope at the end).  Where
    every d is 0 the last column is left out.  Source: Hairer, Norsett, Wanner I, section II.6.
    """
    last = len(b) - 1
    rows = []
    for i, (bi, di) in enumerate(zip(b, d, strict=True)):
        k0, k1 = Fraction(i == 0), Fraction(i == last)
        rows.append((k0, 3 * bi - 2 * k0 - k1 + di, k0 + k1 - 2 * bi - 2 * di, di))
    return tuple(rows) if any(d) else tuple(row[:3] for row in rows)


def _dot(u: Sequence[Number], v: Sequence[Number]) -> Number:
    return sum((x * y for x, y in zip(u, v, strict=False)), Fraction(0))


def _array(row: Sequence[Number]) -> np.ndarray:
    out = np.array([float(x) for x in row], dtype=np.float64)
    out.flags.writeable = False
    return out


def _padded(rows: Sequence[Sequence[Number]], width: int) -> np.ndarray:
    out = np.zeros((len(rows), width))
    for i, row in enumerate(rows):
        out[i, : len(row)] = [float(x) for x in row]
    out.flags.writeable = False
    return out
