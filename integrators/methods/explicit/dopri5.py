"""Dormand-Prince 5(4), seven stages, first same as last.

Coefficients: J. R. Dormand, P. J. Prince, A family of embedded Runge-Kutta formulae, J. Comput. Appl. Math.
6 (1980) 19-26.  Error weights as in Hairer's dopri5.f: e = b - b_hat, not scaled (SciPy's RK45 has the same
with the opposite sign).  Dense output of order 4: L. F. Shampine, Some practical Runge-Kutta formulas,
Math. Comp. 46 (1986) 135-150, in the form of Hairer, Norsett, Wanner, Solving Ordinary Differential
Equations I, section II.6 (`d` as in dopri5.f).
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions, hermite_quartic

_b = fractions("35/384", 0, "500/1113", "125/192", "-2187/6784", "11/84", 0)
_b_hat = fractions(
    "5179/57600", 0, "7571/16695", "393/640", "-92097/339200", "187/2100", "1/40"
)  # fmt: skip
_d = fractions(
    "-12715105075/11282082432",
    0,
    "87487479700/32700410799",
    "-10690763975/1880347072",
    "701980252875/199316789632",
    "-1453857185/822651844",
    "69997945/29380423",
)

TABLEAU = ExplicitTableau(
    name="dopri5",
    order=5,
    embedded_order=4,
    c=fractions(0, "1/5", "3/10", "4/5", "8/9", 1, 1),
    a=(
        (),
        fractions("1/5"),
        fractions("3/40", "9/40"),
        fractions("44/45", "-56/15", "32/9"),
        fractions("19372/6561", "-25360/2187", "64448/6561", "-212/729"),
        fractions("9017/3168", "-355/33", "46732/5247", "49/176", "-5103/18656"),
        _b[:-1],
    ),
    b=_b,
    e=tuple(x - y for x, y in zip(_b, _b_hat, strict=True)),
    fsal=True,
    dense=hermite_quartic(_b, _d),
    dense_order=4,
    stiffness=(5, 6),
    exact=True,
)

METHOD = explicit(
    TABLEAU, "Dormand-Prince, seven stages, FSAL", "J. R. Dormand, P. J. Prince, J. Comput. Appl. Math. 6 (1980) 19"
)
