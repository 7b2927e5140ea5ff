"""Runge-Kutta-Fehlberg 4(5), six stages; the solution of order 5 is advanced.

Source: E. Fehlberg, Low-order classical Runge-Kutta formulas with stepsize control and their application to some heat
transfer problems, NASA TR R-315 (1969), table III; E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential
Equations I, 2nd ed., Springer 1993, table II.5.1.

Fehlberg advances the solution of order 4, whose error constants are the small ones.  Here, as in the code RKF45 (L. F.
Shampine, H. A. Watts, Practical solution of ordinary differential equations by Runge-Kutta methods, Sandia report
SAND76-0585, 1976), that of order 5 is advanced and compared with the one of order 4 (local extrapolation).  The pair is
not first same as last.

Dense output is a quartic of order 4 that joins values and slopes.  Beside the six stages it takes the slope at y_new,
which is the next step's first.  The order conditions leave a multiple of the error weights free; it has the least
squared defect of the trees of five nodes (divided by their symmetries; mean over theta), rounded.
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions, hermite_quartic

_b = fractions("16/135", 0, "6656/12825", "28561/56430", "-9/50", "2/55")
_d = fractions("-77/90", 0, "14464/4275", "-94471/18810", "87/50", "-96/55", "5/2")

TABLEAU = ExplicitTableau(
    name="fehlberg45",
    order=5,
    embedded_order=4,
    c=fractions(0, "1/4", "3/8", "12/13", 1, "1/2"),
    a=(
        (),
        fractions("1/4"),
        fractions("3/32", "9/32"),
        fractions("1932/2197", "-7200/2197", "7296/2197"),
        fractions("439/216", -8, "3680/513", "-845/4104"),
        fractions("-8/27", 2, "-3544/2565", "1859/4104", "-11/40"),
    ),
    b=_b,
    b_hat=fractions("25/216", 0, "1408/2565", "2197/4104", "-1/5", 0),
    fsal=False,
    dense=hermite_quartic((*_b, *fractions(0)), _d),
    dense_order=4,
    exact=True,
    dense_c=fractions(1),
    dense_a=(_b,),
)

METHOD = explicit(TABLEAU, "Fehlberg, six stages, order 5 advanced", "E. Fehlberg, NASA TR R-315 (1969)")
