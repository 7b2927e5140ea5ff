"""Arrays that a right-hand side captures or makes: an index outside of one is one clear error, wherever the array lies.
"""

from __future__ import annotations

import math
import subprocess
import sys

import numba
import numpy as np
import pytest

import array_faults
from stepsmith.controllers.laws import registry
from stepsmith.integrators.checks import rhs_check
from stepsmith.integrators.compile import vecmath
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.problems.problem import Problem


def test_indices_outside_end_in_one_error():
    done = subprocess.run([sys.executable, array_faults.__file__], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    *lines, end = done.stdout.splitlines()
    assert end == "end" and len(lines) == 2 * len(array_faults.CASES)
    for line in lines:
        name = line.split()[0]
        assert line.startswith(
            f"{name} ValueError right-hand side '{name}' indexes an array that it captures or makes outside of it"
        ), line


@numba.njit
def look(t):
    return array_faults.TAB[int(100 * t)]


@numba.njit
def twice(x):
    return 2.0 * x


def plain_helper(t):
    return look(t)


def calls_look(t, y, p, dy):
    dy[0] = 1.0 if look(t) > 0.5 else -1.0


def calls_through(t, y, p, dy):
    dy[0] = plain_helper(t)


def numbers(t, y, p, dy):
    dy[0] = np.sin(y[0]) + math.exp(-t) + np.float64(2.0) * twice(t) + vecmath.cos(t) + abs(min(y[0], np.pi))


def loops(t, y, p, dy):
    for i in range(len(dy)):
        dy[i] = (1.0, 2.0)[0] * y[i]


@pytest.mark.parametrize(
    "fn", [*array_faults.CASES, calls_look, calls_through, look, plain_helper], ids=lambda f: f.__name__
)
def test_arrays_are_found(fn):
    assert rhs_check.indexes_arrays(fn)


@pytest.mark.parametrize("fn", [numbers, loops, twice], ids=lambda f: f.__name__)
def test_functions_of_numbers_have_none(fn):
    assert not rhs_check.indexes_arrays(fn)


def test_arrays_indexed_inside_give_the_right_answer():
    """y' = -y and y' = -2y by way of a captured array and one that is made."""
    table = (np.array([-1.0, -2.0]),)

    def decays(t, y, p, dy):
        made = np.empty(2)
        for i in range(2):
            made[i] = table[0][i] * y[i]
        for i in range(2):
            dy[i] = made[i]

    sol = solve(Problem(decays, [1.0, 1.0], (0.0, 1.0)), "dopri5", registry.get("pi34"), 1e-9, 1e-9)
    assert sol.success
    np.testing.assert_allclose(sol.y[-1], np.exp([-1.0, -2.0]), rtol=1e-7)
