"""Strengths of a regulariser: values against their formulas, and what is refused."""

import math

import pytest

from stepsmith.integrators.neural import strength


def test_a_constant_is_constant():
    s = strength.constant(2)
    assert [s(k) for k in (0, 1, 10**6)] == [2.0] * 3


def test_an_exponential_halves_its_logarithm_and_stays_at_the_end():
    s = strength.exponential(100.0, 10.0, 8)
    assert (
        s(0) == 100.0 and s(8) == pytest.approx(10.0, rel=1e-14) and s(4) == pytest.approx(math.sqrt(1000.0), rel=1e-14)
    )
    assert [s(k + 1) / s(k) for k in range(8)] == pytest.approx([0.1 ** (1 / 8)] * 8, rel=1e-13)
    assert s(9) == s(8) == s(10**9)


def test_it_may_rise():
    s = strength.exponential(0.1, 5.0, 3)
    assert s(0) < s(1) < s(2) < s(3) == pytest.approx(5.0)


def test_a_line():
    s = strength.linear(4.0, 1.0, 6)
    assert [s(k) for k in (0, 2, 4, 6, 60)] == pytest.approx([4.0, 3.0, 2.0, 1.0, 1.0])


def test_any_callable_and_its_values_are_checked():
    s = strength.of(lambda k: 5.0 - k)
    assert s(1) == 4.0 and s(5) == 0.0
    with pytest.raises(ValueError, match="at iteration 6 must be a finite number of at least 0, got -1"):
        s(6)
    for value in (math.nan, math.inf):
        with pytest.raises(ValueError, match="must be a finite number of at least 0"):
            strength.of(lambda k, value=value: value)(0)
    with pytest.raises(ValueError, match="callable, got int"):
        strength.of(3)
    assert strength.of(s) is s


def test_a_strength_may_be_zero():
    assert strength.constant(0)(7) == 0.0
    fading, warming = strength.linear(2.0, 0.0, 4), strength.linear(0.0, 2.0, 4)
    assert [fading(k) for k in (0, 2, 4, 9)] == [2.0, 1.0, 0.0, 0.0] and [warming(k) for k in (0, 2, 4, 9)] == [
        0.0,
        1.0,
        2.0,
        2.0,
    ]
    # no round-off below zero at the end
    assert all(strength.linear(0.7, 0.0, n)(n) == 0.0 for n in range(1, 300))
    for ends in ((0.0, 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="must be a positive finite number"):
            strength.exponential(*ends, 5)


BUILT = [
    strength.constant(3.0), strength.constant(0.0), strength.linear(1.0, 0.0, 3), strength.exponential(2.0, 1.0, 5),
    strength.linear(1.0, 2.0, 7),
]  # fmt: skip


@pytest.mark.parametrize("s", BUILT)
def test_a_description_builds_it_again(s):
    again = strength.make(**s.describe())
    assert again.describe() == s.describe() and [again(k) for k in range(9)] == [s(k) for k in range(9)]


def test_a_callable_is_named():
    assert "steadily" in strength.of(steadily).describe()["kind"]


def steadily(k):
    return 1.0


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, "much", None])
def test_numbers_that_do_not_fit(value):
    for build in (
        lambda v: strength.constant(v),
        lambda v: strength.exponential(v, 1.0, 5),
        lambda v: strength.exponential(1.0, v, 5),
        lambda v: strength.exponential(1.0, 1.0, v),
        lambda v: strength.linear(v, 1.0, 5),
        lambda v: strength.linear(1.0, v, 5),
        lambda v: strength.linear(1.0, 1.0, v),
    ):
        with pytest.raises(ValueError, match="must be"):
            build(value)


def test_iterations_and_kinds_that_do_not_fit():
    for k in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match="iteration must be"):
            strength.constant(1.0)(k)
    with pytest.raises(ValueError, match="did you mean 'exponential'"):
        strength.make("exponental", l0=1.0, l1=2.0, n=3)
    with pytest.raises(ValueError, match="'linear'.*l2"):
        strength.make("linear", l0=1.0, l2=2.0, n=3)
