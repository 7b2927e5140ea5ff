"""Dense output of `gbs`: the interpolant against its formulas, its order, its accuracy."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest
from scipy.interpolate import KroghInterpolator

from stepsmith import solve
from stepsmith.integrators.core import record
from stepsmith.integrators.methods.extrapolation.gbs import FORMULAS
from two_bodies import ACCEPT, LAW, body, exact, rate


def derivatives(f, t, y, h, k):
    """The increment and H^q y^(q) in the middle of a step, q = 1, ..., 2k - 2: differences, then Aitken and Neville."""
    found: dict[int, list] = {}
    for j in range(1, k + 1):
        n, a, b, slopes, middle = 4 * j, 0 * y, None, [], None
        b = h / n * f(t, y)
        for i in range(1, n):
            middle = b if i == 2 * j else middle
            slopes.append(f(t + i * h / n, y + b))
            a, b = b, a + 2 * h / n * slopes[-1]
        found.setdefault(0, []).append((n, middle))
        for q in range(1, min(2 * j, 2 * k - 2) + 1):
            around = slopes[2 * j - q : 2 * j + q - 1 : 2]  # from f_(2j - q + 1) to f_(2j + q - 1), every second one
            value = sum((-1) ** (q - 1 - m) * math.comb(q - 1, m) * s for m, s in enumerate(around))
            found.setdefault(q, []).append((n, h * (2 * j) ** (q - 1) * value))
    out = []
    for q in range(2 * k - 1):
        n, values = (list(part) for part in zip(*found[q], strict=True))
        for c in range(1, len(values)):
            for i in range(len(values) - 1, c - 1, -1):
                ratio = (n[i] * y[0] / y[0] / n[i - c]) ** 2
                values[i] = values[i] + (values[i] - values[i - 1]) / (ratio - 1)
        out.append(values[-1])
    return out


def test_the_interpolant_is_the_polynomial_of_hairer_and_ostermann():
    sol = solve(body(8.0), "gbs", LAW, rtol=1e-9, atol=1e-9, log=True, dense=True)
    used = [c for c, row in zip(columns_of_dense(sol.record), sol.record, strict=True) if row[ACCEPT] == 1.0]
    th = np.linspace(0.05, 0.95, 13)
    for n in range(0, len(used) - 1, 3):
        t, h, y, new, c = sol.t[n], sol.t[n + 1] - sol.t[n], sol.y[n], sol.y[n + 1], used[n]
        middle = derivatives(rate, t, y, h, c)
        nodes = [0.0, 0.0, *[0.5] * (2 * c - 1), 1.0, 1.0]
        values = [y, h * rate(t, y), y + middle[0], *middle[1:], new, h * rate(t + h, new)]
        want = KroghInterpolator(nodes, values)(th)
        np.testing.assert_allclose(sol.sol(t + th * h), want, rtol=0, atol=1e-12)
        assert np.abs(want - exact(t + th * h)).max() < 1e-6
    at = np.linspace(0.0, 8.0, 57)
    assert np.abs(sol.sol(at) - solve(body(8.0), "gbs", LAW, rtol=1e-9, atol=1e-9, t_eval=at).y).max() < 1e-12
    assert np.array_equal(sol.sol(sol.t), sol.y)
    assert sol.sol.derivative(3.0) == pytest.approx(rate(3.0, sol.sol(3.0)), abs=1e-6)


def columns_of_dense(rows):
    """As `columns_of`, where dense output evaluates the slope at the end of every step."""
    return [[FORMULAS.cost(c) for c in range(10)].index(int(nf) + 1) for nf in rows[:, record.NF]]


@pytest.mark.parametrize("k", [2, 3, 4])
def test_the_interpolant_has_the_order_of_the_step(k):
    """In sixty digits, on y' = y^2, at five places of the step."""
    with mpmath.workdps(60):
        errors = []
        for h in (mpmath.mpf(1) / 32, mpmath.mpf(1) / 64):
            y = np.array([mpmath.mpf(1)])
            new = 1 / (1 - h)
            middle = [m[0] for m in derivatives(lambda t, y: y * y, 0, y, h, k)]
            # the polynomial of degree 2k + 2, by its conditions
            size = 2 * k + 3
            rows, values = mpmath.zeros(size), mpmath.zeros(size, 1)
            half = mpmath.mpf(1) / 2
            conditions = [(0, 0, 1), (0, 1, h), (1, 0, new), (1, 1, h * new * new), (half, 0, 1 + middle[0])]
            conditions += [(half, q, middle[q]) for q in range(1, 2 * k - 1)]
            for i, (x, q, value) in enumerate(conditions):
                values[i] = value
                for e in range(q, size):
                    rows[i, e] = mpmath.ff(e, q) * mpmath.mpf(x) ** (e - q)
            p = mpmath.lu_solve(rows, values)
            at = [mpmath.mpf(q) / 6 for q in range(1, 6)]
            errors.append(max(abs(sum(p[e] * x**e for e in range(size)) - 1 / (1 - h * x)) for x in at))
        assert float(mpmath.log(errors[0] / errors[1], 2)) > 2 * k + 0.7


def test_outputs_are_as_accurate_as_steps_and_change_none():
    at = np.linspace(0.1, 20.0, 300)
    for tol in (1e-4, 1e-8, 1e-12):
        plain = solve(body(), "gbs", LAW, rtol=tol, atol=tol)
        sol = solve(body(), "gbs", LAW, rtol=tol, atol=tol, t_eval=at)
        steps = np.abs(plain.y - exact(plain.t)).max()
        assert np.abs(sol.y - exact(at)).max() < 3 * steps
        assert sol.stats.naccept == plain.stats.naccept and sol.stats.nreject == plain.stats.nreject
        # outputs at the end of a step take no polynomial
        last = solve(body(), "gbs", LAW, rtol=tol, atol=tol, t_eval=[20.0])
        assert last.stats.nfev == plain.stats.nfev < sol.stats.nfev < 3.5 * plain.stats.nfev
    back = solve(body(0.0, y0=exact(20.0), start=20.0), "gbs", LAW, rtol=1e-10, atol=1e-10, t_eval=at[::-1])
    assert back.success and np.abs(back.y - exact(at[::-1])).max() < 1e-6
