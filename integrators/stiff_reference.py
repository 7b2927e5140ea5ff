"""Reference solutions of stiff problems by Radau IIA collocation of high order, independent of the engine's methods.

Collocation at the s right Radau nodes c_j is the implicit Runge-Kutta method Z_i = h sum_j a_ij f(t + c_j h, y + Z_j), y1 = y + Z_s,
of order 2s - 1, L-stable. The reference has s = 7 (order 13), the run that checks it s = 5 (order 9) and ten times the tolerance.
Newton's matrix I (x) A^{-1}/h - J (x) I is block-diagonalised by the eigenvectors of A^{-1}: one real and (s - 1)/2 complex systems of the
problem's own size, whose LU keeps to the band of J. J is fresh in every step and the iteration goes on until rounding stops it;
coefficients enter through the residual, and the eigenvectors only affect how fast it converges.
The step comes from (I - h gamma J)^{-1} (gamma h f(t, y) + sum_j e_j Z_j), the distance to a method of order s that also uses f(t, y).
That order is about half the method's: at a tolerance of 1e-12 a smooth solution is good to rounding, and where f has corners or jumps
(which step size control narrows down) to the tolerance itself. The distance of the two runs tells.
Sources: E. Hairer and G. Wanner, "Solving ODEs II", sections IV.5 and IV.8; J. Comput. Appl. Math. 111 (1999) 93-111.
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

from . import reference as _explicit
from .problem import Batch, Problem
from .reference import Reference, checked, compared

TIGHT, LOOSE = (7, 1e-12), (5, 1e-11)  # stages and step tolerance of the reference and of the run that checks it
MAX_STEPS = 1_000_000
_VERSION = 1  # part of the disk cache's key: raise it when the numbers may change

_SOURCE = '''
import numba
import numpy as np

NEWTON = 25

@numba.njit(error_model="numpy", nogil=True, cache=True)
def factor(M, perm, n, kl, ku):
    """LU with row pivoting in place, inside the band; False if singular or not finite."""
    for k in range(n):
        best = k
        for i in range(k, min(n, k + kl + 1)):
            if abs(M[i, k]) > abs(M[best, k]):
                best = i
        perm[k] = best
        if not (abs(M[best, k]) > 0.0 and abs(M[best, k]) < np.inf):
            return False
        top = min(n, k + kl + ku + 1)
        if best != k:
            for j in range(k, top):
                M[k, j], M[best, j] = M[best, j], M[k, j]
        inverse = 1.0/M[k, k]
        for i in range(k + 1, min(n, k + kl + 1)):
            if M[i, k] != 0.0:
                w = M[i, k]*inverse
                M[i, k] = w
                for j in range(k + 1, top):
                    M[i, j] -= w*M[k, j]
    return True

@numba.njit(error_model="numpy", nogil=True, cache=True)
def backsolve(M, perm, b, n, kl, ku):
    for k in range(n):
        best = perm[k]
        if best != k:
            b[k], b[best] = b[best], b[k]
        for i in range(k + 1, min(n, k + kl + 1)):
            b[i] -= M[i, k]*b[k]
    for k in range(n - 1, -1, -1):
        w = b[k]
        for j in range(k + 1, min(n, k + kl + ku + 1)):
            w -= M[k, j]*b[j]
        b[k] = w/M[k, k]

@numba.njit(error_model="numpy", nogil=True, cache=True)
def matrix(M, J, shift, n, kl, ku):
    """shift I - J inside the band and the room that pivoting needs above it."""
    for i in range(n):
        for j in range(max(0, i - kl), min(n, i + kl + ku + 1)):
            M[i, j] = -J[i, j]
        M[i, i] += shift

@numba.njit(error_model="numpy", nogil=True, cache=True)
def solve(rhs, jac, y0, p, t0, times, rtol, atol, max_steps, c, inv_a, real, pairs, left, right, e, gamma, kl, ku, out):
    """Fill out (nt, n) with the solution at `times`; True if every time was reached."""
    s = c.size
    n = y0.size
    half = pairs.size
    y = y0.copy()
    f0 = np.empty(n)
    f = np.empty((s, n))
    z = np.zeros((s, n))
    guess = np.zeros((s, n))
    stage = np.empty(n)
    scale = np.empty(n)
    res = np.empty((s, n))
    delta = np.empty((s, n))
    est = np.empty(n)
    vec = np.empty(n)
    zvec = np.empty(n, np.complex128)
    J = np.zeros((n, n))
    MR = np.empty((n, n))
    ME = np.empty((n, n))
    MC = np.empty((half, n, n), np.complex128)
    pr = np.empty(n, np.int64)
    pe = np.empty(n, np.int64)
    pc = np.empty((half, n), np.int64)
    weight = np.empty(s + 1)
    out[:] = np.nan
    t = t0
    t_end = times[-1]
    if not np.all(np.isfinite(y)):
        return False
    sign = 1.0 if t_end >= t0 else -1.0
    rhs(t, y, p, f0)
    slope = 0.0
    for i in range(n):
        slope = max(slope, abs(f0[i])/(atol + rtol*abs(y[i])))
    h = abs(t_end - t0)
    h = min(1e-4*h, 1.0/slope) if slope > 0.0 else 1e-6*h
    h_old = 0.0
    steps = 0
    fresh = False
    rejected = False
    for k in range(times.size):
        while True:
            remain = sign*(times[k] - t)
            if remain <= 0.0:
                break
            if steps >= max_steps:
                return False
            steps += 1
            last = remain <= 1.0000001*h
            size = remain if last else min(h, 0.5*remain) if h > 0.9*remain else h
            if not last and (size < 4e-16*abs(t) or size < 1e-300):
                return False
            step = sign*size
            if not fresh:
                jac(t, y, p, J)
                fresh = True
            matrix(MR, J, real/step, n, kl, ku)
            matrix(ME, J, 1.0/(gamma*step), n, kl, ku)
            good = factor(MR, pr, n, kl, ku) and factor(ME, pe, n, kl, ku)
            for q in range(half):
                matrix(MC[q], J, pairs[q]/step, n, kl, ku)
                good = good and factor(MC[q], pc[q], n, kl, ku)
            # the last step's polynomial goes on as a first guess, unless it would be stretched
            ratio = size/h_old if h_old > 0.0 else 9.0
            for i in range(s):
                for j in range(n):
                    z[i, j] = 0.0
                if ratio <= 1.5:
                    x = 1.0 + ratio*c[i]
                    for a in range(s + 1):
                        xa = 0.0 if a == 0 else c[a - 1]
                        w = 1.0
                        for b in range(s + 1):
                            if b != a:
                                xb = 0.0 if b == 0 else c[b - 1]
                                w *= (x - xb)/(xa - xb)
                        weight[a] = w
                    for a in range(1, s + 1):
                        for j in range(n):
                            z[i, j] += weight[a]*guess[a - 1, j]
                    for j in range(n):
                        z[i, j] -= guess[s - 1, j]
            for j in range(n):
                scale[j] = atol + rtol*abs(y[j])
            before = np.inf
            done = False
            if good:
                for it in range(NEWTON):
                    for i in range(s):
                        for j in range(n):
                            stage[j] = y[j] + z[i, j]
                        rhs(t + c[i]*step, stage, p, f[i])
                    for i in range(s):
                        for j in range(n):
                            w = 0.0
                            for a in range(s):
                                w += inv_a[i, a]*z[a, j]
                            res[i, j] = f[i, j] - w/step
                    for j in range(n):
                        w = 0.0
                        for i in range(s):
                            w += left[0, i].real*res[i, j]
                        vec[j] = w
                    backsolve(MR, pr, vec, n, kl, ku)
                    for i in range(s):
                        for j in range(n):
                            delta[i, j] = right[i, 0].real*vec[j]
                    for q in range(half):
                        for j in range(n):
                            v = 0j
                            for i in range(s):
                                v += left[q + 1, i]*res[i, j]
                            zvec[j] = v
                        backsolve(MC[q], pc[q], zvec, n, kl, ku)
                        for i in range(s):
                            for j in range(n):
                                delta[i, j] += 2.0*(right[i, q + 1]*zvec[j]).real
                    norm = 0.0
                    for i in range(s):
                        for j in range(n):
                            z[i, j] += delta[i, j]
                            gap = abs(delta[i, j])/scale[j]
                            if not gap <= norm:  # also carries NaN on
                                norm = gap
                    if not norm < np.inf:
                        break
                    if norm <= 1e-7 or (norm <= 1e-2 and norm > 0.2*before):  # down to rounding
                        done = True
                        break
                    if it > 2 and norm > 2.0*before:
                        break
                    before = norm
            if not done:
                h = 0.3*size
                h_old = 0.0
                rejected = True
                continue
            for j in range(n):
                w = gamma*step*f0[j]
                size_j = abs(y[j])
                for i in range(s):
                    w += e[i]*z[i, j]
                    size_j = max(size_j, abs(y[j] + z[i, j]))
                est[j] = w/(gamma*step)
                scale[j] = atol + rtol*size_j
            backsolve(ME, pe, est, n, kl, ku)
            err = 0.0
            for j in range(n):
                gap = abs(est[j])/scale[j]
                if not gap <= err:
                    err = gap
            if err >= 1.0 and (rejected or steps == 1):  # what a fast component adds is no error: filter it once more
                for j in range(n):
                    stage[j] = y[j] + est[j]
                rhs(t, stage, p, f[0])
                for j in range(n):
                    w = gamma*step*f[0, j]
                    for i in range(s):
                        w += e[i]*z[i, j]
                    est[j] = w/(gamma*step)
                backsolve(ME, pe, est, n, kl, ku)
                err = 0.0
                for j in range(n):
                    gap = abs(est[j])/scale[j]
                    if not gap <= err:
                        err = gap
            change = 0.1
            if err < np.inf:
                change = min(5.0, max(0.1, 0.85*max(err, 1e-30)**(-1.0/(s + 1))))
            if not err <= 1.0:
                h = size*min(change, 0.8)
                h_old = 0.0
                rejected = True
                continue
            for j in range(n):
                y[j] += z[s - 1, j]
                for i in range(s):
                    guess[i, j] = z[i, j]
            t = times[k] if last else t + step
            h_old = size
            h = max(h, size*change) if size < h else size*change
            rejected = False
            fresh = False
            rhs(t, y, p, f0)
        for i in range(n):
            out[k, i] = y[i]
    return True

@numba.njit(error_model="numpy", cache=True)
def evaluate(jac, t, y, p, J):
    jac(t, y, p, J)
'''

_POINTERS = """
import numba

@numba.cfunc("void(f8, f8[::1], f8[::1], f8[::1])", error_model="numpy", cache=True)
def rhs_pointer(t, y, p, dy):
    rhs(t, y, p, dy)

@numba.cfunc("void(f8, f8[::1], f8[::1], f8[:, ::1])", error_model="numpy", cache=True)
def jac_pointer(t, y, p, J):
    jac(t, y, p, J)
"""


def stiff_reference(
    batch: Batch | Problem,
    fractions: Sequence[float] | np.ndarray,
    bound: float = 1e-8,
    components: Sequence[int] | None = None,
    atol_factor: float = 1e-6,
    max_steps: int = MAX_STEPS,
    cache: bool = True,
) -> Reference:
    """Reference states of every instance at t0 + fractions * (t1 - t0), by Radau IIA of order 13.

    fractions: non-decreasing, each in 0..1, at least one.  bound: instances whose two runs (orders 13 and 9) differ by more than this,
    in the 2-norm over `components` relative to the state's at any output time, are not ok; nor are those that fail or need more than
    `max_steps` attempts (their self_error is inf, states not reached are NaN).  atol_factor: the absolute tolerance is this times the
    relative one, a positive number below the smallest component that matters.  cache: keep results on disk, keyed by everything that
    determines them.  Raises ValueError on bad arguments and where the problem has no `jac`.
    """
    batch, fractions = checked(batch, fractions, bound, max_steps)
    if batch.jac is None:
        raise ValueError(f"{batch.name}: a stiff reference needs the problem's jac(t, y, p, J)")
    if not 0 < atol_factor < np.inf:
        raise ValueError(f"atol_factor must be positive and finite, got {atol_factor!r}")
    pick = _explicit._components(components, batch.n)
    path = _cache_file(batch, fractions, atol_factor, max_steps) if cache else None
    stored = _explicit._load(path, (len(batch), fractions.size, batch.n))
    if stored is None:
        times = batch.times(fractions)
        first, second = (_solve(batch, times, stages, rtol, atol_factor * rtol, max_steps) for stages, rtol in (TIGHT, LOOSE))
        stored = first, second
        _explicit._store(path, *stored)
    return compared(*stored, pick, bound)


def bandwidth(batch: Batch) -> tuple[int, int]:
    """Diagonals below and above the main one that `batch.jac` fills, seen at the starts and at points near them."""
    filled = np.zeros((batch.n, batch.n), dtype=bool)
    jac, evaluate = _functions(batch)[1], _solver().evaluate
    J = np.empty((batch.n, batch.n))
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
    from .cache import load_module

    return load_module(_SOURCE, {})


def _functions(batch: Batch) -> tuple[Any, Any]:
    """Right-hand side and Jacobian as C functions, all of one Numba type: the solver takes them as arguments."""
    from .cache import load_module

    module = load_module(_POINTERS, {"rhs": batch.rhs, "jac": batch.jac})
    return module.rhs_pointer, module.jac_pointer


@functools.cache
def coefficients(s: int) -> tuple[np.ndarray, np.ndarray, float, np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Radau IIA with s (odd) stages: c, A^{-1}, its real eigenvalue and one of each complex pair, rows of the inverse and columns of the
    eigenvector matrix in that order, weights e of the error estimate and its gamma."""
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
    # The estimate: y + h gamma f(t, y) + h sum_j bh_j f_j - y1, of order s: sum_j bh_j c_j^(q-1) = 1/q - gamma [q = 1], q = 1..s.
    # Its error against y1 in terms of Z: e = A^{-T} (bh - b), with b the last row of A.
    powers = c[None, :] ** np.arange(s)[:, None]
    target = 1.0 / np.arange(1, s + 1)
    target[0] -= gamma
    e = np.linalg.solve(a.T, np.linalg.solve(powers, target) - a[-1])
    return c, inv_a, real, values[order[1:]], np.ascontiguousarray(left), np.ascontiguousarray(vectors[:, order]), e, gamma


def _cache_file(batch: Batch, fractions: np.ndarray, atol_factor: float, max_steps: int) -> Path:
    from .cache import function_key

    assert batch.jac is not None
    shapes = f"{batch.y0.shape} {batch.p.shape} {fractions.size}"
    head = f"stiff {_VERSION} {function_key(batch.rhs)} {function_key(batch.jac)} {shapes} {TIGHT} {LOOSE} {atol_factor!r} {max_steps}"
    h = hashlib.sha256((head + _SOURCE).encode())
    for array in (batch.y0, batch.p, batch.t0, batch.t1, fractions):
        h.update(array.tobytes())
    return _explicit._folder() / f"{h.hexdigest()[:32]}.npz"
