"""What goes wrong ends with one clear error or with a status and the last good state; nothing hangs."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import log
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.kernels.layout import BAD_START, MAX_STEPS, MESSAGES, NON_FINITE, SUCCESS, UNDERFLOW
from stepsmith.integrators.problems.nonstiff import lotka_volterra
from stepsmith.integrators.problems.problem import Batch, Problem

LAW = registry.get("pi34")
LV = lotka_volterra.published()
EPS = np.finfo(float).eps


def trouble(t, y, p, dy):
    """One right-hand side for every misfortune, so that one kernel serves them all."""
    if p[0] == 1.0:
        dy[0] = y[0] * y[0]
    elif p[0] == 2.0:
        dy[0] = log(0.5 - t)  # NaN beyond t = 1/2
    elif p[0] == 3.0:
        dy[0] = log(-1.0 - t)
    elif p[0] == 4.0:
        dy[0] = 1.0 / (0.5 - t) if t != 0.5 else 1e308 * 10.0
    else:
        dy[0] = -p[1] * y[0]


def go(mode, rate=1.0, y0=1.0, span=(0.0, 1.0), validate=True, **more):
    problem = Problem(trouble, [y0], span, [mode, rate], validate=validate)
    return solve(problem, "tsit5", LAW, **{"rtol": 1e-6, "atol": 1e-9, "max_steps": 20_000, **more})


def test_unknown_method_names_the_nearest():
    with pytest.raises(ValueError, match="unknown method 'dorpi5': did you mean 'dopri5'"):
        solve(LV, "dorpi5", LAW)
    with pytest.raises(ValueError, match="did you mean 'tsit5'"):
        solve_ensemble(LV.batch(), "Tsit-5", LAW)
    assert "tsit5" in methods.names()


@pytest.mark.parametrize(
    "more, words",
    [
        ({"rtol": -1e-6}, "rtol must be finite and not negative"),
        ({"atol": -1e-6}, "atol must be finite and not negative"),
        ({"rtol": np.nan}, "rtol must be finite"),
        ({"rtol": "loose"}, "rtol must be a real number or an array of them, got 'loose'"),
        ({"atol": None}, "atol must be a real number or an array of them, got None"),
        ({"t_eval": "all"}, "t_eval must be a real number or an array of them, got 'all'"),
        ({"atol": np.inf}, "atol must be finite"),
        ({"atol": [1e-6, np.nan]}, "atol must be finite"),
        ({"rtol": 0.0, "atol": 0.0}, "both 0"),
        ({"rtol": 0.0, "atol": [1e-6, 0.0]}, "both 0"),
        ({"atol": [1e-6, 1e-6, 1e-6]}, "atol must be a number or have shape"),
        ({"rtol": [1e-6, 1e-6]}, "rtol must be a number or have shape"),
        ({"first_step": 0.0}, "first_step must be a positive finite number"),
        ({"first_step": -1.0}, "first_step must be a positive finite number"),
        ({"first_step": np.nan}, "first_step must be a positive finite number"),
        ({"first_step": np.inf}, "first_step must be a positive finite number"),
        ({"max_steps": 0}, "max_steps must be a whole number of at least 1"),
        ({"t_eval": [5.0, 3.0]}, "ordered"),
        ({"t_eval": [5.0, 11.0]}, "within"),
        ({"t_eval": [-1.0]}, "within"),
        ({"t_eval": [np.nan]}, "within"),
    ],
)
def test_arguments(more, words):
    with pytest.raises(ValueError, match=words):
        solve(LV, "tsit5", LAW, **more)
    with pytest.raises(ValueError, match=words):
        solve_ensemble(LV.batch(), "tsit5", LAW, **({"rtol": [1e-6] * 2} if more == {"rtol": [1e-6, 1e-6]} else more))


def test_shapes():
    with pytest.raises(ValueError, match="t_eval must be one-dimensional"):
        solve(LV, "tsit5", LAW, t_eval=[[1.0, 2.0]])
    with pytest.raises(ValueError, match="t_eval must have shape"):
        solve_ensemble(LV.batch(), "tsit5", LAW, t_eval=np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"index 1 is out of bounds.*y has the shape \(1, 2\) of y0"):
        Problem(LV.rhs, [[1.0, 1.0]], (0.0, 1.0), LV.p)
    with pytest.raises(ValueError, match="p holds 2 instances, y0 holds 3"):
        Batch(LV.rhs, np.ones((3, 2)), np.ones((2, 4)), 0.0, 1.0)


def test_non_finite_start():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="y0 must be finite"):
            Problem(LV.rhs, [1.0, bad], (0.0, 1.0), LV.p)
        sol = go(0.0, y0=bad, validate=False)
        assert not sol.success and sol.status == BAD_START
        assert sol.message == MESSAGES[BAD_START] and "initial state" in sol.message


def test_tolerances_near_the_precision_warn():
    with pytest.warns(UserWarning, match="near the precision of float64"):
        sol = go(0.0, rtol=EPS, atol=0.0, span=(0.0, 0.1))
    assert np.isfinite(sol.y).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        go(0.0, rtol=1e-12)
        go(0.0, rtol=0.0, atol=1e-9)
        go(0.0, rtol=0.0, atol=1e-16, y0=1e-6, span=(0.0, 0.1))


def test_absolute_tolerances_near_the_precision_warn():
    """The absolute tolerance alone, below what float64 tells apart at the state's size."""
    with pytest.warns(UserWarning, match="atol 1e-16 is near the precision"):
        go(0.0, rtol=0.0, atol=1e-16, span=(0.0, 0.1), max_steps=50)
    batch = Batch(trouble, np.ones((2, 1)), np.zeros((2, 2)), 0.0, 0.1)
    with pytest.warns(UserWarning, match="atol 1e-17 is near the precision"):
        solve_ensemble(batch, "tsit5", LAW, rtol=[1e-6, 0.0], atol=[[1e-17], [1e-17]], max_steps=50)


@pytest.mark.parametrize(
    "source, words",
    [
        ("lorenz", "problem must be a Problem, got str"),
        (None, "got NoneType"),
        (LV.batch(), "solve_ensemble takes a Batch"),
    ],
)
def test_what_is_no_problem(source, words):
    with pytest.raises(ValueError, match=words):
        solve(source, "tsit5", LAW)


@pytest.mark.parametrize(
    "source, words", [("lorenz", "batch must be a Batch, a Problem or a list of Problems, got 'lorenz'"),
                      ([LV, 3], "number 1 is 3"), ([], "at least one Problem")]
)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_is_no_batch(source, words, device):
    with pytest.raises(ValueError, match=words):
        ss.solve_ensemble(source, "tsit5", LAW, device=device)


@pytest.mark.parametrize("controller", [None, 0.9, "pi34", len])
def test_what_is_no_controller(controller):
    with pytest.raises(ValueError, match="not a controller: .*a name, a path or a controller object"):
        solve(LV, "tsit5", controller)
    with pytest.raises(ValueError, match="not a controller"):
        solve_ensemble(LV.batch(), "tsit5", controller)


def test_blow_up():
    """y' = y^2 from 1 is 1/(1 - t): the solve ends at t = 1 with the last good state."""
    sol = go(1.0, span=(0.0, 2.0))
    assert not sol.success and sol.status in (UNDERFLOW, NON_FINITE)
    assert sol.t[-1] == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(sol.y).all() and sol.y[-1, 0] > 1e6
    np.testing.assert_allclose(sol.y[sol.t < 0.9, 0], 1 / (1 - sol.t[sol.t < 0.9]), rtol=1e-3)
    cut = go(1.0, span=(0.0, 2.0), t_eval=[0.5, 0.9, 1.5])
    np.testing.assert_array_equal(cut.t, [0.5, 0.9])
    np.testing.assert_allclose(cut.y[:, 0], [2.0, 10.0], rtol=1e-4)


def test_right_hand_side_that_is_nan_from_some_time_on():
    sol = go(2.0, y0=0.0)
    assert not sol.success and sol.status == NON_FINITE
    assert 0.49 < sol.t[-1] <= 0.5
    assert np.isfinite(sol.y).all()
    exact = -((0.5 - sol.t) * (np.log(np.maximum(0.5 - sol.t, 1e-300)) - 1) - 0.5 * (np.log(0.5) - 1))
    np.testing.assert_allclose(sol.y[:, 0], exact, atol=1e-4)


def test_right_hand_side_that_is_nan_at_the_start():
    sol = go(3.0)
    assert sol.status == BAD_START and sol.stats.naccept == 0
    np.testing.assert_array_equal(sol.t, [0.0])
    np.testing.assert_array_equal(sol.y, [[1.0]])


def test_pole_in_time():
    sol = go(4.0)
    assert not sol.success or abs(sol.y[-1, 0]) < np.inf
    assert np.isfinite(sol.y).all()


def test_time_too_large_for_the_steps_that_are_needed():
    """At t = 1e9 steps below 2e-6 do not exist; a rate of 1e9 needs them."""
    sol = go(0.0, rate=1e9, span=(1e9, 1e9 + 1.0))
    assert not sol.success and sol.status == UNDERFLOW
    assert "time variable" in sol.message and np.isfinite(sol.y).all()
    assert go(0.0, rate=1.0, span=(1e9, 1e9 + 1.0)).y[-1, 0] == pytest.approx(np.exp(-1), rel=1e-5)


@pytest.mark.parametrize("length", [5e-324, 1e-300, 1e-30, 1e-12])
def test_tiny_spans(length):
    sol = go(0.0, span=(0.0, length))
    assert sol.success and sol.t[-1] == length and sol.y[-1, 0] == pytest.approx(1.0)
    late = go(0.0, span=(1.0, 1.0 + EPS))
    assert late.success and late.t[-1] == 1.0 + EPS


def test_huge_spans():
    flat = go(0.0, rate=0.0, span=(0.0, 1e300))
    assert flat.success and flat.t[-1] == 1e300 and flat.y[-1, 0] == 1.0
    steep = go(0.0, span=(0.0, 1e300), max_steps=500)
    assert steep.status == MAX_STEPS and steep.stats.naccept + steep.stats.nreject == 500
    assert np.isfinite(steep.y).all()


def test_span_ends_are_hit_exactly():
    for t0, t1 in ((0.1, 0.7), (1e6, 1e6 + 1 / 3), (-0.3, 1 / 7), (0.7, 0.1)):
        sol = go(0.0, span=(t0, t1))
        assert sol.success and sol.t[0] == t0 and sol.t[-1] == t1
        assert np.all(np.diff(sol.t) * np.sign(t1 - t0) > 0)


def test_every_misfortune_in_one_ensemble():
    """Lanes fail on their own, with the statuses and states of single solves."""
    modes = np.array([0.0, 1.0, 2.0, 3.0, 0.0, 4.0, 0.0])
    y0 = np.array([1.0, 1.0, 0.0, 1.0, np.inf, 1.0, 2.0])
    batch = Batch(trouble, y0[:, None], np.stack([modes, np.ones(7)], 1), 0.0, 2.0, validate=False)
    sol = solve_ensemble(batch, "tsit5", LAW, rtol=1e-6, atol=1e-9, max_steps=20_000)
    for i in range(7):
        one = go(modes[i], y0=y0[i], span=(0.0, 2.0), validate=False)
        assert sol.status[i] == one.status, i
        np.testing.assert_allclose(sol.t[i], one.t[-1], rtol=1e-6)
    assert list(sol.status[[0, 6]]) == [SUCCESS, SUCCESS]
    assert np.isfinite(sol.y[[0, 1, 2, 3, 5, 6]]).all()


def outside(t, y, p, dy):
    dy[0] = y[2]


def attribute(t, y, p, dy):
    dy[0] = t.as_integer_ratio()[0]
    dy[1] = -y[1]


def unknown_name(t, y, p, dy):
    dy[0] = missing * y[0]  # noqa: F821


@pytest.mark.parametrize(
    "rhs, words",
    [
        (outside, "index 2 is outside an array of length 2"),
        (attribute, "as_integer_ratio"),
        (unknown_name, "'missing' is not defined"),
    ],
)
def test_right_hand_sides_that_cannot_be_compiled(rhs, words):
    problem = Problem(rhs, [1.0, 1.0], (0.0, 1.0))
    for attempt in (lambda: solve(problem, "bs32", LAW), lambda: solve_ensemble(problem.batch(), "bs32", LAW)):
        with pytest.raises(ValueError, match=words) as error:
            attempt()
        text = str(error.value)
        assert text.startswith(f"right-hand side '{rhs.__name__}' cannot be compiled")
        assert len(text.splitlines()) < 20


def test_a_controller_needs_what_the_method_reports():
    with pytest.raises(ValueError, match="amuse.* needs tau_amuse, which method 'tsit5' does not report"):
        solve(LV, "tsit5", registry.get("amuse"))
