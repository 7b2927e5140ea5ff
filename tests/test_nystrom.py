"""Runge-Kutta-Nystrom methods in kernels: orbits, work, lanes, values within steps, events, and what is refused.

An orbit of eccentricity 1/2 has a formula; Pleiades' end state is that of the CWI/Bari test set.
"""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.controllers.laws.registry import constant
from stepsmith.integrators import methods
from stepsmith.integrators.checks import rhs_check, second_order
from stepsmith.integrators.core import record
from stepsmith.integrators.core.errors import UncompiledWarning
from stepsmith.integrators.kernels import layout

PAIRS = ("dprkn6", "dprkn12")
SPAN = (0.0, 6.0 * np.pi)
START = [0.5, 0.0, 0.0, np.sqrt(3.0)]


def orbit(t, y, p, dy):
    r2 = y[0] * y[0] + y[1] * y[1]
    w = 1.0 / (r2 * np.sqrt(r2))
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -w * y[0]
    dy[3] = -w * y[1]


def pull(t, y, p, a):
    r2 = y[0] * y[0] + y[1] * y[1]
    w = 1.0 / (r2 * np.sqrt(r2))
    a[0] = -w * y[0]
    a[1] = -w * y[1]


ORBIT = ss.Problem(orbit, START, SPAN, accel=pull)
FIRST = 0.1


def exact(t):
    """States (k, 4) of the orbit by Kepler's equation."""
    angle = np.array(t, float)
    for _ in range(60):
        angle -= (angle - 0.5 * np.sin(angle) - t) / (1.0 - 0.5 * np.cos(angle))
    root, r = np.sqrt(0.75), 1.0 - 0.5 * np.cos(angle)
    q = np.cos(angle) - 0.5, root * np.sin(angle)
    return np.stack([*q, -np.sin(angle) / r, root * np.cos(angle) / r], axis=-1)


def solved(method, rtol, **more):
    # a law without memory, and a first step whose error is no rounding: steps do not depend on the last bits
    return ss.solve(ORBIT, method, "i", rtol, 1e-3 * rtol, first_step=FIRST, **more)


@pytest.mark.parametrize("method", PAIRS)
def test_an_orbit_and_the_work_it_takes(method):
    """Errors of all steps follow the tolerance, and cost fewer evaluations than those of dop853."""
    off, cost = {}, {}
    for rtol in (1e-6, 1e-8, 1e-10, 1e-12):
        sol = solved(method, rtol)
        assert sol.success
        off[rtol], cost[rtol] = np.abs(sol.y - exact(sol.t)).max(), sol.stats.nfev
        attempts, accepted = sol.stats.naccept + sol.stats.nreject, sol.stats.naccept
        expected = 1 + 5 * attempts if method == "dprkn6" else 1 + 16 * attempts + accepted - 1
        assert sol.stats.nfev == expected
    assert off[1e-12] < off[1e-10] < off[1e-8] < off[1e-6] and all(off[rtol] < 10.0 * rtol for rtol in off)
    error = off[1e-8]
    against = [solved("dop853", rtol) for rtol in 10.0 ** -np.arange(6.0, 13.0)]
    worse = [np.abs(s.y - exact(s.t)).max() > error for s in against]
    reached = np.flatnonzero(~np.array(worse))[0]
    assert cost[1e-8] < against[reached].stats.nfev
    assert method == "dprkn6" or cost[1e-8] < 0.8 * against[reached - 1].stats.nfev


@pytest.mark.parametrize("method", PAIRS)
def test_lanes_are_single_solves(method):
    starts = np.array(START) * (1.0 + 0.05 * np.random.default_rng(0).standard_normal((33, 4)))
    batch = ORBIT.batch(y0=starts)
    ens = ss.solve_ensemble(batch, method, "i", 1e-6, 1e-9, first_step=FIRST)
    assert ens.success.all()
    for i in (0, 16, 32):
        one = ss.solve(batch[i], method, "i", 1e-6, 1e-9, first_step=FIRST)
        assert one.stats.naccept == ens.stats.naccept[i] and one.stats.nfev == ens.stats.nfev[i]
        assert np.abs(one.y[-1] - ens.y[i]).max() < 1e-11


@pytest.mark.parametrize("method", PAIRS)
def test_values_within_steps(method):
    """As accurate as the steps; dprkn6 gives them for nothing, dprkn12 for six evaluations a step, and one more for
    the slope at the end of the last one.
    """
    t = np.linspace(*SPAN, 1001)
    for rtol in (1e-6, 1e-9):
        plain, sol = solved(method, rtol), solved(method, rtol, t_eval=t)
        more = 0 if method == "dprkn6" else 6 * plain.stats.naccept + 1
        assert sol.stats.nfev == plain.stats.nfev + more and sol.stats.naccept == plain.stats.naccept
        assert np.abs(sol.y - exact(t)).max() < 2.0 * np.abs(plain.y - exact(plain.t)).max()


def rises(t, y, p):
    return y[1] - 0.3


@pytest.mark.parametrize("method", PAIRS)
def test_events_and_dense_output(method):
    """Where y = 0.3 is crossed, by Newton's method on the formula; the polynomial's slope is the velocity."""
    sol = solved(method, 1e-11, events=rises, dense=True)
    guesses = np.array([k * 2.0 * np.pi + x for k in range(3) for x in (0.2, 3.0)])
    for _ in range(50):
        guesses -= (exact(guesses)[:, 1] - 0.3) / exact(guesses)[:, 3]
    assert np.abs(np.sort(guesses) - sol.t_events[0]).max() < 1e-10
    t = np.linspace(*SPAN, 777)
    assert np.abs(sol.sol(t) - exact(t)).max() < 1e-10 and np.array_equal(sol.sol(sol.t), sol.y)
    assert np.abs(sol.sol.derivative(t)[:, :2] - exact(t)[:, 2:]).max() < 1e-9


#: positions at T = 3 in the order x1..x7, y1..y7: F. Mazzia, C. Magherini, Test set for IVP solvers 2.4, II-12-3
PLEIADES = np.array([
    0.3706139143970502, 3.237284092057233, -3.222559032418324, 0.6597091455775310, 0.3425581707156584,
    1.562172101400631, -0.7003092922212495, -3.943437585517392, -3.271380973972550, 5.225081843456543,
    -2.590612434977470, 1.198213693392275, -0.2429682344935824, 1.091449240428980,
])  # fmt: skip


def test_stars_without_accelerations_of_their_own():
    """An N-body problem's accelerations are those of its right-hand side."""
    sol = ss.solve(ss.problems.family("pleiades").published(), "dprkn6", "i", 1e-10, 1e-12)
    assert np.abs(sol.y[-1][:14] - np.concatenate([PLEIADES.reshape(2, 7).T.ravel()])).max() < 1e-7
    assert sol.success


def swing(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] - p[0] * y[1]


def spring(t, y, p, a):
    a[0] = -y[0]


def damped_spring(t, y, p, a):
    a[0] = -y[0] - p[0] * y[1]


def twice(t, y, p, dy):
    dy[0] = 2.0 * y[1]
    dy[1] = -y[0]


def driven(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] + np.sin(t)


@pytest.mark.parametrize(
    ("rhs", "more", "words"),
    [
        (driven, {}, "dprkn6 is for second-order systems.*give the problem accel=f.*'user' has neither.*'dop853'"),
        (swing, {"accel": damped_spring}, r"accelerations 'damped_spring'.* reads y\[1\], a velocity.*'dop853'"),
        (swing, {"accel": spring}, r"'swing' is not of second order: dy\[1\] depends on velocities.*'dop853'"),
        (twice, {"accel": spring}, r"'twice' is not of second order: dy\[0\] is not y\[1\]"),
        (driven, {"accel": spring}, r"'driven' is not of second order: dy\[1\] is not a\[0\] of `accel`.*t = 1.48"),
    ],
)
def test_what_is_refused(rhs, more, words):
    problem = ss.Problem(rhs, [1.0, 0.0], (0.0, 4.0), [0.0], **more)
    with pytest.raises(ValueError, match=words):
        ss.solve(problem, "dprkn6")
    with pytest.raises(ValueError, match=words):
        ss.solve_ensemble(problem.batch(), "dprkn6")


def test_what_other_faces_refuse():
    with pytest.raises(ValueError, match="dprkn6 is for second-order systems.*'lorenz' has neither"):
        ss.solve(ss.problems.make("lorenz", seed=0), "dprkn6")
    with pytest.raises(ValueError, match="'dprkn12' computes with accelerations, which solve_ivp does not take"):
        ss.solve_ivp(lambda t, y: [y[1], -y[0]], (0.0, 1.0), [1.0, 0.0], method="dprkn12")
    stars = ss.problems.family("kepler").published()
    plain = ss.Problem(lambda t, y, p: np.array(y), stars.y0, (0.0, 1.0), stars.p, nbody=(2, 2), compiled=False)
    with pytest.warns(UncompiledWarning), pytest.raises(ValueError, match=r"dy\[0\] is not y\[4\]"):
        ss.solve(plain, "dprkn6")
    problem = ss.Problem(swing, [1.0, 0.0], (0.0, 4.0), [0.0], accel=damped_spring)
    with pytest.raises(ValueError, match=r"'damped_spring'.* reads y\[1\], a velocity"):
        ss.solve(problem, "leapfrog", ss.controllers.laws.registry.constant(0.1))
    rhs_check.check(ORBIT, methods.get("dprkn6"))
    assert record.CURV in methods.get("dprkn6").fills and record.CURV not in methods.get("dprkn12").fills


def damped(t, y, p):
    return np.array([y[1], -y[0] - 0.3 * y[1]])


def damped_in_place(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] - 0.3 * y[1]


def choosy(t, y, p):
    if y[1] != y[1]:
        raise KeyError("no velocity")
    return [y[1], -y[0]]


@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
@pytest.mark.parametrize(
    ("rhs", "compiled", "words"),
    [
        (damped, True, r"'damped' is not of second order: dy\[1\] depends on velocities"),
        (damped, False, r"'damped' is not of second order: dy\[1\] depends on velocities"),
        (damped_in_place, "apart", "'damped_in_place' is not of second order"),
        (choosy, False, "'choosy' cannot be compared with.*it raises KeyError: 'no velocity'.*'dop853'"),
    ],
)
def test_right_hand_sides_that_kernels_call_by_address_are_compared_too(rhs, compiled, words):
    problem = ss.Problem(rhs, [1.0, 0.0], (0.0, 4.0), accel=spring, compiled=compiled)
    with pytest.raises(ValueError, match=words):
        ss.solve(problem, "dprkn6")
    with pytest.raises(ValueError, match=words):
        ss.solve_ensemble(problem.batch(), "dprkn6")
    with pytest.raises(ValueError, match=words):
        ss.solve(problem, "dprkn6", dense=True)


def driven_by(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] + p[0] * np.sin(t)


def cubic(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] - y[0] ** 3


def test_other_parameters_and_other_positions_are_looked_at_too():
    method = methods.get("dprkn6")
    problem = ss.Problem(driven_by, [1.0, 0.0], (0.0, 4.0), [0.0], accel=spring)
    second_order.check(problem, method)
    for batch in (problem.batch(p=[[0.0], [1.0], [0.0]]), problem.batch(p=[[0.0], [-1.0]])):
        with pytest.raises(ValueError, match=r"'driven_by' is not of second order: dy\[1\] is not a\[0\]"):
            ss.solve_ensemble(batch, "dprkn6")
    with pytest.raises(ValueError, match=r"'driven_by' is not of second order: dy\[1\] is not a\[0\]"):
        ss.solve(problem.batch(p=[[1.0]])[0], "dprkn6")
    with pytest.raises(ValueError, match=r"dy\[1\] is not a\[0\].*near the positions of y0"):
        second_order.check(ss.Problem(cubic, [0.0, 1.0], (0.0, 4.0), accel=spring), method)


def late_drag(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0]
    if t > 3.0:
        dy[1] -= 0.1 * y[1]


def kicked(t, y, p, a):
    a[0] = -y[0]
    if y[0] < 0.0 and y[-1] < 0.0:
        a[0] -= 0.5


def kicked_by_number(t, y, p, a):
    k = 1 if t > 3.0 else 0
    a[0] = -y[0]
    if t > 3.0 and y[k] < 0.0:
        a[0] -= 0.5


@pytest.mark.parametrize(("method", "law"), [("dprkn6", "i"), ("leapfrog", constant(0.1))])
def test_velocities_on_a_path_that_was_not_looked_at_are_refused(method, law):
    problem = ss.Problem(late_drag, [1.0, 0.0], (0.0, 4.0), accel=kicked)
    with pytest.raises(ValueError, match=r"'kicked' cannot be compiled: y\[-1\] is a velocity.*'dop853'"):
        ss.solve(problem, method, law)


def test_velocities_by_an_index_that_is_computed_end_the_solve():
    """Comparisons with NaN are false: what the accelerations made of them does not matter."""
    sol = ss.solve(ss.Problem(late_drag, [1.0, 0.0], (0.0, 4.0), accel=kicked_by_number), "dprkn6", "i")
    assert sol.status in (layout.NON_FINITE, layout.UNDERFLOW) and 2.9 < sol.t[-1] <= 3.0
    assert np.abs(sol.y[-1] - [np.cos(sol.t[-1]), -np.sin(sol.t[-1])]).max() < 1e-5
