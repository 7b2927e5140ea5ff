"""The run of a right-hand side in plain Python takes no longer than the compiler, whatever loops it holds."""

from __future__ import annotations

import sys
import time

import numba
import pytest

from stepsmith.integrators.checks import rhs_check
from stepsmith.integrators.problems.problem import Problem


def sums(t, y, p, dy):
    s = 0.0
    for k in range(1, 1_000_000_000):
        s += 1.0 / k / k
    dy[0] = dy[1] = s


def counts(t, y, p, dy):
    k = 0
    while k < 1_000_000_000:
        k += 1
    dy[0] = dy[1] = 1.0


@pytest.mark.parametrize("rhs", [sums, counts, numba.njit(sums)])
def test_long_loops_that_index_nothing_are_given_up(rhs):
    def tracer(frame, event, arg):
        return None

    before, start = sys.gettrace(), time.perf_counter()
    sys.settrace(tracer)
    try:
        rhs_check.check(Problem(rhs, [0.0, 0.0], (0.0, 1.0), [1.0]))
        assert sys.gettrace() is tracer  # a debugger's stays
    finally:
        sys.settrace(before)
    assert time.perf_counter() - start < 10 * rhs_check.SECONDS
    assert not rhs_check.proved(rhs, "rhs", 2, 1)
