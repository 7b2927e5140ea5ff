"""Compiled half of the stiff reference solver, as the source of a generated module; what it computes:
`stiff_reference`.
"""

SOURCE = '''
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
