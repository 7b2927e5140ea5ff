"""Pleiades: seven stars in the plane with masses 1..7, G = 1, several quasi-collisions before T = 3.

Source: E. Hairer, S. P. Norsett, G. Wanner, "Solving ODEs I", section II.10, and the CWI/Bari test set. p
= (G, m_0..m_6); positions body by body (the test set orders x_1..x_7, y_1..y_7 instead). Family: the
published start with every coordinate moved by up to .1 and every velocity by up to .1.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .newtonian import pairwise_rhs, total_energy

rhs = pairwise_rhs(7, 2, __name__)
energy = total_energy(7, 2)
MASSES = (1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
_X = ((3, 3, -1, -3, 2, -2, 2), (3, -3, 2, 0, 0, -4, 4))
_V = ((0, 0, 0, 0, 0, 1.75, -1.5), (0, 0, 0, -1.25, 1, 0, 0))
START = np.concatenate([np.array(_X, float).T.ravel(), np.array(_V, float).T.ravel()])


def published() -> Problem:
    """The test set's instance."""
    return Problem(rhs, START, (0.0, 3.0), MASSES, name="pleiades", nbody=(7, 2),
                   invariants={"energy": energy})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    y0 = START + rng.uniform(-0.1, 0.1, (n, 28))
    return Batch(rhs, y0, np.tile(MASSES, (n, 1)), np.zeros(n), np.full(n, 3.0), name="pleiades",
                 nbody=(7, 2), invariants={"energy": energy})


FAMILY = Family(
    name="pleiades", doc="seven stars in the plane, T = 3", rhs=rhs, n=28, m=8, sampler=sampler,
    published=published, error="grid", tolerances=tolerance_grid(1e-3, 1e-11), atol_factor=1e-3,
    levels=(1e-5, 1e-2), etas=tolerance_grid(1e-1, 1e-3), tags=("n-body", "hamiltonian"),
)
