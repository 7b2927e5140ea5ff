"""Ensembles: one system each, thousands of starts."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from explicit_pairs import orbit

import stepsmith as ss
from stepsmith.integrators.problems.nbody import kepler, pleiades
from stepsmith.integrators.problems.nonstiff import henon_heiles, lorenz

from . import forms, solar_system


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Instances of one system.

    batch: (B, n) starts, the same parameters and span for all. system: heyoka's form. sample: the first rows that have
    a reference, and that libraries without lanes integrate.
    """

    title: str
    batch: ss.Batch
    system: Callable[[], forms.System]
    sample: int

    @property
    def t1(self) -> float:
        return float(self.batch.t1[0])

    @functools.cached_property
    def f(self) -> Callable[..., None]:
        """The right-hand side compiled by Numba."""
        return forms.for_numba(self.batch.rhs)

    def first(self, count: int) -> ss.Batch:
        """The first instances."""
        b = self.batch
        return ss.Batch(
            b.rhs, b.y0[:count], b.p[:count], b.t0[:count], b.t1[:count], name=b.name, nbody=b.nbody, accel=b.accel
        )


def _batch(rhs, y0: np.ndarray, p, t1: float, name: str, **more) -> ss.Batch:
    count = len(y0)
    return ss.Batch(rhs, y0, np.tile(np.asarray(p, float), (count, 1)), np.zeros(count), np.full(count, t1), name=name,
                    **more)  # fmt: skip


def lorenz_box(count: int, sample: int) -> Ensemble:
    p = (10.0, 28.0, 8.0 / 3.0)
    y0 = lorenz.sampler(np.random.default_rng(1), count).y0
    batch = _batch(lorenz.rhs, y0, p, 5.0, "lorenz")
    return Ensemble("Lorenz, T = 5", batch, lambda: forms.polynomial(lorenz.rhs, 3, p), sample)


def henon_heiles_energies(count: int, sample: int) -> Ensemble:
    batch = henon_heiles.sampler(np.random.default_rng(2), count)
    system = lambda: forms.polynomial(henon_heiles.rhs, 4)  # noqa: E731
    return Ensemble("Henon-Heiles, T = 50", batch, system, sample)


def orbit_accel(t, y, p, a):
    """Acceleration of `orbit`, for methods of second-order equations."""
    r2 = y[0] * y[0] + y[1] * y[1]
    w = 1.0 / (r2 * np.sqrt(r2))
    a[0] = -w * y[0]
    a[1] = -w * y[1]


def kepler_half(count: int, sample: int) -> Ensemble:
    """Eccentricity 1/2, any phase and direction, three revolutions."""
    rng = np.random.default_rng(3)
    mean, angle = rng.uniform(0.0, 2.0 * np.pi, (2, count))
    both, _ = kepler.orbit(0.5, 0.0, kepler.eccentric_anomaly(mean, 0.5), angle)
    y0 = np.ascontiguousarray(-both[:, [0, 1, 4, 5]])  # of the body that has no mass, relative to the other
    batch = _batch(orbit, y0, (), 6.0 * np.pi, "orbit", accel=orbit_accel)
    return Ensemble("Kepler, e = 1/2, three revolutions", batch, forms.kepler, sample)


def pleiades_moved(count: int, sample: int) -> Ensemble:
    batch = pleiades.sampler(np.random.default_rng(4), count)
    return Ensemble("Pleiades, T = 3", batch, lambda: forms.planar_gravity(pleiades.MASSES[1:]), sample)


def solar_moved(count: int, sample: int) -> Ensemble:
    """Every coordinate and velocity of the planets moved by normal noise of 1e-4 of the planet's own."""
    rng = np.random.default_rng(5)
    start = solar_system.start()
    size = np.repeat(np.linalg.norm(start.reshape(-1, 3), axis=1), 3)
    y0 = start + 1e-4 * size * rng.standard_normal((count, start.size))
    p = (solar_system.G, *solar_system.MASSES)
    batch = _batch(solar_system.rhs, y0, p, 2.0, "solar_system", nbody=(solar_system.BODIES, 3))
    system = lambda: forms.gravity(solar_system.MASSES, solar_system.G)  # noqa: E731
    return Ensemble("Sun and eight planets, two years", batch, system, sample)


#: how it is made, trajectories, of which the sample, and those of a quick run
CASES = {
    "lorenz": (lorenz_box, 4096, 512, 256),
    "henon_heiles": (henon_heiles_energies, 4096, 512, 256),
    "kepler": (kepler_half, 4096, 512, 256),
    "pleiades": (pleiades_moved, 2048, 128, 64),
    "solar_system": (solar_moved, 1024, 64, 64),
}


def make(name: str, quick: bool) -> Ensemble:
    build, count, sample, few = CASES[name]
    return build(few, min(few, sample)) if quick else build(count, sample)
