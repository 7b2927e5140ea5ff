"""Milstein's method without derivatives for Stratonovich equations: strong order 1.

    g0 = g(t, y),   gp, gm = g(t, y +- sqrt(h) g0),   d = (gp - gm)/(2 sqrt(h)),
    m  = d W^2/2,   y1 = y + h f(t, y) + W g0 + m,
    e  = h/2 (f(t + h, y + h f) - f) + m + W/2 (g(t + h, y) - g0).

The one-sided difference that Ito's Milstein takes has an error sqrt(h)/2 g^2 g'', which W^2, whose mean is h, would
turn into a bias of h^(3/2) a step, and the method into one of order 1/2; the central difference has none of it.  With
diagonal noise g_i must depend on t and y_i alone: W_i^2 would else stand for W_i W_j, and the limit be another.

Sources: P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, Springer 1992, sections 10.3
and 11.1; the estimate: H. Lamba, J. Comput. Appl. Math. 161 (2003) 417, and its last part for a diffusion that moves
with t is ours.
"""

from fractions import Fraction

from .method import SDEMethod

METHOD = SDEMethod(
    name="milstein_stratonovich",
    doc="Milstein without derivatives for Stratonovich equations",
    source="P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, 1992",
    interpretation="stratonovich",
    strong=Fraction(1),
    strong_additive=Fraction(1),
    noises=("diagonal", "scalar", "additive"),
    levy=False,
    nf=2,
    ng=4,
    nf_plain=1,
    ng_plain=3,
    adaptive=("diagonal", "scalar", "additive"),
    estimate="lamba",
)
