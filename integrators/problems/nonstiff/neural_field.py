"""Random neural vector fields, y' = gain W2 tanh(W1 (y, t) + b1) + b2: what a neural ODE's solver sees.

One hidden layer of 16 tanh units over a state of 4 and the time, as in Chen et al., "Neural Ordinary Differential
Equations" (NeurIPS 2018); other widths: `of_size(units)`, or the family name neural_field_<units>. p = (W1 (units, 5)
row-major, b1 (units), W2 (4, units) row-major, b2 (4)), gain included in W2. Weights are normal with variance 1/fan-in
(LeCun), W1 scaled by 1.5..3 and W2 by 5..25 (logarithmically uniform): from fields that one step crosses to ones
that turn many times, the spread that training produces. y0 standard normal, T = 1. Error at the end only (the layer's
output), and the loose tolerances at which neural ODEs run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...compile.vecmath import tanh
from ..families import Family, tolerance_grid
from ..problem import Batch
from ..sizes import by_name, family_of_size, sized

DIM, HIDDEN = 4, 16
LABELS = ("rhs",)


def build(units: int) -> tuple[Callable[..., None]]:
    """The right-hand side with so many hidden units."""
    b1 = units * (DIM + 1)
    w2 = b1 + units
    b2 = w2 + DIM * units

    def rhs(t, y, p, dy):
        y0, y1, y2, y3 = y[0], y[1], y[2], y[3]
        d0, d1, d2, d3 = p[b2], p[b2 + 1], p[b2 + 2], p[b2 + 3]
        for j in range(units):
            k = 5 * j
            z = p[k] * y0 + p[k + 1] * y1 + p[k + 2] * y2 + p[k + 3] * y3 + p[k + 4] * t + p[b1 + j]
            u = tanh(z)
            d0 += p[w2 + j] * u
            d1 += p[w2 + units + j] * u
            d2 += p[w2 + 2 * units + j] * u
            d3 += p[w2 + 3 * units + j] * u
        dy[0] = d0
        dy[1] = d1
        dy[2] = d2
        dy[3] = d3

    return (rhs,)


system = sized(build, LABELS, "units", 1)
(rhs,) = system(HIDDEN)


def __getattr__(name: str) -> Any:
    return by_name(system, of_size, __name__, name, LABELS)


@family_of_size
def of_size(units: int) -> Family:
    """The family with so many hidden units. ValueError unless units is a whole number, at least 1."""
    (field,) = system(units)
    name = "neural_field" if units == HIDDEN else f"neural_field_{units}"

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        y0 = rng.normal(0.0, 1.0, (n, DIM))
        inner, outer = np.exp(rng.uniform(np.log([1.5, 5.0]), np.log([3.0, 25.0]), (n, 2))).T
        w1 = rng.normal(0.0, 1.0, (n, units * (DIM + 1))) * (inner / np.sqrt(DIM + 1))[:, None]
        b1 = rng.normal(0.0, 0.5, (n, units))
        w2 = rng.normal(0.0, 1.0, (n, DIM * units)) * (outer / np.sqrt(units))[:, None]
        b2 = rng.normal(0.0, 0.1, (n, DIM))
        p = np.concatenate([w1, b1, w2, b2], axis=1)
        return Batch(field, y0, p, np.zeros(n), np.ones(n), name=name)

    return Family(
        name=name, doc=f"random tanh vector fields, one layer of {units} units, T = 1", rhs=field, n=DIM,
        m=units * (2 * DIM + 2) + DIM, sampler=sampler, error="final", tolerances=tolerance_grid(1.0, 1e-7),
        atol_factor=1.0, levels=(3e-6, 3e-4), method="tsit5", tags=("neural", "few steps"),
    )  # fmt: skip


FAMILY = of_size(HIDDEN)
