"""Random right-hand sides against SciPy: the short form; `make fuzz` is the long one."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz_case import check
from grammar import build, case
from stepsmith.integrators.compile.digest import function_key


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.randoms(use_true_random=False))
def test_functions_of_one_key_compute_the_same(rng):
    one, other = case(rng), case(rng)
    functions = [build(c) for c in (one, one, other)]
    keys = [function_key(f) for f in functions]
    assert keys[0] == keys[1]
    if keys[0] == keys[2]:  # what differs is not used
        slopes = np.zeros((2, 4))
        for f, dy in zip((functions[0], functions[2]), slopes, strict=True):
            f(0.3, np.array([0.7, -0.2, 0.5, 1.1]), np.array([0.4, -0.9]), dy)
        np.testing.assert_array_equal(*slopes)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1))
def test_random_problems(seed):
    rng = random.Random(seed)
    report = check(case(rng), rng, methods=1, variants=8, only=("bs32", "dopri5", "rodas5p"))
    assert report.cases == 8 and not report.findings, report.findings[0]


def test_a_wrong_answer_is_found(monkeypatch):
    """The check itself: an engine that lies is caught."""
    import stepsmith as ss

    honest = ss.solve

    def lying(problem, *args, **options):
        sol = honest(problem, *args, **options)
        sol.y[-1] += 0.1
        return sol

    rng = random.Random(1)
    made = case(rng)
    monkeypatch.setattr(ss, "solve", lying)
    report = check(made, rng, methods=1, variants=6, only=("bs32",))
    assert any("tolerances off" in finding for finding in report.findings) or report.compared == 0
    if report.compared == 0:
        pytest.fail("the seed gives no case that can be compared")
