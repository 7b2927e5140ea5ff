"""Composition of order 8 of seventeen leapfrog steps."""

from .composition import composition

METHOD = composition(
    "composition8",
    8,
    "composition of 17 leapfrog steps, symplectic, no error estimate",
    "W. Kahan, R.-C. Li, Math. Comp. 66 (1997) 1089",
)
