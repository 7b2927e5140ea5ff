"""Ensembles of a person's own problems: batches of lists and of varied numbers, wherever they come from."""

from __future__ import annotations

import multiprocessing
import pickle
import threading

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.problems.batches import varied_batch
from stepsmith.integrators.problems.problem import Batch, Problem


def oscillator(t, y, p, dy):
    """A damped oscillator, p = (stiffness, damping)."""
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] - p[1] * y[1]


def twin(t, y, p, dy):
    """A damped oscillator, p = (stiffness, damping)."""
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] - p[1] * y[1]


PROBLEM = Problem(oscillator, [1.0, 0.0], (0.0, 10.0), [2.0, 0.1])


def closure(k, damping=0.1):
    def rhs(t, y, p, dy):
        dy[0] = y[1]
        dy[1] = -k * y[0] - damping * y[1]

    return Problem(rhs, [1.0, 0.0], (0.0, 10.0))


def closure_power(k, a=1.0):
    def rhs(t, y, p, dy):
        dy[0] = -a * y[0] ** k

    return Problem(rhs, [1.0], (0.0, 1.0))


def closure_table(table):
    def rhs(t, y, p, dy):
        dy[0] = -table[0] * y[0]

    return Problem(rhs, [1.0], (0.0, 1.0))


def stiffnesses(count):
    return np.column_stack([np.linspace(1.0, 4.0, count), np.full(count, 0.1)])


def run(batch, **more):
    return ss.solve_ensemble(batch, "tsit5", "pi34", **{"rtol": 1e-6, "atol": 1e-8, **more})


def same(a, b):
    """Equal to the last bit."""
    for name in ("t", "y", "status"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    np.testing.assert_array_equal(a.stats.nfev, b.stats.nfev)


# batches of problems


def test_a_list_of_problems_is_a_batch():
    problems = [Problem(oscillator, [1 + i, 0], (0, 5 + i), [2.0, 0.1 * i]) for i in range(4)]
    batch = Batch.of(problems)
    np.testing.assert_array_equal(batch.y0, [[1, 0], [2, 0], [3, 0], [4, 0]])
    np.testing.assert_array_equal(batch.t1, [5, 6, 7, 8])
    np.testing.assert_array_equal(batch.p[:, 1], [0.0, 0.1, 0.2, 0.30000000000000004])
    assert batch.rhs is oscillator and len(batch) == 4 and batch.y0.dtype == float
    assert Batch.of(p for p in problems).rhs is oscillator
    same(run(problems), run(batch))
    same(run(tuple(problems)), run(iter(problems)))
    same(run(problems[2]), run(batch[2:3]))


def test_functions_that_compute_the_same_are_one():
    there = Problem(twin, [1.0, 0.0], (0.0, 10.0), [2.0, 0.1])
    assert len(Batch.of([PROBLEM, there])) == 2
    batch = Batch.of([closure(2.0), closure(2.0)])
    assert batch.m == 0, "equal closures need no parameters"


def test_labels_are_those_that_all_share():
    a, b = (Problem(oscillator, [1.0, 0.0], (0.0, 1.0), [1.0, 1.0], name=n, family="f") for n in ("one", "two"))
    batch = Batch.of([a, b])
    assert batch.name == "user" and batch.family == "f"
    assert Batch.of([a, a]).name == "one"


def test_closures_made_in_a_loop_are_one_kernel_with_parameters():
    rates = np.linspace(1.0, 4.0, 7)
    batch = Batch.of([closure(k) for k in rates])
    np.testing.assert_array_equal(np.sort(batch.p, axis=1), stiffnesses(7)[:, ::-1])
    sol = run([closure(k) for k in rates])
    for i, k in enumerate(rates):
        same_one = ss.solve(closure(k), "tsit5", "pi34", 1e-6, 1e-8)
        np.testing.assert_allclose(sol.y[i], same_one.y[-1], rtol=1e-11)
    np.testing.assert_allclose(sol.y, run(PROBLEM.batch(p=stiffnesses(7))).y, rtol=1e-11)
    np.testing.assert_array_equal(run([batch[3]]).y[0], sol.y[3])
    two = Batch.of([closure(1.0, 0.1), closure(1.0, 0.5), closure(2.0, 0.5)])
    assert two.m == 2 and len(np.unique(two.p, axis=0)) == 3


def jacobian(t, y, p, J):
    J[0, 1] = 1.0


def energy(t, y, p):
    return y[0]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Problem(oscillator, [1.0, 0.0, 0.0], (0, 1), [2.0, 0.1]), "number 1 .*dimension of y0: 3 against 2"),
        (Problem(oscillator, [1.0, 0.0], (0, 1), [2.0]), "number 1 .*number of parameters: 1 against 2"),
        (Problem(oscillator, [1.0, 0.0], (0, 1), [2.0, 0.1], jac=jacobian), "its jac: jacobian against none"),
        (Problem(oscillator, [1.0, 0.0], (0, 1), [2.0, 0.1], sparsity=(1, 0)), "its sparsity"),
        (Problem(oscillator, [1.0, 0.0], (0, 1), [2.0, 0.1], accel=energy), "its accel"),
        (Problem(oscillator, [1.0, 0.0], (0, 1), [2.0, 0.1], invariants={"e": energy}), r"its invariants: \['e'\]"),
        (Problem(oscillator, [1.0, 0.0], (0, 1), [2.0, 0.1], nbody=(1, 1)), r"its nbody: \(1, 1\) against None"),
        (Problem(lambda t, y, p, dy: None, [1.0, 0.0], (0, 1), [2.0, 0.1]), "its rhs: .*another function"),
        ("oscillator", "number 1 is 'oscillator'"),
        (PROBLEM.batch(), "number 1 is Batch"),
    ],
)
def test_problems_of_two_kinds(other, words):
    with pytest.raises(OptionError, match=words):
        Batch.of([PROBLEM, other])


def test_closures_that_cannot_be_one():
    with pytest.raises(OptionError, match=r"number 2 .*its rhs: .*captures k = 3.0 against 2.0; only .* exponent"):
        Batch.of([closure_power(2.0), closure_power(2.0, 1.5), closure_power(3.0, 2.5)])
    with pytest.raises(OptionError, match=r"captures k = 2 against 1; a whole number .* make it a float"):
        Batch.of([closure(1), closure(2)])
    with pytest.raises(OptionError, match="captures k = 2.0 against 1; a whole number"):
        Batch.of([closure(1), closure(2.0)])
    given = [Problem(closure(k).rhs, [1.0, 0.0], (0.0, 1.0), jac=jacobian) for k in (1.0, 2.0)]
    with pytest.raises(OptionError, match="captures k = 2.0 against 1.0; pass what varies in p"):
        Batch.of(given)  # with a Jacobian nothing that is captured moves
    with pytest.raises(OptionError, match="its rhs: .*captures table = .*pass what varies in p"):
        Batch.of([closure_table(np.ones(2)), closure_table(np.zeros(2))])


@pytest.mark.parametrize(
    ("given", "words"),
    [([], "at least one"), (iter([]), "at least one"), (PROBLEM, "batch of one|a list"), (3, "a list of Problems"),
     ("ab", "number 0 is 'a'")],
)  # fmt: skip
def test_no_problems(given, words):
    with pytest.raises(OptionError, match=words):
        Batch.of(given)


# one problem with numbers that vary


def test_numbers_vary_by_broadcasting():
    p = stiffnesses(5)
    batch = PROBLEM.batch(p=p)
    assert len(batch) == 5 and batch.rhs is oscillator
    np.testing.assert_array_equal(batch.p, p)
    np.testing.assert_array_equal(batch.y0, np.tile([1.0, 0.0], (5, 1)))
    np.testing.assert_array_equal(batch.t1, 10.0)
    batch = PROBLEM.batch(y0=np.arange(6).reshape(3, 2), p=[1, 0], t1=[1, 2, 3])
    np.testing.assert_array_equal(batch.y0, [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(batch.p, [[1, 0]] * 3)
    np.testing.assert_array_equal(batch.t1, [1, 2, 3])
    np.testing.assert_array_equal(PROBLEM.batch(t_span=[[0, 1], [2, 3]]).t0, [0, 2])
    np.testing.assert_array_equal(PROBLEM.batch(t_span=(1, 3), p=p).t1, 3.0)
    assert len(PROBLEM.batch(t1=4.0)) == 1 and PROBLEM.batch(t1=4.0).t1[0] == 4.0
    assert len(PROBLEM.batch()) == 1 and len(PROBLEM.batch(p=np.empty((0, 2)))) == 0
    p[:] = 0.0
    assert PROBLEM.batch(p=p[:1]).p.base is None or not np.shares_memory(PROBLEM.batch(p=p[:1]).p, p)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"p": np.ones((3, 2)), "y0": np.ones((5, 2))}, "p holds 3 instances, y0 holds 5"),
        ({"y0": np.ones((3, 2)), "t1": [1.0, 2.0]}, "y0 holds 3 instances, t1 holds 2"),
        ({"p": np.ones(3)}, r"p must have shape \(2,\) or \(B, 2\), got shape \(3,\)"),
        ({"y0": 1.0}, r"y0 must have shape \(2,\)"),
        ({"p": [[1.0, 2.0], [3.0]]}, "p must be real numbers in a rectangular array"),
        ({"p": ["a", "b"]}, "p must be real numbers"),
        ({"p": [1j, 0]}, "p must be real numbers"),
        ({"p": [[1.0, np.nan]]}, r"p must be finite, but entry \(0, 1\) is nan"),
        ({"y0": [np.inf, 0.0]}, "y0 must be finite"),
        ({"t1": np.nan}, "t1 must be finite"),
        ({"t1": np.ones((2, 2))}, "t1 must be a number or have shape"),
        ({"t_span": (0.0, 1.0), "t1": 2.0}, "t_span and t1 are both given"),
        ({"t_span": [0.0, 1.0, 2.0]}, r"t_span must have shape \(2,\)"),
        ({"p": {"k": 1.0}}, "parameters have names"),
    ],
)
def test_numbers_that_do_not_fit(options, words):
    with pytest.raises(ValueError, match=words):
        PROBLEM.batch(**options)


def test_one_parameter_a_row():
    one = Problem(oscillator, [1.0], (0.0, 1.0), [2.0])
    with pytest.raises(OptionError, match=r"for one parameter and 9 instances write p\[:, None\]"):
        one.batch(p=np.ones(9))


def test_parameters_by_name():
    problem = Problem(oscillator, [1.0, 0.0], (0.0, 10.0), {"stiffness": 2.0, "damping": 0.1})
    batch = problem.batch(p={"stiffness": [1.0, 2.0, 3.0]})
    np.testing.assert_array_equal(batch.p, [[1.0, 0.1], [2.0, 0.1], [3.0, 0.1]])
    np.testing.assert_array_equal(varied_batch(problem, {"damping": 0, "stiffness": 5}).p, [[5.0, 0.0]])
    np.testing.assert_array_equal(problem.batch(p={}, y0=np.ones((2, 2))).p, [[2.0, 0.1]] * 2)
    with pytest.raises(OptionError, match="unknown parameter 'stifness': did you mean 'stiffness'"):
        problem.batch(p={"stifness": 1.0})
    with pytest.raises(OptionError, match=r"p\['stiffness'\] holds 2 instances, p\['damping'\] holds 3"):
        problem.batch(p={"stiffness": [1, 2], "damping": [1, 2, 3]})
    with pytest.raises(OptionError, match=r"p\['damping'\] must be a number"):
        problem.batch(p={"damping": np.ones((2, 2))})


# where batches come from


def in_a_child(batch, connection):
    connection.send(run(batch).y)


def test_entry_points():
    batch = PROBLEM.batch(p=stiffnesses(3), y0=np.array([[1, 0], [2, 0], [3, 0]]))
    expected = run(batch).y
    copy = pickle.loads(pickle.dumps(Batch.of([batch[0], batch[1], batch[2]])))
    np.testing.assert_array_equal(run(copy).y, expected)
    found = []
    thread = threading.Thread(target=lambda: found.append(run([batch[i] for i in range(3)]).y))
    thread.start()
    thread.join()
    np.testing.assert_array_equal(found[0], expected)
    here, there = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=in_a_child, args=(batch, there))
    child.start()
    assert here.poll(60)
    np.testing.assert_array_equal(here.recv(), expected)
    child.join(10)
