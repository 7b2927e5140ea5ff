"""No absolute tolerance: components that start at 0, leave it, cross it or stay there, with known solutions."""

from __future__ import annotations

import numpy as np
import pytest

from stepsmith import Batch, Problem, solve, solve_ensemble


def mixed(t, y, p, dy):
    """An oscillator; a relaxation; what decays at the rate 0.3; what follows the relaxation's square at the rate 50."""
    dy[0] = y[1]
    dy[1] = -y[0]
    dy[2] = 1.0 - 2.0 * y[2]
    dy[3] = -0.3 * y[3]
    dy[4] = -50.0 * (y[4] - y[2] * y[2]) + 2.0 * y[2] * (1.0 - 2.0 * y[2])


def exact(y0, t):
    a = 0.5 + (y0[2] - 0.5) * np.exp(-2.0 * t)
    turn = np.array([[np.cos(t), np.sin(t)], [-np.sin(t), np.cos(t)]])
    return np.array([*(turn @ y0[:2]), a, y0[3] * np.exp(-0.3 * t), a * a + (y0[4] - y0[2] ** 2) * np.exp(-50.0 * t)])


STARTS = np.array([
    [0.0, 0.0, 0.0, 0.0, 0.0],  # everything at 0: some leave, some stay
    [0.0, 1.0, 0.0, 0.0, 0.0],  # one crosses 0 three times
    [0.0, 1e-9, 0.0, 1e-7, 0.0],
    [1.0, 0.0, 0.5, 1.0, 0.25],  # at rest, decaying
    [0.0, 1.0, 1e-30, 1e-30, 0.0],  # next to nothing
])  # fmt: skip
ATOL = (0.0, 1e-300, 1e-30, 1e-20)
#: rejections that are a method's own, not a run of them
CALM = {"rodas5p": 10, "radau5": 20, "kvaerno5": 20, "esdirk43": 40}


def check(y, y0, t, rtol):
    want = exact(y0, t)
    off = np.abs(y - want)
    # the oscillator's components exchange what they are wrong by
    size = np.maximum(np.abs(want), [np.hypot(*y0[:2])] * 2 + [0.0] * 3)
    assert np.all(off <= 60 * rtol * size), off / np.maximum(size, 1e-300)


@pytest.mark.parametrize("method", CALM)
def test_components_at_zero(method):
    for y0 in STARTS:
        for atol in ATOL:
            sol = solve(Problem(mixed, y0, (0.0, 10.0)), method, rtol=1e-6, atol=atol, max_steps=5000)
            assert sol.success, (y0, atol, sol.message)
            check(sol.y[-1], y0, 10.0, 1e-6)
            assert sol.stats.nreject <= CALM[method], (y0, atol, sol.stats)


def test_lanes_at_zero(method="radau5"):
    many = solve_ensemble(
        Batch(mixed, STARTS, np.zeros((5, 0)), 0.0, 10.0), method, rtol=1e-6, atol=0.0, max_steps=5000
    )
    assert many.success.all()
    for y, y0 in zip(many.y, STARTS, strict=True):
        check(y, y0, 10.0, 1e-6)
    assert many.stats.nreject.max() <= CALM[method]


def test_a_tight_relative_tolerance_alone():
    for rtol in (1e-3, 1e-9, 1e-11):
        sol = solve(Problem(mixed, STARTS[0], (0.0, 2.0)), "radau5", rtol=rtol, atol=0.0, max_steps=20000)
        assert sol.success and sol.stats.nreject <= 20
        check(sol.y[-1], STARTS[0], 2.0, max(rtol, 1e-11))
