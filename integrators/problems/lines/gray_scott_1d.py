"""Gray-Scott reaction and diffusion on a line with zero flux at both ends, by the method of lines.

    u_t = Du u_xx - u v^2 + F (1 - u),   v_t = Dv v_xx + u v^2 - (F + k) v,   0 < x < L

Sources: P. Gray and S. K. Scott, Chem. Eng. Sci. 38 (1983) 29; J. E. Pearson, Science 261 (1993) 189; on the line, with
Du = 1 and Dv = .01: A. Doelman, T. J. Kaper, P. A. Zegeling, Nonlinearity 10 (1997) 523, whose F and F + k are the
means here. Points are cell centres, x_i = (i + 1/2) L / cells. p = (Du, Dv, F, k, L). y = (u_0, v_0, u_1, v_1, ...);
the Jacobian has two diagonals on either side. Family: Du log-uniform in .5..5, Dv in .01..03, F in .02..04, F + k in
.07..09, L = 10, pulse of v of height .5..1 and width .6..1.2 in the middle tenth of the line, T = 200: the pulse
swells, draws down u about it and settles. Other sizes: `of_size(cells)`, or the family name gray_scott_1d_<cells>.
"""

from __future__ import annotations

import numpy as np

from ..families import Family, tolerance_grid
from ..problem import Batch
from ..sizes import by_name, family_of_size, sized
from ..stiff.shared import Pair, log_uniform

CELLS = 32
BAND = (2, 2)
LENGTH, END = 10.0, 200.0


def build(cells: int) -> Pair:
    n = 2 * cells

    def rhs(t, y, p, dy):
        h = cells / p[4]
        du, dv, feed, kill = p[0] * h * h, p[1] * h * h, p[2], p[2] + p[3]
        r = y[0] * y[1] * y[1]
        dy[0] = du * (y[2] - y[0]) - r + feed * (1.0 - y[0])
        dy[1] = dv * (y[3] - y[1]) + r - kill * y[1]
        for i in range(2, n - 2, 2):
            r = y[i] * y[i + 1] * y[i + 1]
            dy[i] = du * (y[i - 2] - 2.0 * y[i] + y[i + 2]) - r + feed * (1.0 - y[i])
            dy[i + 1] = dv * (y[i - 1] - 2.0 * y[i + 1] + y[i + 3]) + r - kill * y[i + 1]
        r = y[n - 2] * y[n - 1] * y[n - 1]
        dy[n - 2] = du * (y[n - 4] - y[n - 2]) - r + feed * (1.0 - y[n - 2])
        dy[n - 1] = dv * (y[n - 3] - y[n - 1]) + r - kill * y[n - 1]

    def jac(t, y, p, J):
        h = cells / p[4]
        du, dv, feed, kill = p[0] * h * h, p[1] * h * h, p[2], p[2] + p[3]
        for i in range(n):
            for j in range(max(0, i - 2), min(n, i + 3)):
                J[i, j] = 0.0
        for i in range(0, n, 2):
            vv, uv = y[i + 1] * y[i + 1], 2.0 * y[i] * y[i + 1]
            ends = 1.0 if i == 0 or i == n - 2 else 2.0
            J[i, i] = -ends * du - vv - feed
            J[i, i + 1] = -uv
            J[i + 1, i] = vv
            J[i + 1, i + 1] = -ends * dv + uv - kill
        for i in range(0, n - 2, 2):
            J[i, i + 2] = du
            J[i + 2, i] = du
            J[i + 1, i + 3] = dv
            J[i + 3, i + 1] = dv

    return rhs, jac


system = sized(build)


def __getattr__(name):
    return by_name(system, of_size, __name__, name)


def pulse(cells: int, height: np.ndarray, width: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """v = height exp(-((x - centre)/width)^2), u = 1 - v/2; arguments (B,): (B, 2 cells)."""
    x = (np.arange(cells) + 0.5) * LENGTH / cells
    v = height[:, None] * np.exp(-(((x - centre[:, None]) / width[:, None]) ** 2))
    return np.stack([1.0 - 0.5 * v, v], axis=2).reshape(len(v), 2 * cells)


@family_of_size
def of_size(cells: int) -> Family:
    """The family on `cells` points (n = 2 cells). ValueError unless cells is a whole number, at least 3."""
    rhs, jac = system(cells)
    name = "gray_scott_1d" if cells == CELLS else f"gray_scott_1d_{cells}"

    def sampler(rng: np.random.Generator, n: int) -> Batch:
        y0 = pulse(cells, rng.uniform(0.5, 1.0, n), rng.uniform(0.6, 1.2, n), LENGTH * rng.uniform(0.45, 0.55, n))
        p = rng.uniform([0.0, 0.01, 0.02, 0.07, LENGTH], [1.0, 0.03, 0.04, 0.09, LENGTH], (n, 5))
        p[:, 0] = log_uniform(rng, 0.5, 5.0, n)
        p[:, 3] -= p[:, 2]
        return Batch(rhs, y0, p, np.zeros(n), np.full(n, END), jac=jac, sparsity=BAND, name=name)

    return Family(
        name=name,
        doc=f"Gray-Scott on a line, {cells} points, T = 200",
        rhs=rhs,
        n=2 * cells,
        m=5,
        sampler=sampler,
        error="grid",
        tolerances=tolerance_grid(1e-1, 1e-8),
        atol_factor=1e-3,
        levels=(1e-6, 1e-3),
        stiff=True,
        tags=("stiff", "method of lines", "banded", "chemistry"),
    )


FAMILY = of_size(CELLS)
