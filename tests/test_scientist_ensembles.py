"""What a simulation scientist does in a first week with the library: sweeps, ensembles, outputs, processes, slips.

As in `test_scientist_tasks.py`, right-hand sides are written as their authors would write them, and answers are checked
against SciPy, closed forms and conserved quantities.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.controllers.file import save


def scipy_end(f, span, y0, method="DOP853", **given):
    """What SciPy says of the end of the span, at a tolerance far below those used here."""
    sol = solve_ivp(f, span, y0, method, **{"rtol": 1e-11, "atol": 1e-13, **given})
    assert sol.success
    return sol.y[:, -1]


def damped(t, y, p):
    return [y[1], -p["k"] * y[0] - p["c"] * y[1]]


def damped_exactly(t, k, c):
    """x(t) of x'' = -k x - c x' from x = 1, x' = 0."""
    w = np.sqrt(k - c**2 / 4)
    return np.exp(-c * t / 2) * (np.cos(w * t) + c / (2 * w) * np.sin(w * t))


def test_five_thousand_instances_of_which_some_blow_up():
    y0 = np.linspace(0.1, 2.1, 5000)  # y = y0 / (1 - y0 t): beyond 1 there is no solution at t = 1
    ens = ss.solve_ensemble(ss.Problem(lambda t, y: y**2, [1.0], (0, 1)).batch(y0=y0[:, None]), rtol=1e-8)
    assert np.array_equal(ens.success, y0 < 1)
    fine = y0 < 0.999
    assert ens.y[fine, 0] == pytest.approx(y0[fine] / (1 - y0[fine]), rel=1e-3)
    assert ens.y[y0 < 0.9, 0] == pytest.approx((y0 / (1 - y0))[y0 < 0.9], rel=1e-5)
    assert ens.t[~ens.success] == pytest.approx(1 / y0[~ens.success], rel=1e-6)
    assert "failed" in repr(ens) and ens.message(4999) != ens.message(0)


def test_a_sweep_over_a_vector_of_parameters():
    def oscillator(t, y, p):
        return [y[1], -p[0] * y[0] - p[1] * y[1]]

    k = np.linspace(1, 9, 200)
    p = np.column_stack((k, np.full(200, 0.2)))
    ens = ss.solve_ensemble(ss.Problem(oscillator, [1, 0], (0, 5), p=[1, 0.2]).batch(p=p), rtol=1e-9)
    assert ens.success.all() and ens.y[:, 0] == pytest.approx(damped_exactly(5.0, k, 0.2), abs=1e-6)


def test_a_sweep_by_name():
    problem = ss.Problem(damped, [1, 0], (0, 5), p={"k": 1, "c": 0.2})
    k = np.linspace(1, 9, 50)
    ens = ss.solve_ensemble(problem.batch(p={"k": k}), rtol=1e-9)
    assert ens.y[:, 0] == pytest.approx(damped_exactly(5.0, k, 0.2), abs=1e-6)


def test_a_sweep_by_a_loop_of_closures():
    def model(k, c):
        def rhs(t, y):
            return [y[1], -k * y[0] - c * y[1]]

        return ss.Problem(rhs, [1, 0], (0, 5))

    k = np.linspace(1, 9, 20)
    ends = [ss.solve(model(v, 0.2), rtol=1e-9).y[-1, 0] for v in k]
    assert ends == pytest.approx(damped_exactly(5.0, k, 0.2), abs=1e-6)
    ens = ss.solve_ensemble([model(v, 0.2) for v in k], rtol=1e-9)
    assert ens.y[:, 0] == pytest.approx(damped_exactly(5.0, k, 0.2), abs=1e-6)


def test_spans_of_different_lengths():
    problem = ss.Problem(damped, [1, 0], (0, 5), p={"k": 4, "c": 0.2})
    t1 = np.array([0.5, 1.0, 3.0, 0.0])
    ens = ss.solve_ensemble(problem.batch(t1=t1), rtol=1e-9)
    assert ens.t == pytest.approx(t1) and ens.y[:, 0] == pytest.approx(damped_exactly(t1, 4, 0.2), abs=1e-6)


def sir(t, y, p):
    s, i = y
    infections = p[0] * s * i
    return [-infections, infections - i]


R0 = np.array([1.5, 2.0, 4.0])
DAYS = np.linspace(0, 40, 4001)


def epidemics():
    return ss.Problem(sir, [0.999, 0.001], (0, 40), p=[2.0]).batch(p=R0[:, None])


def test_the_peak_of_an_epidemic():
    ens = ss.solve_ensemble(epidemics(), rtol=1e-8, t_eval=DAYS, output="max")
    peak = 1.0 - (1 + np.log(R0 * 0.999)) / R0  # the largest share of infected, in closed form
    assert ens.output.shape == (3, 2) and ens.output[:, 1] == pytest.approx(peak, abs=1e-5)
    assert ens.y_eval is None


def test_the_day_of_the_peak():
    day = ss.solve_ensemble(
        epidemics(), rtol=1e-8, t_eval=DAYS, output=lambda sol: DAYS[sol.y_eval[:, :, 1].argmax(axis=1)]
    ).output

    def top(t, y, r):
        return r * y[0] - 1

    exact = [
        solve_ivp(lambda t, y, r: sir(t, y, [r]), (0, 40), [0.999, 0.001], "DOP853", events=top, args=(r,),
                  rtol=1e-10, atol=1e-12).t_events[0][0]
        for r in R0
    ]  # fmt: skip
    assert day == pytest.approx(exact, abs=0.011)


def test_a_switch_in_time():
    def heated(t, y):
        power = np.where(t < 2.0, 3.0, 0.0)
        return [power - y[0]]

    def heated_by_if(t, y):
        if t < 2.0:
            return [3.0 - y[0]]
        return [-y[0]]

    exact = 3 * (1 - np.exp(-2.0)) * np.exp(-3.0)
    for rhs in (heated, heated_by_if):
        sol = ss.solve(ss.Problem(rhs, [0.0], (0, 5)), rtol=1e-9, atol=1e-9)
        assert sol.y[-1, 0] == pytest.approx(exact, abs=1e-6)
        assert sol.y[-1] == pytest.approx(scipy_end(rhs, (0, 5), [0.0], max_step=0.05), abs=1e-6)


def test_outputs_at_irregular_times():
    t = np.array([0, 1e-9, 0.1, 0.10001, 2.7, 4.999999, 5])
    problem = ss.Problem(damped, [1, 0], (0, 5), p={"k": 4, "c": 0.2})
    sol = ss.solve(problem, rtol=1e-9, t_eval=t)
    assert np.array_equal(sol.t, t) and sol.y[:, 0] == pytest.approx(damped_exactly(t, 4, 0.2), abs=1e-7)
    ens = ss.solve_ensemble(problem, rtol=1e-9, t_eval=list(t))
    assert ens.y_eval[0, :, 0] == pytest.approx(damped_exactly(t, 4, 0.2), abs=1e-7)
    with pytest.raises(ValueError, match="t_eval"):
        ss.solve(problem, t_eval=[0, 6])


K = 1.0


def spring(t, y):
    return [y[1], -K * y[0]]


def test_a_number_changed_between_two_calls(monkeypatch):
    problem = ss.Problem(spring, [1, 0], (0, 1))
    assert ss.solve(problem, rtol=1e-9).y[-1, 0] == pytest.approx(np.cos(1.0), abs=1e-7)
    monkeypatch.setitem(globals(), "K", 9.0)
    assert ss.solve(problem, rtol=1e-9).y[-1, 0] == pytest.approx(np.cos(3.0), abs=1e-7)
    assert ss.solve(ss.Problem(spring, [1, 0], (0, 1)), rtol=1e-9).y[-1, 0] == pytest.approx(np.cos(3.0), abs=1e-7)


def end_of(problem):
    return float(ss.solve(problem, rtol=1e-9).y[-1, 0])


def many_springs():
    k = [1.0, 4.0, 9.0]
    return [ss.Problem(damped, [1, 0], (0, 5), p={"k": v, "c": 0.2}) for v in k], damped_exactly(5.0, np.array(k), 0.2)


def test_a_pool_of_processes():
    problems, exact = many_springs()
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(end_of, problems) == pytest.approx(exact, abs=1e-6)


def test_a_pool_of_threads():
    problems, exact = many_springs()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(end_of, problems * 5)) == pytest.approx(np.tile(exact, 5), abs=1e-6)


@pytest.mark.slow
def test_other_controllers_by_name_and_from_a_file(tmp_path):
    problem = ss.Problem(damped, [1, 0], (0, 20), p={"k": 4, "c": 0.2})
    by_name = ss.solve(problem, controller="h211b", rtol=1e-8)
    assert by_name.y[-1, 0] == pytest.approx(damped_exactly(20.0, 4, 0.2), abs=1e-5)
    path = tmp_path / "mine.safetensors"
    save(ss.load_controller("three-body"), path)
    learned, again = (ss.solve(problem, controller=name, rtol=1e-6) for name in ("three-body", path))
    assert np.array_equal(learned.t, again.t) and np.array_equal(learned.y, again.y)
    with pytest.raises(ValueError, match="h211b"):
        ss.solve(problem, controller="h211bb")


def test_every_attempt_on_record():
    sol = ss.solve(ss.Problem(damped, [1, 0], (0, 20), p={"k": 4, "c": 0.2}), rtol=1e-8, log=True)
    log = dict(zip(sol.record_names, sol.record.T, strict=True))
    accepted = log["accept"] == 1
    assert len(sol.record) == sol.stats.naccept + sol.stats.nreject and accepted.sum() == sol.stats.naccept
    assert log["h"][accepted].sum() == pytest.approx(20.0) and log["err"][accepted].max() <= 1
    assert log["h"][accepted] == pytest.approx(np.diff(sol.t))


def test_a_span_of_nothing():
    sol = ss.solve(ss.Problem(damped, [1, 0], (3, 3), p={"k": 4, "c": 0.2}))
    assert sol.success and sol.t[-1] == 3.0 and np.array_equal(sol.y[-1], [1.0, 0.0])


@pytest.mark.slow
def test_a_stiff_oscillator_that_is_pushed():
    def van_der_pol(t, y, mu):
        return [y[1], mu * ((1 - y[0] ** 2) * y[1]) - y[0] + np.sin(t / 100)]

    problem = ss.Problem(van_der_pol, [2.0, 0.0], (0, 1500), args=(1e3,))
    exact = scipy_end(van_der_pol, (0, 1500), [2.0, 0.0], "Radau", args=(1e3,), rtol=1e-9, atol=1e-11)
    sol = ss.solve(problem, method="radau5", controller="radau5", rtol=1e-7, atol=1e-9)
    assert sol.success and sol.y[-1] == pytest.approx(exact, rel=1e-4)


def test_a_stiff_equation_that_follows_the_time():
    def prothero_robinson(t, y):
        return -1e5 * (y - np.cos(t)) - np.sin(t)

    sol = ss.solve(ss.Problem(prothero_robinson, [1.0], (0, 10)), method="esdirk43", rtol=1e-7, atol=1e-9)
    assert sol.success and sol.y[:, 0] == pytest.approx(np.cos(sol.t), abs=1e-6) and sol.stats.naccept < 1000


def test_slips_are_told_in_one_clear_error():
    def f(t, y, p):
        return [y[1], -p[0] * y[0]]

    with pytest.raises(ValueError, match="y0 must be finite, but entry 1 is nan"):
        ss.Problem(f, [1.0, np.nan], (0, 1), p=[1.0])
    with pytest.raises(ValueError, match="returns 2 values, where y0 has 3"):
        ss.Problem(f, [1.0, 0.0, 0.0], (0, 1), p=[1.0])
    with pytest.raises(ValueError, match="p holds no values"):
        ss.Problem(f, [1.0, 0.0], (0, 1))
    with pytest.raises(ValueError, match="tsit5"):
        ss.solve(ss.Problem(f, [1.0, 0.0], (0, 1), p=[1.0]), method="tsti5")
    with pytest.raises(ValueError, match="RK45 is 'dopri5' here"):
        ss.solve(ss.Problem(f, [1.0, 0.0], (0, 1), p=[1.0]), method="RK45")
    with pytest.raises(ValueError, match=r"write ss.Problem\(rhs, y0, t_span"):
        ss.solve(f, [1.0, 0.0], (0, 1))
    with pytest.raises(ValueError, match="rtol"):
        ss.solve(ss.Problem(f, [1.0, 0.0], (0, 1), p=[1.0]), rtol=-1e-6)
