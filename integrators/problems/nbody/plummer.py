"""A small star cluster: equal masses drawn from Plummer's model, unsoftened, in Henon (N-body) units.

Eight bodies; other numbers: `of_size(bodies)`, or the family name plummer_<bodies>.

G = 1, total mass 1, energy -1/4, virial equilibrium (kinetic 1/4, potential -1/2); y = (positions,
velocities) in three dimensions, p = (G, m_0, m_1, ...). Sources: H. C. Plummer, MNRAS 71 (1911) 460; the draw
is that of S. J. Aarseth, M. Henon, R. Wielen, Astron. Astrophys. 37 (1974) 183 (von Neumann rejection for
the speeds), cut at 99.9 % of the mass; units: D. Heggie and R. Mathieu (1986). T = 5, nearly two crossing
times: beyond the predictability of single orbits, so the error is the largest relative energy error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch
from ..sizes import by_name, family_of_size, sized
from .newtonian import looped_rhs, pairwise_rhs, total_energy

BODIES = 8
LABELS = ("rhs", "energy")
#: the most bodies whose pairs are written out one by one: 28 pairs
WRITTEN_OUT = 8


def build(bodies: int) -> tuple[Callable[..., None], Callable[..., float]]:
    """The right-hand side and the energy of so many bodies."""
    written = pairwise_rhs(bodies, 3, __name__) if bodies <= WRITTEN_OUT else looped_rhs(bodies, 3)
    return written, total_energy(bodies, 3)


system = sized(build, LABELS, "bodies", 2)
rhs, energy = system(BODIES)


def __getattr__(name: str) -> Any:
    return by_name(system, of_size, __name__, name, LABELS)


def _directions(rng: np.random.Generator, n: int) -> np.ndarray:
    """n unit vectors, uniform on the sphere: (n, 3)."""
    z, phi = rng.uniform(-1.0, 1.0, n), rng.uniform(0.0, 2 * np.pi, n)
    s = np.sqrt(1.0 - z * z)
    return np.stack([s * np.cos(phi), s * np.sin(phi), z], axis=1)


def _speeds(rng: np.random.Generator, n: int) -> np.ndarray:
    """n draws in units of the escape speed, density proportional to q^2 (1 - q^2)^3.5 (maximum below .1)."""
    q = np.empty(n)
    filled = 0
    while filled < n:
        a, b = rng.uniform(0.0, 1.0), rng.uniform(0.0, 0.1)
        if b < a * a * (1.0 - a * a) ** 3.5:
            q[filled] = a
            filled += 1
    return q


def cluster(rng: np.random.Generator, bodies: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities (bodies, 3) of a cluster of equal masses in Henon units, centred."""
    r = 1.0 / np.sqrt(rng.uniform(0.0, 0.999, bodies) ** (-2.0 / 3.0) - 1.0)
    x = r[:, None] * _directions(rng, bodies)
    speed = _speeds(rng, bodies) * np.sqrt(2.0) * (1.0 + r * r) ** -0.25
    v = speed[:, None] * _directions(rng, bodies)
    x -= x.mean(axis=0)
    v -= v.mean(axis=0)
    i, j = np.triu_indices(bodies, 1)
    potential = -np.sum(1.0 / np.linalg.norm(x[i] - x[j], axis=1)) / bodies**2
    kinetic = 0.5 * np.sum(v * v) / bodies
    return x * (potential / -0.5), v * np.sqrt(0.25 / kinetic)


@family_of_size
def of_size(bodies: int) -> Family:
    """The family of so many bodies (n = 6 bodies). ValueError unless bodies is a whole number, at least 2."""
    field, conserved = system(bodies)
    name = "plummer" if bodies == BODIES else f"plummer_{bodies}"

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        y0 = np.empty((n, 6 * bodies))
        for row in y0:
            x, v = cluster(rng, bodies)
            row[:] = np.concatenate([x.ravel(), v.ravel()])
        p = np.full((n, bodies + 1), 1.0 / bodies)
        p[:, 0] = 1.0
        return Batch(field, y0, p, np.zeros(n), np.full(n, 5.0), name=name, nbody=(bodies, 3),
                     invariants={"energy": conserved})

    return Family(
        name=name, doc=f"Plummer cluster of {bodies} bodies, T = 5", rhs=field, n=6 * bodies, m=bodies + 1,
        sampler=sampler, error="energy", n_out=64, tolerances=tolerance_grid(1e-3, 1e-9), atol_factor=1e-3,
        levels=(1e-7, 1e-3), etas=tolerance_grid(1e-1, 1e-3), tags=("n-body", "chaotic", "hamiltonian"),
    )


FAMILY = of_size(BODIES)
