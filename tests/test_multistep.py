"""The numerical differentiation formulas: coefficients, every step against its formula, published problems against
SciPy's BDF, orders, dense output, lanes, what is kept and what fails.
"""

from __future__ import annotations

import json
from fractions import Fraction as F
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import BDF, solve_ivp
from scipy.interpolate import KroghInterpolator

from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods, problems
from stepsmith.integrators.compile.vecmath import cos, sin, where
from stepsmith.integrators.core import record
from stepsmith.integrators.kernels.layout import BAD_START, NON_FINITE, UNDERFLOW
from stepsmith.integrators.methods.multistep.bdf import FORMULAS, NdfFormulas

ACCEPT = record.N_RECORD
REFERENCE = json.loads((Path(__file__).parent / "data" / "reference_solutions.json").read_text())


def vdp(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = p[0] * (1.0 - y[0] * y[0]) * y[1] - y[0]


def vdp_jac(t, y, p, J):
    J[0, 0] = 0.0
    J[0, 1] = 1.0
    J[1, 0] = -2.0 * p[0] * y[0] * y[1] - 1.0
    J[1, 1] = p[0] * (1.0 - y[0] * y[0])


def chased(t, y, p, dy):
    """y' = r (y - cos t), the rate r being p[0] before t = p[2] and p[1] after."""
    dy[0] = where(t < p[2], p[0], p[1]) * (y[0] - cos(t))


def chased_jac(t, y, p, J):
    J[0, 0] = where(t < p[2], p[0], p[1])


def chase(rate=-1.0, after=None, switch=1e9, y0=0.0, span=(0.0, 6.0)):
    return Problem(chased, [y0], span, [rate, rate if after is None else after, switch], jac=chased_jac)


def chase_exact(t, rate=-1.0):
    """Of y(0) = 0: y = a cos t + b sin t - a exp(rate t)."""
    a, b = rate**2 / (1 + rate**2), -rate / (1 + rate**2)
    return a * np.cos(t) + b * np.sin(t) - a * np.exp(rate * t)


def accepted(sol):
    return sol.record[:, ACCEPT] == 1.0


# Formulas


def test_coefficients_are_those_that_are_published():
    plain = NdfFormulas("bdf", (F(0),) * 5)
    # the leading coefficients of the BDF over those of h f, and their error constants
    assert [plain.leading(k) for k in range(1, 6)] == [F(1), F(3, 2), F(11, 6), F(25, 12), F(137, 60)]
    assert [plain.error(k) for k in range(1, 6)] == [F(1, k + 1) for k in range(1, 6)]
    theirs = BDF(lambda t, y: -y, 0.0, [1.0], 1.0)
    orders = range(1, 6)
    np.testing.assert_allclose([float(FORMULAS.leading(k)) for k in orders], theirs.alpha[1:6], rtol=1e-15)
    np.testing.assert_allclose([float(FORMULAS.error(k)) for k in orders], theirs.error_const[1:6], rtol=1e-14)
    method = methods.get("bdf")
    assert method.order == method.embedded_order == method.dense_order == 5 and method.implicit


def test_with_equal_steps_the_formula_is_the_published_bdf():
    """h w'(t_n) + a_k (y_n - w(t_n)) on equally spaced values, in fractions, against the table of the BDF."""
    table = {  # y_n, y_(n-1), ...: sum over values = h f_n
        1: ["1", "-1"],
        2: ["3/2", "-2", "1/2"],
        3: ["11/6", "-3", "3/2", "-1/3"],
        4: ["25/12", "-4", "3", "-4/3", "1/4"],
        5: ["137/60", "-5", "5", "-10/3", "5/4", "-1/5"],
    }
    plain = NdfFormulas("bdf", (F(0),) * 5)
    for k, row in table.items():
        weights = []
        for i in range(1, k + 2):
            others = [m for m in range(1, k + 2) if m != i]
            w = F(1)
            for m in others:
                w *= F(m, m - i)
            slope = w * sum(F(1, m) for m in others)
            weights.append(slope - plain.leading(k) * w)
        assert [plain.leading(k), *weights] == [F(x) for x in row] + [F(0)]


def replay(sol, rate, rtol, atol):
    """Each accepted step of a solve of `chase(rate)` against the formula; the orders that were used.

    The formula, its error constants and estimates are computed from the accepted steps alone, with SciPy's
    interpolation.  Returns ([order], [relative residual], [estimate reported over estimate computed]).
    """
    rows = sol.record
    f = lambda t, y: rate * (y - np.cos(t))  # noqa: E731
    h0 = rows[np.flatnonzero(accepted(sol))[0], record.H]
    ts = np.concatenate([[sol.t[0] - h0], sol.t])
    ys = np.concatenate([[sol.y[0, 0] - h0 * f(sol.t[0], sol.y[0, 0])], sol.y[:, 0]])
    leading, error = ([0.0] + [float(g(k)) for k in range(1, 6)] for g in (FORMULAS.leading, FORMULAS.error))
    orders, residuals, ratios = [], [], []
    n = 1  # index of the state that the attempt starts from
    order = 1
    for row in rows:
        if row[ACCEPT] == 1.0:
            t, y, h = ts[n + 1], ys[n + 1], ts[n + 1] - ts[n]
            found = {}
            for k in range(1, 6):
                back = slice(n - k, n + 1)
                if n - k >= 0:
                    w = KroghInterpolator(ts[back], ys[back])
                    value, slope = w.derivatives(t, 2)[:2]
                    found[k] = (y - value, h * f(t, y) - h * slope - leading[k] * (y - value))
            # after a rejection the order may be one less
            k = min((order, order - 1) if order > 1 else (order,), key=lambda k: abs(found[k][1]))
            orders.append(k)
            residuals.append(abs(found[k][1]) / (rtol * abs(y) + atol))
            j = int(row[record.ORDER]) - 1
            x = (t - ts[n - j : n + 1][::-1]) / h
            constant = max(abs((1 / x).sum() - leading[j]), (j + 1) / x[-1] * error[j])
            scale = atol + rtol * max(abs(y), abs(ys[n]))
            ratios.append(row[record.ERR] / (constant * abs(found[j][0]) / scale))
            order = j
            n += 1
        else:
            order = int(row[record.ORDER]) - 1
    return np.array(orders), np.array(residuals), np.array(ratios)


@pytest.mark.parametrize("law", ["i", "multistep", "h211b"])
def test_every_step_satisfies_the_formula_on_the_steps_that_there_were(law):
    """Also under laws that change the size at every step: the formula is exact on unequal steps."""
    rtol, atol = 1e-6, 1e-8
    sol = solve(chase(-2.0), "bdf", registry.get(law).general(), rtol=rtol, atol=atol, log=True)
    assert sol.success
    orders, residuals, ratios = replay(sol, -2.0, rtol, atol)
    assert residuals.max() < 1e-4 if law != "multistep" else residuals.max() < 0.1  # kept factors: Newton's limit
    assert np.abs(ratios - 1.0).max() < 1e-3
    assert orders[0] == 1 and orders.max() >= 4 and np.all(np.diff(orders) <= 1)
    sizes = np.diff(sol.t)
    changed = np.mean(np.abs(np.diff(sizes)) > 1e-9 * sizes[1:])
    assert changed < 0.5 if law == "multistep" else changed > 0.8
    assert np.abs(sol.y[:, 0] - chase_exact(sol.t, -2.0)).max() < 30 * rtol


def test_an_accepted_step_reports_the_estimate_of_the_next_order():
    sol = solve(chase(-2.0), "bdf", registry.get("i").general(), rtol=1e-6, atol=1e-8, log=True)
    rows = sol.record
    k = rows[:, record.ORDER] - 1.0
    raised = np.flatnonzero(np.diff(k) > 0) + 1
    assert len(raised) >= 3 and np.all(rows[raised, record.ERR] <= 1.0) and np.all(accepted(sol)[raised])
    # the law's factor is that of the order named: .9 E^(-1/(k + 1)), within its limits
    plain = accepted(sol) & (rows[:, record.TRUNCATED] == 0.0)
    factor = np.clip(0.9 * rows[plain, record.ERR] ** (-1.0 / rows[plain, record.ORDER]), 0.2, 10.0)
    after = np.concatenate([[False], ~accepted(sol)[:-1]])[plain]
    np.testing.assert_allclose(np.exp(rows[plain, ACCEPT + 1])[~after], factor[~after], rtol=1e-9)


# Published problems


@pytest.mark.parametrize(
    ("name", "key", "atol"),
    [("vdpol_stiff", "vdpol", 1e-2), ("hires", "hires", 1e-2), ("orego", "orego", 1e-2), ("rober", "rober", 1e-6)],
)
def test_published_end_points_in_no_more_work_than_scipys_bdf(name, key, atol):
    problem, end = problems.family(name).published(), np.array(REFERENCE[key]["ref"])
    p = np.array(problem.p)

    def f(t, y):
        dy = np.empty_like(y)
        problem.rhs(t, y, p, dy)
        return dy

    def jacobian(t, y):
        J = np.zeros((len(y), len(y)))
        problem.jac(t, y, p, J)
        return J

    last = np.inf
    for tol in (1e-5, 1e-7):
        sol = solve(problem, "bdf", rtol=tol, atol=tol * atol)
        theirs = solve_ivp(f, problem.t_span, problem.y0, "BDF", rtol=tol, atol=tol * atol, jac=jacobian)
        size = atol + np.abs(end)
        error, other = (np.sqrt(np.mean(((y - end) / size) ** 2)) for y in (sol.y[-1], theirs.y[:, -1]))
        assert sol.success and error < 60 * tol and error < last / 5
        # at equal error: work grows as the error's power -1/6
        equal = (error / other) ** (1.0 / 6.0)
        s = sol.stats
        assert equal * s.naccept < 1.3 * (len(theirs.t) - 1) and equal * s.nfev < 1.0 * theirs.nfev
        assert s.nlu < 1.5 * theirs.nlu and s.njev < 2 * theirs.njev and s.nreject < 0.2 * s.naccept
        last = error


def test_the_error_follows_the_tolerance_and_orders_rise():
    errors, most = [], []
    for tol in 10.0 ** -np.arange(3.0, 10.1):
        sol = solve(chase(-2.0), "bdf", registry.get("multistep").general(), rtol=tol, atol=tol, log=True)
        errors.append(np.abs(sol.y[:, 0] - chase_exact(sol.t, -2.0)).max())
        most.append(sol.record[accepted(sol), record.ORDER].max())
    errors = np.array(errors)
    slope = np.polyfit(np.arange(3.0, 10.1), -np.log10(errors), 1)[0]
    assert 0.75 < slope < 1.15 and np.all(errors < 50 * 10.0 ** -np.arange(3.0, 10.1))
    assert most[0] <= 5 and most[-1] == 6 and np.all(np.diff(most) >= 0)


@pytest.mark.parametrize("law", ["radau5", "rodas", "h211b", "pi34"])
def test_laws_of_other_methods_drive_it(law):
    problem = Problem(vdp, [2.0, 0.0], (0.0, 20.0), [50.0], jac=vdp_jac)
    sol = solve(problem, "bdf", registry.get(law).general(), 1e-6, 1e-8)
    far = solve(problem, "radau5", None, 1e-10, 1e-12)
    assert sol.success and np.abs(sol.y[-1] - far.y[-1]).max() < 1e-4 and sol.stats.naccept < 2500


# Dense output, direction, lanes


def test_dense_output_has_the_accuracy_of_the_steps_also_backwards():
    rtol = 1e-7
    law = registry.get("multistep").general()
    times = np.linspace(0.1, 6.0, 60)
    sol = solve(chase(-2.0), "bdf", law, rtol=rtol, atol=rtol, t_eval=times)
    assert np.abs(sol.y[:, 0] - chase_exact(times, -2.0)).max() < 30 * rtol
    # (t_eval changes no step)
    assert sol.stats.naccept == solve(chase(-2.0), "bdf", law, rtol=rtol, atol=rtol).stats.naccept
    back = chase(2.0, y0=float(chase_exact(6.0, 2.0)), span=(6.0, 0.0))  # unstable forwards, stable backwards
    sol = solve(back, "bdf", law, rtol=rtol, atol=rtol, t_eval=times[::-1])
    assert sol.success and np.abs(sol.y[:, 0] / chase_exact(times[::-1], 2.0) - 1.0).max() < 100 * rtol


def test_lanes_are_single_solves():
    mus = np.geomspace(1.0, 200.0, 20)
    y0 = np.tile([2.0, 0.0], (20, 1))
    y0[3] = np.nan
    batch = Batch(vdp, y0, mus[:, None], 0.0, 5.0, jac=vdp_jac, validate=False)
    many = solve_ensemble(batch, "bdf", rtol=1e-6, atol=1e-8)
    assert many.status[3] == BAD_START and many.success.sum() == 19
    for i in (0, 7, 19):
        one = solve(batch[i], "bdf", rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-7, atol=1e-9)
        assert abs(many.stats.nfev[i] - one.stats.nfev) <= 0.02 * one.stats.nfev + 5


N = 24


def diffusion(t, y, p, dy):
    for i in range(N):
        left = y[i - 1] if i > 0 else 0.0
        right = y[i + 1] if i < N - 1 else sin(t)
        dy[i] = 400.0 * (left - 2.0 * y[i] + right) - y[i] * y[i] * y[i]


@pytest.mark.parametrize("pattern", ["none", "band", "sparse"])
def test_jacobians_by_differences_in_every_kind_of_matrix(pattern):
    rng = np.random.default_rng(0)
    sparsity = {"none": None, "band": (1, 1), "sparse": np.abs(np.subtract.outer(range(N), range(N))) <= 1}[pattern]
    if pattern == "sparse":
        sparsity = sparsity | (rng.random((N, N)) < 0.02)
    sol = solve(Problem(diffusion, np.zeros(N), (0.0, 3.0), [], sparsity=sparsity), "bdf", rtol=1e-6, atol=1e-8)

    def f(t, y):
        dy = np.empty(N)
        diffusion(t, y, (), dy)
        return dy

    exact = solve_ivp(f, (0.0, 3.0), np.zeros(N), "Radau", rtol=1e-10, atol=1e-12).y[:, -1]
    s = sol.stats
    assert sol.success and np.abs(sol.y[-1] - exact).max() < 2e-5
    assert 0 < s.njev <= s.nlu < 0.5 * s.naccept
    each = {"none": N + 1, "band": 4}.get(pattern)
    assert each is None or s.nfev == s.nsolve + each * s.njev + 2  # two evaluations choose the first size


# What is kept, what fails


def test_factors_are_kept_while_size_and_order_are():
    law = registry.get("i", lu_keep=1.0, band_hi=1.5, band_lo=0.8).general()
    sol = solve(chase(-2.0), "bdf", law, 1e-7, 1e-9, log=True)
    rows = sol.record
    renewed = rows[:, record.NLU] > 0
    same = np.zeros(len(rows), bool)
    # the same size and order as the attempt before
    same[2:] = (rows[2:, record.H] == rows[1:-1, record.H]) & (rows[1:-1, record.ORDER] == rows[:-2, record.ORDER])
    same &= np.concatenate([[False], accepted(sol)[:-1]])
    assert same.sum() > 30 and not renewed[same & (rows[:, record.NJAC] == 0.0)].any()
    assert np.all(rows[renewed, record.LU_AGE] == 0.0) and sol.stats.njev < 5


@pytest.mark.parametrize("law", ["multistep", "i"])
def test_after_a_jump_of_the_right_hand_side_the_order_falls(law):
    sol = solve(chase(-1.0, after=-50.0, switch=3.0), "bdf", registry.get(law).general(), 1e-7, 1e-9, log=True)
    assert sol.success
    at = chase_exact(3.0)
    # y = a cos t + b sin t + c exp(-50 (t - 3)) after the jump
    a, b = 2500 / 2501, 50 / 2501
    c = at - a * np.cos(3.0) - b * np.sin(3.0)
    later = sol.t > 3.0
    exact = a * np.cos(sol.t) + b * np.sin(sol.t) + c * np.exp(-50.0 * np.maximum(sol.t - 3.0, 0.0))
    assert np.abs(sol.y[later, 0] - exact[later]).max() < 1e-4
    assert np.abs(sol.y[~later, 0] - chase_exact(sol.t[~later])).max() < 1e-5
    t = np.concatenate([[0.0], np.cumsum(np.where(accepted(sol), sol.record[:, record.H], 0.0))])[:-1]
    near = sol.record[(t > 2.9) & (t < 3.1), record.ORDER]
    assert near.max() >= 4 and near.min() <= 3 and sol.stats.nreject < 60


def square(t, y, p, dy):
    dy[0] = p[0] * y[0] * y[0]


def test_failures_end_with_a_status():
    def run(y0, rate, end=2.0, **options):
        return solve(Problem(square, [y0], (0.0, end), [rate], validate=False), "bdf", None, 1e-6, 1e-9, **options)

    sol = run(1.0, 1.0)  # blows up at 1
    assert sol.status in (UNDERFLOW, NON_FINITE) and 0.9 < sol.t[-1] < 1.1
    assert np.all(np.isfinite(sol.y)) and np.abs(sol.y[sol.t < 0.9, 0] * (1 - sol.t[sol.t < 0.9]) - 1.0).max() < 1e-3
    assert run(np.nan, 1.0).status == BAD_START
    sol = solve(chase(-1.0, after=1e308, switch=3.0), "bdf", registry.get("multistep").general(), 1e-6, 1e-9)
    assert sol.status in (UNDERFLOW, NON_FINITE) and sol.t[-1] == pytest.approx(3.0, abs=1e-6)
    assert not run(1.0, -1.0, 1e6, max_steps=10).success
    assert run(1.0, -1.0, 1e6).success


def test_components_at_zero_without_an_absolute_tolerance():
    sol = solve(Problem(vdp, [0.0, 0.0], (0.0, 5.0), [1.0], jac=vdp_jac), "bdf", None, 1e-6, 0.0)
    assert sol.success and np.all(sol.y == 0.0)
    sol = solve(Problem(vdp, [0.0, 1.0], (0.0, 5.0), [1.0], jac=vdp_jac), "bdf", None, 1e-6, 0.0)
    far = solve(Problem(vdp, [0.0, 1.0], (0.0, 5.0), [1.0], jac=vdp_jac), "bdf", None, 1e-10, 0.0)
    assert sol.success and np.abs(sol.y[-1] - far.y[-1]).max() < 1e-4


def test_scipys_name_is_answered():
    with pytest.raises(ValueError, match="is 'bdf' here"):
        methods.get("BDF")
