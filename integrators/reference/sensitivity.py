"""What a local error becomes at the end: reference trajectories with the derivative of their final state.

`arrivals` solves instances once more, a little off the reference, at a moderate tolerance, and keeps at every accepted
step (a knot) the matrix P(t) = C dy(T)/dy(t) / ||C y(T)||, with C the components that errors are taken over.  A step
that ends at t with the local error l moves the relative final error by P(t) l to first order (Hairer, Norsett & Wanner
I, II.3: transport of the local errors). The number of knots passed is a natural clock: equal parts of it cost an
adaptive integrator about equal work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import rhs_check
from ..compile.cache import load_module
from ..methods.tableaus import ExplicitTableau
from ..problems.problem import Batch

# Arrays of a method: A (s, s), B, C, E (s); k (s, n) holds stages, z and w (n) are scratch.  Times and step sizes carry
# the sign of the span.  `rhs` is defined before this source when it is loaded.
SOURCE = '''
import numba
import numpy as np


@numba.njit(error_model="numpy", nogil=True, cache=True)
def step(t, y, p, h, A, B, C, fsal, k, z):
    """One step from y (kept) into z; k[0] holds f(t, y). With FSAL k[-1] then holds f(t + h, z)."""
    s, n = len(B), len(y)
    for i in range(1, s):
        for d in range(n):
            a = 0.0
            for j in range(i):
                a += A[i, j]*k[j, d]
            z[d] = y[d] + h*a
        rhs(t + C[i]*h, z, p, k[i])
    if not fsal:
        for d in range(n):
            a = 0.0
            for j in range(s):
                a += B[j]*k[j, d]
            z[d] = y[d] + h*a


@numba.njit(error_model="numpy", nogil=True, cache=True)
def run(t, y0, p, h, A, B, C, fsal):
    """The final state after the steps h."""
    s, n = len(B), len(y0)
    k, y, z = np.zeros((s, n)), y0.copy(), np.empty(n)
    rhs(t, y, p, k[0])
    for m in range(len(h)):
        step(t, y, p, h[m], A, B, C, fsal, k, z)
        t += h[m]
        y[:] = z
        if fsal:
            k[0] = k[s - 1]
        else:
            rhs(t, y, p, k[0])
    return y


@numba.njit(error_model="numpy", nogil=True, cache=True)
def adaptive(t, t1, y0, p, A, B, C, E, fsal, exponent, rtol, limit):
    """Accepted steps of the elementary controller, relative error of the whole state; empty if it fails."""
    s, n = len(B), len(y0)
    k, y, z = np.zeros((s, n)), y0.copy(), np.empty(n)
    out = np.empty(limit)
    sign = 1.0 if t1 > t else -1.0
    rhs(t, y, p, k[0])
    size = np.sqrt(np.sum(y*y))
    h = sign*min(abs(t1 - t), 1e-2*rtol**exponent*(size + 1e-6)/(np.sqrt(np.sum(k[0]*k[0])) + 1e-12))
    m = 0
    for _ in range(20*limit):
        last = sign*(t + h - t1) >= 0.0
        if last:
            h = t1 - t
        step(t, y, p, h, A, B, C, fsal, k, z)
        err = 0.0
        for d in range(n):
            e = 0.0
            for j in range(s):
                e += E[j]*k[j, d]
            err += (h*e)**2
        err = np.sqrt(err/(np.sum(z*z) + 1e-300))/rtol
        factor = 0.2
        if np.isfinite(err):
            factor = min(5.0, max(0.2, 0.9*max(err, 1e-10)**(-exponent)))
        if err <= 1.0:
            if m == limit:
                return out[:0]
            out[m] = h
            m += 1
            if last:
                return out[:m]
            t += h
            y[:] = z
            if fsal:
                k[0] = k[s - 1]
            else:
                rhs(t, y, p, k[0])
        h *= factor
        if abs(h) < 1e-14*max(abs(t), abs(t1)):
            return out[:0]
    return out[:0]


@numba.njit(error_model="numpy", nogil=True, cache=True)
def advance(t, y, p, h, parts, A, B, C, fsal, k, z, w):
    """The state after `parts` equal steps of total size h, into w."""
    w[:] = y
    for m in range(parts):
        rhs(t + m*h/parts, w, p, k[0])
        step(t + m*h/parts, w, p, h/parts, A, B, C, fsal, k, z)
        w[:] = z


@numba.njit(error_model="numpy", nogil=True, cache=True)
def nodes(t, y0, p, parts, A, B, C, fsal, Y, P):
    """States Y (K+1, n) at nodes t (K+1,) and P (K+1, q, n): P[K] given, P[k] = P[k+1] dY[k+1]/dY[k]."""
    K, n, s = len(t) - 1, len(y0), len(B)
    k, z, up, down, x = np.zeros((s, n)), np.empty(n), np.empty(n), np.empty(n), np.empty(n)
    Y[0] = y0
    for i in range(K):
        advance(t[i], Y[i], p, t[i + 1] - t[i], parts, A, B, C, fsal, k, z, Y[i + 1])
    J = np.zeros((n, n))
    for i in range(K - 1, -1, -1):
        scale = np.sqrt(np.sum(Y[i]*Y[i])/n) + 1e-8
        for d in range(n):
            delta = 3e-8*scale
            x[:] = Y[i]
            x[d] += delta
            advance(t[i], x, p, t[i + 1] - t[i], 1, A, B, C, fsal, k, z, up)
            x[d] -= 2.0*delta
            advance(t[i], x, p, t[i + 1] - t[i], 1, A, B, C, fsal, k, z, down)
            for r in range(n):
                J[r, d] = (up[r] - down[r])/(2.0*delta)
        for q in range(P.shape[1]):
            for d in range(n):
                a = 0.0
                for r in range(n):
                    a += P[i + 1, q, r]*J[r, d]
                P[i, q, d] = a


@numba.njit(error_model="numpy", nogil=True, cache=True)
def committed(t, Y, P, p, rich, A, B, C, fsal, sum_):
    """Sum over the steps between nodes of ||P l||, and of P l in sum_; the local errors l by Richardson
    (rich = 2^p/(2^p - 1)).
    """
    n, s = Y.shape[1], len(B)
    k, z, w, x = np.zeros((s, n)), np.empty(n), np.empty(n), np.empty(n)
    out = 0.0
    for i in range(len(t) - 1):
        h = t[i + 1] - t[i]
        advance(t[i], Y[i], p, h, 1, A, B, C, fsal, k, x, z)
        advance(t[i], Y[i], p, h, 2, A, B, C, fsal, k, x, w)
        total = 0.0
        for r in range(P.shape[1]):
            a = 0.0
            for d in range(n):
                a += P[i + 1, r, d]*(z[d] - w[d])
            sum_[r] += rich*a
            total += a*a
        out += rich*np.sqrt(total)
    return out
'''

RTOLS = (1e-6, 1e-8, 1e-10)
NEAR = 0.1  # knots end at most this far from the reference, relatively: further off, P is that of another trajectory
AGREE = 0.2  # and the sum of P l over them predicts that distance this well, relatively
LIMIT = 4000  # knots an instance


@dataclass(frozen=True)
class Arrivals:
    """first (I + 1,) int64: rows first[i]..first[i + 1] - 1 belong to instance i; time (R,) of the knots, from t0 to
    t1; matrix (R, q*n) float32, P(time) row by row; error (I,): sum of what the steps from knot to knot add to the
    relative final error; ok (I,): whether P predicts what the knots themselves are off by (else there are two knots,
    the ends, and P is zero).
    """

    first: np.ndarray
    time: np.ndarray
    matrix: np.ndarray
    error: np.ndarray
    ok: np.ndarray

    def take(self, keep: np.ndarray) -> Arrivals:
        """Those of the instances `keep` (indices)."""
        rows = np.concatenate([np.arange(self.first[i], self.first[i + 1]) for i in keep])
        first = np.concatenate([[0], np.cumsum(np.diff(self.first)[keep])]).astype(np.int64)
        return Arrivals(first, self.time[rows], self.matrix[rows], self.error[keep], self.ok[keep])


def arrivals(
    batch: Batch,
    end: np.ndarray,
    tableau: ExplicitTableau,
    components: tuple[int, ...] | None = None,
    rtols: tuple[float, ...] = RTOLS,
) -> Arrivals:
    """Knots and final-state derivatives of every instance of `batch`, with `end` (I, n) the reference at t1.

    rtols: tolerances of the elementary controller that lays the knots, in the order in which they are tried.
    """
    from ..kernels.calls import array_guards

    rhs_check.check(batch)
    k: Any = load_module(array_guards({"rhs": batch.rhs}, batch.n, batch.m) + SOURCE, {"rhs": batch.rhs})
    pick = np.arange(batch.n) if components is None else np.asarray(components, dtype=np.intp)
    times, matrices, error, ok = [], [], np.ones(len(batch)), np.zeros(len(batch), bool)
    for i in range(len(batch)):
        t0, t1 = float(batch.t0[i]), float(batch.t1[i])
        found = None
        for rtol in rtols:
            found = found or _knots(k, t0, t1, batch.y0[i], batch.p[i], end[i], tableau, pick, rtol)
        t, arrive, total = found or (np.array([t0, t1]), np.zeros((2, pick.size, batch.n)), 1.0)
        error[i], ok[i] = total, found is not None
        times.append(t)
        matrices.append(arrive.reshape(t.size, -1).astype(np.float32))
    first = np.concatenate([[0], np.cumsum([t.size for t in times])]).astype(np.int64)
    return Arrivals(first, np.concatenate(times), np.concatenate(matrices), error, ok)


def _knots(
    k: Any,
    t0: float,
    t1: float,
    y0: np.ndarray,
    p: np.ndarray,
    end: np.ndarray,
    tableau: ExplicitTableau,
    pick: np.ndarray,
    rtol: float,
) -> tuple[np.ndarray, np.ndarray, float] | None:
    """(times, P, sum of the errors committed), or None where this tolerance does not follow the reference to its end.
    """
    method = (tableau.A, tableau.B, tableau.C)
    size = float(np.linalg.norm(end[pick]))
    steps = k.adaptive(t0, t1, y0, p, *method, tableau.E, tableau.fsal, 1.0 / (tableau.embedded_order + 1), rtol, LIMIT)
    if steps.size == 0 or not 0.0 < size < np.inf:
        return None
    t = np.concatenate([[t0], t0 + np.cumsum(steps[:-1]), [t1]])
    states, arrive = np.zeros((t.size, y0.size)), np.zeros((t.size, pick.size, y0.size))
    arrive[-1] = np.eye(y0.size)[pick] / size
    k.nodes(t, y0, p, 1, *method, tableau.fsal, states, arrive)
    rich = 2.0**tableau.order / (2.0**tableau.order - 1.0)
    ahead = np.zeros(pick.size)
    total = float(k.committed(t, states, arrive, p, rich, *method, tableau.fsal, ahead))
    # the knots are steps of the method themselves: what they committed must be what they are off by
    off = (states[-1] - end)[pick] / size
    good = (
        np.linalg.norm(off - ahead) <= AGREE * np.linalg.norm(off)
        and np.linalg.norm(off) < NEAR
        and np.abs(arrive).max() < 1e30
    )
    return (t, arrive, total) if good and 0.0 < total < np.inf else None
