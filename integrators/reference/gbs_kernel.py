"""Compiled half of the reference solver by extrapolation, as sources of a generated module; what it computes: `gbs`."""

KERNEL = '''
COLUMNS = 8
NOISE = 1e-9  # corrections above this, relative to the state, are never put down to rounding

@numba.njit(error_model="numpy", nogil=True, cache=True)
def solve(y0, p, t0, times, rtol, max_steps, out):
    """Fill out (nt, n) with the solution at `times`; True if every time was reached."""
    n = y0.size
    y = y0.copy()
    lost = np.zeros(n)      # what rounding took from y so far
    f0 = np.empty(n)
    f = np.empty(n)
    z = np.empty(n)
    e = np.empty(n)         # what is added to y, kept apart from it
    d_old = np.empty(n)
    d = np.empty(n)
    before = np.empty(n)    # the last correction but one
    table = np.empty((COLUMNS, n))
    big = np.empty(2)       # largest increment among positions and among velocities
    out[:] = np.nan
    t = t0
    t_lost = 0.0
    t_end = times[-1]
    if not np.all(np.isfinite(y)):
        return False
    force(t, y, lost, p, z, f0)
    sign = 1.0 if t_end >= t0 else -1.0
    h = abs(t_end - t0)
    y_max = np.max(np.abs(y))
    f_max = np.max(np.abs(f0))
    if f_max > 0.0 and y_max > 0.0:
        h = min(h, 0.1*y_max/f_max)
    steps = 0
    for k in range(times.size):
        while True:
            left = sign*((times[k] - t) - t_lost)
            if left <= 0.0:
                break
            if steps >= max_steps:
                return False
            steps += 1
            last = left <= 1.0000001*h
            size = left if last else min(h, 0.5*left) if h > 0.9*left else h
            step = sign*size
            if size < 4e-16*max(abs(t), abs(times[k])) and not last:
                return False
            for c in range(COLUMNS):
                m = 2*(c + 1)
                q = step/m
                for i in range(n):
                    d_old[i] = 0.0
                    d[i] = q*f0[i]
                    e[i] = d[i] + lost[i]
                for s in range(1, m):
                    force(t + (t_lost + s*q), y, e, p, z, f)
                    for i in range(n):
                        new = d_old[i] + 2.0*q*f[i]
                        d_old[i] = d[i]
                        d[i] = new
                        e[i] = new + lost[i]
                for i in range(n):
                    high = d[i]
                    for r in range(c):
                        low = table[r, i]
                        table[r, i] = high
                        ratio = (c + 1.0)/(c - r)
                        high = high + (high - low)/(ratio*ratio - 1.0)
                    if c == COLUMNS - 2:
                        before[i] = high - table[c - 1, i]
                    table[c, i] = high
            big[0] = 0.0
            big[1] = 0.0
            for i in range(n):
                g = 1 if i >= GROUP else 0
                big[g] = max(big[g], abs(table[COLUMNS - 1, i]))
            err = 0.0
            err_before = 0.0
            for i in range(n):
                inc = abs(table[COLUMNS - 1, i]) + 0.01*big[1 if i >= GROUP else 0]
                scale = rtol*inc + 2e-17*abs(y[i]) + 1e-300
                gap = abs(table[COLUMNS - 1, i] - table[COLUMNS - 2, i])/scale
                if not gap <= err:  # also carries NaN on
                    err = gap
                err_before = max(err_before, abs(before[i])/scale)
            # The table no longer converges: what is left is the rounding of the right-hand side itself (differences
            # of nearly equal positions in a close encounter), which no smaller step would lower.
            noise = err < NOISE/rtol and err > 0.3*err_before
            factor = 4.0
            if not np.isfinite(err):
                factor = 0.1
            elif err > 0.0:
                factor = min(4.0, max(0.1, 0.8*err**(-1.0/(2*COLUMNS - 1))))
            if noise:
                factor = max(factor, 1.5 if err <= 1.0 else 1.0)
            elif not err <= 1.0:
                h = size*min(factor, 0.8)
                if h < 4e-16*abs(t) or h < 1e-300:
                    return False
                continue
            for i in range(n):
                add = table[COLUMNS - 1, i] + lost[i]
                new = y[i] + add
                lost[i] = add - (new - y[i])
                y[i] = new
            if last:
                t = times[k]
                t_lost = 0.0
                h = max(h, size*factor) if size < h else size*factor
            else:
                add = step + t_lost
                new = t + add
                t_lost = add - (new - t)
                t = new
                h = size*factor
            force(t + t_lost, y, lost, p, z, f0)
        for i in range(n):
            out[k, i] = y[i]
    return True
'''

HEAD = """
import math
import numba
import numpy as np
"""

CALL = """
@numba.njit(error_model="numpy", cache=True)
def call(t, y, p, f):
    force(t, y, np.zeros(y.size), p, np.empty(y.size), f)
"""

PLAIN = '''
@_inline
def force(t, y, e, p, z, f):
    """f at the state y + e, by the problem's own right-hand side."""
    for i in range(y.size):
        z[i] = y[i] + e[i]
    rhs(t, z, p, f)
'''

NBODY = '''
@_inline
def force(t, y, e, p, z, f):
    """Gravity at y + e. y_j - y_i is exact for close pairs: their distance keeps its relative precision."""
    half = BODIES*DIM
    for k in range(half):
        f[k] = y[half + k] + e[half + k]
        f[half + k] = 0.0
    for i in range(BODIES):
        for j in range(i + 1, BODIES):
            r2 = 0.0
            for k in range(DIM):
                a = i*DIM + k
                b = j*DIM + k
                z[k] = (y[b] - y[a]) + (e[b] - e[a])
                r2 += z[k]*z[k]
            w = p[0]/(r2*math.sqrt(r2))
            for k in range(DIM):
                f[half + i*DIM + k] += p[j + 1]*w*z[k]
                f[half + j*DIM + k] -= p[i + 1]*w*z[k]
'''
