"""Planar three-body problem, G = 1, three unit masses, no softening: the family of the headline comparison.

Positions normal with standard deviation 1, velocities normal with standard deviation .5 in each
coordinate, moved to the frame of the centre of mass; T uniform in 1..4. Close encounters dominate the
work. y = (x0 y0 x1 y1 x2 y2, then velocities), p = (G, m_0, m_1, m_2). Instances differ by six decades in
final error at one tolerance (some never meet, some nearly collide), so the grid is as wide as the method
can use: with the classical laws 3 to 6 % of the instances do not span the band. The published instance is
the figure eight (C. Moore, Phys. Rev. Lett. 70 (1993) 3675; A. Chenciner and R. Montgomery, Ann. of Math.
152 (2000) 881-901; digits by C. Simo), over one period.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .newtonian import pairwise_rhs, total_energy

rhs = pairwise_rhs(3, 2, __name__)
energy = total_energy(3, 2)
MASSES = (1.0, 1.0, 1.0, 1.0)


def published() -> Problem:
    """Figure eight, period 6.32591398."""
    x, y, u, v = 0.97000436, -0.24308753, -0.93240737, -0.86473146
    y0 = [x, y, -x, -y, 0.0, 0.0, -u / 2, -v / 2, -u / 2, -v / 2, u, v]
    return Problem(rhs, y0, (0.0, 6.32591398), MASSES, name="three_body", nbody=(3, 2),
                   invariants={"energy": energy})


def sampler(rng: np.random.Generator, n: int) -> Batch:
    x = rng.normal(0.0, 1.0, (n, 3, 2))
    v = rng.normal(0.0, 0.5, (n, 3, 2))
    t1 = rng.uniform(1.0, 4.0, n)
    x -= x.mean(axis=1, keepdims=True)
    v -= v.mean(axis=1, keepdims=True)
    y0 = np.concatenate([x.reshape(n, 6), v.reshape(n, 6)], axis=1)
    return Batch(rhs, y0, np.tile(MASSES, (n, 1)), np.zeros(n), t1, name="three_body", nbody=(3, 2),
                 invariants={"energy": energy})


FAMILY = Family(
    name="three_body", doc="planar three-body problem, unit masses, T in 1..4", rhs=rhs, n=12, m=4,
    sampler=sampler, published=published, error="final", tolerances=tolerance_grid(1.0, 1e-11, 23),
    atol_factor=1.0, levels=(1e-5, 1e-3), method="tsit5", etas=tolerance_grid(1e-1, 1e-3),
    tags=("n-body", "chaotic", "hamiltonian"),
)
