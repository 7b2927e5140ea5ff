"""ESDIRK4(3)6L[2]SA of Kennedy and Carpenter: six stages, stiffly accurate, both formulas L-stable, stage order 2.

Source: C. A. Kennedy, M. H. Carpenter, Diagonally implicit Runge-Kutta methods for ordinary differential equations. A
review, NASA/TM-2016-219173, and Appl. Numer. Math. 146 (2019) 221-244, the authors' default; coefficients as in
SUNDIALS (ARKODE_ESDIRK436L2SA_6_3_4).  They lie in Q(sqrt 2) and are formed here from sqrt 2 to 60 decimals; b_hat is
the published rational approximation, whose order conditions hold to 1e-24.

Against ARK4(3)6L[2]SA-ESDIRK of the same authors (2003, gamma = 1/4 as well) its principal error is 0.54 as large, its
stages 3 ... 6 and y_hat are damped completely at infinity, and |y_new - y_hat| speaks for more of the error.

Dense output of order 3 is derived in `esdirk.py`.
"""

from fractions import Fraction

from ..explicit.tableau import fractions
from ..rational import root
from .method import esdirk
from .tableau import EsdirkTableau, damped_dense, quadratic_predictor

_r2 = root(2, 2)
_gamma = Fraction(1, 4)
_c = (Fraction(0), Fraction(1, 2), (2 - _r2) / 4, Fraction(5, 8), Fraction(26, 25), Fraction(1))
# Columns 2 ... i - 1 of row i; column 1 follows from c.
_inner = (
    (),
    (),
    ((1 - _r2) / 8,),
    ((5 - 7 * _r2) / 64, 7 * (1 + _r2) / 32),
    (
        -(13796 + 54539 * _r2) / 125000,
        (506605 + 132109 * _r2) / 437500,
        166 * (-97 + 376 * _r2) / 109375,
    ),
)
_b = (
    (1181 - 987 * _r2) / 13782,
    (1181 - 987 * _r2) / 13782,
    47 * (-267 + 1783 * _r2) / 273343,
    -16 * (-22922 + 3525 * _r2) / 571953,
    -15625 * (97 + 376 * _r2) / 90749876,
    _gamma,
)
_b_hat = fractions(
    "-480923228411/4982971448372",
    "-480923228411/4982971448372",
    "6709447293961/12833189095359",
    "3513175791894/6748737351361",
    "-498863281070/6042575550617",
    "2077005547802/8945017530137",
)
_a = ((), *((_c[i] - _gamma - sum(_inner[i]), *_inner[i]) for i in range(1, 5)), _b[:-1])

TABLEAU = EsdirkTableau(
    name="esdirk43",
    order=4,
    embedded_order=3,
    gamma=_gamma,
    c=_c,
    a=_a,
    b=_b,
    e=tuple(x - y for x, y in zip(_b, _b_hat, strict=True)),
    dense=damped_dense(_c, _a, _gamma),
    dense_order=3,
    predictor=((), *(quadratic_predictor(_c, i) for i in range(1, 6))),
)

METHOD = esdirk(
    TABLEAU, "ESDIRK, six stages, stiffly accurate, L-stable", "C. A. Kennedy, M. H. Carpenter, NASA/TM-2016-219173"
)
