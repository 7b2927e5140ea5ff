"""Reference solutions of stiff problems by Radau IIA collocation of high order, independent of the engine's methods.

Collocation at the s right Radau nodes c_j is the implicit Runge-Kutta method Z_i = h sum_j a_ij f(t + c_j h, y + Z_j),
y1 = y + Z_s, of order 2s - 1, L-stable. The reference has s = 7 (order 13), the run that checks it s = 5 (order 9) and
ten times the tolerance. Newton's matrix I (x) A^{-1}/h - J (x) I is block-diagonalised by the eigenvectors of A^{-1}:
one real and (s - 1)/2 complex systems of the problem's own size, whose LU keeps to the band of J. J is fresh in every
step and the iteration goes on until rounding stops it; coefficients enter through the residual, and the eigenvectors
only affect how fast it converges. The step comes from (I - h gamma J)^{-1} (gamma h f(t, y) + sum_j e_j Z_j), the
distance to a method of order s that also uses f(t, y). That order is about half the method's: at a tolerance of 1e-12 a
smooth solution is good to rounding, and where f has corners or jumps (which step size control narrows down) to the
tolerance itself. The distance of the two runs tells. Sources: E. Hairer and G. Wanner, "Solving ODEs II", sections IV.5
and IV.8; J. Comput. Appl. Math. 111 (1999) 93-111.
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from ..checks import rhs_check
from ..problems.problem import Batch, Problem
from .pair import Reference, checked, chosen, compared, file_of, load, store
from .radau_kernel import SOURCE

TIGHT, LOOSE = (7, 1e-12), (5, 1e-11)  # stages and step tolerance of the reference and of the run that checks it
MAX_STEPS = 1_000_000
_VERSION = 1  # part of the disk cache's key: raise it when the numbers may change

_SLOPE = """
import numba
import numpy as np

@numba.cfunc("void(f8, f8[::1], f8[::1], f8[::1])", error_model="numpy", cache=True)
def rhs_pointer(t, y, p, dy):
    rhs(t, y, p, dy)
"""
_JACOBIAN = """
@numba.cfunc("void(f8, f8[::1], f8[::1], f8[:, ::1])", error_model="numpy", cache=True)
def jac_pointer(t, y, p, J):
    jac(t, y, p, J)
"""
# forward differences: Newton's iteration needs no more, and what it converges to does not depend on them
_DIFFERENCES = """
@numba.cfunc("void(f8, f8[::1], f8[::1], f8[:, ::1])", error_model="numpy", cache=True)
def jac_pointer(t, y, p, J):
    z = y.copy()
    f0 = np.empty(y.size)
    f1 = np.empty(y.size)
    rhs(t, z, p, f0)
    least = 1e-6*np.max(np.abs(y)) + 1e-12
    for j in range(y.size):
        z[j] = y[j] + 1.4901161193847656e-08*max(abs(y[j]), least)
        rhs(t, z, p, f1)
        d = z[j] - y[j]
        for i in range(y.size):
            J[i, j] = (f1[i] - f0[i])/d
        z[j] = y[j]
"""


def stiff_reference(
    batch: Batch | Problem,
    fractions: Sequence[float] | np.ndarray,
    bound: float = 1e-8,
    components: Sequence[int] | None = None,
    atol_factor: float = 1e-6,
    max_steps: int = MAX_STEPS,
    cache: bool = True,
    floor: float = 0.0,
) -> Reference:
    """Reference states of every instance at t0 + fractions * (t1 - t0), by Radau IIA of order 13.

    fractions: non-decreasing, each in 0..1, at least one.  bound: instances whose two runs (orders 13 and 9) differ by
    more than this, in the 2-norm over `components` relative to the state's at any output time, are not ok; nor are
    those that fail or need more than `max_steps` attempts (their self_error is inf, states not reached are NaN).
    atol_factor: the absolute tolerance is this times the relative one, a positive number below the smallest component
    that matters.  floor: least size of a state that differences are taken relative to.  cache: keep results on disk,
    keyed by everything that determines them. A problem without `jac` is solved with
    differences. Raises ValueError on bad arguments.
    """
    batch, fractions = checked(batch, fractions, bound, max_steps)
    if not 0 < atol_factor < np.inf:
        raise ValueError(f"atol_factor must be positive and finite, got {atol_factor!r}")
    pick = chosen(components, batch.n)
    rhs_check.check(batch)
    path = _cache_file(batch, fractions, atol_factor, max_steps) if cache else None
    stored = load(path, (len(batch), fractions.size, batch.n))
    if stored is None:
        times = batch.times(fractions)
        first, second = (
            _solve(batch, times, stages, rtol, atol_factor * rtol, max_steps) for stages, rtol in (TIGHT, LOOSE)
        )
        stored = first, second
        store(path, *stored)
    return compared(*stored, pick, bound, floor)


def bandwidth(batch: Batch) -> tuple[int, int]:
    """Diagonals below and above the main one that the Jacobian fills, seen at the starts and at points near them.

    All of them where it is taken by differences and not large: an entry may be zero at a point by chance.
    """
    if batch.jac is None and batch.n <= 32:
        return batch.n - 1, batch.n - 1
    filled = np.zeros((batch.n, batch.n), dtype=bool)
    jac, evaluate = _functions(batch)[1], _solver().evaluate
    J = np.zeros((batch.n, batch.n))
    wave = np.sin(1.0 + np.arange(batch.n))
    for i in range(min(len(batch), 3)):
        for y in (batch.y0[i], batch.y0[i] + 0.1 * wave):
            evaluate(jac, batch.t0[i], y, batch.p[i], J)
            filled |= J != 0.0
    rows, columns = np.nonzero(filled)
    return int(max(rows - columns, default=0)), int(max(columns - rows, default=0))


def _solve(batch: Batch, times: np.ndarray, stages: int, rtol: float, atol: float, max_steps: int) -> np.ndarray:
    """States (B, nt, n) at `times` (B, nt); NaN from the first time that was not reached."""
    out = np.full((len(batch), times.shape[1], batch.n), np.nan)
    if len(batch) == 0:
        return out
    solve, functions, method, band = _solver().solve, _functions(batch), coefficients(stages), bandwidth(batch)

    def one(i: int) -> None:
        solve(*functions, batch.y0[i], batch.p[i], batch.t0[i], times[i], rtol, atol, max_steps, *method, *band, out[i])

    one(0)  # compiles, in this thread only
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        list(pool.map(one, range(1, len(batch))))
    return out


def _solver() -> Any:
    """The module of `solve` and `evaluate`, compiled once for all problems."""
    from ..compile.cache import load_module

    return load_module(SOURCE, {})


def _functions(batch: Batch) -> tuple[Any, Any]:
    """Right-hand side and Jacobian as C functions, all of one Numba type: the solver takes them as arguments."""
    from ..compile.cache import load_module
    from ..compile.unrolled import unrolled
    from ..kernels.calls import array_guards

    batch = unrolled(batch)
    objects = {"rhs": batch.rhs} | ({} if batch.jac is None else {"jac": batch.jac})
    source = _SLOPE + (_DIFFERENCES if batch.jac is None else _JACOBIAN)
    module = load_module(array_guards(objects, batch.n, batch.m) + source, objects)
    return module.rhs_pointer, module.jac_pointer


@functools.cache
def coefficients(s: int) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Radau IIA with s (odd) stages: c, A^{-1}, its real eigenvalue and one of each complex pair, rows of the inverse
    and columns of the eigenvector matrix in that order, weights e of the error estimate and its gamma.
    """
    from scipy.special import roots_jacobi

    c = np.append((np.sort(roots_jacobi(s - 1, 1.0, 0.0)[0]) + 1) / 2, 1.0)
    x, w = np.polynomial.legendre.leggauss(s)
    x, w = (x + 1) / 2, w / 2
    at = c[:, None] * x  # (s, quadrature nodes): integrals of the Lagrange polynomials from 0 to c_i, exact
    lagrange = np.stack([np.prod([(at - c[m]) / (c[j] - c[m]) for m in range(s) if m != j], axis=0) for j in range(s)])
    a = c[:, None] * np.einsum("jiq,q->ij", lagrange, w)
    inv_a = np.ascontiguousarray(np.linalg.inv(a))
    values, vectors = np.linalg.eig(inv_a)
    order = [int(np.argmin(np.abs(values.imag))), *np.flatnonzero(values.imag > 1e-6)]
    left = np.linalg.inv(vectors)[order]
    real = float(values[order[0]].real)
    gamma = 1.0 / real
    # The estimate: y + h gamma f(t, y) + h sum_j bh_j f_j - y1, of order s: sum_j bh_j c_j^(q-1) = 1/q - gamma [q = 1],
    # q = 1..s. Its error against y1 in terms of Z: e = A^{-T} (bh - b), with b the last row of A.
    powers = c[None, :] ** np.arange(s)[:, None]
    target = 1.0 / np.arange(1, s + 1)
    target[0] -= gamma
    e = np.linalg.solve(a.T, np.linalg.solve(powers, target) - a[-1])
    return (
        c,
        inv_a,
        real,
        values[order[1:]],
        np.ascontiguousarray(left),
        np.ascontiguousarray(vectors[:, order]),
        e,
        gamma,
    )


def _cache_file(batch: Batch, fractions: np.ndarray, atol_factor: float, max_steps: int) -> Path:
    from ..compile.cache import function_key

    jac = "differences" if batch.jac is None else function_key(batch.jac)
    shapes = f"{batch.y0.shape} {batch.p.shape} {fractions.size}"
    head = f"stiff {_VERSION} {function_key(batch.rhs)} {jac} {shapes} {TIGHT} {LOOSE} "
    head += f"{atol_factor!r} {max_steps}"
    h = hashlib.sha256((head + SOURCE).encode())
    for array in (batch.y0, batch.p, batch.t0, batch.t1, fractions):
        h.update(array.tobytes())
    return file_of(h.hexdigest())
