"""Adams methods of variable order and step: predict with Adams-Bashforth of order k, evaluate, correct with
Adams-Moulton of order k + 1, evaluate; k from 1 to 12.

Let p be the polynomial of degree k - 1 through the last k slopes f_(n-1), ..., f_(n-k), at the times where they stand.
One attempt of step h from t_(n-1) to t_n is

    y* = y_(n-1) + integral p,        f* = f(t_n, y*),        y_n = y* + h g_k (f* - p(t_n)),

with g_k = integral of (s + x_1) ... (s + x_k)/(x_1 ... x_k) over s from -1 to 0 and x_i = (t_n - t_(n-i))/h: y_n is
y_(n-1) and the integral of the polynomial through f* and the same k slopes.  With equal steps these are the
Adams-Bashforth formula of order k and the Adams-Moulton formula of order k + 1.  On steps that vary the weights are
those of the times that there are, so the size may change at every step.  The slope f(t_n, y_n) is evaluated when the
next step begins.

The corrector of order j from the same f* differs from that of order j + 1 by

    h l_j (f* - p_j(t_n)),        l_j = integral of s (s + x_1) ... (s + x_(j-1))/(x_1 ... x_j),

p_j the polynomial through the last j slopes.  Its norm E_j is the error estimate of order j (that of the formula before
the last one: the step goes on with the better one, of order k + 1, which is local extrapolation), and what other orders
are compared by.

Dense output is y_(n-1) and the integral of the polynomial through f* and the k slopes.

Source: L. F. Shampine, M. K. Gordon, Computer Solution of Ordinary Differential Equations, Freeman 1975, chapters 5 to
7 (the code STEP), with weights in the place of differences; E. Hairer, S. P. Norsett, G. Wanner, Solving ODEs I, 1993,
III.1 and III.5.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...compile import digest
from ...core import record
from ..method import COMMON, Method


@dataclass(frozen=True)
class AdamsFormulas:
    """The formulas of all orders.

    Fields
        name    method name.
        most    greatest order k of the predictor.
    """

    name: str
    most: int


FORMULAS = AdamsFormulas("adams", 12)


def _parts(source: Any, slots: frozenset[int]) -> Any:
    from ...kernels.adams import adams_parts

    return adams_parts(FORMULAS, source, slots)


def _key(source: Any) -> tuple:
    return (digest.identity(source.rhs),)


METHOD = Method(
    FORMULAS.name,
    "Adams of several steps, predict-evaluate-correct-evaluate, of orders 2 to 13",
    "L. F. Shampine, M. K. Gordon, Computer Solution of ODEs, 1975",
    FORMULAS.most + 1,
    FORMULAS.most,
    FORMULAS.most + 1,
    COMMON | {record.ERR, record.ORDER, record.YNORM, record.ENORM},
    _parts,
    _key,
)
