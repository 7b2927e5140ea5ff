"""Gotta Go Fast: Heun's method for noise that does not depend on the state, with a tolerance for images.

    k1 = h f(t, y) + W g(t),   y' = y + k1,   k2 = h f(t + h, y') + W g(t + h),   y1 = y + (k1 + k2)/2,   e = y1 - y',
    E  = rms( e / max(atol, rtol max(|y'|, |y'_before|)) ),

where y'_before is y' of the last accepted step, y at first: one tolerance or the other, not their sum.  y1 is kept, the
better one of the two.  The published code draws a new increment after a rejection, which changes the law of W; here W
is conditioned on what was drawn, as with all methods.

Source: A. Jolicoeur-Martineau, K. Li, R. Piche-Taillefer, T. Kachman, I. Mitliagkas, Gotta go fast when generating data
with score-based models, arXiv:2105.14080, algorithm 1; its code (sampling.py, AdaptivePredictor).
"""

from fractions import Fraction

from .method import SDEMethod

METHOD = SDEMethod(
    name="gotta_go_fast",
    doc="Heun against Euler for additive noise, with the mixed tolerance of arXiv:2105.14080",
    source="A. Jolicoeur-Martineau et al., arXiv:2105.14080",
    interpretation="ito",
    strong=Fraction(1),
    strong_additive=Fraction(1),
    noises=("additive",),
    levy=False,
    nf=2,
    ng=2,
    nf_plain=2,
    ng_plain=2,
    adaptive=("additive",),
    estimate="embedded",
    scale="max",
)
