"""The Euler-Heun method for Stratonovich equations: Euler's rule for the drift, Heun's for the diffusion.

    g0 = g(t, y),   g1 = g(t + h, y + W g0),   y1 = y + h f(t, y) + W/2 (g0 + g1),
    e  = h/2 (f(t + h, y + h f) - f) + W/2 (g1 - g0).

Strong order 1 where the noise commutes.  The second part of e is the difference to Euler's rule for the diffusion,
1/2 g g' W^2 to leading order.

Sources: P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, Springer 1992, section 11.1;
the step: torchsde (methods/euler_heun.py); the estimate: H. Lamba, J. Comput. Appl. Math. 161 (2003) 417.
"""

from fractions import Fraction

from .method import SDEMethod

METHOD = SDEMethod(
    name="euler_heun",
    doc="Euler for the drift, Heun for the diffusion, of Stratonovich equations",
    source="P. E. Kloeden, E. Platen, Numerical Solution of Stochastic Differential Equations, 1992",
    interpretation="stratonovich",
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
