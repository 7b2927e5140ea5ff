"""SRIW1: strong order 1.5 and, for drift without noise, order 2; two evaluations of the drift, four of the diffusion.

Source: A. Roessler, SIAM J. Numer. Anal. 48 (2010) 922, table 6.1; delta = 1/6 is that of StochasticDiffEq.jl
(alg_utils.jl).
"""

from fractions import Fraction

from .method import SDEMethod
from .sri import SRI, against_first, fractions

TABLEAU = SRI(
    a0=((), fractions("3/4"), fractions(0, 0), fractions(0, 0, 0)),
    a1=((), fractions("1/4"), fractions(1, 0), fractions(0, 0, "1/4")),
    b0=((), fractions("3/2"), fractions(0, 0), fractions(0, 0, 0)),
    b1=((), fractions("1/2"), fractions(-1, 0), fractions(-5, 3, "1/2")),
    alpha=fractions("1/3", "2/3", 0, 0),
    beta1=fractions(-1, "4/3", "2/3", 0),
    beta2=fractions(-1, "4/3", "-1/3", 0),
    beta3=fractions(2, "-4/3", "-2/3", 0),
    beta4=fractions(-2, "5/3", "-2/3", 1),
)

METHOD = SDEMethod(
    name="sriw1",
    doc="Roessler's SRIW1 for Ito equations with diagonal or scalar noise",
    source="A. Roessler, SIAM J. Numer. Anal. 48 (2010) 922",
    interpretation="ito",
    strong=Fraction(3, 2),
    strong_additive=Fraction(3, 2),
    noises=("diagonal", "scalar", "additive"),
    levy=True,
    nf=2,
    ng=4,
    nf_plain=2,
    ng_plain=4,
    adaptive=("diagonal", "scalar", "additive"),
    estimate="sri",
    delta=Fraction(1, 6),
    slopes=fractions(1, 1, 0, 0),
    difference=against_first(TABLEAU.alpha),
    sri=TABLEAU,
)
