"""Kuramoto's coupled oscillators, each pulled towards the mean phase of all.

    theta_i' = omega_i + K/N sum_j sin(theta_j - theta_i)
             = omega_i + K (S cos theta_i - C sin theta_i),    C, S the means of cos theta_j and sin theta_j

Thirty-two oscillators; other numbers: `of_size(oscillators)`, or the family name kuramoto_<oscillators>. Radian; time
in units of 1 / the spread of frequencies; p = (K, omega_1, ..., omega_N). Sources: Y. Kuramoto, Lect. Notes Phys. 39
(1975) 420; S. H. Strogatz, Physica D 143 (2000) 1. Family: omega standard normal, phases uniform on the circle, K
uniform in 2..6: above the threshold 2/(pi g(0)) = 1.6 of infinitely many, so that most or all oscillators lock, and
what is left of a disturbance dies away. T = 10; the error is that at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...compile.vecmath import cos, sin
from ..families import Family, tolerance_grid
from ..problem import Batch
from ..sizes import by_name, family_of_size, sized

OSCILLATORS = 32
LABELS = ("rhs",)


def build(oscillators: int) -> tuple[Callable[..., None]]:
    """The right-hand side of so many oscillators."""
    share = 1.0 / oscillators

    def rhs(t, y, p, dy):
        c = 0.0
        s = 0.0
        for i in range(oscillators):
            c += cos(y[i])
            s += sin(y[i])
        c *= p[0] * share
        s *= p[0] * share
        for i in range(oscillators):
            dy[i] = p[1 + i] + s * cos(y[i]) - c * sin(y[i])

    return (rhs,)


system = sized(build, LABELS, "oscillators", 2)
(rhs,) = system(OSCILLATORS)


def __getattr__(name: str) -> Any:
    return by_name(system, of_size, __name__, name, LABELS)


@family_of_size
def of_size(oscillators: int) -> Family:
    """The family of so many oscillators. ValueError unless oscillators is a whole number, at least 2."""
    (field,) = system(oscillators)
    name = "kuramoto" if oscillators == OSCILLATORS else f"kuramoto_{oscillators}"

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        y0 = rng.uniform(0.0, 2.0 * np.pi, (n, oscillators))
        p = np.empty((n, 1 + oscillators))
        p[:, 0] = rng.uniform(2.0, 6.0, n)
        p[:, 1:] = rng.normal(0.0, 1.0, (n, oscillators))
        return Batch(field, y0, p, np.zeros(n), np.full(n, 10.0), name=name)

    return Family(
        name=name, doc=f"Kuramoto model of {oscillators} oscillators, K in 2..6, T = 10", rhs=field, n=oscillators,
        m=1 + oscillators, sampler=sampler, error="final", tolerances=tolerance_grid(1e-1, 1e-9), atol_factor=1e-1,
        levels=(1e-8, 1e-4), tags=("oscillators", "contracting", "smooth"),
    )  # fmt: skip


FAMILY = of_size(OSCILLATORS)
