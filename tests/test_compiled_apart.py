"""Functions that are compiled apart (`compiled="apart"`): one kernel for all of the same dimensions."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.compile import cache
from stepsmith.integrators.compile.prepared import moved_to_p
from stepsmith.integrators.kernels import layout
from stepsmith.integrators.problems.styles import style_of

RATE = 2.0
SPAN = (0.0, 3.0)
START = [1.0, 0.0]


def in_place(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -2.0 * y[0]


def returned(t, y):
    return [y[1], -2.0 * y[0]]


def with_arrays(t, y):
    return np.array([[0.0, 1.0], [-2.0, 0.0]]) @ y


def of_a_global(t, y):
    return np.array([y[1], -RATE * y[0]])


def branching(t, y):
    if y[0] > 100.0:
        return [0.0, 0.0]
    return [y[1], -2.0 * y[0]]


def exact(t):
    w = np.sqrt(2.0)
    return np.stack([np.cos(w * t), -w * np.sin(w * t)], axis=-1)


def apart(fn, **more):
    return ss.Problem(fn, START, SPAN, compiled="apart", **more)


def kernels() -> set[str]:
    """Keys of the modules with a solve that are loaded; the oldest ones are dropped as others come."""
    entries = {"run_single", "run_followed"}
    return {key for key, module in cache._LOADED.items() if entries & set(vars(module))}


@pytest.mark.parametrize("fn", [in_place, returned, with_arrays, of_a_global, branching], ids=lambda fn: fn.__name__)
def test_all_ways_of_writing_share_one_kernel(fn):
    ss.solve(apart(returned))
    before = kernels()
    sol = ss.solve(apart(fn))
    assert kernels() <= before
    assert sol.success and np.abs(sol.y - exact(sol.t)).max() < 1e-4
    # the steps of a function that stands inside of the kernel, to rounding
    inside = ss.solve(ss.Problem(in_place, START, SPAN))
    assert sol.t.size == inside.t.size and np.abs(sol.y - inside.y).max() < 1e-11


def test_a_global_that_changes_counts_and_values_closed_over_too(monkeypatch):
    before = ss.solve(apart(of_a_global)).y[-1]
    monkeypatch.setitem(globals(), "RATE", 3.0)
    after = ss.solve(apart(of_a_global)).y[-1]
    assert np.abs(before - after).max() > 0.1
    assert abs(after[0] - np.cos(3.0 * np.sqrt(3.0))) < 1e-4

    def closing(rate):
        return lambda t, y: [y[1], -rate * y[0]]

    three, two = (ss.solve(apart(closing(rate))).y[-1] for rate in (3.0, 2.0))
    assert np.abs(three - after).max() < 1e-11 and np.abs(two - before).max() < 1e-11


def test_ensembles_batches_pickles_and_threads():
    problem = ss.Problem(lambda t, y, p: [y[1], -p[0] * y[0]], START, SPAN, p=[2.0], compiled="apart")
    many = ss.solve_ensemble(problem.batch(p=np.array([[2.0], [3.0]])))
    assert many.success.all() and np.abs(many.y[0] - exact(3.0)).max() < 1e-4
    once = ss.solve(apart(with_arrays)).y[-1]
    travelled = pickle.loads(pickle.dumps(apart(with_arrays)))
    assert np.array_equal(ss.solve(travelled).y[-1], once)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: ss.solve(apart(with_arrays)).y[-1], range(4)))
    assert all(np.array_equal(each, once) for each in found)
    # problems that differ in a captured number alone are still a batch
    rates = ss.solve_ensemble([apart(scaled(r)) for r in (2.0, 3.0)])
    assert np.abs(rates.y - many.y).max() < 1e-9


def scaled(rate):
    def rhs(t, y):
        return [y[1], -rate * y[0]]

    return rhs


def test_events_and_resets_are_called_apart_too():
    def ground(t, y):
        return y[0]

    def bounce(t, y):
        return [0.0, -0.5 * y[1]]

    ground.direction, ground.reset = -1, bounce
    problem = ss.Problem(lambda t, y: [y[1], -9.81], [1.0, 0.0], (0.0, 0.6), compiled="apart")
    sol = ss.solve(problem, events=ground, rtol=1e-9, atol=1e-12)
    assert abs(sol.t_events[0][0] - np.sqrt(2.0 / 9.81)) < 1e-10
    before = kernels()

    def other(t, y):
        return y[0] - 0.5

    other.direction, other.reset = -1, bounce
    ss.solve(problem, events=other, rtol=1e-9, atol=1e-12)
    assert kernels() <= before


def test_a_jacobian_is_called_apart():
    problem = ss.Problem(
        lambda t, y: [-1e4 * (y[0] - np.cos(t))], [1.0], (0.0, 1.0), jac=lambda t, y: [[-1e4]], compiled="apart"
    )
    sol = ss.solve(problem, method="rodas5p")
    assert sol.success and sol.stats.njev > 0 and abs(sol.y[-1, 0] - np.cos(1.0)) < 1e-3


def test_an_exception_ends_the_solve_and_strange_values_are_refused():
    def breaks(t, y):
        if t > 1.0:
            raise ValueError("mine")
        return [y[1], -2.0 * y[0]]

    sol = ss.solve(apart(breaks))
    assert not sol.success and sol.status == layout.NON_FINITE and "compiled=False" in sol.message
    for strange in ("aside", 1, None):
        with pytest.raises(ValueError, match='True, False or "apart"'):
            ss.Problem(returned, START, SPAN, compiled=strange)


def test_on_a_gpu_the_function_stands_in_the_kernel():
    batch = apart(returned).batch(y0=np.ones((3, 2)))
    assert style_of(batch.rhs).apart and style_of(moved_to_p(batch).rhs) is None
