"""Options are checked by name, type and range, and each error names the option, what it got and what it takes."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from stepsmith.integrators.core import options
from stepsmith.integrators.core.errors import OptionError


@pytest.mark.parametrize("value", [True, np.True_, 1.5, 1.0, math.nan, math.inf, "5", None, [1], 0, -3, 2**53 + 1, 1j])
def test_no_count(value):
    with pytest.raises(OptionError, match="max_steps must be a whole number of at least 1, got "):
        options.count("max_steps", value)


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(4), np.array(5)])
def test_counts(value):
    found = options.count("max_steps", value)
    assert type(found) is int and found == int(value)
    assert options.count("max_steps", None, none=True) is None


@pytest.mark.parametrize("value", [True, math.nan, math.inf, -1.0, 0.0, "x", [0.1], np.array([0.1]), 10**400, 1j, None])
def test_no_positive_number(value):
    with pytest.raises(OptionError, match="first_step must be a positive finite number, got "):
        options.positive("first_step", value)


@pytest.mark.parametrize("value", [1, 0.5, np.float32(0.5), np.array(0.25), Fraction(1, 3)])
def test_positive_numbers(value):
    found = options.positive("first_step", value)
    assert type(found) is float and found == float(value)


def test_ranges_are_named():
    with pytest.raises(OptionError, match="gamma must be a finite number above 0 and at most 1, got 5"):
        options.number("gamma", 5, above=0.0, high=1.0)
    with pytest.raises(OptionError, match="x must be a number between 0 and 1, both excluded, got 1"):
        options.number("x", 1, above=0.0, below=1.0)
    with pytest.raises(OptionError, match="block must be a whole number from 1 to 1024 or None, got 0"):
        options.count("block", 0, 1, 1024, none=True)


def test_flags_and_choices():
    assert options.flag("compact", np.False_) is False
    for value in (1, 0, None, "yes"):
        with pytest.raises(OptionError, match="compact must be True or False"):
            options.flag("compact", value)
    assert options.choice("adjoint", "none", ("none", "discrete")) == "none"
    with pytest.raises(OptionError, match="unknown adjoint 'discret': did you mean 'discrete'"):
        options.choice("adjoint", "discret", ("none", "discrete"))
    with pytest.raises(OptionError, match=r"adjoint must be one of 'none', 'discrete', got \['none'\]"):
        options.choice("adjoint", ["none"], ("none", "discrete"))


def test_unknown_options_name_the_nearest():
    @options.named
    def solve(problem, method="tsit5", *, max_steps=5):
        return method, max_steps

    assert solve(0, max_steps=7) == ("tsit5", 7)
    with pytest.raises(
        OptionError, match=r"solve\(\) has no option 'max_step': did you mean 'max_steps'\? it has: max_steps, method"
    ):
        solve(0, max_step=7)
    with pytest.raises(TypeError):
        solve(0, max_step=7)


def test_values_are_shown_short_and_printable():
    assert len(options.shown("x" * 10_000)) == 80
    assert "\x1b" not in options.shown("\x1b[31mred")
    assert options.shown(np.zeros(3)) == "array([0., 0., 0.])"
