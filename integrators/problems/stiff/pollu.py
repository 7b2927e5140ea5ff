"""POLLU: the chemistry of an air-pollution model, 25 reactions of 20 species.

Sources: J. G. Verwer, SIAM J. Sci. Comput. 15 (1994) 1243-1250; Mazzia and Magherini, "Test Set for IVP Solvers",
POLLU. p = the 25 rate constants; species in the test set's order, concentrations in ppm, time in minutes. Family: every
rate constant log-uniform within a factor 2, the six initial concentrations within 2, T = 60. The smallest species (O1D)
is 1e-18: the 2-norm does not see it.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .shared import mass_action, spread

RATES = (
    0.35, 26.6, 1.23e4, 8.6e-4, 8.2e-4, 1.5e4, 1.3e-4, 2.4e4, 1.65e4, 9e3, 0.022, 1.2e4, 1.88, 1.63e4, 4.8e6, 3.5e-4,
    0.0175, 1e8,
    4.44e11, 1.24e3, 2.1, 5.78, 0.0474, 1.78e3, 3.12,
)  # fmt: skip
REACTIONS: tuple[tuple[tuple[int, ...], dict[int, int]], ...] = (
    ((1,), {1: -1, 2: 1, 3: 1}),  # NO2 -> NO + O3P
    ((2, 4), {1: 1, 2: -1, 4: -1}),  # NO + O3 -> NO2
    ((5, 2), {1: 1, 2: -1, 5: -1, 6: 1}),  # HO2 + NO -> NO2 + OH
    ((7,), {5: 2, 7: -1, 8: 1}),  # HCHO -> 2 HO2 + CO
    ((7,), {7: -1, 8: 1}),  # HCHO -> CO
    ((7, 6), {5: 1, 6: -1, 7: -1, 8: 1}),  # HCHO + OH -> HO2 + CO
    ((9,), {5: 1, 8: 1, 9: -1, 10: 1}),  # ALD -> MEO2 + HO2 + CO
    ((9, 6), {6: -1, 9: -1, 11: 1}),  # ALD + OH -> C2O3
    ((11, 2), {1: 1, 2: -1, 10: 1, 11: -1, 12: 1}),  # C2O3 + NO -> NO2 + MEO2 + CO2
    ((11, 1), {1: -1, 11: -1, 13: 1}),  # C2O3 + NO2 -> PAN
    ((13,), {1: 1, 11: 1, 13: -1}),  # PAN -> C2O3 + NO2
    ((10, 2), {1: 1, 2: -1, 10: -1, 14: 1}),  # MEO2 + NO -> CH3O + NO2
    ((14,), {5: 1, 7: 1, 14: -1}),  # CH3O -> HCHO + HO2
    ((1, 6), {1: -1, 6: -1, 15: 1}),  # NO2 + OH -> HNO3
    ((3,), {3: -1, 4: 1}),  # O3P -> O3
    ((4,), {4: -1, 16: 1}),  # O3 -> O1D
    ((4,), {3: 1, 4: -1}),  # O3 -> O3P
    ((16,), {6: 2, 16: -1}),  # O1D -> 2 OH
    ((16,), {3: 1, 16: -1}),  # O1D -> O3P
    ((17, 6), {5: 1, 6: -1, 17: -1, 18: 1}),  # SO2 + OH -> SO4 + HO2
    ((19,), {2: 1, 19: -1}),  # NO3 -> NO
    ((19,), {1: 1, 3: 1, 19: -1}),  # NO3 -> NO2 + O3P
    ((1, 4), {1: -1, 4: -1, 19: 1}),  # NO2 + O3 -> NO3
    ((19, 1), {1: -1, 19: -1, 20: 1}),  # NO3 + NO2 -> N2O5
    ((20,), {1: 1, 19: 1, 20: -1}),  # N2O5 -> NO3 + NO2
)
START = np.zeros(20)
START[[1, 3, 6, 7, 8, 16]] = 0.2, 0.04, 0.1, 0.3, 0.01, 0.007

rhs, jac = mass_action(20, REACTIONS, __name__)


def nitrogen(t, y, p):
    """Nitrogen atoms: NO2, NO, PAN, HNO3, NO3 and twice N2O5."""
    return y[0] + y[1] + y[12] + y[14] + y[18] + 2.0 * y[19]


def published() -> Problem:
    """The test set's instance."""
    return Problem(rhs, START, (0.0, 60.0), RATES, jac=jac, name="pollu", invariants={"nitrogen": nitrogen})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    return Batch(
        rhs,
        spread(rng, START, 2.0, n),
        spread(rng, RATES, 2.0, n),
        np.zeros(n),
        np.full(n, 60.0),
        jac=jac,
        name="pollu",
        invariants={"nitrogen": nitrogen},
    )


FAMILY = Family(
    name="pollu",
    doc="air pollution, 20 species, T = 60",
    rhs=rhs,
    n=20,
    m=25,
    sampler=sampler,
    published=published,
    error="grid",
    tolerances=tolerance_grid(1e-1, 1e-9),
    atol_factor=1e-4,
    levels=(1e-6, 1e-3),
    stiff=True,
    tags=("stiff", "chemistry"),
)
