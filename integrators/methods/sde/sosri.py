"""SOSRI: strong order 1.5 with a large region of stability; four evaluations of drift and of diffusion.

Published coefficients are decimals, by which the order conditions hold to about 1e-14.  The stiffness estimate divides
by 10.6, the size of the region of stability that StochasticDiffEq.jl gives the method's sister SOSRI2 (alg_utils.jl).

The drift is taken at t - 0.042 h, t + 0.790 h and t + 3.750 h besides t, some of which lie outside the step.

Source: C. Rackauckas, Q. Nie, Stability-optimized high order methods and stiffness detection for pathwise stiff
stochastic differential equations, IEEE HPEC 2020 (arXiv:1804.04344); coefficients: StochasticDiffEq.jl
(tableaus.jl, constructSRIOpt1).
"""

from fractions import Fraction

from .method import SDEMethod
from .sri import SRI, against_first, fractions

TABLEAU = SRI(
    a0=(
        (),
        (-0.04199224421316468,),
        (2.842612915017106, -2.0527723684000727),
        (4.338237071435815, -2.8895936137439793, 2.3017575594644466),
    ),
    a1=(
        (),
        (0.26204282091330466,),
        (0.20903646383505375, -0.1502377115150361),
        (0.05836595312746999, 0.6149440396332373, 0.08535117634046772),
    ),
    b0=(
        (),
        (-0.21641093549612528,),
        (1.5336352863679572, 0.26066223492647056),
        (-1.0536037558179159, 1.7015284721089472, -0.20725685784180017),
    ),
    b1=(
        (),
        (-0.5119011827621657,),
        (2.67767339866713, -4.9395031322250995),
        (0.15580956238299215, 3.2361551006624674, -1.4223118283355949),
    ),
    alpha=(1.140099274172029, -0.6401334255743456, 0.4736296532772559, 0.026404498125060714),
    beta1=(-1.8453464565104432, 2.688764531100726, -0.2523866501071323, 0.40896857551684956),
    beta2=(0.4969658141589478, -0.5771202869753592, -0.12919702470322217, 0.2093514975196336),
    beta3=(2.8453464565104425, -2.688764531100725, 0.2523866501071322, -0.40896857551684945),
    beta4=(0.11522663875443433, -0.57877086147738, 0.2857851028163886, 0.17775911990655704),
)

METHOD = SDEMethod(
    name="sosri",
    doc="stability-optimised SRI for Ito equations with diagonal or scalar noise",
    source="C. Rackauckas, Q. Nie, IEEE HPEC 2020, arXiv:1804.04344",
    interpretation="ito",
    strong=Fraction(3, 2),
    strong_additive=Fraction(3, 2),
    noises=("diagonal", "scalar", "additive"),
    levy=True,
    nf=4,
    ng=4,
    nf_plain=4,
    ng_plain=4,
    adaptive=("diagonal", "scalar", "additive"),
    estimate="sri",
    slopes=fractions(1, 1, 1, 1),
    difference=against_first(TABLEAU.alpha),
    sri=TABLEAU,
    stiffness=(2, 3, 10.6),
)
