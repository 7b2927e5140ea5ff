"""Ensembles: a lane's result depends on nothing but its own trajectory; failures, outputs, queues and threads."""

from __future__ import annotations

import time

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stepsmith.controllers.laws import registry
from stepsmith.integrators.engine import ensemble
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.kernels import build
from stepsmith.integrators.kernels.layout import BAD_START, MAX_STEPS, NON_FINITE, SUCCESS, UNDERFLOW
from stepsmith.integrators.problems.nonstiff import lotka_volterra
from stepsmith.integrators.problems.problem import Batch, Problem

LAW = registry.get("pi34")
TOL = dict(rtol=1e-6, atol=1e-8)


def family(n, seed=0):
    return lotka_volterra.sampler(np.random.default_rng(seed), n)


def run(batch, **more):
    return solve_ensemble(batch, "tsit5", LAW, **{**TOL, **more})


def same(a, b, rows_a=slice(None), rows_b=slice(None)):
    """Bit-identical trajectories."""
    for name in ("y", "t", "status"):
        np.testing.assert_array_equal(getattr(a, name)[rows_a], getattr(b, name)[rows_b])
    for name in ("nfev", "naccept", "nreject", "nfallback"):
        np.testing.assert_array_equal(getattr(a.stats, name)[rows_a], getattr(b.stats, name)[rows_b])


def test_against_scipy():
    batch = family(6)
    sol = run(batch, rtol=1e-9, atol=1e-11)
    for i in range(6):
        p = batch.p[i]
        exact = solve_ivp(lambda t, y, p=p: [p[0] * y[0] - p[1] * y[0] * y[1], p[3] * y[0] * y[1] - p[2] * y[1]],
                          (0.0, 10.0), batch.y0[i], "DOP853", rtol=1e-12, atol=1e-13).y[:, -1]  # fmt: skip
        np.testing.assert_allclose(sol.y[i], exact, rtol=1e-6)
    assert sol.success.all() and np.all(sol.t == 10.0)


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200])
def test_a_lane_does_not_depend_on_the_size_of_the_ensemble(count):
    whole = run(family(200))
    same(run(family(200)[:count]), whole, rows_b=slice(count))


def test_a_lane_does_not_depend_on_its_neighbours_or_its_place():
    batch = family(200)
    order = np.random.default_rng(1).permutation(200)
    same(run(batch[order]), run(batch), rows_b=order)


def test_threads_do_not_matter():
    batch = family(700)
    one = run(batch, threads=1)
    same(run(batch, threads=3), one)
    same(run(batch), one)


def test_spans_and_tolerances_of_their_own():
    batch = family(50)
    t1 = np.linspace(-3.0, 3.0, 50)
    rtol = np.geomspace(1e-3, 1e-9, 50)
    mixed = run(Batch(batch.rhs, batch.y0, batch.p, np.zeros(50), t1), rtol=rtol, atol=rtol[:, None] * 1e-2)
    np.testing.assert_array_equal(mixed.t, t1)
    for i in (0, 20, 24, 25, 49):
        alone = run(
            Batch(batch.rhs, batch.y0[i : i + 1], batch.p[i : i + 1], 0.0, t1[i]), rtol=rtol[i], atol=rtol[i] * 1e-2
        )
        same(alone, mixed, rows_b=slice(i, i + 1))
    by_component = run(batch, atol=[1e-8, 1e-8])
    same(by_component, run(batch))


def test_outputs():
    batch = family(100)
    times = np.linspace(0.0, 10.0, 21)
    shared = run(batch, t_eval=times)
    assert shared.y_eval.shape == (100, 21, 2)
    np.testing.assert_array_equal(shared.y_eval[:, 0], batch.y0)
    np.testing.assert_array_equal(shared.y_eval[:, -1], shared.y)
    same_ends = run(batch)
    np.testing.assert_array_equal(shared.y, same_ends.y)
    own = run(batch, t_eval=np.tile(times, (100, 1)))
    np.testing.assert_array_equal(own.y_eval, shared.y_eval)
    single = solve(batch[17], "tsit5", LAW, **TOL, t_eval=times)
    np.testing.assert_allclose(shared.y_eval[17], single.y, rtol=1e-10)
    assert run(batch).y_eval is None
    assert run(batch, t_eval=[]).y_eval.shape == (100, 0, 2)


def test_one_bad_lane_of_a_thousand():
    batch = family(1000)
    y0, p = batch.y0.copy(), batch.p.copy()
    y0[500], p[123, 0], p[124] = np.nan, 1e300, (800.0, 0.0, 0.0, 0.0)
    broken = run(Batch(batch.rhs, y0, p, batch.t0, batch.t1, validate=False), t_eval=[5.0, 10.0], max_steps=2000)
    good = run(batch, t_eval=[5.0, 10.0], max_steps=2000)
    rest = np.setdiff1d(np.arange(1000), [123, 124, 500])
    same(broken, good, rest, rest)
    np.testing.assert_array_equal(broken.y_eval[rest], good.y_eval[rest])
    assert broken.status[500] == BAD_START
    assert broken.status[123] < 0 and broken.status[124] < 0 and np.isfinite(broken.y[[123, 124]]).all()
    assert np.isnan(broken.y_eval[[123, 124, 500]]).all()
    assert not broken.success[500] and "initial state" in broken.message(500)
    assert good.success.all()


def blow_up(t, y, p, dy):
    dy[0] = p[0] * y[0] * y[0]


def test_blow_up_and_limits():
    """y' = p y^2 with y(0) = 1 ends at t = 1/p: those lanes stop there, the others arrive."""
    p = np.array([[0.5], [2.0], [-1.0], [4.0]])
    sol = run(Batch(blow_up, np.ones((4, 1)), p, 0.0, 1.0), max_steps=3000)
    np.testing.assert_array_equal(sol.status[[0, 2]], SUCCESS)
    assert set(sol.status[[1, 3]]) <= {UNDERFLOW, NON_FINITE, MAX_STEPS}
    np.testing.assert_allclose(sol.t[[1, 3]], [0.5, 0.25], rtol=1e-3)
    assert np.isfinite(sol.y).all() and np.all(sol.y[[1, 3], 0] > 1e3)
    np.testing.assert_allclose(sol.y[[0, 2], 0], [2.0, 0.5], rtol=1e-5)
    short = run(Batch(blow_up, np.ones((4, 1)), p, 0.0, 1.0), max_steps=3)
    assert np.all(short.status == MAX_STEPS) and np.all(short.stats.naccept + short.stats.nreject == 3)


def test_lengths_of_zero():
    batch = family(70)
    t1 = batch.t1.copy()
    t1[::2] = batch.t0[::2]
    sol = run(Batch(batch.rhs, batch.y0, batch.p, batch.t0, t1))
    assert sol.success.all()
    np.testing.assert_array_equal(sol.y[::2], batch.y0[::2])
    assert np.all(sol.stats.naccept[::2] == 0)
    same(sol, run(batch), slice(1, None, 2), slice(1, None, 2))
    none = run(batch[:0])
    assert none.y.shape == (0, 2) and none.success.shape == (0,)


def chain(t, y, p, dy):
    dy[0] = -2.0 * y[0] + y[1]
    for i in range(1, 99):
        dy[i] = y[i - 1] - 2.0 * y[i] + y[i + 1]
    dy[99] = y[98] - 2.0 * y[99]


def test_a_hundred_components_without_parameters():
    y0 = np.random.default_rng(3).normal(size=(3, 100))
    sol = run(Batch(chain, y0, np.empty((3, 0)), 0.0, 1.0), rtol=1e-8, atol=1e-10)
    matrix = np.diag(np.full(100, -2.0)) + np.diag(np.ones(99), 1) + np.diag(np.ones(99), -1)
    value, vector = np.linalg.eigh(matrix)
    exact = y0 @ (vector * np.exp(value)) @ vector.T
    np.testing.assert_allclose(sol.y, exact, atol=1e-7)
    one = solve(Problem(chain, y0[1], (0.0, 1.0)), "tsit5", LAW, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(one.y[-1], sol.y[1], rtol=1e-11)
    assert one.stats.nfev == sol.stats.nfev[1]


def test_inputs_are_neither_copied_wrongly_nor_changed():
    batch = family(30)
    strided = np.repeat(batch.y0, 2, axis=1)[:, ::2]
    frozen = batch.p.copy()
    frozen.flags.writeable = False
    sol = run(Batch(batch.rhs, strided, frozen, 0, 10))
    same(sol, run(batch))
    whole = run(Batch(batch.rhs, np.ones((2, 2), dtype=int), np.ones((2, 4), dtype=np.int32), 0, 1))
    assert whole.success.all()
    np.testing.assert_array_equal(strided, batch.y0)


def test_width_of_the_blocks():
    assert ensemble.available_cores() >= 1
    assert [build.lanes_for(n) for n in (1, 4, 5, 16, 17, 400)] == [64, 64, 32, 32, 16, 16]
    assert build.aligned(10).ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="threads"):
        run(family(3), threads=0)


def test_the_clock_does_not_count_compilation(tmp_cache):

    def decay(t, y, p, dy):
        dy[0] = -0.731 * y[0]

    problem = Problem(decay, [1.0], (0.0, 1.0))
    for attempt in (lambda: solve(problem, "bs32", LAW), lambda: solve_ensemble(problem.batch(), "bs32", LAW)):
        began = time.perf_counter()
        sol = attempt()
        assert 0 < sol.stats.wall_s < 0.1 * (time.perf_counter() - began)
