"""Rosenbrock methods in the engine: published end points, order, dense output, time dependence, and what breaks them.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from method_kinds import ROSENBROCK
from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.envs.ode import make_core
from stepsmith.integrators.kernels.implicit.jacobian import reads_time
from stepsmith.integrators.kernels.layout import MAX_STEPS, NON_FINITE, UNDERFLOW
from stepsmith.integrators.methods import tableaus


def vdp(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]


def vdp_jac(t, y, p, J):
    J[0, 0] = 0.0
    J[0, 1] = 1.0
    J[1, 0] = -2.0 * p[0] * y[0] * y[1] - 1.0
    J[1, 1] = p[0] * (1.0 - y[0] * y[0])


def rober(t, y, p, dy):
    dy[0] = -0.04 * y[0] + 1e4 * y[1] * y[2]
    dy[2] = 3e7 * y[1] * y[1]
    dy[1] = -dy[0] - dy[2]


def prothero(t, y, p, dy):
    dy[0] = p[0] * (y[0] - np.cos(t)) - np.sin(t)


VDP = np.array([1.706167732170469, -8.928097010248125e-4])  # Bari/CWI test set, t = 2000, mu = 1000
ROBER = np.array([2.083340149701255e-8, 8.333360770334713e-14, 0.9999999791665050])  # t = 1e11


@pytest.mark.parametrize("jac", [vdp_jac, None])
def test_van_der_pol_reaches_the_published_end_point(jac):
    problem = Problem(vdp, [2.0, 0.0], (0.0, 2000.0), [1000.0], jac=jac)
    last = np.inf
    for tol in (1e-4, 1e-6, 1e-8):
        sol = solve(problem, "rodas5p", "rodas", rtol=tol, atol=tol)
        error = np.abs(sol.y[-1] / VDP - 1.0).max()
        assert sol.success and error < 5 * tol and error < last / 20
        last = error
        s = sol.stats
        attempts = s.naccept + s.nreject
        assert s.nlu == attempts and s.nsolve == 8 * attempts and s.njev == s.naccept
        # the start's two, one a new point, two more for differences, seven an attempt
        assert s.nfev == 2 + s.naccept * (1 + (0 if jac else 2)) + 7 * attempts


def test_robertson_reaches_the_published_end_point():
    problem = Problem(rober, [1.0, 0.0, 0.0], (0.0, 1e11))
    sol = solve(problem, "rodas5p", "rodas", rtol=1e-7, atol=1e-17)
    assert sol.success and sol.stats.naccept < 2000
    np.testing.assert_allclose(sol.y[-1], ROBER, rtol=1e-5)


@pytest.mark.parametrize("method", ROSENBROCK)
def test_order_on_a_smooth_problem(method):
    order = {"rodas5p": 5, "ros3prw": 3, "ros34pw2": 3, "rosenbrock23": 2}[method]
    # the exact Jacobian: one by differences would show at 1e-9
    errors, problem = [], Problem(vdp, [2.0, 0.0], (0.0, 1.0), [1.0], jac=vdp_jac)
    exact = solve_ivp(
        lambda t, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], (0, 1), [2.0, 0.0], "DOP853", rtol=1e-13, atol=1e-14
    ).y[:, -1]
    # ros3prw comes near its order at these steps only: at 1/16 and 1/32 the slope is still 3.17
    for h in (1 / 32, 1 / 64):
        sol = solve(problem, method, registry.constant(h), rtol=1e-6, atol=1e-6)
        errors.append(np.linalg.norm(sol.y[-1] - exact))
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("method", ROSENBROCK)
def test_time_dependence_and_stiffness(method):
    # y = cos t whatever lambda is (Prothero & Robinson 1974); f_t must be there
    assert reads_time(prothero) and not reads_time(vdp) and not reads_time(rober)
    for stiffness in (-10.0, -1e6):
        problem = Problem(prothero, [1.0], (0.0, 5.0), [stiffness])
        sol = solve(problem, method, "rodas", rtol=1e-6, atol=1e-9)
        assert sol.success and abs(sol.y[-1, 0] - np.cos(5.0)) < 3e-5
        back = solve(Problem(prothero, [np.cos(1.0)], (1.0, 0.0), [1.0]), method, "rodas", rtol=1e-7, atol=1e-9)
        assert abs(back.y[-1, 0] - 1.0) < 1e-5


@pytest.mark.parametrize("method", ROSENBROCK)
def test_dense_output(method):
    problem = Problem(vdp, [2.0, 0.0], (0.0, 8.0), [5.0])
    times = np.linspace(0.3, 8.0, 41)
    sol = solve(problem, method, "rodas", rtol=1e-7, atol=1e-7, t_eval=times)
    exact = solve_ivp(
        lambda t, y: [y[1], 5 * (1 - y[0] ** 2) * y[1] - y[0]],
        (0, 8),
        [2.0, 0.0],
        "Radau",
        rtol=1e-11,
        atol=1e-11,
        t_eval=times,
    ).y.T
    assert np.abs(sol.y - exact).max() < (2e-5 if method == "rodas5p" else 2e-4)
    steps = solve(problem, method, "rodas", rtol=1e-7, atol=1e-7)
    at_steps = solve(problem, method, "rodas", rtol=1e-7, atol=1e-7, t_eval=steps.t[1:-1])
    np.testing.assert_allclose(at_steps.y, steps.y[1:-1], rtol=0, atol=1e-13)


def test_lanes_are_the_single_solve():
    mus = np.geomspace(1.0, 1000.0, 70)
    batch = Batch(vdp, np.tile([2.0, 0.0], (70, 1)), mus[:, None], 0.0, 20.0)
    many = solve_ensemble(batch, "rodas5p", "rodas", rtol=1e-6, atol=1e-6)
    assert many.success.all()
    for i in (0, 20, 69):
        one = solve(batch[i], "rodas5p", "rodas", rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-6)
        assert abs(int(many.stats.nlu[i]) - one.stats.nlu) <= 1 and int(many.stats.njev[i]) > 0
    assert np.array_equal(many.stats.nsolve, 8 * many.stats.nlu)
    alone = solve_ensemble(batch[33:34], "rodas5p", "rodas", rtol=1e-6, atol=1e-6)
    assert np.array_equal(alone.y[0], many.y[33])


def blow(t, y, p, dy):
    dy[0] = y[0] * y[0]


def test_blow_up_has_a_status_and_stays_alone():
    gone = solve(Problem(blow, [1.0], (0.0, 2.0)), "rodas5p", "rodas", rtol=1e-6, atol=1e-6, max_steps=3000)
    assert not gone.success and gone.t[-1] < 1.0 + 1e-6 and np.isfinite(gone.y[-1]).all()
    batch = Batch(blow, np.array([[0.1], [5.0], [0.2]]), np.zeros((3, 0)), 0.0, 1.0)
    many = solve_ensemble(batch, "rodas5p", "rodas", rtol=1e-6, atol=1e-9, max_steps=3000)
    assert many.success.tolist() == [True, False, True] and many.status[1] in (UNDERFLOW, NON_FINITE, MAX_STEPS)
    np.testing.assert_allclose(many.y[[0, 2], 0], [1 / 9, 0.25], rtol=1e-5)


def growth(t, y, p, dy):
    dy[0] = p[0] * y[0]


def growth_jac(t, y, p, J):
    J[0, 0] = p[0]


def test_a_singular_matrix_is_a_rejected_attempt():
    h = 0.125
    shift = 1.0 / tableaus.implicit("rodas5p").gamma_float / h  # as the kernel forms it: 1/(h gamma) - J is 0
    sol = solve(
        Problem(growth, [1.0], (0.0, 0.5), [shift], jac=growth_jac),
        "rodas5p",
        registry.constant(h),
        rtol=1e-6,
        atol=1e-6,
    )
    s = sol.stats
    assert sol.success and s.nreject >= 1 and s.nsolve == 8 * (s.nlu - s.nreject) and s.njev > s.naccept


def edge(t, y, p, dy):
    dy[0] = -np.sqrt(1.0 + 1e-9 - y[0]) if y[0] <= 1.0 + 1e-9 else np.nan


def test_differences_turn_round_where_the_increment_leaves_the_domain():
    sol = solve(Problem(edge, [1.0], (0.0, 0.5)), "rodas5p", "rodas", rtol=1e-6, atol=1e-6)
    # sqrt(1 + 1e-9 - y) grows by t/2
    assert sol.success and sol.y[-1, 0] == pytest.approx(1.0 + 1e-9 - (0.25 + 1e-9**0.5) ** 2, abs=2e-5)


def wrong_jac(t, y, p, J):
    J[2, 0] = 1.0


def test_a_jacobian_that_writes_outside_its_matrix_is_refused():
    with pytest.raises(ValueError, match=r"raises IndexError|index \(2, 0\) is outside a matrix of 1 by 1"):
        solve(Problem(growth, [1.0], (0.0, 0.5), [1.0], jac=wrong_jac), "rodas5p", "rodas")


def test_a_lane_that_is_looked_at_again_pays_once():
    counts = []
    for reset in (False, True):
        core = make_core(
            4, True, family="vanderpol", method="rodas5p", pool_size=3, rtol=(1e-4, 1e-6), law="rodas", baseline="rodas"
        )
        core.seed(np.arange(4, dtype=np.uint64))
        core.reset()
        rows = []
        for _ in range(6):
            core.step(np.zeros((4, 2), np.float32))
            rows.append(
                [core.rows(name)[0, 1] for name in ("NFEV", "NJEV", "NLU", "NSOLVE", "T")] + [float(core.reward[1])]
            )
            if reset:
                core.reset(np.array([True, False, False, False]))
        counts.append(rows)
    assert counts[0] == counts[1] and counts[0][-1][1] >= 4


def closure_of(rate):
    def inner(t, y, p, dy):
        for i in range(1):
            dy[i] = rate * t * y[i]

    return inner


def test_reads_time_sees_loops_and_closures():
    assert reads_time(closure_of(2.0)) and not reads_time(blow) and reads_time(np.sin)
