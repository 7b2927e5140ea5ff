"""The libraries on ensembles: `LIBRARIES[name](case, method, tol, batch)` is a call that returns the end states (B, n).

Everything that a library compiles is compiled before its call is timed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from stiff_single import cyrk_address

import stepsmith as ss

from .clock import Run
from .ensembles import Ensemble
from .jitted import one_solve

#: those that this version does not have, or that do not take a problem, are left out with a word
STEPSMITH = ("dop853", "tsit5", "vern7", "vern8", "vern9", "dprkn6", "dprkn12", "gbs")
#: SIMD widths over the one that heyoka recommends
HEYOKA = ("1 vector", "2 vectors")
DIFFRAX = ("Tsit5", "Dopri8")
CYRK = ("DOP853", "Tsit5", "Vern8")


def stepsmith(case: Ensemble, method: str, tol: float, batch: ss.Batch) -> Run:
    """`ss.solve_ensemble` under the method's own law; a trajectory that failed is NaN."""

    def run() -> np.ndarray:
        sol = ss.solve_ensemble(batch, method=method, rtol=tol, atol=tol, threads=1)
        return np.where((sol.status < 0)[:, None], np.nan, sol.y)

    return run


def heyoka(case: Ensemble, method: str, tol: float, batch: ss.Batch) -> Run:
    """Taylor series in SIMD batches, the integrator used again for every batch.

    `ensemble_propagate_until_batch` copies the integrator for every batch, which takes several times as long on short
    spans; this loop is heyoka's faster way.
    """
    import heyoka as hy

    width = int(method.split()[0]) * hy.recommended_simd_size()
    taylor = hy.taylor_adaptive_batch(case.system(), np.zeros((batch.n, width)), tol=tol)
    count = len(batch.y0)
    padded = np.concatenate([batch.y0, np.tile(batch.y0[:1], (-count % width, 1))])
    zeros, end = np.zeros(width), np.full(width, case.t1)

    def run() -> np.ndarray:
        out = np.empty_like(padded)
        for i in range(0, len(padded), width):
            taylor.set_time(zeros)
            taylor.state[:] = padded[i : i + width].T
            taylor.propagate_until(end)
            out[i : i + width] = taylor.state.T
        return out[:count]

    return run


@functools.cache
def _diffrax(case: Ensemble, method: str) -> Callable[[Any, float], Any]:
    import jax

    return jax.jit(jax.vmap(one_solve(case.batch, case.batch.p[0], case.t1, method), in_axes=(0, None)))


def diffrax(case: Ensemble, method: str, tol: float, batch: ss.Batch) -> Run:
    """vmap over all trajectories, jitted, under diffrax's own default gains."""
    many = _diffrax(case, method)
    return lambda: np.asarray(many(batch.y0, tol))


@functools.cache
def _cyrk_loop() -> Callable[..., None]:
    import CyRK
    import numba

    solve = CyRK.nbsolve2_ivp

    @numba.njit
    def loop(address, y0, p, t1, method, tol, out):
        for i in range(len(y0)):
            sol = solve(address, (0.0, t1), y0[i], method, args=p, rtol=tol, atol=tol)
            if sol.success:
                out[i] = sol.y[:, -1]
            sol.free()

    return loop


def cyrk(case: Ensemble, method: str, tol: float, batch: ss.Batch) -> Run:
    """A compiled loop over trajectories, without Python in it."""
    loop, address, p = _cyrk_loop(), cyrk_address(case), case.batch.p[0].copy()

    def run() -> np.ndarray:
        out = np.full_like(batch.y0, np.nan)
        loop(address, batch.y0, p, case.t1, method, tol, out)
        return out

    return run


#: how a call is made, methods, and whether it integrates all trajectories (else the sample)
LIBRARIES: dict[str, tuple[Callable[[Ensemble, str, float, ss.Batch], Run], tuple[str, ...], bool]] = {
    "Stepsmith": (stepsmith, STEPSMITH, True),
    "heyoka": (heyoka, HEYOKA, True),
    "diffrax": (diffrax, DIFFRAX, False),
    "CyRK": (cyrk, CYRK, False),
}
