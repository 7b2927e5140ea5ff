"""Right-hand sides as people write them: every style gives what SciPy gives, and what cannot be used says why."""

from __future__ import annotations

import dataclasses
import math
import os
import pickle
import threading

import numba
import numpy as np
import pytest
from scipy.linalg import expm

import stepsmith as ss
from stepsmith.integrators import problems
from stepsmith.integrators.compile.digest import identity
from stepsmith.integrators.compile.unrolled import unrolled

Y0, SPAN, C = [1.0, 0.0], (0.0, 5.0), 0.1
MATRIX = np.array([[0.0, 1.0], [-1.0, -C]])
EXACT = expm(5.0 * MATRIX) @ Y0
RATE = 1.0


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is taken away again."""
    before = dict(problems._REGISTERED)
    yield
    problems._REGISTERED.clear()
    problems._REGISTERED.update(before)


def in_place(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] - p[0] * y[1]


def as_list(t, y, p):
    return [y[1], -y[0] - p[0] * y[1]]


def as_tuple(t, y, p):
    x, v = y
    (c,) = p
    return v, -x - c * v


def as_array(t, y, p):
    return np.array([y[1], -y[0] - p[0] * y[1]])


def matrix(t, y):
    return MATRIX @ y


def dot_and_sum(t, y, p):
    return np.array([np.sum(y[1:]), np.dot(np.array([-1.0, -p[0]]), y)])


def slices(t, y, p, dy):
    dy[:1] = y[1:]
    dy[1:] = -y[:1] - p[0] * y[1:]


def loop(t, y, p):
    out = np.zeros(y.shape[0])
    for i in range(y.size):
        out[i] = y[1] if i == 0 else -y[0] - p[0] * y[1]
    return out


def without_p(t, y, dy):
    dy[:] = MATRIX @ y


def by_name(t, y, p):
    return [y[1], -p["k"] * y[0] - p.c * y[1]]


def by_name_in_place(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -p["k"] * y[0] - p["c"] * y[1]


def spread(t, y, k, c):
    return [y[1], -k * y[0] - c * y[1]]


def helped(t, y, p):
    return [y[1], force(y[0], y[1], p[0])]


def force(x, v, c):
    return -x - c * v


def defaulted(t, y, p=None):
    return [y[1], -y[0] - p[0] * y[1]]


def branching(t, y, p):
    if t < 100.0 and y[0] < 100.0:  # depends on values: it cannot be unrolled
        return [y[1], -y[0] - p[0] * y[1]]
    return [0.0, 0.0]


class Model:
    def __init__(self, c):
        self.c = c

    def slope(self, t, y):
        return np.array([y[1], -y[0] - self.c * y[1]])


P, NAMED = {"p": [C]}, {"p": {"k": 1.0, "c": C}}
STYLES = [
    (in_place, P), (as_list, P), (as_tuple, P), (as_array, P), (matrix, {}), (dot_and_sum, P), (slices, P), (loop, P),
    (without_p, {}), (by_name, NAMED), (by_name_in_place, NAMED), (spread, NAMED), (spread, {"args": (1.0, C)}),
    (helped, P), (defaulted, P), (branching, P), (numba.njit(as_array), P),
]  # fmt: skip


def label(value):
    return getattr(value, "__name__", "") or next(iter(value), "none")


@pytest.mark.parametrize(("fn", "given"), STYLES, ids=label)
@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "plain"])
@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
def test_every_style_is_solved(fn, given, compiled):
    problem = ss.Problem(fn, Y0, SPAN, **given, compiled=compiled)
    sol = ss.solve(problem, rtol=1e-9, atol=1e-12)
    assert sol.success and sol.y[-1] == pytest.approx(EXACT, abs=1e-8)
    # the form that solvers call, in plain Python too
    dy = np.full(2, np.nan)
    problem.rhs(0.0, np.array([0.3, 0.4]), problem.p, dy)
    assert dy == pytest.approx(MATRIX @ [0.3, 0.4])


@pytest.mark.parametrize("fn", [f for f, g in STYLES if g is P and f is not in_place], ids=label)
def test_what_can_be_unrolled_is(fn):
    problem = ss.Problem(fn, Y0, SPAN, [C])
    found = unrolled(problem)
    assert (found is problem) == (fn is branching)
    if found is not problem:
        dy, y = np.empty(2), np.array([0.3, 0.4])
        found.rhs(0.5, y, problem.p, dy)
        assert dy == pytest.approx(np.asarray(getattr(fn, "py_func", fn)(0.5, y, problem.p), float) if fn is not slices
                                   else MATRIX @ y)  # fmt: skip


def test_a_function_of_today_stays_as_it_is():
    assert ss.Problem(in_place, Y0, SPAN, [C]).rhs is in_place
    for name in problems.names():
        batch = problems.sample(name, 1)
        assert not hasattr(batch.rhs, "stepsmith_style")


ELEMENTARY = (np.exp, np.sin, np.cos, np.tanh, np.sqrt, np.arctan, np.log, np.abs, np.tan, np.sinh, np.cosh, np.log1p,
              np.expm1, np.arcsin, np.square)  # fmt: skip


@pytest.mark.parametrize("f", ELEMENTARY, ids=lambda f: f.__name__)
def test_functions_of_numpy_unrolled(f):
    problem = ss.Problem(lambda t, y: np.array([f(y[0]), f(y)[1] ** 3 / (1.0 + t)]), [0.3, 0.7], (0.0, 1.0))
    found, dy, y = unrolled(problem), np.empty(2), np.array([0.3, 0.7])
    assert found is not problem
    numba.njit(found.rhs)(0.25, y, np.empty(0), dy)
    assert dy == pytest.approx([f(0.3), f(0.7) ** 3 / 1.25], rel=1e-14)


@pytest.mark.parametrize("name", ["exp", "sin", "atan", "atan2", "hypot", "pow", "acos", "fabs"])
def test_functions_of_math_unrolled(name):
    f = getattr(math, name)
    two = name in ("atan2", "hypot", "pow")
    problem = ss.Problem(lambda t, y: [f(y[0], y[1]) if two else f(y[0]), y[0]], [0.3, 0.7], (0.0, 1.0))
    found, dy = unrolled(problem), np.empty(2)
    assert found is not problem
    numba.njit(found.rhs)(0.0, np.array([0.3, 0.7]), np.empty(0), dy)
    assert dy[0] == pytest.approx(f(0.3, 0.7) if two else f(0.3), rel=1e-14)


def test_random_numbers_are_not_frozen():
    counted = []

    def counting(t, y):
        counted.append(1)
        return -y * len(counted)

    problem = ss.Problem(lambda t, y: -y * np.random.rand(), [1.0, 2.0], (0.0, 1.0))  # noqa: NPY002
    assert unrolled(problem) is problem
    slow = ss.Problem(counting, [1.0, 2.0], (0.0, 1.0), compiled=False)
    assert slow.rhs is not counting


def test_changed_globals_count_at_the_next_solve(monkeypatch):
    problem = ss.Problem(lambda t, y: -RATE * y, [1.0, 1.0], (0.0, 1.0))
    assert ss.solve(problem, rtol=1e-9).y[-1, 0] == pytest.approx(np.exp(-1.0), abs=1e-7)
    monkeypatch.setitem(globals(), "RATE", 2.0)
    assert ss.solve(problem, rtol=1e-9).y[-1, 0] == pytest.approx(np.exp(-2.0), abs=1e-7)
    batch = problem.batch()
    assert ss.solve_ensemble(batch, rtol=1e-9).y[0, 0] == pytest.approx(np.exp(-2.0), abs=1e-7)


def test_closures_keep_their_own_numbers():
    def make(k):
        return ss.Problem(lambda t, y: -k * y, [1.0, 1.0], (0.0, 1.0))

    rates = (0.5, 1.0, 2.0)
    found = [ss.solve(make(k), rtol=1e-9).y[-1, 0] for k in rates]
    assert found == pytest.approx(np.exp([-0.5, -1.0, -2.0]), abs=1e-7)
    # they share a kernel, and a batch
    one, two = (unrolled(make(k), lift=True) for k in rates[:2])
    assert identity(one.rhs) == identity(two.rhs) and one.p.tolist() == [0.5] and two.p.tolist() == [1.0]
    many = ss.solve_ensemble([make(k) for k in rates], rtol=1e-9)
    assert many.y[:, 0] == pytest.approx(np.exp([-0.5, -1.0, -2.0]), abs=1e-7)


def test_a_captured_number_that_decides_stays_a_constant():
    def make(k):
        return ss.Problem(lambda t, y: -y if k > 1.0 else y, [1.0, 1.0], (0.0, 1.0))

    found = [ss.solve(make(k), rtol=1e-9).y[-1, 0] for k in (0.5, 2.0)]
    assert found == pytest.approx(np.exp([1.0, -1.0]), abs=1e-7)


def test_shaped_states_in_batches_and_reducers():
    flow = ss.Problem(lambda t, Y, p: p[0] * MATRIX @ Y, np.eye(2), (0.0, 1.0), [1.0])
    batch = flow.batch(p=[[1.0], [0.5]], y0=np.stack([np.eye(2), 2.0 * np.eye(2)]))
    trace = dict(t_eval=[0.0, 1.0], output=lambda s: s.y_eval[:, -1].trace(0, 1, 2))
    sol = ss.solve_ensemble(batch, rtol=1e-9, atol=1e-12, **trace)
    exact = [expm(MATRIX), 2.0 * expm(0.5 * MATRIX)]
    assert sol.y == pytest.approx(np.array(exact), abs=1e-8)
    assert sol.output == pytest.approx([m.trace() for m in exact], abs=1e-8)
    most = ss.solve_ensemble(batch, rtol=1e-9, t_eval=[0.0, 1.0], output="max").output
    assert most.shape == (2, 2, 2) and most[0, 0, 0] == pytest.approx(1.0)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")
def test_copies_pickles_threads_and_forks(compiled):
    problem = ss.Problem(as_tuple, Y0, SPAN, [C], compiled=compiled)
    again = pickle.loads(pickle.dumps(problem))
    longer = dataclasses.replace(problem, y0=[0.5, 0.0])
    assert ss.solve(again, rtol=1e-9).y[-1] == pytest.approx(EXACT, abs=1e-7)
    assert ss.solve(longer, rtol=1e-9, atol=1e-12).y[-1] == pytest.approx(0.5 * EXACT, abs=1e-7)
    batch = pickle.loads(pickle.dumps(problem.batch()))
    many = ss.solve_ensemble(batch[[0, 0, 0]], rtol=1e-9, threads=2)
    assert many.y == pytest.approx(np.tile(EXACT, (3, 1)), abs=1e-7)
    found = []
    thread = threading.Thread(target=lambda: found.append(ss.solve(problem, rtol=1e-9).y[-1]))
    thread.start()
    thread.join()
    assert found[0] == pytest.approx(EXACT, abs=1e-7)
    child = os.fork()
    if child == 0:
        right = np.allclose(ss.solve(problem, rtol=1e-9).y[-1], EXACT, atol=1e-7)
        os._exit(0 if right else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_an_ensemble_of_numbers_by_name():
    k = np.linspace(1.0, 2.0, 5)
    batch = ss.Batch(by_name, np.tile(Y0, (5, 1)), {"k": k, "c": C}, 0.0, 5.0)
    assert batch.names == ("k", "c") and batch[2].names == ("k", "c")
    exact = [expm(5.0 * np.array([[0.0, 1.0], [-v, -C]])) @ Y0 for v in k]
    assert ss.solve_ensemble(batch, rtol=1e-9).y == pytest.approx(np.array(exact), abs=1e-7)


def test_one_number_complex_numbers_and_a_matrix():
    one = ss.solve(ss.Problem(lambda t, y: -y, 1.0, (0.0, 1.0)), rtol=1e-9)
    assert one.y.shape == one.t.shape and one.y[-1] == pytest.approx(np.exp(-1.0))
    turning = ss.Problem(lambda t, z: 1j * z, np.array([1.0, 2.0 + 1.0j]), (0.0, 1.0))
    sol = ss.solve(turning, rtol=1e-9, atol=1e-12)
    assert sol.y.dtype == complex and sol.y[-1] == pytest.approx(np.exp(1j) * np.array([1.0, 2.0 + 1.0j]), abs=1e-8)
    flow = ss.Problem(lambda t, Y: MATRIX @ Y, np.eye(2), (0.0, 1.0))
    assert ss.solve(flow, rtol=1e-9, atol=1e-12).y[-1] == pytest.approx(expm(MATRIX), abs=1e-8)
    many = ss.solve_ensemble(flow.batch()[[0, 0]], rtol=1e-9, t_eval=[0.5, 1.0])
    assert many.y.shape == (2, 2, 2) and many.y_eval.shape == (2, 2, 2, 2)
    assert many.y_eval[1, 0] == pytest.approx(expm(0.5 * MATRIX), abs=1e-6)
    one_by_one = ss.solve(turning, rtol=1e-6, atol=np.array([1e-12, 1e-3]))
    alike = ss.solve(turning, rtol=1e-6, atol=np.array([1e-12, 1e-12, 1e-3, 1e-3]))
    assert one_by_one.stats.nfev == alike.stats.nfev < ss.solve(turning, rtol=1e-6, atol=1e-12).stats.nfev + 1
    lists = ss.Problem(lambda t, z: [1j * z[0], -z[1]], [1.0 + 0j, 1.0], (0.0, 1.0))
    assert ss.solve(lists, rtol=1e-9).y[-1] == pytest.approx([np.exp(1j), np.exp(-1.0)], abs=1e-7)


@pytest.mark.parametrize("jac", [lambda t, y, p: MATRIX, lambda t, y, p: [[0.0, 1.0], [-1.0, -p[0]]]])
def test_a_jacobian_may_return_its_matrix(jac):
    problem = ss.Problem(as_list, Y0, SPAN, [C], jac=jac)
    sol = ss.solve(problem, method="rodas5p", rtol=1e-9)
    assert sol.y[-1] == pytest.approx(EXACT, abs=1e-7) and sol.stats.nfev == 8 * sol.stats.naccept + 2
    ss.check_jacobian(problem)


def test_a_family_and_an_environment_of_another_style():
    import gymnasium

    problem = ss.Problem(by_name, Y0, SPAN, {"k": 1.0, "c": C}, name="springs")
    fam = ss.family(problem, vary={"k": (1.0, 2.0)}, wanted_error=1e-5, quiet=True)
    assert fam.split("test", 3, 0).names == ("k", "c")
    env = gymnasium.make("stepsmith/ODE-v0", family=fam, pool_size=2)
    env.reset(seed=0)
    assert np.isfinite(env.step(env.action_space.sample())[1])
    with pytest.raises(ValueError, match="need a function that can be compiled"):
        ss.family(ss.Problem(Model(C).slope, Y0, SPAN, compiled=False), vary={"y0": ("relative", 0.1)}, quiet=True)
