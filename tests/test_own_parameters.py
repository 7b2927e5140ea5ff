"""Functions of a kernel beside one that is called by address see the problem's own parameters, and none behind them.

Each solution has a formula.
"""

from __future__ import annotations

import numba
import numpy as np

import stepsmith as ss
from stepsmith.integrators.compile.shortened import own, shortened

RATE = 4.0


def turning(t, y, p):
    return np.array([y[1], -p[-1] * y[0]])


def pull(t, y, p, a):
    total = 0.0
    for i in range(len(p)):
        total += p[i]
    a[0] = -total * y[0]


def test_accelerations_beside_a_right_hand_side_that_is_compiled_apart():
    problem = ss.Problem(turning, [1.0, 0.0], (0.0, 3.0), [RATE], accel=pull, compiled="apart")
    sol = ss.solve(problem, "dprkn6", "i", 1e-9, 1e-12)
    assert sol.success and np.abs(sol.y[-1] - [np.cos(6.0), -2.0 * np.sin(6.0)]).max() < 1e-7


def fading(t, y, p):
    return -p[0] * y + 0.0 * np.sort(y)


def bound(t, y, p):
    return p[-1] * len(p)


def test_a_spectral_radius_beside_a_right_hand_side_of_arrays():
    problem = ss.Problem(fading, [1.0, 2.0], (0.0, 1.0), [RATE], spectral_radius=bound)
    sol = ss.solve(problem, "rkc", rtol=1e-6, atol=1e-9)
    assert sol.success and np.abs(sol.y[-1] - np.exp(-RATE) * problem.y0).max() < 1e-4
    assert sol.stats.nfev < 50 * sol.stats.naccept  # a radius from an address asks for as many stages as there can be


def decay(t, y, p, dy):
    dy[0] = -p[-1] * len(p) * y[0]


def matrix(t, y, p):
    return np.sort(np.full((1, 1), -p[0]))


def test_a_right_hand_side_beside_a_jacobian_of_arrays():
    sol = ss.solve(ss.Problem(decay, [1.0], (0.0, 1.0), [RATE], jac=matrix), "rodas5p", "i", 1e-8, 1e-11)
    assert sol.success and abs(sol.y[-1, 0] - np.exp(-RATE)) < 1e-7


def half(t, y, p):
    return np.sort(y)[0] - 0.5


def test_a_right_hand_side_beside_an_event_of_arrays():
    sol = ss.solve(ss.Problem(decay, [1.0], (0.0, 1.0), [RATE]), "dopri5", "i", 1e-9, 1e-12, events=half)
    assert sol.success and abs(sol.t_events[0][0] - np.log(2.0) / RATE) < 1e-8
    assert abs(sol.y[-1, 0] - np.exp(-RATE)) < 1e-8


def test_arrays_are_shortened_too():
    made = shortened(decay, 1)
    assert made is shortened(decay, 1) and own(made) == (decay, 1) and own(decay) == (decay, None)
    assert made.__name__ == "decay"
    for call in (numba.njit(made), made):
        if call is made:
            from stepsmith.integrators.checks.interpreted import interpreted

            call = interpreted(made)
        dy, p = np.zeros(1), np.array([RATE, 1e300, 7.0])
        call(0.0, np.array([0.5]), p, dy)
        assert dy[0] == -0.5 * RATE and p.tolist() == [RATE, 1e300, 7.0]
