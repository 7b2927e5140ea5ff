"""Implicit Runge-Kutta methods by simplified Newton: published end points, order, dense output, what is kept, what
fails.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from method_kinds import NEWTON
from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods, problems
from stepsmith.integrators.core import record
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.kernels.layout import BAD_START, SUCCESS

ORDERS = {"kvaerno5": 5, "esdirk43": 4, "radau5": 5}
VDP = np.array([1.706167732170469, -8.928097010248125e-4])  # Bari/CWI test set, t = 2000, mu = 1000


def vdp(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]


def vdp_jac(t, y, p, J):
    J[0, 0] = 0.0
    J[0, 1] = 1.0
    J[1, 0] = -2.0 * p[0] * y[0] * y[1] - 1.0
    J[1, 1] = p[0] * (1.0 - y[0] * y[0])


def stiff_case(jac=vdp_jac):
    return Problem(vdp, [2.0, 0.0], (0.0, 2000.0), [1000.0], jac=jac)


@pytest.mark.parametrize("method", NEWTON)
def test_van_der_pol_reaches_the_published_end_point(method):
    last = np.inf
    for tol in (1e-4, 1e-6, 1e-8):
        sol = solve(stiff_case(), method, "radau5", rtol=tol, atol=tol)
        error = np.abs(sol.y[-1] / VDP - 1.0).max()
        assert sol.success and error < 10 * tol and error < last / 10
        last = error
        s = sol.stats
        # Jacobians and factors are kept over several attempts
        assert 0 < s.njev < s.naccept + s.nreject and s.njev <= s.nlu < 2.2 * (s.naccept + s.nreject)


@pytest.mark.parametrize("method", NEWTON)
def test_order_on_a_smooth_problem(method):
    problem = Problem(vdp, [2.0, 0.0], (0.0, 1.0), [1.0], jac=vdp_jac)
    exact = solve_ivp(
        lambda t, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], (0, 1), [2.0, 0.0], "DOP853", rtol=1e-13, atol=1e-14
    ).y[:, -1]
    errors = []
    for h in (1 / 16, 1 / 32):
        sol = solve(problem, method, registry.constant(h), rtol=1e-13, atol=1e-13)
        assert sol.stats.nreject == 0
        errors.append(np.linalg.norm(sol.y[-1] - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(ORDERS[method], abs=0.15)


@pytest.mark.parametrize("method", NEWTON)
def test_dense_output_and_backward_time(method):
    problem = Problem(vdp, [2.0, 0.0], (0.0, 8.0), [5.0], jac=vdp_jac)
    times = np.linspace(0.3, 8.0, 41)
    sol = solve(problem, method, "radau5", rtol=1e-7, atol=1e-7, t_eval=times)
    exact = solve_ivp(
        lambda t, y: [y[1], 5 * (1 - y[0] ** 2) * y[1] - y[0]],
        (0, 8),
        [2.0, 0.0],
        "Radau",
        rtol=1e-11,
        atol=1e-11,
        t_eval=times,
    ).y.T
    assert np.abs(sol.y - exact).max() < 2e-4
    there = solve(Problem(vdp, [2.0, 0.0], (0.0, 0.5), [1.0], jac=vdp_jac), method, "radau5", rtol=1e-9, atol=1e-9)
    back = solve(Problem(vdp, there.y[-1], (0.5, 0.0), [1.0], jac=vdp_jac), method, "radau5", rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(back.y[-1], [2.0, 0.0], atol=1e-7)


@pytest.mark.parametrize("method", NEWTON)
def test_stiff_accuracy_and_newton_record(method):
    family = problems.family("hires")
    problem = family.published()
    end = family.reference(problem.batch()).y[0, -1]
    sol = solve(problem, method, "radau5", rtol=1e-6, atol=1e-10, log=True)
    assert sol.success and np.linalg.norm(sol.y[-1] / end - 1.0) < 1e-3
    iterations, rate = sol.record[:, record.NEWTON_ITERS], sol.record[:, record.NEWTON_RATE]
    assert np.all(iterations >= 1) and np.all(rate[sol.record[:, record.FINITE] == 1.0] < 1.0)
    assert np.any(sol.record[:, record.JAC_AGE] > 0)


def test_ensembles_count_everything_and_bad_lanes_stay_alone():
    mus = np.geomspace(1.0, 1000.0, 20)
    y0 = np.tile([2.0, 0.0], (20, 1))
    y0[3] = np.nan
    t1 = np.full(20, 20.0)
    t1[5] = 0.0  # a span of length zero
    batch = Batch(vdp, y0, mus[:, None], np.zeros(20), t1, jac=vdp_jac, validate=False)
    clean = Batch(vdp, np.tile([2.0, 0.0], (20, 1)), mus[:, None], 0.0, 20.0, jac=vdp_jac)
    for method in ("radau5", "rodas5p"):
        many = solve_ensemble(batch, method, "radau5", rtol=1e-6, atol=1e-6)
        assert many.status[3] == BAD_START and many.status[5] == SUCCESS and many.success.sum() == 19
        for counts in (many.stats.nfev, many.stats.njev, many.stats.nlu, many.stats.nsolve):
            assert np.all(counts >= 0) and np.all(counts < 1e6)
        assert many.stats.nlu[5] == 0 and many.stats.njev[5] == 0
        whole = solve_ensemble(clean, method, "radau5", rtol=1e-6, atol=1e-6)
        good = np.setdiff1d(np.arange(20), [3, 5])
        assert np.array_equal(many.y[good], whole.y[good]) and np.array_equal(
            many.stats.nfev[good], whole.stats.nfev[good]
        )


def test_devices_refuse_implicit_methods():
    with pytest.raises(ValueError, match="implicit"):
        cuda.ensemble_kernel(stiff_case().batch(), methods.get("radau5"), registry.get("radau5"))
