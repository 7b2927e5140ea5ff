"""Events where several things meet: two resets, a reset at a stop, values that are NaN beyond an event, limits."""

from __future__ import annotations

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.kernels import layout


def tank(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = 0.0
    dy[2] = 0.0


def full(t, y):
    return y[0] - 1.0


full.reset = lambda t, y: [y[0], 0.0, y[2] + 1.0]  # stop filling, count 1


def dose(t, y):
    return np.sin(np.pi * t / 2)


dose.reset = lambda t, y: [y[0], y[1], y[2] + 100.0]


def test_a_reset_is_applied_once_though_its_event_stays_at_zero():
    sol = ss.solve(ss.Problem(tank, [0.0, 1.0, 0.0], (0.0, 9.0)), events=[full, dose], max_step=0.5)
    assert [len(t) for t in sol.t_events] == [1, 4] and sol.y[-1, 2] == 401.0 and sol.success


def clock(t, y, p, dy):
    dy[0] = 1.0
    dy[1] = 0.0


def by_state(t, y, p):
    return y[0] - p[0]


def by_time(t, y, p):
    return t - p[0]


by_state.reset = lambda t, y, p: [y[0], y[1] + 1.0]
by_time.reset = lambda t, y, p: [y[0], y[1] + 100.0]


@pytest.mark.parametrize("start", [0.0, 1.0, 1e5])
@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_two_resets_at_once_happen_once_each(method, start):
    for share in np.random.default_rng(0).uniform(0.1, 0.9, 60):
        at = start + share
        problem = ss.Problem(clock, [start, 0.0], (start, start + 1.0), p=[at])
        for stops in (None, [at]):
            sol = ss.solve(problem, method=method, events=[by_state, by_time], tstops=stops)
            assert [len(t) for t in sol.t_events] == [1, 1], (at, stops)
            assert sol.y[-1, 1] == 101.0 and sol.status == layout.SUCCESS


@pytest.mark.parametrize("method", ["tsit5", "rodas5p"])
def test_a_reset_at_the_end_and_at_a_stop_is_no_endless_event(method):
    for at in (1.0, 0.5, 0.7):
        for stops in (None, [at]):
            problem = ss.Problem(clock, [0.0, 0.0], (0.0, 1.0), p=[at])
            sol = ss.solve(problem, method=method, events=[by_state, by_time], tstops=stops)
            # at the end the state may be short of its level by rounding
            found = (100.0, 101.0) if at == 1.0 else (101.0,)
            assert sol.status == layout.SUCCESS and sol.y[-1, 1] in found, (at, stops)


def weight(t, y, p, a):
    a[0] = -9.81


def ground(t, y, p):
    return y[0]


def fall(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -9.81


def test_bounces_without_end_under_a_method_for_second_order_systems():
    ground.direction, ground.terminal = -1, False
    ground.reset = lambda t, y, p: [y[0], -0.5 * y[1]]
    problem = ss.Problem(fall, [1.0, 0.0], (0.0, 10.0), accel=weight)
    sol = ss.solve(problem, method="leapfrog", controller=ss.controllers.laws.registry.constant(0.01), events=ground)
    assert sol.status == layout.ENDLESS and abs(sol.y[-1, 0]) < 1e-9


def above(t, y, p):
    return np.sqrt(y[0]) - 0.5


def test_values_that_are_nan_beyond_an_event_that_ends_the_solve():
    ground.direction, ground.terminal, ground.reset = -1, True, None
    sol = ss.solve(ss.Problem(fall, [1.0, 0.0], (0.0, 10.0)), events=[ground, above])
    times = np.sqrt(2.0 * np.array([1.0, 0.75]) / 9.81)
    assert sol.status == layout.EVENT
    assert abs(sol.t_events[0][0] - times[0]) < 1e-12 and abs(sol.t_events[1][0] - times[1]) < 1e-12
    ground.terminal = False
    sol = ss.solve(ss.Problem(fall, [1.0, 0.0], (0.0, 10.0)), events=[ground, above])
    assert sol.status == layout.BAD_EVENT and abs(sol.t[-1] - times[0]) < 1e-9 and len(sol.t_events[1]) == 1


def blow_up(t, y, p, dy):
    dy[0] = y[0] * y[0]


def test_the_last_good_state_is_kept_whatever_is_left_out():
    problem = ss.Problem(blow_up, [1.0], (0.0, 2.0))
    every, some = ss.solve(problem, max_step=1e9), ss.solve(problem, save_every=1000)
    assert not some.success and some.t[-1] == every.t[-1] and some.y[-1, 0] == every.y[-1, 0] > 1e6
    assert len(some.t) < len(every.t)


def test_the_limit_of_attempts_at_a_stop():
    problem = ss.Problem(clock, [0.0, 0.0], (0.0, 10.0), p=[20.0])
    for limit in range(1, 12):
        sol = ss.solve(problem, tstops=[2.0, 3.0, 5.0], t_eval=[0.0, 2.0, 3.0, 5.0, 10.0], max_steps=limit)
        plain = ss.solve(problem, tstops=[2.0, 3.0, 5.0], max_steps=limit)
        assert sol.t.tolist() == [t for t in (0.0, 2.0, 3.0, 5.0, 10.0) if t <= plain.t[-1]]


def test_stops_as_arrays_and_rows_of_different_lengths():
    batch = ss.Problem(clock, [0.0, 0.0], (0.0, 10.0), p=[20.0]).batch(p=[[20.0], [30.0]])
    ens = ss.solve_ensemble(batch, tstops=np.array([0.5, 1.0]))
    rows = ss.solve_ensemble(batch, tstops=np.array([[0.5, np.nan], [1.0, 2.0]]))
    assert ens.success.all() and rows.success.all() and np.allclose(rows.y[:, 0], 10.0)
    with pytest.raises(ValueError, match="finite"):
        ss.solve_ensemble(batch, tstops=np.array([0.5, np.nan]))


def test_outputs_are_no_steps_when_stiffness_is_looked_for():
    def wave(t, y, p, dy):
        dy[0] = -5.0 * y[0] + np.cos(60.0 * t)

    problem = ss.Problem(wave, [0.0], (0.0, 100.0))
    for more in ({"t_eval": np.linspace(0, 100, 120)}, {"save_every": 100}, {}):
        assert "stiff" not in ss.solve(problem, tstops=[1.0], **more).message


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "twice"])
def test_strange_numbers_of_times_name_the_event(value):
    def g(t, y, p):
        return y[0] - 0.5

    g.terminal = value
    with pytest.raises(ValueError, match="event .*g: terminal must be"):
        ss.solve(ss.Problem(clock, [0.0, 0.0], (0.0, 1.0), p=[1.0]), events=g)
    with pytest.raises(ValueError, match="truth value"):
        ss.solve(ss.Problem(clock, [0.0, 0.0], (0.0, 1.0), p=[1.0]), events=lambda t, y, p: y[0] < 0.5)
