"""Heun 2(1), two stages: the trapezoidal rule with an Euler predictor, which the error is estimated against.

Source: K. Heun, Z. Math. Phys. 45 (1900) 23-38; with Euler's step embedded as in J. C. Butcher, Numerical Methods for
Ordinary Differential Equations, 3rd ed., Wiley 2016, section 33.  Dense output is the cubic Hermite interpolant, of
order 2 like the method; it takes the slope at y_new, which is the next step's first.

torchdiffeq has the pair under this name.  There the second stage, f(t + h, y + h k_1), serves as the next step's first
slope, though it is not the slope at y_new: that saves an evaluation a step and is another formula from the second step
on.  Here every step begins with the slope at its start.
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions

TABLEAU = ExplicitTableau(
    name="adaptive_heun",
    order=2,
    embedded_order=1,
    c=fractions(0, 1),
    a=((), fractions(1)),
    b=fractions("1/2", "1/2"),
    b_hat=fractions(1, 0),
    fsal=False,
    dense_order=2,
    exact=True,
)

METHOD = explicit(
    TABLEAU, "Heun against Euler, two stages; also called heun_euler", "K. Heun, Z. Math. Phys. 45 (1900) 23"
)
