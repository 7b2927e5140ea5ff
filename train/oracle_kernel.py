"""Compiled half of the oracle, as the source of a generated module: `rhs` is defined before it when it is
loaded.

Arrays of a method: A (s, s), B, C, E (s); k (s, n) holds stages, z and w (n) are scratch.  Times and step
sizes carry the sign of the span.  What the functions compute together is told in `oracle.py`.
"""

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
    J = np.empty((n, n))
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
def costs(t, Y, P, p, window, A, B, C, fsal):
    """cost[j, m]: final error of the step from node j to node j + 1 + m, inf where there is no such node."""
    K, n, s = len(t) - 1, Y.shape[1], len(B)
    q = P.shape[1]
    cost = np.full((K, window), np.inf)
    k, z, f0 = np.zeros((s, n)), np.empty(n), np.empty(n)
    for j in range(K):
        rhs(t[j], Y[j], p, f0)
        for m in range(min(window, K - j)):
            k[0] = f0
            step(t[j], Y[j], p, t[j + 1 + m] - t[j], A, B, C, fsal, k, z)
            total = 0.0
            for r in range(q):
                a = 0.0
                for d in range(n):
                    a += P[j + 1 + m, r, d]*(z[d] - Y[j + 1 + m, d])
                total += a*a
            if np.isfinite(total):
                cost[j, m] = np.sqrt(total)
    return cost


@numba.njit(error_model="numpy", nogil=True, cache=True)
def shortest(cost, price):
    """Nodes of the cheapest path from 0 to K, each step costing its error and the price."""
    K, window = cost.shape
    best, came = np.full(K + 1, np.inf), np.zeros(K + 1, np.int64)
    best[0] = 0.0
    for j in range(K):
        for m in range(min(window, K - j)):
            total = best[j] + cost[j, m] + price
            if total < best[j + 1 + m]:
                best[j + 1 + m] = total
                came[j + 1 + m] = j
    path = np.empty(K + 1, np.int64)
    i, at = 0, K
    while at > 0:
        path[i] = at
        i += 1
        at = came[at]
    path[i] = 0
    return path[:i + 1][::-1].copy(), best[K]


@numba.njit(error_model="numpy", nogil=True, cache=True)
def sensitivity(u, t0, t1, y0, p, A, B, C, fsal, out):
    """The final state, and its derivative by u (log sizes up to a common factor) into out (n, N)."""
    e = np.exp(u - np.max(u))
    base = run(t0, y0, p, (t1 - t0)*e/np.sum(e), A, B, C, fsal)
    for i in range(len(u)):
        v = u.copy()
        v[i] += 1e-5
        e = np.exp(v - np.max(v))
        out[:, i] = (run(t0, y0, p, (t1 - t0)*e/np.sum(e), A, B, C, fsal) - base)/1e-5
    return base
'''
