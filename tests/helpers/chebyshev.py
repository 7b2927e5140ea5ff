"""The polynomials of the Runge-Kutta-Chebyshev method by the formulas of its paper, in mpmath."""

from __future__ import annotations

import mpmath as mp


def chebyshev(s, z):
    """T_s(z) and its first two derivatives, for z > 1."""
    values = [(mp.mpf(1), mp.mpf(0), mp.mpf(0)), (z, mp.mpf(1), mp.mpf(0))]
    for _ in range(s - 1):
        (a, b, c), (d, e, f) = values[-2:]
        values.append((2 * z * d - a, 2 * d + 2 * z * e - b, 4 * e + 2 * z * f - c))
    return values


def coefficients(s):
    """w_0, w_1, b_0 ... b_s, a_0 ... a_s of the paper's (2.3) and (2.7)."""
    w0 = 1 + mp.mpf(2) / 13 / s**2
    t = chebyshev(s, w0)
    b = [t[j][2] / t[j][1] ** 2 for j in range(2, s + 1)]
    b = [b[0], b[0], *b]
    return w0, t[s][1] / t[s][2], b, [1 - b[j] * t[j][0] for j in range(s + 1)]


def closed(s, z):
    """R_s(z) = a_s + b_s T_s(w_0 + w_1 z)."""
    w0, w1, b, a = coefficients(s)
    return a[s] + b[s] * mp.chebyt(s, w0 + w1 * z)


def beta(s):
    return mp.mpf(2) / 3 * (s * s - 1) * (1 - mp.mpf(2) / 15 * 2 / 13)
