"""A pattern that leaves out an entry is named, where no Jacobian is given to compare with; patterns that fit pass."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from scipy.sparse import random as random_matrix

import stepsmith as ss
from stepsmith.integrators import methods, problems
from stepsmith.integrators.checks import jacobian_check
from stepsmith.integrators.core.errors import JacobianWarning

PATTERNED = [
    name
    for name in problems.names()
    if problems.family(name).stiff and problems.family(name).canonical().sparsity is not None
]


def second_neighbours(t, y, p, dydt):
    n = len(y)
    for i in range(n):
        dydt[i] = -5.0 * y[i] + (y[i - 2] if i > 1 else 0.0)


@pytest.mark.parametrize("name", PATTERNED)
def test_shipped_patterns_fit(name):
    problem = dataclasses.replace(problems.family(name).canonical(), jac=None)
    ss.check_jacobian(problem)


def test_there_are_shipped_patterns():
    assert len(PATTERNED) >= 3


@pytest.mark.parametrize("n", [12, 300])
def test_too_narrow_a_band_is_named(n):
    problem = ss.Problem(second_neighbours, np.ones(n), (0.0, 1.0), sparsity=(1, 1), name="chain")
    with pytest.raises(
        ValueError,
        match=r"sparsity of problem 'chain' is too narrow: f\[(\d+)\] depends on y\[(\d+)\], entry \(\1, \2\)",
    ):
        ss.check_jacobian(problem)
    ss.check_jacobian(dataclasses.replace(problem, sparsity=(2, 0)))


@pytest.mark.parametrize("seed", range(6))
def test_one_missing_entry_of_a_small_system(seed):
    rng = np.random.default_rng(seed)
    n = 60
    A = random_matrix(n, n, 0.08, random_state=rng).toarray() - 3.0 * np.eye(n)
    pattern = A != 0
    i, j = rng.choice(np.argwhere(pattern & ~np.eye(n, dtype=bool)))
    pattern[i, j] = False

    def linear(t, y, p, dydt):
        for r in range(n):
            s = 0.0
            for c in range(n):
                if A[r, c] != 0.0:
                    s += A[r, c] * y[c]
            dydt[r] = s

    # at zero, too: the entry's column must not hide behind it
    for y0 in (rng.normal(size=n), np.zeros(n)):
        problem = ss.Problem(linear, y0, (0.0, 1.0), sparsity=pattern)
        with pytest.raises(ValueError, match=rf"f\[{i}\] depends on y\[{j}\], entry \({i}, {j}\)"):
            ss.check_jacobian(problem)
        pattern[i, j] = True
        ss.check_jacobian(dataclasses.replace(problem, sparsity=pattern))
        pattern[i, j] = False


def test_rounding_is_no_dependence():
    """x0 as the total less the rest: f reads every component and depends on one."""

    def closed(t, y, p, dydt):
        total = y[0] + y[1] + y[2]
        dydt[0] = -(total - y[1] - y[2])
        dydt[1] = -1e3 * (y[1] + 1e6) + 1e9
        dydt[2] = -y[2]

    ss.check_jacobian(ss.Problem(closed, [0.1, 0.7, 0.3], (0.0, 1.0), sparsity=(0, 0)))


@pytest.mark.parametrize(("per_row", "least"), [(3, 0.8), (7, 0.7)])
def test_the_automatic_check_finds_most_single_entries_of_sparse_systems(per_row, least):
    n, found = 300, 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reads = [np.unique(np.append(rng.choice(n, per_row), i)) for i in range(n)]
        pattern = np.zeros((n, n), dtype=bool)
        for i, columns in enumerate(reads):
            pattern[i, columns] = True
        i = int(rng.integers(n))
        pattern[i, next(c for c in reads[i] if c != i)] = False

        def sums(t, y, p, dydt, reads=reads):
            for r, columns in enumerate(reads):
                dydt[r] = y[columns].sum()

        problem = ss.Problem(sums, rng.normal(size=n), (0.0, 1.0), sparsity=pattern, validate=False)
        found += jacobian_check.find_fault(problem, 0.0, problem.y0, most=jacobian_check.MOST_COLUMNS) is not None
        with pytest.raises(ValueError, match=rf"f\[{i}\] depends on"):
            ss.check_jacobian(problem)
    assert found >= least * 20


def test_an_implicit_solve_warns_once_and_goes_on():
    problem = ss.Problem(second_neighbours, np.ones(40), (0.0, 1.0), sparsity=(1, 1), name="chain")
    with pytest.warns(JacobianWarning, match="sparsity of problem 'chain' is too narrow") as caught:
        sol = ss.solve(problem, "rodas5p", "rodas")
    assert caught[0].filename == __file__
    # a W-method's order does not need the whole Jacobian, Rodas5P's does: right to the tolerance's neighbourhood all
    # the same
    exact = ss.solve(dataclasses.replace(problem, sparsity=(2, 0)), "rodas5p", "rodas", rtol=1e-10, atol=1e-10)
    assert sol.success and np.abs(sol.y[-1] - exact.y[-1]).max() < 1e-2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ss.solve(problem, "rodas5p", "rodas").success
        assert ss.solve(problem, "tsit5", "pi34").success


def test_what_a_right_hand_side_cannot_be_asked_is_not_judged():
    """Where f is not finite, or a step aside makes it so, nothing is said."""

    def root(t, y, p, dydt):
        dydt[0] = np.sqrt(1.0 - y[0])
        dydt[1] = -y[1]

    problem = ss.Problem(root, [1.0, 1.0], (0.0, 1.0), sparsity=(0, 0), validate=False)
    assert jacobian_check.find_fault(problem, 0.0, np.array([1.0, 1.0])) is None
    assert jacobian_check.find_fault(problem, 0.0, np.array([2.0, 1.0])) is None
    assert jacobian_check.concerns(problem, methods.get("radau5")) and not jacobian_check.concerns(
        problem, methods.get("tsit5")
    )
