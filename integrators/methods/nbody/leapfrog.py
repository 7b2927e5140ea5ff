"""Leapfrog, kick-drift-kick."""

from .composition import composition

METHOD = composition(
    "leapfrog",
    2,
    "leapfrog, symplectic, no error estimate",
    "E. Hairer, C. Lubich, G. Wanner, Geometric Numerical Integration, 2006, I.3",
)
