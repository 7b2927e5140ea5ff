"""Heun's method for Stratonovich equations: strong order 1 where the noise commutes, weak order 1.

    f0 = f(t, y),  g0 = g(t, y),   u = y + h f0 + W g0,   f1 = f(t + h, u),  g1 = g(t + h, u),
    y1 = y + h/2 (f0 + f1) + W/2 (g0 + g1),
    e  = h/2 (f1 - f0) + W/2 (g1 - g0)        (y1 - u, the difference to Euler's step).

Sources: W. Ruemelin, Numerical treatment of stochastic differential equations, SIAM J. Numer. Anal. 19 (1982) 604; the
estimate: diffrax (solver/heun.py), for which J. Foster, A. Jelincic, arXiv:2311.14201, show convergence.
"""

from fractions import Fraction

from .method import SDEMethod

METHOD = SDEMethod(
    name="stochastic_heun",
    doc="Heun for Stratonovich equations, against Euler",
    source="W. Ruemelin, SIAM J. Numer. Anal. 19 (1982) 604",
    interpretation="stratonovich",
    strong=Fraction(1),
    strong_additive=Fraction(1),
    noises=("diagonal", "scalar", "additive"),
    levy=False,
    nf=2,
    ng=2,
    nf_plain=2,
    ng_plain=2,
    adaptive=("diagonal", "scalar", "additive"),
    estimate="embedded",
)
