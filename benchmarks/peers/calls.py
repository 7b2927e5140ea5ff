"""The libraries on one problem: `call(case, tol)` is a call from Python that returns the end state (n,).

Everything that a library compiles is compiled before its call is timed; what it does at every call is timed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import stiff_single

import stepsmith as ss

from .clock import Run
from .jitted import one_solve
from .singles import Single

Call = Callable[[Single, float], Run]


def heyoka(case: Single, tol: float) -> Run:
    """Taylor series, the integrator used again."""
    import heyoka as hy

    taylor = hy.taylor_adaptive(case.system(), case.y0.copy(), tol=tol)

    def run() -> np.ndarray:
        taylor.time = case.span[0]
        taylor.state[:] = case.y0
        taylor.propagate_until(case.span[1])
        return taylor.state.copy()

    return run


@functools.cache
def _numbalsoda(case: Single) -> Any:
    """The right-hand side as numbalsoda calls it."""
    import numba
    import numbalsoda as library

    n, m, f = case.y0.size, case.p.size, case.f

    @numba.cfunc(library.lsoda_sig)
    def field(t, y, dy, p):
        f(t, numba.carray(y, n), numba.carray(p, m), numba.carray(dy, n))

    return field


def numbalsoda(method: str) -> Call:
    """`numbalsoda.lsoda` or `numbalsoda.dop853`."""

    def make(case: Single, tol: float) -> Run:
        import numbalsoda as library

        solve, address, times = getattr(library, method), _numbalsoda(case).address, np.array(case.span)

        def run() -> np.ndarray:
            y, success = solve(address, case.y0, times, case.p, rtol=tol, atol=tol, mxstep=1_000_000)
            return y[-1] if success else np.full(case.y0.size, np.nan)

        return run

    return make


@functools.cache
def _diffrax(case: Single, method: str) -> Callable[[Any, float], Any]:
    import jax

    return jax.jit(one_solve(case.problem, case.p, case.span[1], method))


def diffrax(method: str) -> Call:
    def make(case: Single, tol: float) -> Run:
        import jax.numpy as jnp

        solve = _diffrax(case, method)
        y0 = jnp.asarray(case.y0)
        return lambda: np.asarray(solve(y0, tol))

    return make


def stepsmith(method: str) -> Call:
    """`ss.solve` under the method's own law, all accepted steps kept."""

    def make(case: Single, tol: float) -> Run:
        def run() -> np.ndarray:
            sol = ss.solve(case.problem, method=method, rtol=tol, atol=tol)
            return sol.y[-1] if sol.success else np.full(case.y0.size, np.nan)

        return run

    return make


def named(make: Callable[[str], Call], *methods: str) -> dict[str, Call]:
    return {method: make(method) for method in methods}


#: the methods of every library for problems that are not stiff, and for those that are
LIBRARIES: dict[str, tuple[dict[str, Call], dict[str, Call]]] = {
    "Stepsmith": (
        named(stepsmith, "tsit5", "dop853", "vern7", "vern8", "vern9", "dprkn6", "dprkn12", "gbs"),
        named(stepsmith, "rodas5p", "radau5", "kvaerno5"),
    ),
    "heyoka": ({"Taylor": heyoka}, {"Taylor": heyoka}),
    "numbalsoda": (named(numbalsoda, "lsoda", "dop853"), named(numbalsoda, "lsoda")),
    "CyRK": (
        named(stiff_single.cyrk, "Tsit5", "DOP853", "Vern8", "LSODA"), named(stiff_single.cyrk, "Radau", "LSODA"),
    ),
    "diffrax": (named(diffrax, "Tsit5", "Dopri8"), named(diffrax, "Kvaerno5")),
}  # fmt: skip
