"""Lorenz 1996: a ring of sites that push each other along, the test bed of weather prediction.

    x_i' = (x_{i+1} - x_{i-2}) x_{i-1} - x_i + F,    indices modulo the number of sites

Forty sites; other numbers: `of_size(sites)`, or the family name lorenz96_<sites>. p = (F). Dimensionless; one unit of
time stands for five days. Source: E. N. Lorenz, "Predictability: a problem partly solved", ECMWF seminar 1996 (in
Palmer and Hagedorn, 2006, ch. 3); the instance is that of E. N. Lorenz and K. A. Emanuel, J. Atmos. Sci. 55 (1998) 399:
F = 8, all sites at F but for the 20th, at F + .008. Family: F uniform in 7..10, starts on the attractor (ten units of
time from a random state of F plus standard normal noise). T = 5: with a largest exponent of 1.67 at F = 8 errors grow
by e^8. The error is that at the end, as that of a forecast is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from ..sizes import by_name, family_of_size, sized

SITES = 40
LABELS = ("rhs",)
#: steps of the classical Runge-Kutta method that bring a random state to the attractor, and their size
SPIN_UP, STEP = 400, 0.025


def build(sites: int) -> tuple[Callable[..., None]]:
    """The right-hand side of so many sites."""

    def rhs(t, y, p, dy):
        force = p[0]
        dy[0] = (y[1] - y[sites - 2]) * y[sites - 1] - y[0] + force
        dy[1] = (y[2] - y[sites - 1]) * y[0] - y[1] + force
        for i in range(2, sites - 1):
            dy[i] = (y[i + 1] - y[i - 2]) * y[i - 1] - y[i] + force
        dy[sites - 1] = (y[0] - y[sites - 3]) * y[sites - 2] - y[sites - 1] + force

    return (rhs,)


system = sized(build, LABELS, "sites", 4)
(rhs,) = system(SITES)


def __getattr__(name: str) -> Any:
    return by_name(system, of_size, __name__, name, LABELS)


def _slope(x: np.ndarray, force: np.ndarray) -> np.ndarray:
    """The right-hand side for states (n, sites) and forces (n, 1)."""
    return (np.roll(x, -1, 1) - np.roll(x, 2, 1)) * np.roll(x, 1, 1) - x + force


def on_attractor(rng: np.random.Generator, force: np.ndarray, sites: int) -> np.ndarray:
    """States (n, sites) on the attractors of the forces (n, 1)."""
    x = force + rng.normal(0.0, 1.0, (len(force), sites))
    for _ in range(SPIN_UP):
        k1 = _slope(x, force)
        k2 = _slope(x + 0.5 * STEP * k1, force)
        k3 = _slope(x + 0.5 * STEP * k2, force)
        k4 = _slope(x + STEP * k3, force)
        x = x + STEP / 6.0 * (k1 + 2.0 * k2 + 2.0 * k3 + k4)
    return x


@family_of_size
def of_size(sites: int) -> Family:
    """The family of so many sites. ValueError unless sites is a whole number, at least 4."""
    (field,) = system(sites)
    name = "lorenz96" if sites == SITES else f"lorenz96_{sites}"

    def published() -> Problem:
        """The start of Lorenz and Emanuel."""
        y0 = np.full(sites, 8.0)
        y0[min(20, sites) - 1] = 8.008
        return Problem(field, y0, (0.0, 5.0), [8.0], name=name)

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        force = rng.uniform(7.0, 10.0, (n, 1))
        return Batch(field, on_attractor(rng, force, sites), force, np.zeros(n), np.full(n, 5.0), name=name)

    return Family(
        name=name, doc=f"Lorenz 1996, {sites} sites, F in 7..10, T = 5", rhs=field, n=sites, m=1, sampler=sampler,
        published=published, error="final", tolerances=tolerance_grid(1e-2, 1e-10), atol_factor=1e-3,
        levels=(1e-5, 1e-2), tags=("chaotic", "smooth", "forecast"),
    )  # fmt: skip


FAMILY = of_size(SITES)
