"""Right-hand sides that cannot be used as they are written: one clear error that says why, and how to write them."""

from __future__ import annotations

import pytest
from scipy.interpolate import CubicSpline

import stepsmith as ss

Y0, SPAN, C = [1.0, 0.0], (0.0, 5.0), 0.1
NAMED = {"p": {"k": 1.0, "c": C}}


def as_list(t, y, p):
    return [y[1], -y[0] - p[0] * y[1]]


def as_tuple(t, y, p):
    x, v = y
    (c,) = p
    return v, -x - c * v


def by_name(t, y, p):
    return [y[1], -p["k"] * y[0] - p.c * y[1]]


def spread(t, y, k, c):
    return [y[1], -k * y[0] - c * y[1]]


class Model:
    def slope(self, t, y):
        return -y


def short(t, y):
    return [y[1]]


def nothing(t, y):
    pass


def half(t, y, dy):
    dy[0] = 1.0


def swapped(y, t):
    return -y


def three(t, y, a, b, c):
    return -y


def ragged(t, y):
    return [y[0], [1.0, 2.0]]


def complex_answer(t, y):
    return 1j * y


def text(t, y):
    return ["a", "b"]


def wrong_order(t, y, c, k):
    return -y


def generator(t, y):
    yield y


@pytest.mark.parametrize(
    ("fn", "given", "message"),
    [
        (short, {}, "returns 1 values, where y0 has 2"), (nothing, {}, "returns nothing"),
        (half, {}, r"does not write dy\[1\]"), (swapped, {}, "time comes first"), (three, {}, "takes 5 arguments"),
        (as_list, {}, "p holds no values"), (as_tuple, {"p": [1.0, 2.0]}, "too many values"),
        (short, {"p": [1.0]}, "take p as the third argument"),
        (ragged, {}, "returns no array"), (complex_answer, {}, "complex numbers, but y0 is real"),
        (text, {}, "must return numbers"), (wrong_order, NAMED, "in the order k, c"),
        (by_name, {"p": {"k": 1.0, "d": 1.0}}, "no attribute|parameter 'c'"), (generator, {}, "holds `yield`"),
        (Model().slope, {}, "compiled=False takes any callable"), (as_list, {"p": [C], "args": (1.0,)}, "not both"),
        (as_list, {"p": {"a b": 1.0}}, "Python name"), (as_list, {"p": {"k": "x"}}, "must be a number"),
        (spread, {"args": ("x", 1.0)}, r"args\[0\] must be a real number"),
        (as_list, {"p": [C], "compiled": 1}, "True, False or"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_says_why(fn, given, message):
    with pytest.raises(ValueError, match=message):
        ss.Problem(fn, Y0, SPAN, **given)


def with_default(t, y, k=1.0):
    return [y[1], -k * y[0]]


def test_defaults_give_way_to_what_is_given():
    for given in ({"p": {"k": 4.0}}, {"args": (4.0,)}):
        dy = [0.0, 0.0]
        problem = ss.Problem(with_default, Y0, SPAN, **given)
        problem.rhs(0.0, problem.y0, problem.p, dy)
        assert dy == [0.0, -4.0]
    problem, dy = ss.Problem(lambda t, y, p=(1.0,): [y[1], -p[0] * y[0]], Y0, SPAN, p=[4.0]), [0.0, 0.0]
    problem.rhs(0.0, problem.y0, problem.p, dy)
    assert dy == [0.0, -4.0]
    own = ss.Problem(lambda t, y, p, k=1.0: [y[1], -p["k"] * k * y[0]], Y0, SPAN, p={"k": 4.0})
    own.rhs(0.0, own.y0, own.p, dy)
    assert dy == [0.0, -4.0]
    problem = ss.Problem(with_default, Y0, SPAN)
    problem.rhs(0.0, problem.y0, problem.p, dy)
    assert dy == [0.0, -1.0]


def by_keyword(t, y, *, k=1.0):
    return [y[1], -k * y[0]]


def two_more(t, y, a, b):
    return [y[1], -a * y[0] - b]


@pytest.mark.parametrize(
    ("fn", "given", "message"),
    [
        (with_default, {"p": [4.0]}, "would not reach"), (by_keyword, {"p": {"k": 4.0}}, "would not reach"),
        (two_more, {"args": (1.0,)}, "takes 2 arguments beyond .* args holds 1"), (as_list, {"p": 4.0}, r"p=\[4.0\]"),
        (lambda t, y: [y[2], y[0]], {}, "size 2$"),
    ],
)  # fmt: skip
def test_parameters_that_do_not_arrive_are_said(fn, given, message):
    with pytest.raises(ValueError, match=message):
        ss.Problem(fn, Y0, SPAN, **given)


def test_a_number_that_is_indexed():
    with pytest.raises(ValueError, match="y is a number, as y0 is"):
        ss.Problem(lambda t, y: -y[0], 1.0, SPAN)


def test_what_cannot_be_compiled_names_the_remedy():
    spline = CubicSpline([0.0, 1.0, 2.0, 5.0], [0.0, 1.0, 0.0, 1.0])
    for fn in (lambda t, y: -y * spline(t), lambda t, y: -y * t.as_integer_ratio()[0]):
        with pytest.raises(ValueError, match="compiled=False"):
            ss.solve(ss.Problem(fn, Y0, SPAN))
