"""Runge-Kutta-Fehlberg 2(1), three stages; the solution of order 2 is advanced.

Source: E. Fehlberg, Low-order classical Runge-Kutta formulas with stepsize control and their application to some heat
transfer problems, NASA TR R-315 (1969), RK1(2).  Dense output is the cubic Hermite interpolant, of order 2 like the
method; it takes the slope at y_new, which is the next step's first.

Fehlberg advances the solution of order 1, whose slope at the end is the third stage.  torchdiffeq has the pair under
this name and advances the solution of order 2, as is done here, but keeps the third stage as the next step's first
slope, though it is not the slope at y_new any more: from its second step on that is another formula, and an evaluation
a step cheaper.  Here every step begins with the slope at its start.
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions

TABLEAU = ExplicitTableau(
    name="fehlberg2",
    order=2,
    embedded_order=1,
    c=fractions(0, "1/2", 1),
    a=((), fractions("1/2"), fractions("1/256", "255/256")),
    b=fractions("1/512", "255/256", "1/512"),
    b_hat=fractions("1/256", "255/256", 0),
    fsal=False,
    dense_order=2,
    exact=True,
)

METHOD = explicit(TABLEAU, "Fehlberg, three stages", "E. Fehlberg, NASA TR R-315 (1969)")
