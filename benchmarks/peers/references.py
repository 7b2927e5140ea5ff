"""Reference solutions by heyoka in 80-bit floating point, and how far to trust them."""

from __future__ import annotations

import numpy as np
from scipy.integrate import solve_ivp

from .forms import Rhs, System, for_numba

#: tolerances of the reference, and of the solution that it is compared with
TOL, LOOSER = 1e-19, 1e-17


def ends(system: System, y0: np.ndarray, t1: float, tol: float = TOL) -> np.ndarray:
    """States at t1 of the starts y0 (B, n), rounded to float64."""
    import heyoka as hy

    wide = np.longdouble
    zeros = np.zeros(y0.shape[1], dtype=wide)
    # `compact_mode` is compiled in seconds where the series of many bodies takes minutes
    taylor = hy.taylor_adaptive(system, zeros, tol=wide(tol), fp_type=wide, compact_mode=y0.shape[1] > 8)
    out = np.empty_like(y0)
    for row, start in enumerate(y0):
        taylor.time = wide(0.0)
        taylor.state[:] = start.astype(wide)
        taylor.propagate_until(wide(t1))
        out[row] = taylor.state
    return out


def relative(y: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """|y - exact| / |exact| of every row, (B,); inf where a row is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.linalg.norm(y - exact, axis=1) / np.linalg.norm(exact, axis=1)
    return np.where(np.isfinite(error), error, np.inf)


def check(
    system: System, rhs: Rhs, y0: np.ndarray, p: np.ndarray, t1: float, exact: np.ndarray, stiff: bool = False
) -> str:
    """What two other solutions of the first four rows say of a reference, as two sentences."""
    method = "Radau" if stiff else "DOP853"
    y0, p, exact = y0[:4], p[:4], exact[:4]
    looser = relative(ends(system, y0, t1, LOOSER), exact)
    compiled, others = for_numba(rhs), []
    for start, own in zip(y0, p, strict=True):

        def field(t: float, y: np.ndarray, own: np.ndarray = own) -> np.ndarray:
            dy = np.empty_like(y)
            compiled(t, y, own, dy)
            return dy

        others.append(solve_ivp(field, (0.0, t1), start, method, rtol=1e-13, atol=1e-15).y[:, -1])
    scipy = relative(np.array(others), exact)
    return (
        f"Reference: heyoka, 80 bits, tolerance {TOL:.0e}. Largest difference of {len(y0)} end states: "
        f"at {LOOSER:.0e} {looser.max():.0e}, of SciPy's {method} at 1e-13 {scipy.max():.0e}."
    )
