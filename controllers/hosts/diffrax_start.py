"""The first size of a solve in diffrax where `dt0` is None or NaN, tolerances as arrays, and who was trained with what.

A PIDController means to choose it by Hairer's rule, but in diffrax 0.7 it finds the term wrapped, takes it for another
kind than an `ODETerm`, and begins with 0.01, whatever the problem.  Its law, which may grow tenfold a step, makes up
for that; laws that change the size gently, as tuned ones do, would spend a third of their steps on it.  So the rule is
evaluated here, at the price of two evaluations:

    d0 = |y0|, d1 = |f0|, h0 = d0/d1 / 100;  d2 = |f(t0 + h0, y0 + h0 f0) - f0| / h0;  h1 = (1/100 / max(d1, d2))^(1/k)

with scaled norms; the size is min(100 h0, h1).  E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential
Equations I, 2nd ed., Springer 1993, II.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp

from ...integrators.core.options import number, refuse
from ...integrators.engine.trained_method import warn_once_in

#: diffrax's solvers, and the names of the same pairs here
PAIRS = {"Dopri5": "dopri5", "Tsit5": "tsit5", "Bosh3": "bs32", "Dopri8": "dopri8", "Heun": "adaptive_heun",
         "Kvaerno5": "kvaerno5"}  # fmt: skip


def told(controller: Any, func: Any, error_order: Any) -> None:
    """Warn of a controller that was trained with another method, while the solve is traced.

    func: the solver's method of that name, which knows its solver.
    """
    solver = getattr(func, "__self__", None)
    warn_once_in("diffrax", controller, None if solver is None else type(solver).__name__, error_order, PAIRS)


def of_ode(terms: Any) -> bool:
    """Whether the solve's term, whatever is wrapped around it, is an `ODETerm`."""
    while hasattr(terms, "term"):
        terms = terms.term
    return isinstance(terms, diffrax.ODETerm)


def start_size(
    terms: Any, t0: Any, t1: Any, y0: Any, args: Any, func: Any, tolerances: tuple[Any, Any],
    norm: Callable[[Any], Any], order: Any,
) -> Any:  # fmt: skip
    """The first size by Hairer's rule, positive, without gradient; of terms other than an `ODETerm` a PIDController's.

    func: the solver's, `func(terms, t, y, args)`.  tolerances: rtol and atol.  order: k as above.
    """
    if of_ode(terms):
        return jax.lax.stop_gradient(
            first_size(lambda t, y: func(terms, t, y, args), t0, y0, *tolerances, norm, order)
        )
    host = diffrax.PIDController(*tolerances, norm=norm, error_order=order)
    return host.init(terms, t0, t1, y0, None, args, func, order)[0] - t0


def first_size(
    slope: Callable[[Any, Any], Any], t0: Any, y0: Any, rtol: Any, atol: Any, norm: Callable[[Any], Any], order: Any
) -> Any:
    """Hairer's first size, positive, of time's dtype.  slope: `slope(t, y)`, of y's structure.  order: k as above."""
    with jax.numpy_dtype_promotion("standard"):
        scale = jax.tree.map(lambda y: jnp.maximum(atol + rtol * jnp.abs(y), jnp.finfo(y.dtype).tiny), y0)

        def size_of(tree: Any) -> Any:
            return jnp.asarray(norm(jax.tree.map(lambda x, s: x / s, tree, scale)))

        f0 = slope(t0, y0)
        d0, d1 = size_of(y0), size_of(f0)
        small = (d0 < 1e-5) | (d1 < 1e-5)
        h0 = jnp.where(small, 1e-6, 0.01 * d0 / jnp.where(small, 1.0, d1))
        y1 = jax.tree.map(lambda y, f: (y + h0 * f).astype(y.dtype), y0, f0)
        f1 = slope(t0 + h0, y1)
        d2 = size_of(jax.tree.map(lambda a, b: a - b, f1, f0)) / h0
        most = jnp.maximum(d1, d2)
        flat = most <= 1e-15
        h1 = jnp.where(flat, jnp.maximum(1e-6, h0 * 1e-3), (0.01 / jnp.where(flat, 1.0, most)) ** (1.0 / order))
        return jnp.minimum(100.0 * h0, h1).astype(jnp.result_type(t0))


def scaled(name: str, value: Any, scale: float) -> Any:
    """`scale` times a tolerance, as a scalar array that takes the dtype of what it meets, as a Python number does."""
    if isinstance(value, jax.core.Tracer):
        if value.ndim:
            raise refuse(name, "a number", value)
        return value * scale
    return jnp.asarray(number(name, value, 0.0) * scale)
