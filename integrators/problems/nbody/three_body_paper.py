"""Planar three-body problem of Saz Ulibarrena and Portegies Zwart (2025), arXiv:2502.12809, with their
draws and units.

Three bodies of one solar mass, lengths in au, times in yr, G = 4 pi^2. One draw of four numbers K =
RandomState(s).uniform( [5, 0, 0, 5], [20, 10, -10, 20]) for seed s: body 0 at the origin with velocity
(0, 10) km/s, body 1 at (K0, K1) au with (-10, 0) km/s, body 2 at (K2, K3) au at rest; then moved to the
centre of mass. 300 decisions of .1 yr, so T = 30 yr; the error is the relative energy error at the
decision times. Their evaluation set is seeds 0..99 (`instances(range(100))`). The family's own splits
draw seeds from 1000 up and so never touch it.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from .newtonian import pairwise_rhs, total_energy

rhs = pairwise_rhs(3, 2, __name__)
energy = total_energy(3, 2)
AU_KM = 149597870.7
YEAR_S = 365.25 * 86400.0
SPEED = 10.0 * YEAR_S / AU_KM  # 10 km/s = 2.1095 au/yr
MASSES = (4.0 * np.pi**2, 1.0, 1.0, 1.0)
T_END = 30.0


def instances(seeds: Iterable[int]) -> Batch:
    """The paper's initial conditions for these seeds (each in 0..2**32 - 1)."""
    seeds = list(seeds)
    y0 = np.empty((len(seeds), 12))
    for row, seed in zip(y0, seeds, strict=True):
        # the legacy generator is the point here: the draws must be the paper's
        k = np.random.RandomState(seed).uniform([5.0, 0.0, 0.0, 5.0], [20.0, 10.0, -10.0, 20.0])  # noqa: NPY002
        x = np.array([[0.0, 0.0], [k[0], k[1]], [k[2], k[3]]])
        v = np.array([[0.0, SPEED], [-SPEED, 0.0], [0.0, 0.0]])
        row[:6] = (x - x.mean(axis=0)).ravel()
        row[6:] = (v - v.mean(axis=0)).ravel()
    count = len(seeds)
    return Batch(rhs, y0, np.tile(MASSES, (count, 1)), np.zeros(count), np.full(count, T_END),
                 name="three_body_paper", nbody=(3, 2), invariants={"energy": energy})


def published() -> Problem:
    """Seed 0."""
    return instances([0])[0]


def sampler(rng: np.random.Generator, n: int) -> Batch:
    return instances(rng.integers(1000, 2**32, n))


FAMILY = Family(
    name="three_body_paper", doc="three solar masses, 30 yr, seeds of arXiv:2502.12809", rhs=rhs, n=12, m=4,
    sampler=sampler, published=published, from_seeds=instances, error="energy", n_out=300,
    tolerances=tolerance_grid(1e-4, 1e-12), atol_factor=1e-3, levels=(1e-8, 1e-4), method="hermite4",
    etas=tolerance_grid(1e-1, 1e-3), tags=("n-body", "chaotic", "hamiltonian"),
)
