"""One right-hand side in the form of every library.

`rhs(t, y, p, dy)` is called once with the library's own symbols in y, and what it writes is the field.  Gravity is
written by hand where a library has a better form: for heyoka a Taylor series of r^-3 is one recurrence, for diffrax
arrays over all pairs.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numba
import numpy as np
from stiff_single import Columns

import stepsmith as ss

Rhs = Callable[..., None]
System = list[tuple[Any, Any]]


def with_names(fn: Rhs, **names: Any) -> Rhs:
    """`fn` with other things behind the global names that it uses."""
    return types.FunctionType(fn.__code__, {**fn.__globals__, **names}, fn.__name__, fn.__defaults__, fn.__closure__)


def for_numba(rhs: Rhs) -> Any:
    """Compiled for CyRK and numbalsoda, with the processor's square root."""
    return numba.njit(with_names(rhs, sqrt=np.sqrt), error_model="numpy")


def for_jax(source: ss.Batch | ss.Problem) -> Callable[[Any, Any, Any], Any]:
    """f(t, y, p) for diffrax; gravity as arrays over all pairs, which XLA compiles in seconds and runs faster."""
    import jax.numpy as jnp

    if source.nbody is not None:
        return _gravity_for_jax(*source.nbody)
    traced = with_names(source.rhs, np=jnp, sqrt=jnp.sqrt)

    def field(t: Any, y: Any, p: Any) -> Any:
        dy = Columns(y.shape[0])
        traced(t, y, p, dy)
        return jnp.stack([jnp.asarray(value, dtype=float) for value in dy.values])

    return field


def _gravity_for_jax(bodies: int, dim: int) -> Callable[[Any, Any, Any], Any]:
    import jax.numpy as jnp

    def field(t: Any, y: Any, p: Any) -> Any:
        x = y[: bodies * dim].reshape(bodies, dim)
        d = x[None] - x[:, None]
        r2 = jnp.sum(d * d, axis=-1) + jnp.eye(bodies)  # a body does not pull itself: d is 0 there
        w = p[0] * p[1:] / (r2 * jnp.sqrt(r2))
        return jnp.concatenate([y[bodies * dim :], jnp.sum(w[..., None] * d, axis=1).ravel()])

    return field


def variables(n: int) -> list[Any]:
    import heyoka as hy

    return list(hy.make_vars(*(f"u{k:02d}" for k in range(n))))


def polynomial(rhs: Rhs, n: int, p: Sequence[float] = ()) -> System:
    """heyoka's system of a right-hand side that only adds and multiplies."""
    y, dy = variables(n), Columns(n)
    rhs(0.0, y, [float(value) for value in p], dy)
    return list(zip(y, dy.values, strict=True))


def kepler() -> System:
    y = variables(4)
    w = (y[0] ** 2 + y[1] ** 2) ** -1.5
    return [(y[0], y[2]), (y[1], y[3]), (y[2], -w * y[0]), (y[3], -w * y[1])]


def arenstorf(mu: float) -> System:
    y = variables(4)
    near, far = y[0] + mu, y[0] + (mu - 1.0)
    earth = (1.0 - mu) * (near**2 + y[1] ** 2) ** -1.5
    moon = mu * (far**2 + y[1] ** 2) ** -1.5
    ax = y[0] + 2.0 * y[3] - earth * near - moon * far
    ay = y[1] - 2.0 * y[2] - (earth + moon) * y[1]
    return [(y[0], y[2]), (y[1], y[3]), (y[2], ax), (y[3], ay)]


def planar_gravity(masses: Sequence[float]) -> System:
    """Bodies in the plane, G = 1: what `heyoka.model.nbody` makes of three dimensions, each pair once."""
    import heyoka as hy

    n = 2 * len(masses)
    y = variables(2 * n)
    terms: list[list[Any]] = [[] for _ in range(n)]
    for i, j in combinations(range(len(masses)), 2):
        d = [y[2 * j + k] - y[2 * i + k] for k in range(2)]
        w = hy.sum([d[0] ** 2, d[1] ** 2]) ** -1.5
        for k in range(2):
            terms[2 * i + k].append(float(masses[j]) * w * d[k])
            terms[2 * j + k].append(-float(masses[i]) * w * d[k])
    moves = [(y[k], y[n + k]) for k in range(n)]
    return moves + [(y[n + k], hy.sum(terms[k])) for k in range(n)]


def gravity(masses: Sequence[float], constant: float) -> System:
    """`heyoka.model.nbody` in the order of the layout here: positions body by body, then velocities."""
    import heyoka as hy

    rows = {str(row[0]): row for row in hy.model.nbody(len(masses), masses=list(masses), Gconst=constant)}
    return [rows[f"{kind}{axis}_{i}"] for kind in ("", "v") for i in range(len(masses)) for axis in "xyz"]
