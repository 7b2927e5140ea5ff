"""Medical Akzo Nobel: penetration of radio-labelled antibodies into tumour tissue, a reaction-diffusion problem by the
method of lines.

    u_t = u_xx - k u v,   v_t = -k u v,   x > 0,   u(0, t) = phi until t = t_jump and 0 from then on

mapped to z = x / (x + c) in 0..1 and discretised with `cells` points: with dz = 1/cells, a = 2 (z - 1)^3 / c^2, b = (z
- 1)^4 / c^2,

    u_j' = a_j (u_{j+1} - u_{j-1}) / (2 dz) + b_j (u_{j-1} - 2 u_j + u_{j+1}) / dz^2 - k u_j v_j,   v_j' = -k u_j v_j

Source: Mazzia and Magherini, "Test Set for IVP Solvers", medakzo (there cells = 200, k = 100, c = 4, phi = 2, t_jump =
5). p = (k, c, phi, t_jump). y = (u_1, v_1, u_2, v_2, ...); the Jacobian has two diagonals on either side. Family: k
log-uniform in 30..300, c in 3..5, phi in 1..3, t_jump in 3..8, published start (u = 0, v = 1) and T = 20. Error at the
end over u: v is 1 or 0 nearly everywhere (down to 1e-142). Other sizes: `of_size(cells)`, or the family name
medical_akzo_<cells>.
"""

from __future__ import annotations

import numpy as np

from ...compile.vecmath import where
from ..families import Family, tolerance_grid
from ..problem import Batch, Problem
from ..sizes import by_name, family_of_size, sized
from ..stiff.shared import Pair

CELLS = 200
BAND = (2, 2)


def build(cells: int) -> Pair:
    n, last, dz = 2 * cells, cells - 1, 1.0 / cells

    def rhs(t, y, p, dy):
        phi = where(t <= p[3], p[2], 0.0)
        c2 = 1.0 / (p[1] * p[1])
        z = dz - 1.0
        b = z * z * z * z * c2 / (dz * dz)
        a = z * z * z * c2 / dz
        reaction = p[0] * y[0] * y[1]
        dy[0] = a * (y[2] - phi) + b * (phi - 2.0 * y[0] + y[2]) - reaction
        dy[1] = -reaction
        for j in range(1, last):
            z = (j + 1) * dz - 1.0
            b = z * z * z * z * c2 / (dz * dz)
            a = z * z * z * c2 / dz
            reaction = p[0] * y[2 * j] * y[2 * j + 1]
            dy[2 * j] = (
                a * (y[2 * j + 2] - y[2 * j - 2]) + b * (y[2 * j - 2] - 2.0 * y[2 * j] + y[2 * j + 2]) - reaction
            )
            dy[2 * j + 1] = -reaction
        reaction = p[0] * y[n - 2] * y[n - 1]  # both coefficients vanish at z = 1
        dy[n - 2] = -reaction
        dy[n - 1] = -reaction

    def jac(t, y, p, J):
        for i in range(n):
            for j in range(max(0, i - 2), min(n, i + 3)):
                J[i, j] = 0.0
        c2 = 1.0 / (p[1] * p[1])
        for j in range(cells):
            J[2 * j, 2 * j + 1] = -p[0] * y[2 * j]
            J[2 * j + 1, 2 * j] = -p[0] * y[2 * j + 1]
            J[2 * j + 1, 2 * j + 1] = -p[0] * y[2 * j]
        for j in range(last):
            z = (j + 1) * dz - 1.0
            b = z * z * z * z * c2 / (dz * dz)
            a = z * z * z * c2 / dz
            J[2 * j, 2 * j] = -2.0 * b - p[0] * y[2 * j + 1]
            J[2 * j, 2 * j + 2] = a + b
        for j in range(1, last):
            z = (j + 1) * dz - 1.0
            b = z * z * z * z * c2 / (dz * dz)
            a = z * z * z * c2 / dz
            J[2 * j, 2 * j - 2] = b - a
        J[n - 2, n - 2] = -p[0] * y[n - 1]

    return rhs, jac


system = sized(build)


def __getattr__(name):
    return by_name(system, of_size, __name__, name)


@family_of_size
def of_size(cells: int) -> Family:
    """The family on `cells` points (n = 2 cells). ValueError unless cells is a whole number, at least 3."""
    rhs, jac = system(cells)
    name = "medical_akzo" if cells == CELLS else f"medical_akzo_{cells}"

    def published() -> Problem:
        return Problem(rhs, [0.0, 1.0] * cells, (0.0, 20.0), [100.0, 4.0, 2.0, 5.0], jac=jac, sparsity=BAND, name=name)

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        p = rng.uniform([np.log(30.0), 3.0, 1.0, 3.0], [np.log(300.0), 5.0, 3.0, 8.0], (n, 4))
        p[:, 0] = np.exp(p[:, 0])
        return Batch(
            rhs, np.tile([0.0, 1.0], (n, cells)), p, np.zeros(n), np.full(n, 20.0), jac=jac, sparsity=BAND, name=name
        )

    return Family(
        name=name,
        doc=f"Medical Akzo Nobel, {cells} points, T = 20",
        rhs=rhs,
        n=2 * cells,
        m=4,
        sampler=sampler,
        published=published,
        error="final",
        components=tuple(range(0, 2 * cells, 2)),
        tolerances=tolerance_grid(1e-2, 1e-9),
        atol_factor=1e-4,
        levels=(1e-6, 1e-3),
        stiff=True,
        tags=("stiff", "method of lines", "banded", "nonautonomous", "discontinuous"),
    )


FAMILY = of_size(CELLS)
