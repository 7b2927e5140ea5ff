"""Single solves: reference solutions, convergence, SciPy's steps, dense output, time direction, tolerances, limits."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from method_kinds import EXPLICIT
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core import record
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import RECORD_NAMES, solve
from stepsmith.integrators.kernels.layout import MAX_STEPS, SUCCESS
from stepsmith.integrators.problems.nbody import kepler, pleiades
from stepsmith.integrators.problems.nonstiff import arenstorf, lorenz, lotka_volterra
from stepsmith.integrators.problems.problem import Problem

REFERENCE = json.loads((Path(__file__).parent / "data" / "reference_solutions.json").read_text())
#: SciPy's names of the methods that it has
THEIRS = {"bs32": "RK23", "dopri5": "RK45", "dop853": "DOP853"}
SCIPY = registry.get("scipy")
LV = lotka_volterra.published()


def lv_numpy(t, y, p=LV.p):
    return np.array([p[0] * y[0] - p[1] * y[0] * y[1], p[3] * y[0] * y[1] - p[2] * y[1]])


def end_error(problem, method, exact, rtol, atol=None, law=SCIPY):
    sol = solve(problem, method, law, rtol=rtol, atol=rtol if atol is None else atol)
    assert sol.success
    return np.abs(sol.y[-1] - exact).max()


def test_lotka_volterra_reference():
    exact = np.array(REFERENCE["lv"]["quad"])
    for method, rtol, bound in (
        ("bs32", 1e-9, 2e-7),
        ("dopri5", 1e-12, 2e-10),
        ("tsit5", 1e-12, 2e-10),
        ("dop853", 1e-13, 2e-11),
    ):
        assert end_error(LV, method, exact, rtol) < bound, method


def test_lorenz_reference():
    # errors grow by about e^(0.9 * 10) over the span
    assert end_error(lorenz.published(), "tsit5", np.array(REFERENCE["lorenz"]["quad"]), 1e-12) < 1e-7


def test_pleiades_reference():
    ref = np.array(REFERENCE["pleiades"]["ref"])
    exact = np.concatenate([ref[:14].reshape(2, 7).T.ravel(), ref[14:].reshape(2, 7).T.ravel()])
    assert end_error(pleiades.published(), "dop853", exact, 1e-13) < 1e-8


def test_arenstorf_orbit_closes():
    problem = arenstorf.published()
    assert end_error(problem, "dop853", problem.y0, 1e-13, 1e-15) < 1e-7


@pytest.mark.parametrize("method", EXPLICIT)
def test_error_is_proportional_to_the_tolerance(method):
    times = np.linspace(0.5, 10.0, 20)
    exact = solve_ivp(lv_numpy, LV.t_span, LV.y0, "DOP853", t_eval=times, rtol=3e-14, atol=1e-15).y.T
    tolerances = np.geomspace(1e-5, 1e-9 if method == "bs32" else 1e-11, 13)
    errors = [np.abs(solve(LV, method, SCIPY, rtol=tol, atol=tol, t_eval=times).y - exact).max() for tol in tolerances]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    # order p of the solution over the exponent k of the error estimate: 1 for all four (SciPy's RK45 has 1.18 here)
    assert 0.85 < slope < 1.2, slope


@pytest.mark.parametrize("method", THEIRS)
@pytest.mark.parametrize("rtol, atol", [(1e-3, 1e-6), (1e-6, 1e-9), (1e-9, 1e-10)])
def test_steps_of_scipy(method, rtol, atol):
    theirs = solve_ivp(lv_numpy, LV.t_span, LV.y0, THEIRS[method], rtol=rtol, atol=atol)
    ours = solve(LV, method, SCIPY, rtol=rtol, atol=atol)
    assert len(ours.t) == len(theirs.t)
    assert ours.stats.naccept == len(theirs.t) - 1
    assert ours.stats.nfev == theirs.nfev  # so that rejections agree as well
    np.testing.assert_allclose(ours.t, theirs.t, rtol=1e-6)
    np.testing.assert_allclose(ours.y, theirs.y.T, rtol=1e-6)


def test_rejections_of_scipy_one_by_one():
    """The pattern of accepted and rejected attempts with a first step that is far too large."""
    theirs = solve_ivp(lv_numpy, LV.t_span, LV.y0, "RK45", rtol=1e-8, atol=1e-8, first_step=2.0)
    ours = solve(LV, "dopri5", SCIPY, rtol=1e-8, atol=1e-8, first_step=2.0, log=True)
    column = dict(zip(ours.record_names, ours.record.T, strict=True))
    assert ours.stats.nreject == (theirs.nfev - 1) // 6 - (len(theirs.t) - 1) > 0
    assert (column["accept"] == 0).sum() == ours.stats.nreject
    np.testing.assert_allclose(ours.t, theirs.t, rtol=1e-6)


def test_first_step_of_scipy():
    for rtol in (1e-3, 1e-8):
        for method, name in THEIRS.items():
            theirs = solve_ivp(lv_numpy, LV.t_span, LV.y0, name, rtol=rtol, atol=rtol)
            ours = solve(LV, method, SCIPY, rtol=rtol, atol=rtol, log=True)
            attempted = ours.record[0, record.H]
            if ours.stats.nreject == 0 and len(theirs.t) > 2:
                assert attempted == pytest.approx(theirs.t[1] - theirs.t[0], rel=1e-9)


@pytest.mark.parametrize("method", EXPLICIT)
def test_dense_output(method):
    rtol = 1e-7
    times = np.linspace(*LV.t_span, 401)
    exact = solve_ivp(lv_numpy, LV.t_span, LV.y0, "DOP853", t_eval=times, rtol=3e-14, atol=1e-14).y.T
    steps = solve(LV, method, SCIPY, rtol=rtol, atol=rtol)
    sol = solve(LV, method, SCIPY, rtol=rtol, atol=rtol, t_eval=times)
    np.testing.assert_array_equal(sol.t, times)
    at_steps = solve_ivp(lv_numpy, LV.t_span, LV.y0, "DOP853", t_eval=steps.t, rtol=3e-14, atol=1e-14).y.T
    assert np.abs(sol.y - exact).max() < 10 * np.abs(steps.y - at_steps).max()
    assert sol.stats.naccept == steps.stats.naccept


@pytest.mark.parametrize("method", EXPLICIT)
def test_dense_output_meets_the_steps(method):
    steps = solve(LV, method, SCIPY, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(solve(LV, method, SCIPY, rtol=1e-6, atol=1e-6, t_eval=steps.t).y, steps.y)
    inner = steps.t[1:-1]
    for beside in (np.nextafter(inner, 0.0), np.nextafter(inner, 20.0)):
        near = solve(LV, method, SCIPY, rtol=1e-6, atol=1e-6, t_eval=beside).y
        np.testing.assert_allclose(near, steps.y[1:-1], rtol=0, atol=1e-13)


def test_output_times_at_the_ends_twice_and_none():
    t0, t1 = LV.t_span
    steps = solve(LV, "tsit5", SCIPY)
    np.testing.assert_array_equal(solve(LV, "tsit5", SCIPY, t_eval=[t0]).y, [LV.y0])
    np.testing.assert_array_equal(solve(LV, "tsit5", SCIPY, t_eval=[t1]).y, steps.y[-1:])
    sol = solve(LV, "tsit5", SCIPY, t_eval=[t0, t0, 3.0, 3.0, t1, t1])
    assert sol.success
    np.testing.assert_array_equal(sol.y[::2], sol.y[1::2])
    empty = solve(LV, "tsit5", SCIPY, t_eval=[])
    assert empty.success and empty.t.shape == (0,) and empty.y.shape == (0, 2)
    assert steps.t[0] == t0 and steps.t[-1] == t1 and np.all(np.diff(steps.t) > 0)


def test_backward_time_mirrors_forward_time():
    """dy/dt = f from 0 to T and dy/dt = -f from 0 to -T are the same computation; f is linear in p."""
    times = np.linspace(0.0, 10.0, 23)
    forward = solve(LV, "tsit5", SCIPY, t_eval=times)
    mirrored = Problem(LV.rhs, LV.y0, (0.0, -10.0), -LV.p)
    backward = solve(mirrored, "tsit5", SCIPY, t_eval=-times)
    np.testing.assert_array_equal(forward.y, backward.y)
    steps = solve(mirrored, "tsit5", SCIPY)
    np.testing.assert_array_equal(steps.t, -solve(LV, "tsit5", SCIPY).t)


def test_backward_time_returns_to_the_start():
    there = solve(LV, "dop853", SCIPY, rtol=1e-12, atol=1e-12)
    back = solve(Problem(LV.rhs, there.y[-1], (10.0, 0.0), LV.p), "dop853", SCIPY, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(back.y[-1], LV.y0, atol=1e-9)


def test_scalar_and_array_tolerances():
    scalar = solve(LV, "tsit5", SCIPY, rtol=1e-5, atol=1e-7)
    array = solve(LV, "tsit5", SCIPY, rtol=1e-5, atol=np.full(2, 1e-7))
    np.testing.assert_array_equal(scalar.t, array.t)
    np.testing.assert_array_equal(scalar.y, array.y)
    mixed = solve(LV, "dopri5", SCIPY, rtol=1e-9, atol=[1e-3, 1e-9])
    theirs = solve_ivp(lv_numpy, LV.t_span, LV.y0, "RK45", rtol=1e-9, atol=[1e-3, 1e-9])
    np.testing.assert_allclose(mixed.t, theirs.t, rtol=1e-6)
    assert solve(LV, "tsit5", SCIPY, rtol=np.float32(1e-3), atol=1).success  # any real numbers


def test_zero_absolute_tolerance_with_a_component_at_rest():
    """A component that is 0 and stays 0 has no scale and no error: it must not stop the others."""
    still = Problem(LV.rhs, [0.0, 1.0], (0.0, 1.0), LV.p)
    sol = solve(still, "tsit5", SCIPY, rtol=1e-8, atol=0.0)
    assert sol.success
    np.testing.assert_allclose(sol.y[-1], [0.0, np.exp(-3.0)], rtol=1e-7)


@pytest.mark.parametrize("method", ["dopri5", "dop853", "hermite4"])
def test_zero_absolute_tolerance_with_components_that_start_at_zero(method):
    """Four of the eight components of the two-body orbit are 0 at the start, and do not stay there."""
    orbit = kepler.published()
    law = registry.get("pi34")
    usual, bare = (solve(orbit, method, law, rtol=1e-7, atol=atol) for atol in (1e-7, 0.0))
    assert bare.success and np.count_nonzero(orbit.y0 == 0.0) == 4
    np.testing.assert_allclose(bare.y[-1], usual.y[-1], atol=2e-3)
    assert bare.stats.nfev < 4 * usual.stats.nfev


def test_an_output_at_the_end_needs_no_dense_output():
    plain, end = (solve(LV, "dop853", SCIPY, t_eval=t) for t in (None, [LV.t_span[1]]))
    assert end.stats.nfev == plain.stats.nfev
    np.testing.assert_array_equal(end.y[-1], plain.y[-1])
    inside = solve(LV, "dop853", SCIPY, t_eval=[LV.t_span[1] - 1e-3, LV.t_span[1]])
    assert inside.stats.nfev == plain.stats.nfev + 3


def test_zero_length_span_succeeds_at_once():
    sol = solve(Problem(LV.rhs, LV.y0, (3.0, 3.0), LV.p), "tsit5", SCIPY)
    assert sol.success and sol.stats.naccept == sol.stats.nreject == 0
    np.testing.assert_array_equal(sol.t, [3.0])
    np.testing.assert_array_equal(sol.y, [LV.y0])
    out = solve(Problem(LV.rhs, LV.y0, (3.0, 3.0), LV.p), "tsit5", SCIPY, t_eval=[3.0, 3.0])
    np.testing.assert_array_equal(out.y, [LV.y0, LV.y0])


def test_first_step_is_at_most_the_span():
    short = Problem(LV.rhs, LV.y0, (0.0, 0.1), LV.p)
    sol = solve(short, "tsit5", SCIPY, rtol=1e-3, atol=1e-3, first_step=0.1, log=True)
    assert sol.success and sol.t.tolist() == [0.0, 0.1]
    assert sol.record[0, record.H] == 0.1
    for size in (0.2, 1e300):
        with pytest.raises(ValueError, match="first_step must not exceed the span, 0.1 long"):
            solve(short, "tsit5", SCIPY, first_step=size)


def test_a_first_step_beyond_one_trajectorys_end_is_cut_there():
    batch = lotka_volterra.sampler(np.random.default_rng(0), 2)
    batch = dataclasses.replace(batch, t0=np.zeros(2), t1=np.array([0.01, 10.0]))
    ens = solve_ensemble(batch, "tsit5", SCIPY, rtol=1e-3, atol=1e-3, first_step=0.1)
    assert ens.success.all() and ens.stats.naccept[0] == 1 and ens.t.tolist() == [0.01, 10.0]


def test_max_steps():
    full = solve(LV, "tsit5", SCIPY)
    attempts = full.stats.naccept + full.stats.nreject
    exactly = solve(LV, "tsit5", SCIPY, max_steps=attempts)
    assert exactly.success
    short = solve(LV, "tsit5", SCIPY, max_steps=attempts - 1)
    assert not short.success and short.status == MAX_STEPS
    np.testing.assert_array_equal(short.y, full.y[: len(short.y)])
    cut = solve(LV, "tsit5", SCIPY, max_steps=7, t_eval=[0.0, 1e-3, 9.0])
    assert cut.status == MAX_STEPS and cut.t[-1] < 9.0 and np.isfinite(cut.y).all()


def test_many_steps_grow_the_storage():
    sol = solve(LV, "bs32", SCIPY, rtol=1e-9, atol=1e-9, log=True)
    assert sol.stats.naccept > 1000
    assert len(sol.t) == sol.stats.naccept + 1
    assert len(sol.record) == sol.stats.naccept + sol.stats.nreject
    np.testing.assert_allclose(sol.y[-1], REFERENCE["lv"]["quad"], atol=1e-6)


def test_record_columns():
    sol = solve(LV, "tsit5", SCIPY, rtol=1e-6, atol=1e-8, log=True)
    column = dict(zip(RECORD_NAMES, sol.record.T, strict=True))
    taken = column["accept"] == 1.0
    np.testing.assert_allclose(column["h"][taken], np.diff(sol.t), rtol=1e-9)
    np.testing.assert_allclose(column["t_left"][taken], 10.0 - sol.t[:-1], rtol=1e-12)
    assert np.all(column["err"][taken] < 1.0) and np.all(column["err"][~taken] >= 1.0)
    assert np.all(column["order"] == 5.0) and np.all(column["nf"] == 6.0) and np.all(column["finite"] == 1.0)
    assert np.all(column["rtol"] == 1e-6)
    assert np.isnan(column["newton_iters"]).all() and np.isnan(column["tau_amuse"]).all()
    assert np.all((column["curv"] >= 0) & (column["curv"] <= 1))
    assert np.all((column["enorm"] >= 1 - 1e-12) & (column["enorm"] <= np.sqrt(2) + 1e-12))
    assert np.all(column["hs"] > 0) and np.all(column["ynorm"] > 0)
    assert sol.stats.nfev == 2 + 6 * len(sol.record)
    # the answer is the scipy law's: log(.9 E^(-1/5)) within its limits, no growth after a rejection
    again = np.concatenate([[False], ~taken[:-1]])
    want = np.clip(np.log(0.9) - np.log(column["err"]) / 5, np.log(0.2), np.where(again & taken, 0.0, np.log(10.0)))
    whole = column["truncated"] == 0.0
    np.testing.assert_allclose(column["log_factor"][whole], want[whole], atol=1e-12)
    assert sol.status == SUCCESS
