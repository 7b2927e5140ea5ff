"""Right-hand sides that run as plain Python (`compiled=False`): any callable, its exceptions, its threads."""

from __future__ import annotations

import dataclasses
import threading
import warnings

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.linalg import expm

import stepsmith as ss
from stepsmith.integrators.core.errors import UncompiledWarning

Y0, SPAN, C = [1.0, 0.0], (0.0, 5.0), 0.1
EXACT = expm(5.0 * np.array([[0.0, 1.0], [-1.0, -C]])) @ Y0


class Model:
    def __init__(self, c):
        self.c = c

    def slope(self, t, y):
        return np.array([y[1], -y[0] - self.c * y[1]])


@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
def test_any_callable_runs_as_plain_python():
    spline = CubicSpline(np.linspace(0.0, 5.0, 9), np.cos(np.linspace(0.0, 5.0, 9)))
    forced = ss.Problem(lambda t, y: [y[1], -y[0] + spline(t)], Y0, SPAN, compiled=False)
    exact = solve_ivp(lambda t, y: [y[1], -y[0] + spline(t)], SPAN, Y0, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    assert ss.solve(forced, rtol=1e-9).y[-1] == pytest.approx(exact, abs=1e-6)
    bound = ss.Problem(Model(C).slope, Y0, SPAN, compiled=False)
    for method in ("dopri5", "rodas5p"):
        assert ss.solve(bound, method=method, rtol=1e-8).y[-1] == pytest.approx(EXACT, abs=1e-5)


def test_plain_python_is_said_once():
    problem = ss.Problem(Model(C).slope, Y0, SPAN, compiled=False)
    with pytest.warns(UncompiledWarning, match="Model.slope runs as plain Python"):
        ss.solve(problem)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ss.solve(problem)


@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_exception_of_the_persons_own_is_raised(error):
    def failing(t, y):
        if t > 0.5:
            raise error("mine")
        return -y

    problem = ss.Problem(failing, [1.0, 1.0], (0.0, 1.0), compiled=False)
    for _ in range(2):
        with pytest.raises(error, match="mine"):
            ss.solve(problem)
    with pytest.raises(error, match="mine"):
        ss.solve_ensemble(problem.batch()[[0, 0]])


@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
def test_an_exception_belongs_to_the_thread_that_met_it():
    def failing(t, y, p):
        if p[0] > 0.0 and t > 0.5:
            raise RuntimeError("mine")
        return -y

    good = ss.Problem(failing, [1.0, 1.0], (0.0, 1.0), [0.0], compiled=False)
    bad = dataclasses.replace(good, p=[1.0])
    assert bad.rhs is good.rhs
    wrong = []

    def solved():
        for _ in range(20):
            wrong.append(not ss.solve(good).success)

    thread = threading.Thread(target=solved)
    thread.start()
    for _ in range(20):
        with pytest.raises(RuntimeError, match="mine"):
            ss.solve(bad)
    thread.join()
    assert len(wrong) == 20 and not any(wrong)


TABLE = np.array([1.0, 2.0, 3.0])


def leaves(t, y):
    k = int(t)  # a value decides: the function is compiled with its arrays
    return np.array([0.1 * TABLE[k], -y[0]])


@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
def test_an_index_outside_an_array_fails_and_says_where_to_look():
    sol = ss.solve(ss.Problem(leaves, Y0, SPAN))
    assert not sol.success and sol.t[-1] <= 3.0 and "index outside an array" in sol.message
    assert not ss.solve_ensemble(ss.Problem(leaves, Y0, SPAN)).success.any()
    with pytest.raises(IndexError, match="out of bounds"):
        ss.solve(ss.Problem(leaves, Y0, SPAN, compiled=False))
