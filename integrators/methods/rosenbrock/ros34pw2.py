"""ROS34PW2: Rosenbrock-W method of order 3(2), four stages, stiffly accurate, L-stable; dense output of order 3.

Source: J. Rang, L. Angermann, New Rosenbrock W-methods of order 3 for partial differential algebraic equations of index
1, BIT Numer. Math. 45 (2005) 761-787; decimals alpha, gamma, b and b_hat as published there, with which the order
conditions hold to 2e-15.  Dense output as in PETSc (TSROSWRA34PW2), given there for the classical b.

y_new has order 3 and y_hat order 2 whatever matrix stands for the Jacobian, so that one factorisation may serve many
steps; the dense output keeps 2 of its 3 orders then.  y_hat is strongly A-stable, |R_hat(infinity)| = 0.48.
"""

from fractions import Fraction

from ..explicit.tableau import fractions
from ..rational import product
from .method import rosenbrock
from .tableau import RosenbrockTableau, transformed

# fmt: off
_gamma = Fraction("0.43586652150845900")
_alpha = (
    (),
    fractions("0.87173304301691801"),
    fractions("0.84457060015369423", "-0.11299064236484185"),
    fractions(0, 0, 1),
)
_Gamma = (
    (),
    fractions("-0.87173304301691801"),
    fractions("-0.90338057013044082", "0.054180672388095326"),
    fractions("0.24212380706095346", "-1.2232505839045147", "0.54526025533510214"),
)
_b = fractions("0.24212380706095346", "-1.2232505839045147", "1.5452602553351020", "0.43586652150845900")
_b_hat = fractions("0.37810903145819369", "-0.096042292212423178", "0.5", "0.21793326075422950")
# Weights of theta, theta^2 and theta^3.
_b_theta = (
    fractions("1.0564298455794094", "2.296429974281067", "-1.307599564525376", "-1.045260255335102"),
    fractions("-1.3864882699759573", "-8.262611700275677", "7.250979895056055", "2.398120075195581"),
    fractions("0.5721822314575016", "4.742931142090097", "-4.398120075195578", "-0.9169932983520199"),
)
# fmt: on

_a, _C, _inverse = transformed(_alpha, _Gamma, _gamma)
_m_hat, *_columns = product((_b_hat, *_b_theta), _inverse)
# Stiff accuracy: b = alpha_4 + Gamma_4, hence m = (a_4, 1) up to the last digit printed; this m is taken.
_m = (*_a[-1], Fraction(1))

TABLEAU = RosenbrockTableau(
    name="ros34pw2",
    order=3,
    embedded_order=2,
    w_order=3,
    embedded_w_order=2,
    gamma=_gamma,
    c=fractions(0, "0.87173304301691801", "0.73157995778885238", 1),
    d=tuple(sum(row, _gamma) for row in _Gamma),
    a=_a,
    C=_C,
    m=_m,
    e=tuple(x - y for x, y in zip(_m, _m_hat, strict=True)),
    dense=tuple(zip(*_columns, strict=True)),
    dense_order=3,
    stiffly_accurate=True,
)

METHOD = rosenbrock(
    TABLEAU,
    "Rosenbrock-W, four stages, stiffly accurate, L-stable",
    "J. Rang, L. Angermann, BIT Numer. Math. 45 (2005) 761",
)
