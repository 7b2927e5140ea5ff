"""The Euler-Maruyama method for Ito equations: strong order 1/2, and 1 for additive noise.

    y1 = y + h f(t, y) + W g(t, y),
    e  = h/2 (f(t + h, y + h f) - f) + W/2 (g(t + h, y) - g)        (additive noise).

Steps are adaptive with additive noise only.  With other noise a controller that sees the increment W before it decides
on the step can lead the method to a wrong limit (Foster and Jelincic), however small the tolerance.

Sources: G. Maruyama, Rend. Circ. Mat. Palermo 4 (1955) 48; the estimate's first part: H. Lamba, An adaptive
timestepping algorithm for stochastic differential equations, J. Comput. Appl. Math. 161 (2003) 417, as
StochasticDiffEq.jl has it (perform_step/lamba.jl), and its second part for a diffusion that moves with t is ours; J.
Foster, A. Jelincic, On the convergence of adaptive approximations for stochastic differential equations,
arXiv:2311.14201.
"""

from fractions import Fraction

from .method import SDEMethod

METHOD = SDEMethod(
    name="euler_maruyama",
    doc="Euler-Maruyama for Ito equations; adaptive with additive noise only",
    source="G. Maruyama, Rend. Circ. Mat. Palermo 4 (1955) 48",
    interpretation="ito",
    strong=Fraction(1, 2),
    strong_additive=Fraction(1),
    noises=("diagonal", "scalar", "additive"),
    levy=False,
    nf=2,
    ng=2,
    nf_plain=1,
    ng_plain=1,
    adaptive=("additive",),
    estimate="lamba",
)
