"""Milstein's method without derivatives for Ito equations: strong order 1.

    g0 = g(t, y),   g1 = g(t + h, y + h f + sqrt(h) g0),   d = (g1 - g0)/sqrt(h),
    m  = d (W^2 - h)/2,   y1 = y + h f(t, y) + W g0 + m,
    e  = h/2 (f(t + h, y + h f) - f) + m.

d is g g' to leading order.  The time t + h in g1 changes it by h^(1/2) dg/dt, which the factor of mean zero allows, and
lets the estimate see a diffusion that moves with t.

Sources: P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, Springer 1992, (11.1.7); the
estimate, the difference to Euler-Maruyama: H. Lamba, J. Comput. Appl. Math. 161 (2003) 417.
"""

from fractions import Fraction

from .method import SDEMethod

METHOD = SDEMethod(
    name="milstein_ito",
    doc="Milstein without derivatives for Ito equations",
    source="P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, 1992",
    interpretation="ito",
    strong=Fraction(1),
    strong_additive=Fraction(1),
    noises=("diagonal", "scalar", "additive"),
    levy=False,
    nf=2,
    ng=2,
    nf_plain=1,
    ng_plain=2,
    adaptive=("diagonal", "scalar", "additive"),
    estimate="lamba",
)
