"""Newtonian N-body right-hand sides and energies, a_i = sum_j G m_j (x_j - x_i) / |x_j - x_i|^3, without
softening.

A loop over lanes becomes packed instructions only if no loop is left inside it, so the sum over pairs of a few bodies
is written out as straight-line source, each pair once: one square root and one division a pair. Of many bodies that
source would take minutes to compile; theirs is a loop over pairs (`looped_rhs`). Layout: docs/architecture.md.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable
from itertools import combinations
from typing import Any

from ...compile.vecmath import sqrt


def source(bodies: int, dim: int) -> str:
    """Source text of `rhs(t, y, p, dy)` for `bodies` bodies in `dim` dimensions."""
    n = bodies * dim
    lines = ["def rhs(t, y, p, dy):"]
    for i in range(bodies):
        lines += [f"    gm{i} = p[0] * p[{i + 1}]"]
        lines += [f"    x{i}_{k} = y[{i * dim + k}]" for k in range(dim)]
        lines += [f"    a{i}_{k} = 0.0" for k in range(dim)]
    for i, j in combinations(range(bodies), 2):
        lines += [f"    d{k} = x{j}_{k} - x{i}_{k}" for k in range(dim)]
        lines += ["    r2 = " + " + ".join(f"d{k} * d{k}" for k in range(dim))]
        lines += ["    w = 1.0 / (r2 * sqrt(r2))", f"    wi = gm{i} * w", f"    wj = gm{j} * w"]
        lines += [f"    a{i}_{k} += wj * d{k}" for k in range(dim)]
        lines += [f"    a{j}_{k} -= wi * d{k}" for k in range(dim)]
    lines += [f"    dy[{k}] = y[{n + k}]" for k in range(n)]
    lines += [f"    dy[{n + i * dim + k}] = a{i}_{k}" for i in range(bodies) for k in range(dim)]
    return "\n".join(lines) + "\n"


def pairwise_rhs(bodies: int, dim: int, module: str) -> Callable[..., None]:
    """The right-hand side as a function of `module`, where it must be bound to `rhs` to be pickled."""
    text = source(bodies, dim)
    filename = f"<{module}.rhs>"
    linecache.cache[filename] = (len(text), None, text.splitlines(True), filename)
    namespace: dict[str, Any] = {"__name__": module, "sqrt": sqrt}
    exec(compile(text, filename, "exec"), namespace)
    rhs = namespace["rhs"]
    rhs.__doc__ = f"Gravity of {bodies} point masses in {dim} dimensions, each pair once."
    return rhs


def looped_rhs(bodies: int, dim: int) -> Callable[..., None]:
    """The same right-hand side as a loop over pairs, for many bodies; of another order of rounding."""
    n = bodies * dim

    def rhs(t, y, p, dy):
        for k in range(n):
            dy[k] = y[n + k]
            dy[n + k] = 0.0
        for i in range(bodies):
            for j in range(i):
                r2 = 0.0 * y[0]
                for k in range(dim):
                    d = y[j * dim + k] - y[i * dim + k]
                    r2 = r2 + d * d
                w = p[0] / (r2 * sqrt(r2))
                for k in range(dim):
                    d = w * (y[j * dim + k] - y[i * dim + k])
                    dy[n + i * dim + k] = dy[n + i * dim + k] + p[j + 1] * d
                    dy[n + j * dim + k] = dy[n + j * dim + k] - p[i + 1] * d

    return rhs


def total_energy(bodies: int, dim: int) -> Callable[..., float]:
    """`energy(t, y, p)`: kinetic plus potential energy in the problem's units."""
    n = bodies * dim

    def energy(t, y, p):
        e = 0.0 * y[0]
        for i in range(bodies):
            for k in range(dim):
                v = y[n + i * dim + k]
                e = e + 0.5 * p[i + 1] * v * v
            for j in range(i):
                r2 = 0.0 * y[0]
                for k in range(dim):
                    d = y[i * dim + k] - y[j * dim + k]
                    r2 = r2 + d * d
                e = e - p[0] * p[i + 1] * p[j + 1] / sqrt(r2)
        return e

    return energy
