"""Bogacki-Shampine 5(4), eight stages, first same as last.

Source: P. Bogacki, L. F. Shampine, An efficient Runge-Kutta (4,5) pair, Comput. Math. Appl. 32 (1996) no. 6, 15-28;
the fractions as in RKSUITE and OrdinaryDiffEq.jl.  The paper has two error estimates, one of the first six stages and
one of all eight.  Codes that reject by the first one before the last two stages are taken save evaluations there; here
the estimate is the second one, b - b_hat.

Dense output is a quartic of order 4 that joins values and slopes and takes no further stages.  The order conditions
leave two numbers free, chosen as in `dopri8`: the least squared defect of the trees of five nodes (divided by their
symmetries; mean over theta), rounded.  The paper's interpolant of order 5 takes three more evaluations in every step
that has outputs within, almost half of what the step costs.
"""

from .method import explicit
from .tableau import ExplicitTableau, fractions, hermite_quartic

# fmt: off
_a = (
    (),
    fractions("1/6"),
    fractions("2/27", "4/27"),
    fractions("183/1372", "-162/343", "1053/1372"),
    fractions("68/297", "-4/11", "42/143", "1960/3861"),
    fractions("597/22528", "81/352", "63099/585728", "58653/366080", "4617/20480"),
    fractions("174197/959244", "-30942/79937", "8152137/19744439", "666106/1039181", "-29421/29068", "482048/414219"),
)
_b = fractions("587/8064", 0, "4440339/15491840", "24353/124800", "387/44800", "2152/5985", "7267/94080", 0)
_b_hat = fractions("2479/34992", 0, "123/416", "612941/3411720", "43/1440", "2272/6561", "79937/1113912", "3293/556956")
_d = fractions("-240689/172032", 0, "24511653/10436608", "38465/79872", "-13329/114688", "-85/32", "-7267/6272", "5/2")
# fmt: on

TABLEAU = ExplicitTableau(
    name="bs54",
    order=5,
    embedded_order=4,
    c=fractions(0, "1/6", "2/9", "3/7", "2/3", "3/4", 1, 1),
    a=(*_a, _b[:-1]),
    b=_b,
    b_hat=_b_hat,
    fsal=True,
    dense=hermite_quartic(_b, _d),
    dense_order=4,
    stiffness=(6, 7),
    exact=True,
)

METHOD = explicit(
    TABLEAU, "Bogacki-Shampine, eight stages, FSAL", "P. Bogacki, L. F. Shampine, Comput. Math. Appl. 32 (1996) 15"
)
