"""Right-hand sides that are sound: they must neither be refused nor cost anything."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from stepsmith.integrators.checks import rhs_check
from stepsmith.integrators.problems.problem import Batch, Problem


def problem(rhs) -> Problem:
    return Problem(rhs, [1.0, 2.0], (0.0, 1.0), [1.0])


def good(t, y, p, dy):
    for i in range(len(y)):
        dy[i] = -y[i]


def missing(t, y, p, dy):
    dy[0] = 1.0


@numba.njit
def clipped(x):
    return min(max(x, 0.0), 1.0)


@numba.njit
def fill(dy, y, k):
    for i in range(len(dy)):
        dy[i] = -k * y[i]


def make(k):
    def through_helpers(t, y, p, dy):
        fill(dy, y, k)
        dy[0] = dy[0] + clipped(t) + helper(y[0], p[0])

    helper = numba.njit(lambda a, b: a * b)
    return through_helpers


def branches(t, y, p, dy):
    for i in range(len(y)):
        if y[i] > 0.0:
            dy[i] = -y[i]
        else:
            dy[i] = 1.0


def divides(t, y, p, dy):
    dy[0] = 1.0 / (t - t)
    dy[1] = 1 // 0


def table(t, y, p, dy):
    for k in (0, 1):
        dy[k] = y[-1 - k] ** 2.0 + float(k)


def truncates(t, y, p, dy):
    dy[0] = 1.0
    dy[int(p[0])] = 2.0


@pytest.mark.parametrize(
    "rhs, known",
    [(make(2.0), True), (good, True), (table, True), (branches, False), (divides, False), (truncates, False)],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_sound_functions_pass(rhs, known):
    given = problem(rhs)
    rhs_check.check(given)
    rhs_check.check(given.batch())
    assert rhs_check.proved(rhs, "rhs", 2, 1) is known


def test_shipped_problems_are_proved():
    """None is refused; those without branches need nothing at run time."""
    import stepsmith as ss

    for name in ("lorenz", "three_body", "pleiades", "brusselator_1d", "neural_field", "pollu", "ring_modulator"):
        batch = ss.problems.sample(name, n=1, seed=0)
        rhs_check.check(batch)
        assert rhs_check.proved(batch.rhs, "rhs", batch.n, batch.m), name


def test_an_empty_batch_and_long_functions():
    rhs_check.check(Batch(missing, np.empty((0, 2)), np.empty((0, 0)), 0.0, 1.0))

    def endless(t, y, p, dy):
        while y[0] > 0.0:
            dy[0] = 1.0

    rhs_check.check(problem(endless))
    assert not rhs_check.proved(endless, "rhs", 2, 1)
