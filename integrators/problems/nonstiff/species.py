"""A community of competing species: the generalised Lotka-Volterra equations.

    x_i' = r_i x_i (1 - x_i - sum over j != i of a_ij x_j)

Twenty species; other numbers: `of_size(species)`, or the family name species_<species>. Abundances in units of each
species' carrying capacity, time in units of 1 / the mean growth rate; p = (r_1..r_N, a_11..a_1N, a_21..a_NN) with
a_ii = 1. Sources: R. M. May, Nature 238 (1972) 413; G. Bunin, Phys. Rev. E 95 (2017) 042414, whose interactions are
normal with mean mu/N and standard deviation sigma/sqrt(N). Family: mu uniform in 2..6 and sigma in 0.3..0.9, below the
threshold sqrt(2) where one equilibrium attracts all communities (Bunin 2017), so that what is left of a disturbance
dies away; r uniform in 0.5..1.5, abundances at the start uniform in 0.05..1. T = 20; the error is that at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch
from ..sizes import by_name, family_of_size, sized

SPECIES = 20
LABELS = ("rhs",)


def build(species: int) -> tuple[Callable[..., None]]:
    """The right-hand side of so many species."""

    def rhs(t, y, p, dy):
        for i in range(species):
            pressure = 0.0
            for j in range(species):
                pressure += p[species + species * i + j] * y[j]
            dy[i] = p[i] * y[i] * (1.0 - pressure)

    return (rhs,)


system = sized(build, LABELS, "species", 2)
(rhs,) = system(SPECIES)


def __getattr__(name: str) -> Any:
    return by_name(system, of_size, __name__, name, LABELS)


@family_of_size
def of_size(species: int) -> Family:
    """The family of so many species. ValueError unless species is a whole number, at least 2."""
    (field,) = system(species)
    name = "species" if species == SPECIES else f"species_{species}"

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        y0 = rng.uniform(0.05, 1.0, (n, species))
        mu, sigma = rng.uniform(2.0, 6.0, (n, 1, 1)), rng.uniform(0.3, 0.9, (n, 1, 1))
        a = mu / species + sigma / np.sqrt(species) * rng.normal(0.0, 1.0, (n, species, species))
        a[:, np.arange(species), np.arange(species)] = 1.0
        r = rng.uniform(0.5, 1.5, (n, species))
        return Batch(field, y0, np.hstack([r, a.reshape(n, -1)]), np.zeros(n), np.full(n, 20.0), name=name)

    return Family(
        name=name, doc=f"community of {species} competing species, T = 20", rhs=field, n=species,
        m=species * (1 + species), sampler=sampler, error="final", tolerances=tolerance_grid(1e-1, 1e-9),
        atol_factor=1e-1, levels=(1e-8, 1e-4), tags=("populations", "contracting", "smooth"),
    )  # fmt: skip


FAMILY = of_size(SPECIES)
