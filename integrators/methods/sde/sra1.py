"""SRA1: strong order 1.5 for additive noise, and order 2 without noise; two evaluations of drift and of diffusion.

    g0 = g(t),  g1 = g(t + h),   k1 = h f(t, y),   k2 = h f(t + 3h/4, y + 3/4 k1 + 3/2 c2 g1),
    e2 = c2 (g0 - g1),   y1 = y + (k1 + 2 k2)/3 + W g1 + e2,   e = k1 + k2 + e2.

As for `sri` the first part of e is a size of the drift; with estimate="difference" it is 2/3 (k2 - k1), and e is the
difference to Euler-Maruyama's step with g at its end, y + k1 + W g1, of strong order 1.  The Ito and the Stratonovich
solution are the same where the noise is additive.

Sources: A. Roessler, SIAM J. Numer. Anal. 48 (2010) 922, table 6.3; the estimate: StochasticDiffEq.jl
(perform_step/sra.jl).
"""

from fractions import Fraction

from .method import SDEMethod
from .sri import against_first, fractions

#: in the form of `sri`, without the stages of the diffusion, which depends on t alone
A0, B0 = fractions("3/4"), fractions("3/2")
ALPHA, BETA1, BETA2, C1 = fractions("1/3", "2/3"), fractions(1, 0), fractions(-1, 1), fractions(1, 0)

METHOD = SDEMethod(
    name="sra1",
    doc="Roessler's SRA1 for additive noise",
    source="A. Roessler, SIAM J. Numer. Anal. 48 (2010) 922",
    interpretation="ito",
    strong=Fraction(3, 2),
    strong_additive=Fraction(3, 2),
    noises=("additive",),
    levy=True,
    nf=2,
    ng=2,
    nf_plain=2,
    ng_plain=2,
    adaptive=("additive",),
    estimate="sri",
    slopes=fractions(1, 1),
    difference=against_first(ALPHA),
)
