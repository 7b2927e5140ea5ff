"""Coefficients of implicit Runge-Kutta methods for steps of a given size, exactly: numbers p + q sqrt(d), rounded once.

Names are those of torchdiffeq.  "gl4" and "gl6" are Gauss's methods, "radauIIA3" and "radauIIA5" Radau's (collocation
at the zeros of Legendre's polynomials, and at those with the step's end).  "sdirk2" is Alexander's L-stable method with
gamma = 1 - sqrt(2)/2 on the diagonal, and "trbdf2" a trapezoidal step to 2 gamma followed by the second-order backward
difference formula.

E. Hairer, G. Wanner, Solving Ordinary Differential Equations II, 2nd ed., Springer 1996, section IV.5 (tables 5.1, 5.2,
5.5, 5.6); R. Alexander, SIAM J. Numer. Anal. 14 (1977) 1006; M. E. Hosea, L. F. Shampine, Appl. Numer. Math. 20 (1996)
21.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

#: a number p + q sqrt(d), as (p, q)
Pair = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Exact:
    """A method with the order `order`: nodes c, rows a (square) and weights b, pairs (p, q) that stand for p + q
    sqrt(root)."""

    order: int
    root: int
    c: tuple[Pair, ...]
    a: tuple[tuple[Pair, ...], ...]
    b: tuple[Pair, ...]

    def rounded(self, number: Pair) -> float:
        """The float64 nearest to p + q sqrt(root)."""
        p, q = number
        digits = 10**40
        return float(p + q * Fraction(isqrt(self.root * digits * digits), digits))


def _pair(text: str) -> Pair:
    """The number that a word such as "1/2-1/6r" stands for, 1/2 - sqrt(d)/6."""
    if not text.endswith("r"):
        return Fraction(text), Fraction(0)
    cut = max(text.rfind("+"), text.rfind("-"))
    return Fraction(text[:cut] or 0), Fraction(text[cut:-1])


def _exact(order: int, root: int, c: str, a: tuple[str, ...], b: str) -> Exact:
    def row(text: str) -> tuple[Pair, ...]:
        return tuple(_pair(word) for word in text.split())

    return Exact(order, root, row(c), tuple(row(text) for text in a), row(b))


EXACT = {
    "implicit_euler": _exact(1, 0, "1", ("1",), "1"),
    "implicit_midpoint": _exact(2, 0, "1/2", ("1/2",), "1"),
    "trapezoid": _exact(2, 0, "0 1", ("0 0", "1/2 1/2"), "1/2 1/2"),
    "gl4": _exact(4, 3, "1/2-1/6r 1/2+1/6r", ("1/4 1/4-1/6r", "1/4+1/6r 1/4"), "1/2 1/2"),
    "gl6": _exact(
        6,
        15,
        "1/2-1/10r 1/2 1/2+1/10r",
        (
            "5/36 2/9-1/15r 5/36-1/30r",
            "5/36+1/24r 2/9 5/36-1/24r",
            "5/36+1/30r 2/9+1/15r 5/36",
        ),
        "5/18 4/9 5/18",
    ),
    "radauIIA3": _exact(3, 0, "1/3 1", ("5/12 -1/12", "3/4 1/4"), "3/4 1/4"),
    "radauIIA5": _exact(
        5,
        6,
        "2/5-1/10r 2/5+1/10r 1",
        (
            "11/45-7/360r 37/225-169/1800r -2/225+1/75r",
            "37/225+169/1800r 11/45+7/360r -2/225-1/75r",
            "4/9-1/36r 4/9+1/36r 1/9",
        ),
        "4/9-1/36r 4/9+1/36r 1/9",
    ),
    "sdirk2": _exact(2, 2, "1-1/2r 1", ("1-1/2r 0", "0+1/2r 1-1/2r"), "0+1/2r 1-1/2r"),
    "trbdf2": _exact(
        2, 2, "0 2-1r 1", ("0 0 0", "1-1/2r 1-1/2r 0", "0+1/4r 0+1/4r 1-1/2r"), "0+1/4r 0+1/4r 1-1/2r"
    ),
}
