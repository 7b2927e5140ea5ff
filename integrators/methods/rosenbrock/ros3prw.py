"""ROS3PRw: Rosenbrock method of order 3(2), three stages, A-stable with |R(infinity)| = sqrt(3) - 1; dense output of
order 2.

Source: J. Rang, An analysis of the Prothero-Robinson example for constructing new DIRK and ROW methods, J. Comput.
Appl. Math. 262 (2014) 105-114; decimals alpha, gamma, b and b_hat as in the code triflow, with which the order
conditions hold to 1e-15.

The w stands for less than a W-method's order: of the W-conditions it satisfies those of order 2, none of the third
order's.  Order 3 therefore needs the exact Jacobian or one with an error O(h), as a Jacobian kept over a few steps has;
any other matrix leaves order 2, and order 1 for y_hat, so that the error estimate then overrates the error.  A method
that keeps order 3 with any matrix is `ros34pw2`.

Beware: on linear autonomous problems its first two stages agree and b - b_hat is proportional to (1, -1, 0): the error
estimate is 0 there whatever the error.  No other weights of order 2 would do: three stages leave one direction.  The
engine therefore puts a second estimate beside it (`kernels.rosenbrock`), at an evaluation and a back-substitution more.
For use with a step-size controller `ros34pw2` is the better W-method.  A stage of ros3prw looks 1.37 h beyond the step.

No dense output is published.  The three conditions of order 2 for any matrix,

    b(theta) . 1 = theta,    b(theta) . alpha 1 = theta^2 / 2,    b(theta) . Gamma 1 = 0,

fix b(theta), of degree 2, and give b at theta = 1, since b meets them there.  It is derived here.
"""

from fractions import Fraction

from ..explicit.tableau import fractions
from ..rational import product, solve
from .method import rosenbrock
from .tableau import RosenbrockTableau, transformed

_gamma = Fraction("0.78867513459481287")
_alpha = ((), fractions("2.3660254037844388"), fractions("0.5", "0.76794919243112270"))
_Gamma = ((), fractions("-2.3660254037844388"), fractions("-0.86791218280355165", "-0.87306695894642317"))
_b = fractions("0.50544867840851759", "-0.11571687603637559", "0.61026819762785800")
_b_hat = fractions("0.28973180237214197", "0.1", "0.61026819762785800")

_a, _C, _inverse = transformed(_alpha, _Gamma, _gamma)
_c = tuple(sum(row, Fraction(0)) for row in _alpha)
_d = tuple(sum(row, _gamma) for row in _Gamma)
_m, _m_hat = product((_b, _b_hat), _inverse)

_one, _half, _zero = Fraction(1), Fraction(1, 2), Fraction(0)
_b_theta = solve(((_one, _one, _one), _c, _d), ((_one, _zero), (_zero, _half), (_zero, _zero)))
# Columns of P are the weights of theta and theta^2, each a row vector times Gamma^-1.
_dense = tuple(zip(*product(tuple(zip(*_b_theta, strict=True)), _inverse), strict=True))

TABLEAU = RosenbrockTableau(
    name="ros3prw",
    order=3,
    embedded_order=2,
    w_order=2,
    embedded_w_order=1,
    gamma=_gamma,
    c=_c,
    d=_d,
    a=_a,
    C=_C,
    m=_m,
    e=tuple(x - y for x, y in zip(_m, _m_hat, strict=True)),
    dense=_dense,
    dense_order=2,
    stiffly_accurate=False,
)

METHOD = rosenbrock(TABLEAU, "Rosenbrock, three stages, A-stable", "J. Rang, J. Comput. Appl. Math. 262 (2014) 105")
