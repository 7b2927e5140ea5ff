"""Bogacki-Shampine 3(2), four stages, first same as last.

Source: P. Bogacki, L. F. Shampine, A 3(2) pair of Runge-Kutta formulas, Appl. Math. Lett. 2 (1989) 321-325.
Dense output is the cubic Hermite interpolant, of order 3 like the method.  No two stages share c = 1, so
there is no stage-based stiffness estimate.  torchdiffeq's and diffrax's name of it, bosh3, is another name here, too.
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions, hermite_quartic

_b = fractions("2/9", "1/3", "4/9", 0)
_b_hat = fractions("7/24", "1/4", "1/3", "1/8")

TABLEAU = ExplicitTableau(
    name="bs32",
    order=3,
    embedded_order=2,
    c=fractions(0, "1/2", "3/4", 1),
    a=((), fractions("1/2"), fractions(0, "3/4"), _b[:-1]),
    b=_b,
    e=tuple(x - y for x, y in zip(_b, _b_hat, strict=True)),
    fsal=True,
    dense=hermite_quartic(_b, (0, 0, 0, 0)),
    dense_order=3,
    exact=True,
)

METHOD = explicit(
    TABLEAU,
    "Bogacki-Shampine, four stages, FSAL; also called bosh3",
    "P. Bogacki, L. F. Shampine, Appl. Math. Lett. 2 (1989) 321",
)
