"""Brusselator with diffusion on a line, by the method of lines.

    u_t = A + u^2 v - (B + 1) u + alpha u_xx,   v_t = B u - u^2 v + alpha v_xx,   0 < x < 1

with u = A, v = B/A at both ends, on `cells` interior points x_i = i / (cells + 1). Source: Hairer and Wanner, "Solving
ODEs II", section IV.10, BRUSS (there cells = 500, A = 1, B = 3, alpha = 1/50, u0 = 1 + sin(2 pi x), v0 = 3, T = 10). p
= (A, B, alpha). y = (u_1, v_1, u_2, v_2, ...); the Jacobian has two diagonals on either side. Family: A in .8..1.2, B
in 2..4, alpha log-uniform in .01...3, amplitude of the sine in .5..1, T = 10. Other sizes: `of_size(cells)`, or the
family name brusselator_1d_<cells>.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from ..sizes import by_name, family_of_size, sized
from ..stiff.shared import Pair

CELLS = 24
BAND = (2, 2)


def build(cells: int) -> Pair:
    n, square = 2 * cells, float((cells + 1) ** 2)

    def rhs(t, y, p, dy):
        a, b, d = p[0], p[1] + 1.0, p[2] * square
        edge = p[1] / p[0]
        u, v = y[0], y[1]
        r = u * u * v
        dy[0] = a + r - b * u + d * (a - 2.0 * u + y[2])
        dy[1] = p[1] * u - r + d * (edge - 2.0 * v + y[3])
        for i in range(2, n - 2, 2):
            u, v = y[i], y[i + 1]
            r = u * u * v
            dy[i] = a + r - b * u + d * (y[i - 2] - 2.0 * u + y[i + 2])
            dy[i + 1] = p[1] * u - r + d * (y[i - 1] - 2.0 * v + y[i + 3])
        u, v = y[n - 2], y[n - 1]
        r = u * u * v
        dy[n - 2] = a + r - b * u + d * (y[n - 4] - 2.0 * u + a)
        dy[n - 1] = p[1] * u - r + d * (y[n - 3] - 2.0 * v + edge)

    def jac(t, y, p, J):
        d = p[2] * square
        for i in range(n):
            for j in range(max(0, i - 2), min(n, i + 3)):
                J[i, j] = 0.0
        for i in range(n - 2):
            J[i, i + 2] = d
            J[i + 2, i] = d
        for i in range(0, n, 2):
            uv, uu = 2.0 * y[i] * y[i + 1], y[i] * y[i]
            J[i, i] = uv - p[1] - 1.0 - 2.0 * d
            J[i, i + 1] = uu
            J[i + 1, i] = p[1] - uv
            J[i + 1, i + 1] = -uu - 2.0 * d

    return rhs, jac


system = sized(build)


def __getattr__(name):
    return by_name(system, of_size, __name__, name)


def start(cells: int, p: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
    """u = A + amplitude sin(2 pi x), v = B/A for p (B, 3), amplitude (B,): (B, 2 cells)."""
    x = np.arange(1, cells + 1) / (cells + 1)
    y = np.empty((len(p), 2 * cells))
    y[:, ::2] = p[:, :1] + amplitude[:, None] * np.sin(2 * np.pi * x)
    y[:, 1::2] = (p[:, 1] / p[:, 0])[:, None]
    return y


@family_of_size
def of_size(cells: int) -> Family:
    """The family on `cells` points (n = 2 cells). ValueError unless cells is a whole number, at least 3."""
    rhs, jac = system(cells)
    name = "brusselator_1d" if cells == CELLS else f"brusselator_1d_{cells}"

    def published() -> Problem:
        p = np.array([[1.0, 3.0, 0.02]])
        return Problem(rhs, start(cells, p, np.ones(1))[0], (0.0, 10.0), p[0], jac=jac, sparsity=BAND, name=name)

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        p = rng.uniform([0.8, 2.0, np.log(0.01)], [1.2, 4.0, np.log(0.3)], (n, 3))
        p[:, 2] = np.exp(p[:, 2])
        return Batch(
            rhs,
            start(cells, p, rng.uniform(0.5, 1.0, n)),
            p,
            np.zeros(n),
            np.full(n, 10.0),
            jac=jac,
            sparsity=BAND,
            name=name,
        )

    return Family(
        name=name,
        doc=f"Brusselator on a line, {cells} points, T = 10",
        rhs=rhs,
        n=2 * cells,
        m=3,
        sampler=sampler,
        published=published,
        error="grid",
        tolerances=tolerance_grid(1e-1, 1e-8),
        atol_factor=1e-2,
        levels=(1e-6, 1e-3),
        stiff=True,
        tags=("stiff", "method of lines", "banded", "chemistry"),
    )


FAMILY = of_size(CELLS)
