"""Rosenbrock's df/dt, and what the clock resolves: large times, functions that end with the span, forcing in Unix time.
"""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.integrators.compile.vecmath import cos, sin

INF = 1e300


def offset(t, y, p, dy):
    """y = sin(t - p0) whatever the stiffness p1 is (Prothero & Robinson 1974); defined for p2 <= t <= p3 only."""
    s = t - p[0]
    dy[0] = -p[1] * (y[0] - sin(s)) + cos(s) if p[2] <= t <= p[3] else np.nan


@pytest.mark.parametrize("method", ["rodas5p", "ros34pw2"])
def test_a_shift_of_the_time_changes_nothing(method):
    for tol in (1e-4, 1e-6, 1e-8):
        steps = []
        for t0 in (0.0, 1e3, 1e5, 1e7, 1e9, -1e9):
            for sign in (1.0, -1.0):
                span = (t0, t0 + sign * 10.0)
                sol = solve(Problem(offset, [0.0], span, [t0, sign * 1e4, -INF, INF]), method, rtol=tol, atol=tol)
                assert sol.success and abs(sol.y[-1, 0] - np.sin(sign * 10.0)) <= 2 * tol
                steps.append(sol.stats.naccept + sol.stats.nreject)
        assert max(steps) <= 1.25 * steps[0] + 2, (tol, steps)


def test_lanes_at_large_times():
    t0 = np.array([0.0, 1e7, 1e9, 1.7e9, -1e9, 1e10])
    p = np.stack([t0, np.full(6, 1e4), np.full(6, -INF), np.full(6, INF)], axis=1)
    many = solve_ensemble(Batch(offset, np.zeros((6, 1)), p, t0, t0 + 10.0), "rodas5p", rtol=1e-6, atol=1e-6)
    assert many.success.all()
    # at 1e10 the clock ticks every 1.9e-6
    np.testing.assert_allclose(many.y[:, 0], np.sin(10.0), atol=4e-6)
    steps = many.stats.naccept + many.stats.nreject
    assert steps.max() <= 1.5 * steps[0]


SPANS = [(0.0, 1.0), (-1.0, 0.1), (1.0, -0.3), (7.0, 7.0 + 1e-9), (1e9, 1e9 + 1.0), (3.0, 3.0 + 4e-16)]


@pytest.mark.parametrize(
    "method, law", [("rodas5p", None), ("rodas5p", "one step"), ("ros34pw2", None), ("tsit5", None), ("radau5", None)]
)
def test_a_function_that_ends_with_the_span_is_not_asked_beyond_it(method, law):
    for span in SPANS:
        control = {} if law is None else {"controller": registry.constant(abs(span[1] - span[0]))}
        ends = ([min(span), max(span)], [-INF, INF])
        sols = [
            solve(Problem(offset, [0.0], span, [span[0], 3.0, *e]), method, rtol=1e-3, atol=1e-3, **control)
            for e in ends
        ]
        assert sols[0].success and sols[0].stats.nreject == sols[1].stats.nreject, (span, sols[0].message)
        np.testing.assert_array_equal(sols[0].y, sols[1].y)


def test_the_derivative_is_taken_anew_where_the_first_size_was_far_too_long():
    p = [0.0, 1e3, -INF, INF]
    for first in (1e-3, 3.0, 1e7):
        sol = solve(
            Problem(offset, [0.0], (0.0, 1e7), p),
            "rodas5p",
            rtol=1e-8,
            atol=1e-8,
            first_step=first,
            t_eval=[1.0],
            max_steps=300,
        )
        assert abs(sol.y[0, 0] - np.sin(1.0)) < 1e-7


def day(t, y, p, dy):
    """Relaxation at the rate p0 towards a daily course; time in seconds since 1970."""
    dy[0] = -p[0] * (y[0] - cos(2.0 * math.pi / 86400.0 * t))


def daily(rate, t0, t, y0):
    """The solution, by the variation of constants, in 60 digits."""
    with mpmath.workprec(200):
        w, rate, t0, t = (mpmath.mpf(float(x)) for x in (2.0 * math.pi / 86400.0, rate, t0, t))

        def part(s):
            return rate * (rate * mpmath.cos(w * s) + w * mpmath.sin(w * s)) / (rate**2 + w**2)

        return float(part(t) + (y0 - part(t0)) * mpmath.exp(-rate * (t - t0)))


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_forcing_in_unix_time(method):
    t0, span = 1.7e9, 5 * 86400.0
    rates = np.array([1e-5, 1e-4, 1e-3])
    exact = np.array([daily(r, t0, t0 + span, 0.5) for r in rates])
    many = solve_ensemble(Batch(day, np.full((3, 1), 0.5), rates[:, None], t0, t0 + span), method, rtol=1e-8, atol=1e-8)
    # a tick of the clock, 2.4e-7 s, is 2e-11 of an angle: far below the tolerance
    assert many.success.all()
    np.testing.assert_allclose(many.y[:, 0], exact, rtol=0, atol=2e-7)


def shifted(t, y, p, dy):
    dy[0] = cos(t - p[0])


@pytest.mark.parametrize("method", ["tsit5", "rodas5p", "kvaerno5"])
def test_the_clock_does_not_drift_over_many_steps(method):
    t0 = 1e9
    sol = solve(
        Problem(shifted, [0.0], (t0, t0 + 1.0), [t0]), method, registry.constant(1e-3 / 3.0), rtol=1e-3, atol=1e-3
    )
    # the time is rounded to 1.2e-7 at each of 3000 steps, which may not add up
    assert sol.success and sol.stats.naccept > 2900
    assert abs(sol.y[-1, 0] - math.sin(1.0)) < 2.5e-7
