"""diffrax's solve of one start, to be mapped and jitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import stepsmith as ss

from .forms import for_jax


def one_solve(source: ss.Batch | ss.Problem, p: np.ndarray, t1: float, method: str) -> Callable[[Any, Any], Any]:
    """`solve(y0, tol)` from 0 to t1 at rtol = atol = tol, under diffrax's default gains; NaN where it fails."""
    import diffrax as dfx
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    term, held, solver = dfx.ODETerm(for_jax(source)), jnp.asarray(p), getattr(dfx, method)()

    def solve(y0: Any, tol: Any) -> Any:
        out = dfx.diffeqsolve(
            term, solver, 0.0, t1, None, y0, args=held, saveat=dfx.SaveAt(t1=True), max_steps=100_000,
            stepsize_controller=dfx.PIDController(rtol=tol, atol=tol), throw=False,
        )  # fmt: skip
        return jnp.where(out.result == dfx.RESULTS.successful, out.ys[-1], jnp.nan)

    return solve
