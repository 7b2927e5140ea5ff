"""Solves by diffrax, as its tests as a host look at them: accepted steps, in float64."""

from __future__ import annotations

import diffrax as dfx
import jax
import jax.numpy as jnp
import numpy as np
import pytest


@pytest.fixture(autouse=True, scope="module")
def float64():
    """float64 in JAX for the module that imports this."""
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def swing(t, y, args):
    """A pendulum."""
    return jnp.stack([y[1], -jnp.sin(y[0])])


def solved(
    ctrl, fn=swing, span=(0.0, 10.0), y0=(2.0, 0.0), solver=None, args=None, *, dt0=None, max_steps=1024, **options
):
    """A solve under the controller `ctrl`, by Tsit5 unless another solver is given; y0: numbers, an array or a dict of
    arrays."""
    options = {"saveat": dfx.SaveAt(steps=True), **options}
    # arrays share compiled programs
    t0, t1, dt0, args = (None if x is None else jnp.asarray(x) for x in (*span, dt0, args))
    return dfx.diffeqsolve(
        dfx.ODETerm(fn), dfx.Tsit5() if solver is None else solver, t0, t1, dt0,
        y0 if isinstance(y0, dict) else jnp.asarray(y0), args, stepsize_controller=ctrl, max_steps=max_steps, **options,
    )  # fmt: skip


def steps(sol):
    """The ends of the accepted steps."""
    return np.asarray(sol.ts)[: int(sol.stats["num_accepted_steps"])]
