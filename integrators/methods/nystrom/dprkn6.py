"""Dormand, El-Mikkawy and Prince's RKN6(4)6FD, six stages, first same as last, with an interpolant for nothing.

Source: J. R. Dormand, M. E. A. El-Mikkawy, P. J. Prince, Families of Runge-Kutta-Nystrom formulae, IMA J. Numer. Anal.
7 (1987) 235-250; J. R. Dormand, P. J. Prince, Runge-Kutta-Nystrom triples, Comput. Math. Appl. 13 (1987) 937-949 for
the interpolant.  The coefficients are numbers p + q sqrt(8581), taken from OrdinaryDiffEq.jl (DPRKN6); with the root
itself the order conditions hold exactly.

The interpolant joins positions, velocities and accelerations of neighbouring steps.
"""

from __future__ import annotations

from fractions import Fraction as F
from typing import Any

from ..rational import root
from .method import nystrom
from .tableau import NystromTableau


def coefficients(r: Any) -> dict[str, Any]:
    """Fields of the tableau from r = sqrt(8581), a number that mixes with `Fraction`."""
    zero = r - r
    b = (
        F(329, 4212) + zero, zero, (84119543 + 366727 * r) / 409622616, (84119543 - 366727 * r) / 409622616,
        F(200, 17901) + zero, zero,
    )  # fmt: skip
    bv = (
        b[0], zero, (389225579 + 96856 * r) / 1024056540, (389225579 - 96856 * r) / 1024056540,
        F(2000, 17901) + zero, F(1, 20) + zero,
    )  # fmt: skip
    b_hat = ((2701 + 23 * r) / 4563, -(9829 + 131 * r) / 9126, 5 * (1798 + 17 * r) / 9126, zero, zero, zero)
    bv_hat = (
        F(115, 2106) + zero, zero, (84119543 + 366727 * r) / 256014135, (84119543 - 366727 * r) / 256014135,
        F(6950, 17901) + zero, F(-1, 10) + zero,
    )  # fmt: skip

    def third(sign: int) -> tuple[Any, ...]:
        x = sign * r
        rows = (
            18 * (81356461 + 25954829 * x), 22190560391 - 1109665151 * x, -6 * (4929647204 - 156109769 * x),
            1800 * (5860823 - 152228 * x),
        )  # fmt: skip
        return zero, zero, *(y / 22529243880 for y in rows)

    return {
        "c": (zero, (209 - r) / 900, (209 - r) / 450, (209 + r) / 450, F(9, 10) + zero, F(1) + zero),
        "a": (
            (),
            ((26131 - 209 * r) / 810000,),
            ((26131 - 209 * r) / 607500, (26131 - 209 * r) / 303750),
            (
                (980403512254 + 7781688431 * r) / 11694469921875, -(1262884486208 + 15385481287 * r) / 11694469921875,
                (7166233891441 + 78694563299 * r) / 46777879687500,
            ),
            (
                -9 * (329260 + 3181 * r) / 27040000, 27 * (35129 + 3331 * r) / 13520000,
                -27 * (554358343 + 31040327 * r) / 464060480000, 153 * (8555257 - 67973 * r) / 2745920000,
            ),
            b[:-1],
        ),
        "b": b,
        "bv": bv,
        "e": tuple(x - y for x, y in zip(b, b_hat, strict=True)),
        "ev": tuple(x - y for x, y in zip(bv, bv_hat, strict=True)),
        #: coefficients of theta ... theta^6 for each of the six stages
        "dense": (
            (zero, *(F(x, 4212) + zero for x in (2106, -5244, 6386, -3819, 900))),
            (zero,) * 6,
            third(1),
            third(-1),
            (zero, zero, *(F(200 * x, 17901) + zero for x in (195, -620, 651, -225))),
            (zero, zero, *(F(x, 220) + zero for x in (-234, 757, -823, 300))),
        ),
    }  # fmt: skip


TABLEAU = NystromTableau("dprkn6", 6, 4, dense_order=5, **coefficients(root(8581, 2)))

METHOD = nystrom(
    TABLEAU,
    "Runge-Kutta-Nystrom for q'' = a(t, q), Dormand-El-Mikkawy-Prince, six stages, FSAL",
    "J. R. Dormand, M. E. A. El-Mikkawy, P. J. Prince, IMA J. Numer. Anal. 7 (1987) 235",
)
