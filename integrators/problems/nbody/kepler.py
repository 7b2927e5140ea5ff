"""Kepler's problem as two point masses in the plane, G = 1, m_0 + m_1 = 1, semi-major axis 1 (period 2 pi).

y = (x0 y0 x1 y1, then velocities), p = (G, m_0, m_1), centre of mass at rest. The eccentricity e sets the
range of step sizes: speeds at the two apsides differ by (1 + e)/(1 - e). Family: e uniform in 0...9, mass
share, orientation and mean anomaly at the start uniform, 1 to 3 periods. The published instance is e = .6
from the pericentre (Hairer, Lubich, Wanner, "Geometric Numerical Integration", section I.2.3), split
between two equal masses.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .newtonian import pairwise_rhs, total_energy

rhs = pairwise_rhs(2, 2, __name__)
energy = total_energy(2, 2)


def eccentric_anomaly(mean: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Solve Kepler's equation E - e sin E = mean, mean in 0..2 pi, 0 <= e < 1 (Newton from pi converges)."""
    angle = np.full_like(mean, np.pi)
    for _ in range(60):
        angle -= (angle - e * np.sin(angle) - mean) / (1.0 - e * np.cos(angle))
    return angle


def orbit(e, share, anomaly, angle):
    """States (n, 8), parameters (n, 3): eccentricity e, m_0 = share, eccentric anomaly, turned by angle."""
    e, share, anomaly, angle = np.broadcast_arrays(*map(np.atleast_1d, (e, share, anomaly, angle)))
    root = np.sqrt(1.0 - e * e)
    r = 1.0 - e * np.cos(anomaly)
    x = np.stack([np.cos(anomaly) - e, root * np.sin(anomaly)], axis=-1)
    v = np.stack([-np.sin(anomaly) / r, root * np.cos(anomaly) / r], axis=-1)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    x, v = (np.einsum("ijn,nj->ni", turn, u) for u in (x, v))
    m0, m1 = share[:, None], 1.0 - share[:, None]
    y0 = np.concatenate([-m1 * x, m0 * x, -m1 * v, m0 * v], axis=1)
    return y0, np.stack([np.ones_like(share), share, 1.0 - share], axis=1)


def published() -> Problem:
    """e = .6 from the pericentre, 20 time units (a little over three periods)."""
    y0, p = orbit(0.6, 0.5, 0.0, 0.0)
    return Problem(rhs, y0[0], (0.0, 20.0), p[0], name="kepler", nbody=(2, 2), invariants={"energy": energy})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    e = rng.uniform(0.0, 0.9, n)
    share = rng.uniform(0.1, 0.9, n)
    mean, angle = rng.uniform(0.0, 2 * np.pi, (2, n))
    t1 = 2 * np.pi * rng.uniform(1.0, 3.0, n)
    y0, p = orbit(e, share, eccentric_anomaly(mean, e), angle)
    return Batch(rhs, y0, p, np.zeros(n), t1, name="kepler", nbody=(2, 2), invariants={"energy": energy})


FAMILY = Family(
    name="kepler", doc="two bodies, eccentricity 0 to .9, 1 to 3 periods", rhs=rhs, n=8, m=3,
    sampler=sampler, published=published, error="grid", tolerances=tolerance_grid(1e-2, 1e-9),
    atol_factor=1e-3, levels=(1e-6, 1e-2), etas=tolerance_grid(1e-1, 1e-3),
    tags=("n-body", "periodic", "hamiltonian"),
)
