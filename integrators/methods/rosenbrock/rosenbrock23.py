"""Rosenbrock23, the pair of ode23s: a W-method of order 2 with an estimate by order 3, L-stable, for loose tolerances.

Source: L. F. Shampine, M. W. Reichelt, The MATLAB ODE Suite, SIAM J. Sci. Comput. 18 (1997) 1-22, section 3.1.  With
W = I - h d J, d = 1/(2 + sqrt 2), e = 6 + sqrt 2:

    W k_1 = f(t, y) + h d f_t                      k_2 = k_1 + W^-1 (f(t + h/2, y + h/2 k_1) - k_1),   y_new = y + h k_2
    W k_3 = f(t + h, y_new) - e (k_2 - f_2) - 2 (k_1 - f_1) + h d f_t,      y_new - y_hat = h/6 (-k_1 + 2 k_2 - k_3)

Since k_1 - f_1 = h d (J k_1 + f_t) and k_2 - f_2 = h d J (k_2 - k_1), that is a Rosenbrock method with the rows of
Gamma below, which are exact in d.  The conditions of order 2 hold for any matrix in the place of the Jacobian.

Dense output is the paper's, of order 2: y + h (theta (1 - theta) k_1 + theta (theta - 2 d) k_2)/(1 - 2 d).

The third stage is the slope at the step's end, which the paper carries over to the next step; here the next step
evaluates it again.
"""

from fractions import Fraction

from ..explicit.tableau import fractions
from ..rational import product
from .method import rosenbrock
from .tableau import RosenbrockTableau, transformed

_gamma = Fraction("0.2928932188134524755991556378951509607151640623115260")
_e = 4 + 1 / _gamma  # 6 + sqrt 2
_alpha = ((), fractions("1/2"), fractions(0, 1))
_Gamma = ((), (-_gamma,), (_gamma * (_e - 2), -_gamma * _e))
_b = fractions(0, 1, 0)
_b_hat = fractions("1/6", "2/3", "1/6")

_a, _C, _inverse = transformed(_alpha, _Gamma, _gamma)
_m, _m_hat = product((_b, _b_hat), _inverse)
_span = 1 - 2 * _gamma
# weights of theta and theta^2 a stage, then in the increments
_b_theta = ((1 / _span, -2 * _gamma / _span, Fraction(0)), (-1 / _span, 1 / _span, Fraction(0)))
_dense = tuple(zip(*product(_b_theta, _inverse), strict=True))

TABLEAU = RosenbrockTableau(
    name="rosenbrock23",
    order=2,
    embedded_order=2,
    w_order=2,
    embedded_w_order=2,
    gamma=_gamma,
    c=fractions(0, "1/2", 1),
    d=(_gamma, Fraction(0), -_gamma),
    a=_a,
    C=_C,
    m=_m,
    e=tuple(x - y for x, y in zip(_m, _m_hat, strict=True)),
    dense=_dense,
    dense_order=2,
    stiffly_accurate=False,
)

METHOD = rosenbrock(
    TABLEAU, "Rosenbrock-W, three stages, L-stable, the pair of ode23s",
    "L. F. Shampine, M. W. Reichelt, SIAM J. Sci. Comput. 18 (1997) 1",
)  # fmt: skip
