"""Functions that run otherwise on symbols than on numbers: they are left as they are, or give the same numbers."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.compile.unrolled import unrolled
from stepsmith.integrators.problems.styles import style_of

WHOLE = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 10]])
COUNT = 0
RATES = [1.5]


def logarithm_to_a_base(t, y, p):
    return [math.log(abs(y[0]), 2), y[1], y[2]]


def asks_for_a_type(t, y, p):
    return [y[0] if isinstance(y[0], float) else 2 * y[0], y[1], y[2]]


def asks_for_a_dtype(t, y, p):
    return y if y.dtype == np.float64 else 3 * y


def asks_for_an_attribute(t, y, p):
    return [y[0] * (2 if hasattr(y[0], "real") else 1), y[1], y[2]]


def catches(t, y, p):
    try:
        factor = 1.0 if y[0] > 0 else 2.0
    except Exception:
        factor = 5.0
    return [factor * y[0], y[1], y[2]]


def catches_everything(t, y, p):
    try:
        rest = y[0] % 2.0
    except:  # noqa: E722
        rest = 0.0
    return [rest, y[1], y[2]]


def counts_by_global(t, y, p):
    global COUNT
    COUNT += 1
    return [COUNT * y[0], y[1], y[2]]


def _counter():
    count = 0.0

    def counts_by_closure(t, y, p):
        nonlocal count
        count += 1.0
        return [count * y[0], y[1], y[2]]

    return counts_by_closure


def _helper_that_counts():
    count = 0

    def helper(x):
        nonlocal count
        count += 1
        return count * x

    def counts_in_a_helper(t, y, p):
        return [helper(y[0]), y[1], y[2]]

    return counts_in_a_helper


def whole_zeros(t, y, p):
    z = np.zeros(3, int)
    z[0] = y[0] * 10
    return z + y


def whole_full(t, y, p):
    z = np.full(3, 0)
    z[0] = y[0] * 10
    return z + y


def like_whole(t, y, p):
    z = np.zeros_like(WHOLE[0])
    z[0] = y[0] * 10
    return z + y


def single_precision(t, y, p):
    z = np.zeros(3, np.float32)
    z[0] = y[0] * 10
    return z + y


def more_axes(t, y, p):
    z = np.array([y[0], y[1], y[2]], ndmin=2)
    return [z.shape[0] * y[0], y[1], y[2]]


def the_same_array(t, y, p):
    z = np.asarray(y)
    z[0] = 5.0
    return [y[0], y[1], y[2]]


def no_nan(t, y, p):
    return np.nan_to_num(y)


def large_whole_numbers(t, y, p):
    return [10**20 * y[0], (2**60 + 1) * y[1], math.floor(1e20 * y[2]) * math.ceil(1e10 * y[0]) * 1.0]


def functions_of_numpy(t, y, p):
    z = np.roll(y, 1) + np.cross(y, [1.0, 2.0, 3.0])
    z = z + np.convolve(y, [1, 2, 1], "same") + np.einsum("ij,j->i", WHOLE, y)
    return z + y * np.mean(y) + np.outer(y, y).sum(axis=1) + np.append(np.diff(y), 0.0) + np.cumsum(y) * np.var(y)


def writes_into_views(t, y, p, dy):
    part = y[1:]
    part[0] = 9.0
    y[0], y[2] = y[2], y[0]
    dy[:] = y
    dy[1:] = dy[:-1]
    dy[:] = dy[::-1]
    dy *= 2
    dy[0] += y[1]


LEFT = [logarithm_to_a_base, asks_for_a_type, asks_for_a_dtype, asks_for_an_attribute, catches, catches_everything,
        counts_by_global, _counter(), _helper_that_counts(), whole_zeros, whole_full, like_whole, single_precision,
        more_axes, no_nan]  # fmt: skip
TAKEN = [the_same_array, large_whole_numbers, functions_of_numpy, writes_into_views]


@pytest.mark.parametrize("fn", LEFT, ids=lambda f: f.__name__)
def test_what_symbols_would_get_wrong_is_not_unrolled(fn):
    problem = ss.Problem(fn, [0.3, 1.2, -0.7], (0.0, 1.0), p=[2.0])
    for lift in (False, True):
        assert style_of(unrolled(problem, lift).rhs) is not None


@pytest.mark.parametrize("fn", TAKEN, ids=lambda f: f.__name__)
def test_what_is_unrolled_gives_the_same_numbers(fn):
    problem = ss.Problem(fn, [0.3, 1.2, -0.7], (0.0, 1.0), p=[2.0])
    made = unrolled(problem).rhs
    assert style_of(made) is None
    rng = np.random.default_rng(1)
    for y in rng.normal(size=(5, 3)):
        own, out = np.empty(3), np.empty(3)
        if fn is writes_into_views:
            fn(0.5, y.copy(), problem.p, own)
        else:
            own[:] = fn(0.5, y.copy(), problem.p)
        made(0.5, y.copy(), problem.p, out)
        np.testing.assert_allclose(out, own, rtol=1e-12)


def doubled(t, y, p, dy):
    z = 2 * y
    dy[0], dy[1] = z[0], z[1]


def times_a_number(t, y, p, dy):
    two = 2.0
    z = y * two
    dy[0], dy[1] = z[0], z[1]


def turned(t, y, p, dy):
    z = -y
    dy[0], dy[1] = -2 * z[0], -2 * z[1]


def in_a_loop(t, y, p, dy):
    total = 0.0
    for x in y:
        total += x
    dy[0], dy[1] = 2 * y[0], total * 2 - 2 * y[0]


def summed(t, y, p, dy):
    dy[0], dy[1] = 2 * y[0], sum(y) * 2 - 2 * y[0]


@pytest.mark.parametrize("fn", [doubled, times_a_number, turned, in_a_loop, summed], ids=lambda f: f.__name__)
def test_arithmetic_with_whole_vectors_is_seen(fn):
    problem = ss.Problem(fn, [0.5, 0.25], (0.0, 1.0))
    out = np.empty(2)
    assert style_of(problem.rhs) is not None
    unrolled(problem).rhs(0.0, problem.y0, problem.p, out)
    np.testing.assert_array_equal(out, [1.0, 0.5])


def test_a_function_of_p_needs_no_parameters():
    def decay(t, y, p):
        return [-y[0], -2.0 * y[1]]

    for compiled in (True, False):
        problem = ss.Problem(decay, [1.0, 0.5], (0.0, 1.0), compiled=compiled)
        out = np.empty(2)
        problem.rhs(0.0, problem.y0, problem.p, out) if not compiled else unrolled(problem).rhs(
            0.0, problem.y0, problem.p, out
        )
        np.testing.assert_array_equal(out, [-1.0, -1.0])
        assert style_of(problem.rhs) is not None and problem.rhs.stepsmith_form == "pass"


def test_whole_numbers_of_more_than_64_bits_are_compiled():
    def slow(t, y, p):
        return [math.floor(1e20 * y[0]) * -1e-20, 10**20 * -1e-20 * y[1]]

    sol = ss.solve(ss.Problem(slow, [1.0, 0.5], (0.0, 1.0)))
    np.testing.assert_allclose(sol.y[-1], np.array([1.0, 0.5]) * np.exp(-1.0), rtol=1e-5)


def test_a_problem_may_be_given_a_state_of_another_shape():
    def decay(t, y):
        return -y if np.iscomplexobj(y) else -3.0 * y

    plain = ss.Problem(decay, [1.0, 2.0], (0.0, 1.0), compiled=False)
    out = np.empty(2)
    for made in (dataclasses.replace(plain, y0=1.0 + 2.0j), plain):
        made.rhs(0.0, made.y0, made.p, out)
        np.testing.assert_array_equal(out, [-1.0, -2.0] if made is not plain else [-3.0, -6.0])
    square = ss.Problem(decay, np.ones((2, 2)), (0.0, 1.0), compiled=False)
    for y0 in (np.arange(4.0).reshape(2, 2), np.arange(4.0)):  # in its own shape, or flat
        np.testing.assert_array_equal(dataclasses.replace(square, y0=y0).y0, np.arange(4.0))


def test_a_list_that_is_changed_twice_is_seen():
    def grows(t, y):
        return [RATES[0] * y[0], y[1]]

    problem, out = ss.Problem(grows, [1.0, 0.5], (0.0, 1.0)), np.empty(2)
    for _ in range(5):
        unrolled(problem).rhs(0.0, problem.y0, problem.p, out)
        assert out[0] == RATES[0]
        before = id(RATES[0])
        for _ in range(100):  # until the new number lies where the old one was
            RATES[0] += 1.0
            if id(RATES[0]) == before:
                break


def test_a_gpu_does_not_call_python():
    problem = ss.Problem(lambda t, y: -y, [1.0], (0.0, 1.0), compiled=False)
    with pytest.raises(ValueError, match="compiled=False runs on device 'cpu' only"):
        ss.solve_ensemble(problem, device="cuda")
