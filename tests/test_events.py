"""Events: times against exact ones and SciPy's, resets, what ends a solve, and what goes wrong."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.kernels import layout


def ball(t, y, p, dy):
    """p: gravity, restitution, floor."""
    dy[0] = y[1]
    dy[1] = -p[0]


def floor(t, y, p):
    return y[0] - p[2]


def bounce(t, y, p):
    return [y[0], -p[1] * y[1]]


def falling(**attributes):
    """The ball's event with its reset, or other attributes: one function, so that one kernel serves all."""
    floor.terminal, floor.direction, floor.reset = False, -1, bounce
    for name, value in attributes.items():
        setattr(floor, name, value)
    return floor


def dropped(restitution, level=0.0, span=(0.0, 40.0)):
    return ss.Problem(ball, [level + 10.0, 0.0], span, p=[9.81, restitution, level])


def oscillator(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0]


def crossing(t, y, p):
    return y[0] - p[0]


@pytest.fixture
def swing():
    crossing.terminal, crossing.direction = False, 0
    return ss.Problem(oscillator, [0.0, 1.0], (0.0, 10.0), p=[0.5])


TIGHT = {"rtol": 1e-11, "atol": 1e-12}


def test_a_thousand_bounces_happen_at_their_times():
    first = np.sqrt(20.0 / 9.81)
    span = (0.0, first * 2000.0)
    # flights are parabolas, which every method has exactly; rounding adds up with the square of their number
    sol = ss.solve(dropped(1.0, span=span), method="dop853", events=falling(), rtol=1e-8, atol=1e-8)
    exact = first * (1.0 + 2.0 * np.arange(1000))
    assert sol.success and len(sol.t_events[0]) == 1000
    assert np.abs(sol.t_events[0] - exact).max() < 1e-10
    assert np.abs(sol.y_events[0][:, 0]).max() < 1e-12


def test_bounces_that_lose_height_follow_the_geometric_series():
    sol = ss.solve(dropped(0.9, span=(0.0, 20.0)), events=falling(), **TIGHT)
    first = np.sqrt(20.0 / 9.81)
    exact = first * (1.0 + 2.0 * np.cumsum(np.r_[0.0, 0.9 ** np.arange(1, len(sol.t_events[0]))]))
    assert np.abs(sol.t_events[0] - exact).max() < 1e-10


@pytest.mark.parametrize(("restitution", "level"), [(0.5, 0.0), (0.5, 5.0), (0.8, -3.0), (0.0, 5.0)])
def test_bounces_without_end_end_the_solve(restitution, level):
    sol = ss.solve(dropped(restitution, level), events=falling())
    assert sol.status == layout.ENDLESS and not sol.success and "without end" in sol.message
    end = np.sqrt(20.0 / 9.81) * (1.0 + restitution) / (1.0 - restitution)
    assert abs(sol.t[-1] - end) < 1e-5 and abs(sol.y[-1, 0] - level) < 1e-9


def test_a_reset_that_lets_the_trajectory_through_is_no_endless_event():
    # the floor takes half of the speed and lets the ball through
    falling(reset=None)
    floor.reset = slow_down
    sol = ss.solve(dropped(0.0, span=(0.0, 2.0)), events=floor)
    assert sol.success and len(sol.t_events[0]) == 1 and sol.y[-1, 0] < 0.0


def slow_down(t, y, p):
    return [y[0], 0.5 * y[1]]


def test_terminal_and_direction(swing):
    every = ss.solve(swing, events=crossing, **TIGHT).t_events[0]
    up = np.arcsin(0.5)
    exact = np.sort(np.concatenate([up + 2 * np.pi * np.arange(2), np.pi - up + 2 * np.pi * np.arange(2)]))
    assert np.abs(every - exact).max() < 1e-9
    for direction, found in ((1, exact[::2]), (-1, exact[1::2])):
        crossing.direction = direction
        assert np.allclose(ss.solve(swing, events=crossing, **TIGHT).t_events[0], found, atol=1e-9)
    crossing.direction, crossing.terminal = 0, 3
    sol = ss.solve(swing, events=crossing, **TIGHT)
    assert sol.success and sol.status == layout.EVENT and "event" in sol.message
    assert np.allclose(sol.t_events[0], exact[:3], atol=1e-9)
    assert sol.t[-1] == sol.t_events[0][-1] and np.allclose(sol.y[-1], [np.sin(sol.t[-1]), np.cos(sol.t[-1])])


def test_outputs_end_at_a_terminal_event_and_pass_a_reset(swing):
    crossing.terminal = True
    grid = np.linspace(0.0, 10.0, 101)
    sol = ss.solve(swing, events=crossing, t_eval=grid, **TIGHT)
    assert np.array_equal(sol.t, grid[grid <= np.arcsin(0.5)]) and np.allclose(sol.y[:, 0], np.sin(sol.t), atol=1e-9)
    fallen = ss.solve(dropped(0.9, span=(0.0, 5.0)), events=falling(), t_eval=np.linspace(0.0, 5.0, 501), **TIGHT)
    first = np.sqrt(20.0 / 9.81)
    late = fallen.t - first
    high = np.where(late < 0, 10 - 4.905 * fallen.t**2, 0.9 * 9.81 * first * late - 4.905 * late**2)
    once = fallen.t < 2.8 * first
    assert np.abs(fallen.y[once, 0] - high[once]).max() < 1e-9


def test_backward_in_time(swing):
    back = ss.Problem(oscillator, [np.sin(10.0), np.cos(10.0)], (10.0, 0.0), p=[0.5])
    sol = ss.solve(back, events=crossing, **TIGHT)
    assert np.allclose(np.sort(sol.t_events[0]), ss.solve(swing, events=crossing, **TIGHT).t_events[0], atol=1e-8)
    assert np.all(np.diff(sol.t_events[0]) < 0.0)


def value(t, y, p):
    """p: which function of the trajectory: touching, double, at the end, NaN."""
    kind = int(p[0])
    if kind == 0:
        return (t - 2.0) ** 2
    if kind == 1:
        return t - 10.0
    if kind == 2:
        return np.sqrt(0.5 - y[0])
    if kind == 3:
        return (t - 2.0) * (t - 2.0 - 1e-6)
    if kind == 4:
        return y[0]
    if t > 3.0:
        raise ValueError("too late")
    return 1.0


def twice(t, y, p):
    return 3.0 * (t - 2.0)


def cases(kind):
    value.terminal, value.direction, twice.terminal = False, 0, False
    return ss.Problem(oscillator, [0.0, 1.0], (0.0, 10.0), p=[kind])


def test_values_that_are_zero_at_hard_places():
    assert len(ss.solve(cases(0), events=[value, twice]).t_events[0]) == 0  # it touches zero
    assert ss.solve(cases(1), events=[value, twice]).t_events[0].tolist() == [10.0]  # at the end
    # two within a millionth, and another event between them
    found = ss.solve(cases(3), events=[value, twice], **TIGHT)
    assert np.allclose(found.t_events[0], [2.0, 2.0 + 1e-6], rtol=0, atol=1e-13)
    assert np.allclose(found.t_events[1], [2.0], rtol=0, atol=1e-14)
    # zero at the start is no crossing
    assert np.allclose(ss.solve(cases(4), events=[value, twice], **TIGHT).t_events[0], np.pi * np.arange(1, 4))
    problem = cases(4)
    value.terminal = True
    assert ss.solve(problem, events=[value, twice]).t[-1] > 3.0


def test_two_at_once():
    problem = cases(3)
    twice.terminal = True
    sol = ss.solve(problem, events=[value, twice])
    assert sol.status == layout.EVENT and abs(sol.t[-1] - 2.0) < 1e-14
    assert len(sol.t_events[0]) == len(sol.t_events[1]) == 1


def test_nan_and_exceptions():
    sol = ss.solve(cases(2), events=[value, twice])
    assert sol.status == layout.BAD_EVENT and not sol.success and "NaN" in sol.message
    assert np.isfinite(sol.y).all() and sol.y[-1, 0] <= 0.5 + 1e-3
    with pytest.raises(ValueError, match="too late"):
        ss.solve(cases(5), events=[value, twice])


def wrong(**attributes):
    def g(t, y, p):
        return y[0] - 0.3

    vars(g).update(attributes)
    return g


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([3], r"events\[0\] must be a function"),
        ("g", "events must be a function"),
        ([wrong(direction="up")], "direction must be a number"),
        ([wrong(terminal=-1)], "terminal must be"),
        ([wrong(terminal=1.5)], "terminal must be"),
        ([wrong(reset=3)], "reset must be a function"),
        ([lambda t, y, p: y[7]], "index 7 is out of bounds"),
        ([lambda t, y: y], "must return one number"),
        ([lambda t, y: None], "returns nothing"),
        ([lambda t: t], "takes 1 arguments"),
        ([wrong(reset=lambda t, y, p: [1.0])], "returns 1 values, where y0 has 2"),
    ],
)
def test_bad_events_are_refused_in_words(swing, events, words):
    with pytest.raises(ValueError, match=words):
        ss.solve(swing, events=events)


def test_events_are_refused_on_a_gpu(swing):
    with pytest.raises(OptionError, match="for device 'cpu'"):
        ss.solve_ensemble(swing, events=crossing, device="cuda")


def test_arrays_objects_parameters_and_states_of_other_shapes():
    class Level:
        def __call__(self, t, y):
            return y.sum() - 0.5

    plain = ss.Problem(lambda t, y: [y[1], -y[0]], [0.0, 1.0], (0.0, 10.0), compiled=False)
    with pytest.warns(UserWarning, match="plain Python"):
        slow = ss.solve(plain, events=Level(), **TIGHT).t_events[0]
    quick = ss.solve(ss.Problem(lambda t, y: [y[1], -y[0]], [0.0, 1.0], (0.0, 10.0)), events=array_level, **TIGHT)
    assert np.allclose(slow, quick.t_events[0], atol=1e-10) and len(slow) == 3
    turning = ss.Problem(lambda t, z: 1j * z, np.array([[1.0 + 0j]]), (0.0, 10.0))
    sol = ss.solve(turning, events=real_part, dense=True, **TIGHT)
    assert sol.y_events[0].shape == (3, 1, 1) and sol.y_events[0].dtype == complex
    assert np.allclose(sol.t_events[0], np.pi * (0.5 + np.arange(3)), atol=1e-9)
    assert np.allclose(sol.sol([1.0, 2.0])[:, 0, 0], np.exp([1j, 2j]), atol=1e-9)


def array_level(t, y):
    return y.sum() - 0.5


def real_part(t, z):
    return z[0, 0].real


def test_lanes_agree_with_single_solves_and_with_threads(swing):
    rng = np.random.default_rng(5)
    p = np.stack([np.full(150, 9.81), rng.uniform(0.6, 1.0, 150), rng.uniform(-2, 2, 150)], 1)
    y0 = np.stack([p[:, 2] + rng.uniform(1, 9, 150), np.zeros(150)], 1)
    batch = ss.Batch(ball, y0, p, np.zeros(150), rng.uniform(2.0, 6.0, 150))
    options = {"events": falling(), "dense": True, "tstops": [1.0, 1.5], "max_step": 0.4}
    ens = ss.solve_ensemble(batch, threads=2, **options)
    parts = ss.solve_ensemble(batch, threads=1, chunk=40, **options)
    assert np.array_equal(ens.y, parts.y) and np.array_equal(ens.t_events[0].flat, parts.t_events[0].flat)
    assert np.array_equal(ens.dense[149].nodes, parts.dense[149].nodes)
    for i in (0, 77, 149):
        one = ss.solve(batch[i], **options)
        assert one.status == ens.status[i] and len(one.t_events[0]) == len(ens.t_events[0][i])
        assert np.allclose(one.t_events[0], ens.t_events[0][i], rtol=0, atol=1e-12)
    with ThreadPoolExecutor(2) as pool:
        many = list(pool.map(lambda i: ss.solve(batch[i], **options).t_events[0].tolist(), [3, 9, 3, 9]))
    assert many[0] == many[2] and many[1] == many[3]


def test_solutions_are_pickled_with_their_events():
    sol = ss.solve(dropped(0.9, span=(0.0, 4.0)), events=falling(), dense=True)
    again = pickle.loads(pickle.dumps(sol))
    assert np.array_equal(again.t_events[0], sol.t_events[0]) and np.array_equal(again.sol(1.0), sol.sol(1.0))


def test_a_global_that_changes_between_two_solves_counts(swing):
    space = {"LEVEL": 0.5}
    exec("def g(t, y, p):\n    return y[0] - LEVEL", space)  # noqa: S102
    first = ss.solve(swing, events=space["g"], **TIGHT).t_events[0][0]
    space["LEVEL"] = 0.25
    second = ss.solve(swing, events=space["g"], **TIGHT).t_events[0][0]
    assert np.allclose([first, second], np.arcsin([0.5, 0.25]), atol=1e-9)
