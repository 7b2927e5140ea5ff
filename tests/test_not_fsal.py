"""Explicit pairs that are not first-same-as-last, in the compiled engine: SciPy's steps, counts, orders, outputs,
lanes, failures.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from pairs import FEHLBERG5, HEUN, KUTTA, NAMES, PAIRS, scipys
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import cos
from stepsmith.integrators.core import record
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.kernels.layout import NON_FINITE

LAW = registry.get("scipy")
each = pytest.mark.parametrize("pair", PAIRS, ids=NAMES)


def forced(t, y, p, dy):
    """A pendulum, damped and driven: not autonomous, not linear."""
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] * y[0] * y[0] - 0.1 * y[1] + cos(2.0 * t)


def plain(t, y):
    return np.array([y[1], -1.3 * y[0] ** 3 - 0.1 * y[1] + np.cos(2.0 * t)])


def pendulum(t0=0.0, t1=6.0):
    return ss.Problem(forced, (1.0, 0.5), (t0, t1), (1.3,))


def reference(t0, t1, at=None):
    return solve_ivp(plain, (t0, t1), [1.0, 0.5], "DOP853", rtol=1e-13, atol=1e-13, t_eval=at).y.T


def rejections(log):
    return log[:, record.N_RECORD] < 0.5


@each
@pytest.mark.parametrize("span", [(0.0, 6.0), (6.0, 0.0)])
def test_steps_and_outputs_are_scipys(pair, span):
    at = np.linspace(*span, 23)
    ours = solve(pendulum(*span), pair, LAW, 1e-4, 1e-6)
    theirs = solve_ivp(plain, span, [1.0, 0.5], scipys(pair), rtol=1e-4, atol=1e-6)
    assert ours.success and ours.stats.naccept == len(theirs.t) - 1
    np.testing.assert_allclose(ours.t, theirs.t, rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours.y, theirs.y.T, rtol=0, atol=1e-9)
    dense = solve(pendulum(*span), pair, LAW, 1e-4, 1e-6, t_eval=at)
    theirs = solve_ivp(plain, span, [1.0, 0.5], scipys(pair), rtol=1e-4, atol=1e-6, t_eval=at)
    np.testing.assert_allclose(dense.y, theirs.y.T, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(dense.y[-1], ours.y[-1])  # outputs change no step, not by a bit


@each
def test_evaluations_are_those_of_a_loop_written_by_hand(pair):
    # the start takes two, every attempt stages - 1, every step but the first its first slope; dense output of the last
    # step one more
    grid = np.linspace(0.0, 6.0, 8)[:-1]
    for max_at, extra in ((None, 0), (grid, 0), (np.append(grid, 6.0 - 1e-6), 1)):
        sol = solve(pendulum(), pair, LAW, 1e-4, 1e-6, t_eval=max_at, first_step=None, log=True)
        attempts, accepted = sol.stats.naccept + sol.stats.nreject, sol.stats.naccept
        assert sol.stats.nreject > 0
        assert sol.stats.nfev == 2 + (pair.stages - 1) * attempts + (accepted - 1) + extra
        # an attempt pays for the slope that it starts from unless the one before has: it was rejected, or had outputs
        # within
        spent = sol.record[:, record.NF] - (pair.stages - 1)
        assert set(spent) <= {0.0, 1.0} and spent[0] == 0.0
        np.testing.assert_array_equal(spent[1:][rejections(sol.record)[:-1]], 0.0)
        if max_at is None:
            np.testing.assert_array_equal(spent[1:] == 1.0, ~rejections(sol.record)[:-1])
    # SciPy spends one in every attempt on the slope at its end, ours only where there is a next step
    theirs = solve_ivp(plain, (0.0, 6.0), [1.0, 0.5], scipys(pair), rtol=1e-4, atol=1e-6)
    ours = solve(pendulum(), pair, LAW, 1e-4, 1e-6).stats
    assert theirs.nfev == ours.nfev + ours.nreject + 1


@each
def test_heun_and_others_step_by_step(pair):
    """An attempt by the definition, in NumPy, from the engine's own times: the states follow."""
    sol = solve(pendulum(), pair, LAW, 1e-3, 1e-5)
    for i in range(len(sol.t) - 1):
        t, h, y = sol.t[i], sol.t[i + 1] - sol.t[i], sol.y[i]
        k = np.zeros((pair.stages, 2))
        for j in range(pair.stages):
            k[j] = plain(t + pair.C[j] * h, y + h * pair.A[j] @ k)
        np.testing.assert_allclose(sol.y[i + 1], y + h * pair.B @ k, rtol=0, atol=1e-12)


@each
def test_order_of_the_solution_and_of_its_dense_output(pair):
    """One step of size h: error O(h^(order + 1)) at its end, O(h^(dense_order + 1)) within."""
    at, ends, inner = np.array([0.3, 0.37, 1.0]), [], []
    for h in (0.2, 0.1, 0.05):
        out = solve(pendulum(0.0, h), pair, LAW, 1.0, 1e3, t_eval=at * h, first_step=h)
        assert out.success and out.stats.naccept == 1
        off = np.abs(out.y - reference(0.0, h, at * h)).max(1)
        inner.append(off[:2].max())
        ends.append(off[2])
    rates = [np.log2(x[0] / x[-1]) / 2 for x in (ends, inner)]
    assert rates[0] == pytest.approx(pair.order + 1, abs=0.6)
    assert rates[1] > pair.dense_order + 1 - 0.4 and pair.dense_order == min(pair.order, 3)


@pytest.mark.parametrize("pair", [HEUN, FEHLBERG5], ids=["heun21", "fehlberg5"])
def test_lanes_are_single_solves(pair):
    """Lanes accept and reject at different times: each has the counts of a solve of its own."""
    rng = np.random.default_rng(0)
    count = 75
    batch = ss.Batch(
        forced, rng.normal(size=(count, 2)), rng.uniform(0.5, 3.0, (count, 1)), np.zeros(count), np.full(count, 4.0)
    )
    at = np.linspace(0.0, 4.0, 6)
    many = solve_ensemble(batch, pair, LAW, 1e-4, 1e-6, at)
    assert many.success.all() and (many.stats.nreject > 0).any()
    for i in range(count):
        one = solve(ss.Problem(forced, batch.y0[i], (0.0, 4.0), batch.p[i]), pair, LAW, 1e-4, 1e-6, t_eval=at)
        assert (one.stats.nfev, one.stats.naccept, one.stats.nreject) == (
            many.stats.nfev[i], many.stats.naccept[i], many.stats.nreject[i])  # fmt: skip
        np.testing.assert_allclose(many.y_eval[i], one.y, rtol=0, atol=1e-12)


def many_masses(t, y, p, dy):
    for i in range(12):
        dy[i] = -(i + 1.0) * y[i] + cos(t)


def test_states_too_large_to_be_unrolled():
    y0 = np.linspace(-1.0, 1.0, 12)
    problem = ss.Problem(many_masses, y0, (0.0, 3.0))
    at = np.linspace(0.0, 3.0, 5)
    field = lambda t, y: -np.arange(1.0, 13.0) * y + np.cos(t)  # noqa: E731
    exact = solve_ivp(field, (0.0, 3.0), y0, "DOP853", t_eval=at, rtol=1e-12, atol=1e-12).y.T
    sol = solve(problem, KUTTA, LAW, 1e-6, 1e-8, t_eval=at)
    many = solve_ensemble(problem.batch(), KUTTA, LAW, 1e-6, 1e-8, at)
    assert np.abs(sol.y - exact).max() < 1e-5 and many.stats.nfev[0] == sol.stats.nfev
    np.testing.assert_allclose(many.y_eval[0], sol.y, rtol=0, atol=1e-13)


def blows_up(t, y, p, dy):
    """y = 1/(1 - t)."""
    dy[0] = y[0] * y[0]


def to_the_edge(t, y, p, dy):
    dy[0] = 0.0 * y[0] / (1.0 - t) + 1.0


def test_a_slope_that_is_not_finite_is_told():
    """The last step ends where the field is not finite: Ralston's stages do not see it, its dense output does."""
    ralston = ss.integrators.tableaus.ExplicitTableau(
        "ralston21", 2, 1, c=(0, 0.75), a=((), (0.75,)), b=(1 / 3, 2 / 3), b_hat=(1, 0))  # fmt: skip
    problem = ss.Problem(to_the_edge, (0.5,), (0.0, 1.0))
    sol = solve(problem, ralston, LAW, 1e-4, 1e-6)
    assert sol.success and sol.y[-1, 0] == pytest.approx(1.5, abs=1e-12)
    at = [0.0, sol.t[1], 1.0 - 1e-9, 1.0]
    sol = solve(problem, ralston, LAW, 1e-4, 1e-6, t_eval=at)
    assert not sol.success and sol.status == NON_FINITE and np.isfinite(sol.y).all() and len(sol.t) < 4
    many = solve_ensemble(problem.batch(), ralston, LAW, 1e-4, 1e-6, at)
    assert many.status[0] == NON_FINITE and many.t[0] < 1.0 and np.isfinite(many.y).all()
    sol = solve(ss.Problem(blows_up, (1.0,), (0.0, 2.0)), HEUN, LAW, 1e-3, 1e-6)
    assert not sol.success and np.isfinite(sol.y).all() and sol.t[-1] == pytest.approx(1.0, abs=1e-2)


def test_curvature_is_left_out_and_asking_for_it_refused():
    sol = solve(pendulum(), HEUN, LAW, 1e-3, 1e-3, log=True)
    assert np.isnan(sol.record[:, record.CURV]).all() and np.isfinite(sol.record[:, record.ERR]).all()
    assert record.CURV not in methods.get(HEUN).fills and record.CURV in methods.get("bs32").fills


def test_the_kernel_for_cuda_compiles():
    from numba.cuda.cudadrv import nvvm

    from stepsmith.integrators.kernels import cuda as kernels

    if not nvvm.is_available():
        pytest.skip("libNVVM is not installed")
    mod = cuda.ensemble_kernel(pendulum().batch(), methods.get(FEHLBERG5), LAW).module
    text = kernels.ptx(mod.run, kernels.SIGNATURE, kernel=True, cc=(8, 0))
    assert ".entry" in text and ".extern .func" not in text
