"""Compiled half of the oracle, as the source of a generated module, behind that of `integrators.sensitivity`.

What the functions compute together is told in `oracle.py`.
"""

from ...integrators.reference import sensitivity

SOURCE = (
    sensitivity.SOURCE
    + '''

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
)
