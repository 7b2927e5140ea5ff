"""SciPy's face: what its own tests of `solve_ivp` look at, written anew against `stepsmith.solve_ivp`."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import scipy.integrate
from scipy.sparse import csc_matrix

from stepsmith import solve_ivp
from stepsmith.integrators.core.errors import UncompiledWarning

EXPLICIT = ["RK23", "RK45", "DOP853"]
METHODS = [*EXPLICIT, "Radau", "BDF"]


def rational(t, y):
    return [y[1] / t, y[1] * (y[0] + 2.0 * y[1] - 1.0) / (t * (y[0] - 1.0))]


def jac_rational(t, y):
    return np.array([
        [0.0, 1.0 / t],
        [-2.0 * y[1] ** 2 / (t * (y[0] - 1.0) ** 2), (y[0] + 4.0 * y[1] - 1.0) / (t * (y[0] - 1.0))],
    ])  # fmt: skip


def exact_rational(t):
    return np.array([t / (t + 10.0), 10.0 * t / (t + 10.0) ** 2])


START = [1.0 / 3.0, 2.0 / 9.0]


def error(y, exact, rtol=1e-3, atol=1e-6):
    return np.linalg.norm((y - exact) / (atol + rtol * np.abs(exact)), axis=0) / np.sqrt(2.0)


@pytest.mark.parametrize("jac", [None, jac_rational])
@pytest.mark.parametrize("span", [(5.0, 9.0), (5.0, 1.0)])
@pytest.mark.parametrize("method", METHODS)
def test_a_rational_solution(method, span, jac):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*no relevance")
        res = solve_ivp(rational, span, START, method=method, dense_output=True, jac=jac)
    assert res.success and res.status == 0 and res.t[0] == span[0] and res.t[-1] == span[1]
    assert res.t_events is None and res.y_events is None and "successfully" in res.message
    assert res.nfev < 90 and (res.njev, res.nlu) == (0, 0) if method in EXPLICIT else res.njev > 0 and res.nlu > 0
    assert np.all(error(res.y, exact_rational(res.t)) < 5)
    t = np.linspace(*span)
    assert np.all(error(res.sol(t), exact_rational(t)) < 5) and res.sol(t).shape == (2, 50)
    assert res.sol(4.9).shape == (2,) if span[1] == 1.0 else res.sol(5.1).shape == (2,)
    assert np.allclose(res.sol(res.t), res.y, rtol=1e-15, atol=1e-15)


def spin(t, y):
    return 1j * y - 0.1 * y


@pytest.mark.parametrize("method", METHODS)
def test_complex_states(method):
    res = solve_ivp(spin, (0.0, 3.0), [0.5 + 1j], method=method, rtol=1e-6, atol=1e-9, dense_output=True)
    assert res.success and res.y.dtype == complex
    t = np.linspace(0.0, 3.0)
    assert np.abs(res.sol(t)[0] - (0.5 + 1j) * np.exp((1j - 0.1) * t)).max() < 1e-4


def test_a_constant_jacobian_a_pattern_and_bands():
    lower = -2.0 * np.eye(12) + np.eye(12, k=-1) + np.eye(12, k=1)

    def diffusion(t, y):
        out = np.empty(12)
        out[0] = -2.0 * y[0] + y[1]
        for i in range(1, 11):
            out[i] = y[i - 1] - 2.0 * y[i] + y[i + 1]
        out[11] = y[10] - 2.0 * y[11]
        return out

    start = np.sin(np.pi * np.arange(1, 13) / 13)
    exact = start * np.exp(-4.0 * np.sin(np.pi / 26) ** 2 * 10.0)
    for more in ({"jac": lower}, {"jac_sparsity": lower != 0}, {"lband": 1, "uband": 1}):
        res = solve_ivp(diffusion, (0.0, 10.0), start, method="Radau", rtol=1e-6, atol=1e-9, **more)
        assert res.success and np.abs(res.y[:, -1] - exact).max() < 1e-5
    with pytest.raises(ValueError, match="jac must have shape"):
        solve_ivp(diffusion, (0.0, 10.0), start, method="Radau", jac=np.eye(3))


def test_a_jacobian_that_returns_a_sparse_matrix():
    with pytest.warns(UncompiledWarning, match="plain Python"):
        res = solve_ivp(rational, (5.0, 9.0), START, "Radau", jac=lambda t, y: csc_matrix(jac_rational(t, y)))
    with_dense = solve_ivp(rational, (5.0, 9.0), START, "Radau", jac=jac_rational)
    assert res.success and res.t.size == with_dense.t.size and np.abs(res.y - with_dense.y).max() < 1e-12


def test_a_stiff_problem_takes_few_evaluations():
    def robertson(t, y):
        x, z, w = y
        a = -0.04 * x + 1e4 * z * w
        b = 3e7 * z * z
        return [a, -a - b, b]

    for method in ("Radau", "BDF"):
        res = solve_ivp(robertson, (0.0, 1e8), [1e4, 0.0, 0.0], method=method, rtol=1e-6, atol=1e-6)
        assert res.success and res.nfev < 5000 and res.njev < 600


def first(t, y):
    return y[0] - y[1] ** 0.7


def second(t, y):
    return y[1] ** 0.6 - y[0]


def third(t, y):
    return t - 7.4


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("span", [(5.0, 8.0), (8.0, 5.0)])
def test_events(method, span):
    start = exact_rational(span[0])
    first.direction = second.direction = 0
    third.terminal, third.direction = False, 0
    for direction in (0, 1, -1):
        first.direction = second.direction = direction
        res = solve_ivp(rational, span, start, method=method, events=(first, second, third))
        peer = scipy.integrate.solve_ivp(rational, span, start, method=method, events=(first, second, third))
        assert [len(t) for t in res.t_events] == [len(t) for t in peer.t_events]
        assert [np.shape(y) for y in res.y_events] == [np.shape(y) for y in peer.y_events]
        for mine, theirs in zip(res.t_events, peer.t_events, strict=True):
            assert np.allclose(mine, theirs, atol=2e-2)
        for g, t, y in zip((first, second, third), res.t_events, res.y_events, strict=True):
            assert all(abs(g(*at)) < 1e-10 for at in zip(t, y, strict=True))
    first.direction = second.direction = 0
    third.terminal = True
    res = solve_ivp(rational, span, start, method=method, events=[first, second, third], dense_output=True)
    assert res.status == 1 and res.success and "event" in res.message
    assert res.t[-1] == res.t_events[2][0] == pytest.approx(7.4, abs=1e-12)
    t = np.linspace(span[0], res.t[-1])
    assert np.all(error(res.sol(t), exact_rational(t)) < 5)


def oscillator(t, y):
    return [y[1], -y[0]]


def through(t, y):
    return y[0]


@pytest.mark.parametrize("terminal", [None, 0, False, True, 1, 3])
def test_how_often_a_terminal_event_happens(terminal):
    through.terminal = terminal
    res = solve_ivp(oscillator, (0.0, 20.0), [1.0, 0.0], events=through)
    assert len(res.t_events[0]) == (6 if not terminal else int(terminal))
    assert res.status == (1 if terminal else 0)


@pytest.mark.parametrize("terminal", [-1, 3.5])
def test_strange_terminals_are_refused(terminal):
    through.terminal = terminal
    with pytest.raises(ValueError, match="terminal"):
        solve_ivp(oscillator, (0.0, 20.0), [1.0, 0.0], events=through)


@pytest.mark.parametrize("method", [scipy.integrate.RK45, scipy.integrate.Radau, "DOP853"])
@pytest.mark.parametrize("span", [(5.0, 9.0), (5.0, 1.0)])
def test_the_longest_and_the_first_step(method, span):
    res = solve_ivp(rational, span, START, method=method, max_step=0.5, first_step=0.1, dense_output=True)
    assert res.success and np.all(np.abs(np.diff(res.t)) <= 0.5 + 1e-14)
    assert abs(res.t[1] - 5.0) == pytest.approx(0.1, rel=1e-12)
    assert np.all(error(res.y, exact_rational(res.t)) < 5)
    for strange in ({"max_step": -1}, {"first_step": -1}, {"first_step": 5}):
        with pytest.raises(ValueError, match=next(iter(strange))):
            solve_ivp(rational, span, START, method=method, **strange)


def test_times_of_output():
    for span in ((5.0, 9.0), (5.0, 1.0)):
        for times in (np.linspace(*span, 10), [5.01, 7.0] if span[1] == 9.0 else [4.99, 3.0], []):
            res = solve_ivp(rational, span, START, t_eval=times)
            assert np.array_equal(res.t, times) and res.y.shape == (2, len(times))
            assert np.all(error(res.y, exact_rational(res.t)) < 5)
        for strange in ([4.0, 10.0], [6.0, 5.0, 7.0], [[5.0, 6.0]]):
            with pytest.raises(ValueError, match="t_eval"):
                solve_ivp(rational, span, START, t_eval=strange)
    third.terminal = True
    early = solve_ivp(rational, (5.0, 9.0), START, t_eval=[5.5, 7.0, 8.0], events=third)
    assert np.array_equal(early.t, [5.5, 7.0]) and early.status == 1


def test_no_span_and_a_constant_solution():
    res = solve_ivp(oscillator, (4.0, 4.0), [2.0, 3.0], dense_output=True)
    assert res.success and np.array_equal(res.sol(4.0), [2.0, 3.0]) and np.array_equal(res.y[:, -1], [2.0, 3.0])
    for method in METHODS:
        still = solve_ivp(lambda t, y: np.zeros_like(y), (0.0, 10.0), np.ones(3), method=method)
        assert still.success and np.allclose(still.y, 1.0, rtol=1e-15)


def decoupled(t, w, omega, k, end):
    x, y, z = w
    return [-omega * y, omega * x, k * z * (1 - z)]


def decoupled_jac(t, w, omega, k, end):
    z = w[2]
    return np.array([[0, -omega, 0], [omega, 0, 0], [0, 0, k * (1 - 2 * z)]])


def grown(t, w, omega, k, end):
    return w[2] - end


def falling(t, w, omega, k, end):
    return w[0]


def test_further_arguments_reach_every_function():
    grown.terminal, falling.direction = True, -1
    omega, k, end = 2, 4, 0.99
    z0 = np.exp(-k * 5.0) / ((1 - end) / end + np.exp(-k * 5.0))
    res = solve_ivp(
        decoupled, (0, 10), [0, -1, z0], events=[falling, grown], dense_output=True, args=(omega, k, end),
        method="Radau", jac=decoupled_jac, rtol=1e-10, atol=1e-13,
    )  # fmt: skip
    assert np.allclose(res.t_events[0], [0.5 * np.pi, 1.5 * np.pi]) and np.allclose(res.t_events[1], [5.0])
    t = np.linspace(0.0, 5.0, 250)
    w = res.sol(np.minimum(t, res.t[-1]))
    assert np.allclose(w[0], np.sin(2 * t), rtol=1e-8, atol=1e-10)
    assert np.allclose(w[2], 1 / (((1 - z0) / z0) * np.exp(-k * t) + 1), rtol=1e-8, atol=1e-11)
    with pytest.raises(TypeError, match="cannot be unpacked"):
        solve_ivp(lambda t, y, a: a * y, (0.0, 0.1), [1.0], args=-1)
    assert np.allclose(solve_ivp(lambda t, y, a: a * y, (0.0, 0.1), [1.0], args=(-1,)).y[0, -1], np.exp(-0.1))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_evaluated_outside_the_span(method):
    def only_inside(t, y):
        if t > 1e-4 or t < 0.0:
            raise ValueError("outside")
        return 2.0 * y

    through.terminal = None
    res = solve_ivp(only_inside, (0.0, 1e-4), [1.0], method=method, events=through, dense_output=True)
    assert res.success and res.solution.stats.nreject == 0  # an exception is a NaN there, and costs a rejection


def test_functions_that_cannot_be_compiled_run_all_the_same_and_it_is_said_once():
    seen = {}

    def counted(t, y):
        seen[len(seen)] = t
        return -y

    with pytest.warns(UncompiledWarning, match="counted runs as plain Python"):
        res = solve_ivp(counted, (0.0, 1.0), [1.0], rtol=1e-8, atol=1e-10)
    assert res.success and abs(res.y[0, -1] - np.exp(-1.0)) < 1e-7 and len(seen) >= res.nfev
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve_ivp(counted, (0.0, 1.0), [1.0])

    class Decay:
        def __call__(self, t, y):
            return -y

    with pytest.warns(UncompiledWarning, match="plain Python"):
        assert solve_ivp(Decay(), (0.0, 1.0), [1.0]).success

    def broken(t, y):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        solve_ivp(broken, (0.0, 1.0), [1.0])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"method": "RK46"}, "did you mean 'RK45'"),
        ({"rtoll": 1e-3}, "did you mean 'rtol'"),
        ({"y0": [[1.0, 2.0]]}, "1-dimensional"),
        ({"y0": [np.nan, 1.0]}, "must be finite"),
        ({"fun": 3}, "fun must be a function"),
        ({"t_span": (0.0, np.inf)}, "t_span"),
        ({"args": "ab"}, "args"),
    ],
)
def test_bad_input_is_refused_in_words(changed, words):
    given = {"fun": oscillator, "t_span": (0.0, 1.0), "y0": [1.0, 0.0], **changed}
    with pytest.raises((ValueError, TypeError), match=words):
        solve_ivp(**given)


def test_what_the_compiler_does_not_foresee_runs_as_plain_python():
    def mixed(t, y):
        return [1, 0] if t < 0.5 else [0, y[0]]

    def counting(t, y):
        global calls
        calls += 1
        return -y

    for fun, start in ((mixed, [0.0, 0.0]), (counting, [1.0])):
        with pytest.warns(UncompiledWarning, match="plain Python"):
            assert solve_ivp(fun, (0.0, 1.0), start).success
    assert calls > 10
    # a Jacobian of one equation as a number; integers beside floats, in straight lines
    one = solve_ivp(lambda t, y: -50.0 * y, (0.0, 1.0), [1.0], "Radau", jac=lambda t, y: -50.0)
    assert one.success and one.njev > 0 and abs(one.y[0, -1]) < 1e-3
    res = solve_ivp(oscillator, (0.0, 5.0), [1.0, 0.0], "Radau", jac=lambda t, y: [[0, 1], [-1.0, 0]])
    assert res.success and abs(res.y[0, -1] - np.cos(5.0)) < 0.01


calls = 0


def test_own_methods_controllers_and_stops():
    res = solve_ivp(oscillator, (0.0, 5.0), [1.0, 0.0], method="tsit5", controller="pi34", tstops=[2.5], rtol=1e-7)
    assert res.success and 2.5 in res.t and res.solution.controller == "pi34" and res.solution.method == "tsit5"
    with pytest.warns(UserWarning, match="no relevance"):
        solve_ivp(oscillator, (0.0, 1.0), [1.0, 0.0], jac=np.array([[0.0, 1.0], [-1.0, 0.0]]))
