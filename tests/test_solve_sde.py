"""`solve_sde`: strong and weak orders against exact solutions, the law of the Brownian motion under rejections, the
tree, and what becomes of paths that fail.
"""

from __future__ import annotations

import math
import multiprocessing
import pickle
import threading
from math import sqrt

import numpy as np
import pytest
from scipy import stats

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core.binding import bind
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.engine import sde as engine
from stepsmith.integrators.kernels.sde import build
from stepsmith.integrators.methods import sde as methods
from stepsmith.integrators.noise import bridge
from stepsmith.integrators.noise.normal import keys, normals

GBM = ss.sdes.make("gbm")
BOUNDED = ss.sdes.make("bounded")
LAW = ss.controller("pi34")


def strong_error(problem, method, steps, paths=2000, **options):
    """Mean absolute error at the end with equal steps, against the exact solution on the same motion."""
    t0, t1 = problem.t_span
    sol = ss.solve_sde(problem, paths, method, step_size=(t1 - t0) / steps, source="tree", seed=5, **options)
    assert sol.success.all() and np.all(sol.stats.naccept == steps)
    exact = problem.exact(sol.t, sol.W, sol.H, problem.y0, problem.p)
    return np.abs(sol.y - exact).mean()


def order(errors):
    """The slope of log error over log step, where steps were halved."""
    return np.polyfit(np.arange(len(errors)), -np.log2(errors), 1)[0]


@pytest.mark.parametrize(
    ("method", "problem", "expected"),
    [("euler_maruyama", GBM, 0.5), ("milstein_ito", GBM, 1.0), ("sosri", GBM, 1.5), ("sriw1", BOUNDED, 1.5)],
)
def test_strong_orders(method, problem, expected) -> None:
    """Kloeden and Platen's solutions; the tree gives every step size the same motion."""
    found = order([strong_error(problem, method, 2**k) for k in (5, 6, 7, 8)])
    assert abs(found - expected) < 0.15


def test_additive_noise_has_its_strong_order() -> None:
    problem = ss.sdes.make("additive_decay")
    assert order([strong_error(problem, "sra1", 2**k) for k in (2, 3, 4, 5)]) > 1.4


def turn(t, y, p, dy):
    dy[0] = 0.0
    dy[1] = 0.0


def turning(t, y, p, g):
    g[0] = -p[0] * y[1]
    g[1] = p[0] * y[0]


def test_scalar_noise_of_stratonovich_s_kind_turns_a_vector() -> None:
    """dX = a (-X1, X0) o dW is a turn by a W: one motion for both components, and the chain rule of calculus."""
    problem = ss.SDEProblem(turn, turning, [1.0, 0.0], (0.0, 1.0), [0.7], noise="scalar", interpretation="stratonovich")
    errors = []
    for steps in (16, 64):
        sol = ss.solve_sde(problem, 500, "stochastic_heun", step_size=1.0 / steps, source="tree")
        assert sol.W.shape == (500, 1, 1)
        angle = 0.7 * sol.W[..., 0]
        errors.append(np.abs(sol.y - np.stack([np.cos(angle), np.sin(angle)], -1)).mean())
    assert np.log2(errors[0] / errors[1]) / 2 > 0.85
    with pytest.raises(OptionError, match="stratonovich"):
        ss.solve_sde(problem, 5, "sosri")


@pytest.fixture(scope="module")
def integrated():
    return ss.sdes.make("integrated")


@pytest.mark.parametrize("source", ["memory", "tree"])
def test_integrated_brownian_motion_is_exact_from_its_levy_area(integrated, source) -> None:
    """The solution is X1 = X0 t + a int W ds + b W: W and H at all outputs must be those that the steps have taken."""
    times = np.array([0.0, 0.1, 1 / 3, 0.75, 1.0])
    sol = ss.solve_sde(integrated, 3000, "sra1", LAW, t_eval=times, source=source, seed=4, rtol=1e-1, atol=1e-1)
    assert sol.success.all() and sol.stats.nreject.sum() > 100
    exact = integrated.exact(times, sol.W, sol.H, integrated.y0, integrated.p)
    np.testing.assert_allclose(sol.y, exact, atol=2e-14)
    # the law of (W_t, H_t): independent, variances t and t/12; W_s and W_t - W_s independent
    w, h, n = sol.W[:, 1:, 0], sol.H[:, 1:, 0], 3000
    late = times[1:]
    np.testing.assert_allclose(w.var(0), late, atol=0, rtol=4.5 * sqrt(2 / n))
    np.testing.assert_allclose(h.var(0), late / 12, atol=0, rtol=4.5 * sqrt(2 / n))
    assert np.all(np.abs((w * h).mean(0)) < 4.5 * late / sqrt(12 * n))
    steps = np.diff(w, axis=1)
    assert np.all(np.abs((steps * w[:, :-1]).mean(0)) < 4.5 * np.sqrt(np.diff(late) * late[:-1] / n))
    assert abs((sol.W[:, -1, 0] * sol.W[:, -1, 1]).mean()) < 4.5 / sqrt(n)


def milstein(**given):
    """Adaptive Milstein on geometric Brownian motion: the kernel that the tests below share."""
    options = {"paths": 500, "controller": LAW, "rtol": 0.05, "atol": 0.05, "seed": 3} | given
    return ss.solve_sde(GBM, options.pop("paths"), "milstein_ito", **options)


def test_weak_moments() -> None:
    """Mean and variance of log X are those of the exact solution within 4.5 standard errors, with adaptive steps."""
    n, times = 20_000, np.array([0.0, 0.4, 1.0])
    sol = milstein(paths=n, rtol=5e-3, atol=5e-3, t_eval=times)
    assert np.all(sol.y[:, 0] == 1.0)
    log = np.log(sol.y[:, 1:, 0])
    assert np.all(np.abs(log.mean(0)) < 4.5 * np.sqrt(times[1:] / n) + 2e-3)
    np.testing.assert_allclose(log.var(0), times[1:], rtol=4.5 * sqrt(2 / n) + 5e-3)
    family = ss.sdes.family("gbm")
    mean, variance = family.moments(times, GBM.y0, GBM.p)
    # heavy tails: the standard error of the mean is that of the exact law
    assert np.all(np.abs(sol.y.mean(0) - mean)[1:] < 4.5 * np.sqrt(variance[1:] / n))


def rejecting(redraw: float, n: int, tol: float = 0.01):
    """Where some 30 % of the attempts are rejected: W at the end, and the share.  redraw: 1.0 draws a new increment
    after a rejection, as published codes without memory do."""
    opts = np.array([0.0, 1.0, tol, np.nan, np.nan, 1e5, 0.0, redraw])
    assert len(opts) == len(build.OPTIONS)
    law = registry.get("i", safety=1.0).general()
    sol = engine.run_paths(
        GBM, methods.get("milstein_ito"), law, opts, np.full(1, tol), keys(3, np.arange(n)), np.ones(1), None, 1.0
    )
    attempts = (sol.stats.naccept + sol.stats.nreject).sum()
    return sol.W[:, 0, 0], sol.stats.nreject.sum() / attempts


def test_rejections_leave_the_law_of_w_and_redrawing_does_not() -> None:
    n = 40_000
    w, share = rejecting(0.0, n)
    assert 0.2 < share < 0.45
    assert abs(w.mean()) < 4 / sqrt(n)
    assert abs(w.var() - 1.0) < 4 * sqrt(2 / n)
    assert stats.kstest(w, "norm").pvalue > 1e-3
    biased, share = rejecting(1.0, n)
    assert share > 0.2
    assert biased.mean() > 0.1 and biased.var() < 0.8


def test_memory_draws_the_numbers_that_numpy_has() -> None:
    """With equal steps the increments are the normal numbers 0, 2, 4, ... of the path's stream times sqrt(h)."""
    times = np.arange(9) / 8
    sol = ss.solve_sde(GBM, 20, "milstein_ito", step_size=1 / 8, t_eval=times, seed=9)
    z = normals(keys(9, np.arange(20))[:, None], np.arange(0, 16, 2)[None, :])
    np.testing.assert_allclose(np.diff(sol.W[..., 0], axis=1), sqrt(1 / 8) * z, rtol=1e-12, atol=1e-14)


def test_the_tree_is_one_path_for_all_steps_methods_and_tolerances() -> None:
    times = np.array([0.25, 0.3, 1.0])
    found = [
        milstein(source="tree", t_eval=times),
        milstein(source="tree", t_eval=times, rtol=1e-3, atol=1e-3, controller=ss.controller("i")),
        ss.solve_sde(GBM, 500, "milstein_ito", step_size=0.09, t_eval=times, source="tree", seed=3),
        ss.solve_sde(GBM, 500, "sosri", step_size=0.125, t_eval=times, source="tree", seed=3),
    ]
    for sol in found[1:]:
        np.testing.assert_allclose(sol.W, found[0].W, atol=1e-12)
        np.testing.assert_allclose(sol.H, found[0].H, atol=1e-12)
    # its root and the two halves, from the numbers of NumPy
    own, t = keys(3, np.arange(500)), 1.0
    z = normals(own[:, None], np.arange(4)[None, :])
    draw, split = (bind(fn, {"sqrt": np.sqrt}) for fn in (bridge.draw, bridge.split))
    w, h = draw(t, z[:, 0], z[:, 1])
    np.testing.assert_allclose(found[0].W[:, 2, 0], w, atol=1e-12)
    half = ss.solve_sde(GBM, 500, "milstein_ito", step_size=0.5, t_eval=[0.5], source="tree", seed=3)
    np.testing.assert_allclose(half.W[:, 0, 0], split(0.5, 0.5, w, h, z[:, 2], z[:, 3])[0], atol=1e-12)
    # smaller tolerances give smaller errors on the same paths
    exact = GBM.exact(times, found[0].W, found[0].H, GBM.y0, GBM.p)
    errors = [np.abs(sol.y - exact).mean() for sol in found[:2]]
    assert errors[1] < 0.2 * errors[0]


def test_paths_depend_on_their_number_and_the_seed_alone() -> None:
    all_of_them = milstein(paths=200)
    few, threaded, again = milstein(paths=40), milstein(paths=200, threads=3), milstein(paths=200, threads=1)
    np.testing.assert_array_equal(few.y, all_of_them.y[:40])
    np.testing.assert_array_equal(threaded.y, all_of_them.y)
    np.testing.assert_array_equal(again.W, all_of_them.W)
    assert not np.any(milstein(paths=200, seed=4).W == all_of_them.W)


@pytest.mark.parametrize("law", ["i", "pi34", "h211b", "predictive", "universal_law", "torchode"])
def test_laws_serve_as_coefficients_of_one_kernel(law) -> None:
    before = len(engine._KERNELS)
    sol = milstein(paths=50, controller=law)
    assert sol.success.all()
    assert len(engine._KERNELS) <= before + (before == 0)


def sick_drift(t, y, p, dy):
    dy[0] = 0.1 * math.sqrt(p[0] - y[0])


def sick_diffusion(t, y, p, g):
    g[0] = 1.0


def test_a_failing_path_keeps_its_state_and_touches_no_other() -> None:
    """Beyond p the drift is the root of a negative number: paths that come there fail."""
    problem = ss.SDEProblem(sick_drift, sick_diffusion, [0.0], (0.0, 1.0), [1.0], noise="additive")
    healthy = ss.SDEProblem(sick_drift, sick_diffusion, [0.0], (0.0, 1.0), [50.0], noise="additive")
    sol = ss.solve_sde(problem, 300, "sra1", LAW, t_eval=[0.0, 0.5, 1.0])
    failed = ~sol.success
    assert 20 < failed.sum() < 280
    assert np.isfinite(sol.y_end).all() and np.all(sol.t_end[failed] < 1.0)
    assert np.isnan(sol.y[failed, 2]).all() and np.isfinite(sol.y[~failed]).all()
    where = int(np.flatnonzero(failed)[0])
    assert "non-finite" in sol.message(where) or "step size fell" in sol.message(where)
    assert "failed" in repr(sol)
    assert ss.solve_sde(healthy, 300, "sra1", LAW).success.all()
    bad = ss.SDEProblem(sick_drift, sick_diffusion, [2.0], (0.0, 1.0), [1.0], noise="additive")
    assert "not finite at the initial state" in ss.solve_sde(bad, 2, "sra1", LAW).message(0)
    few = ss.solve_sde(healthy, 10, "sra1", LAW, max_steps=3)
    assert not few.success.any() and "step limit" in few.message(3)


def test_an_empty_span_returns_the_start() -> None:
    problem = ss.SDEProblem(GBM.drift, GBM.diffusion, [2.0], (1.0, 1.0), [0.5, 1.0])
    sol = ss.solve_sde(problem, 3, "milstein_ito", LAW)
    assert sol.success.all() and np.all(sol.y == 2.0) and np.all(sol.W == 0.0)


def _in_a_child(queue, problem) -> None:
    queue.put(ss.solve_sde(problem, 50, "milstein_ito", LAW, rtol=0.05, atol=0.05, seed=3).y)


def test_pickles_forks_and_threads_of_the_caller() -> None:
    here = milstein(paths=50).y
    twin = pickle.loads(pickle.dumps(GBM))
    np.testing.assert_array_equal(ss.solve_sde(twin, 50, "milstein_ito", LAW, rtol=0.05, atol=0.05, seed=3).y, here)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_a_child, args=(queue, twin))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), here)
    child.join(timeout=60)
    found: dict[int, np.ndarray] = {}
    workers = [threading.Thread(target=lambda k=k: found.update({k: milstein(paths=50).y})) for k in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(np.array_equal(found[k], here) for k in range(3))


@pytest.mark.parametrize("t_eval", [[0.5, 0.5 + 2.0**-52, 1.0], [1.0 - 2.0**-53]])
def test_the_tree_refuses_outputs_that_it_does_not_tell_apart(t_eval) -> None:
    with pytest.raises(OptionError, match="closer"):
        ss.solve_sde(GBM, 2, source="tree", t_eval=t_eval)
