"""Kvaerno 5(4): ESDIRK pair of seven stages, both formulas stiffly accurate; y_new is L-stable, y_hat A-stable.

Source: A. Kvaerno, Singly diagonally implicit Runge-Kutta methods with an explicit first stage, BIT Numer. Math. 44
(2004) 489-502, gamma = 0.26.  40 decimals as in SUNDIALS (ARKODE_KVAERNO_7_4_5), the diagonal exact; with them the
order conditions hold to 1e-37.  The method is of stage order 2, its stages 3 ... 7 even of 3.

y_hat is the sixth stage, so that the error estimate is g_7 - g_6; |R_hat(infinity)| = 0.75.  For the same reason z_6
predicts z_7 up to the error estimate.  Dense output of order 4 is derived in `esdirk.py`.
"""

from fractions import Fraction

from ..explicit.tableau import fractions
from .method import esdirk
from .tableau import EsdirkTableau, damped_dense, quadratic_predictor

_gamma = Fraction(26, 100)
# fmt: off
_a = (
    (),
    (_gamma,),
    fractions("0.13", "0.8403332099679080963171360487915268154051"),
    fractions(
        "0.2237196147832050559163143898290529441991", "0.4767553231979969983278927937270874162429",
        "-0.06470895363112615133816161180658488282681",
    ),
    fractions(
        "0.1664856432324832152535151725360430044452", "0.1045001884159172041151167240328967362455",
        "0.03631482272098715161651993758285203251909", "-0.1309070445107399857071749645700052401819",
    ),
    fractions(
        "0.1385564023126822495054973091161581456582", 0, "-0.04245337201752043098884399725982168512523",
        "0.02446657898003141965963581513879101305561", "0.6194303907248067618237108730048725264114",
    ),
    fractions(
        "0.1365975117764029144062783844146127033921", 0, "-0.05496908796538376712487773114648630009105",
        "-0.04118626728321046868299776958296295741592", "0.6299330489901640319161060392667246534806",
        "0.06962479448202728948549107704811190063421",
    ),
)
# fmt: on
_b = (*_a[-1], _gamma)
_b_hat = (*_a[-2], _gamma, Fraction(0))
_c = (*(sum(row, _gamma if row else Fraction(0)) for row in _a[:-2]), Fraction(1), Fraction(1))

TABLEAU = EsdirkTableau(
    name="kvaerno5",
    order=5,
    embedded_order=4,
    gamma=_gamma,
    c=_c,
    a=_a,
    b=_b,
    e=tuple(x - y for x, y in zip(_b, _b_hat, strict=True)),
    dense=damped_dense(_c, _a, _gamma),
    dense_order=4,
    predictor=((), *(quadratic_predictor(_c, i) for i in range(1, 6)), (*[Fraction(0)] * 5, Fraction(1))),
)

METHOD = esdirk(
    TABLEAU, "ESDIRK, seven stages, stiffly accurate, L-stable", "A. Kvaerno, BIT Numer. Math. 44 (2004) 489"
)
