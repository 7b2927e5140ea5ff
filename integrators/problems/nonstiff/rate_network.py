"""A network of firing rates under a periodic input.

    x_i' = -x_i + sum_j J_ij tanh x_j + A cos(w t + phi_i)

Twenty neurons; other numbers: `of_size(neurons)`, or the family name rate_network_<neurons>. Time in units of a
neuron's time constant; p = (A, w, phi_1..phi_N, J_11..J_N1, J_12..J_NN). Sources: H. Sompolinsky, A. Crisanti, H. J.
Sommers, Phys. Rev. Lett. 61 (1988) 259, whose J_ij are normal with standard deviation g/sqrt(N); with an input, which
suppresses chaos: K. Rajan, L. F. Abbott, H. Sompolinsky, Phys. Rev. E 82 (2010) 011903. Family: g uniform in 0.5..1.2,
A in 0.5..2, w in 0.5..3, phases uniform on the circle, x at the start standard normal: the network follows its input,
and what is left of a disturbance dies away. T = 20; the error is that at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...compile.vecmath import cos, tanh
from ..families import Family, tolerance_grid
from ..problem import Batch
from ..sizes import by_name, family_of_size, sized

NEURONS = 20
LABELS = ("rhs",)


def build(neurons: int) -> tuple[Callable[..., None]]:
    """The right-hand side of so many neurons."""
    first = 2 + neurons

    def rhs(t, y, p, dy):
        for i in range(neurons):
            dy[i] = p[0] * cos(p[1] * t + p[2 + i]) - y[i]
        for j in range(neurons):
            rate = tanh(y[j])
            for i in range(neurons):
                dy[i] += p[first + neurons * j + i] * rate

    return (rhs,)


system = sized(build, LABELS, "neurons", 1)
(rhs,) = system(NEURONS)


def __getattr__(name: str) -> Any:
    return by_name(system, of_size, __name__, name, LABELS)


@family_of_size
def of_size(neurons: int) -> Family:
    """The family of so many neurons. ValueError unless neurons is a whole number, at least 1."""
    (field,) = system(neurons)
    name = "rate_network" if neurons == NEURONS else f"rate_network_{neurons}"

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        y0 = rng.normal(0.0, 1.0, (n, neurons))
        drive = np.column_stack([rng.uniform(0.5, 2.0, n), rng.uniform(0.5, 3.0, n)])
        phases = rng.uniform(0.0, 2.0 * np.pi, (n, neurons))
        g = rng.uniform(0.5, 1.2, (n, 1))
        weights = g / np.sqrt(neurons) * rng.normal(0.0, 1.0, (n, neurons * neurons))
        return Batch(field, y0, np.hstack([drive, phases, weights]), np.zeros(n), np.full(n, 20.0), name=name)

    return Family(
        name=name, doc=f"network of {neurons} firing rates under a periodic input, T = 20", rhs=field, n=neurons,
        m=2 + neurons + neurons * neurons, sampler=sampler, error="final", tolerances=tolerance_grid(1e-1, 1e-9),
        atol_factor=1e-1, levels=(1e-8, 1e-4), tags=("neurons", "contracting", "driven", "smooth"),
    )  # fmt: skip


FAMILY = of_size(NEURONS)
