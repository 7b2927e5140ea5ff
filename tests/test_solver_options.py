"""The options that every solver has: one formula for the engine's arrays and for the torch solver's single numbers."""

from __future__ import annotations

import numpy as np
import pytest

from stepsmith.integrators.core import record
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.core.solver_options import (
    checked_limit,
    checked_step,
    one_tolerance_each,
    output_grid,
    output_times,
    tolerances,
    unmet,
)


@pytest.mark.parametrize("t0, t1", [(0.0, 2.0), (2.0, 0.0)])
def test_output_times_of_one_trajectory_and_of_many(t0, t1):
    times = np.linspace(t0, t1, 5)
    many = np.array([t0, t0]), np.array([t1, t1])
    assert np.array_equal(output_times(times, t0, t1), output_grid(times, *many))
    assert output_grid(None, *many).shape == (1, 0)
    for wrong, message in ((times + 1.0, "must lie within"), (times[::-1], "must be ordered along the direction")):
        for checked in (lambda w: output_times(w, t0, t1), lambda w: output_grid(w, *many)):
            with pytest.raises(OptionError, match=message):
                checked(wrong)


def test_a_first_step_is_refused_beyond_the_span_or_cut_to_it():
    assert checked_step(None, 1.0) is checked_step(None, 1.0, cut=True) is None
    assert checked_step(1.0, 1.0) == 1.0 and checked_step(99.0, 1.0, cut=True) == 99.0
    with pytest.raises(OptionError, match="must not exceed the span, 1 long, got 1.5"):
        checked_step(1.5, 1.0)
    with pytest.raises(OptionError, match="must be at most 100 times the span of t, which is 1, got 101"):
        checked_step(101.0, 1.0, cut=True)
    for cut, takes in ((False, "a positive finite number, got"), (True, "a positive finite number or None, got")):
        with pytest.raises(OptionError, match=f"first_step must be {takes}"):
            checked_step(-1.0, 1.0, cut=cut)


def test_tolerances_as_arrays_and_as_numbers():
    r, a = tolerances(1e-3, [1e-6, 1e-7], (3, 2))
    assert r.shape == (3,) and a.shape == (3, 2) and a[2, 1] == 1e-7
    assert one_tolerance_each(1e-3, 0.0) == (1e-3, 0.0)
    with pytest.raises(OptionError, match="adjoint_atol must be one number for all components"):
        one_tolerance_each(1e-3, [1e-6, 1e-7], "adjoint_")
    with pytest.raises(OptionError, match="rtol must be at most 10"):
        tolerances(11.0, 1e-6, (1, 1))


def test_a_limit_of_attempts_is_a_whole_number():
    assert checked_limit(7) == 7 and type(checked_limit(np.int64(2_000_000))) is int
    with pytest.raises(OptionError, match="max_steps must be a whole number of at least 1"):
        checked_limit(0)


def test_what_a_controller_needs_and_a_method_does_not_report():
    class Asks:
        needs = (record.HS, record.ERR)

    assert unmet(Asks(), frozenset({record.ERR})) == "hs"
    assert unmet(Asks(), frozenset()) == "err, hs"
    assert unmet(object(), frozenset()) == ""
