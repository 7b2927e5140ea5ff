"""Jacobians against differences: shipped ones pass, every kind of mistake is named, solves warn once and go on."""

from __future__ import annotations

import dataclasses
import math
import time
import warnings

import numpy as np
import pytest

import stepsmith as ss
from stepsmith import Problem
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods, problems
from stepsmith.integrators.checks import jacobian_check, plain
from stepsmith.integrators.core.errors import JacobianWarning
from stepsmith.integrators.engine.ensemble import ensemble_kernel

STIFF = [name for name in problems.names() if problems.family(name).stiff]


@pytest.mark.parametrize("name", STIFF)
def test_every_stiff_family_passes(name):
    family = problems.family(name)
    ss.check_jacobian(family.canonical())
    for seed in range(1 if family.n > 100 else 5):
        ss.check_jacobian(family.instance(seed))


def test_the_number_of_stiff_families():
    assert len(STIFF) >= 15


def test_no_false_alarm_along_solutions():
    """Stick-slip at its corners and layers, ROBER with y2 at 1e-13, E5 over twenty orders of magnitude."""
    for name in ("friction", "chua", "rober", "e5", "pollu", "ring_modulator"):
        family = problems.family(name)
        problem = family.canonical()
        for y in family.reference(problem.batch()).y[0]:
            ss.check_jacobian(problem, problem.t_span[1], y)
    chua = problems.make("chua")
    for x in (1.0, -1.0, 1.5, -1.5):  # the right-hand side's corners
        ss.check_jacobian(chua, y=[x, 0.3, -0.2])


def test_a_layer_thinner_than_the_increments_gives_no_alarm():
    def rhs(t, y, p, dy):
        dy[0] = -math.atan(1e13 * y[0]) + y[1]
        dy[1] = -y[1]

    def jac(t, y, p, J):
        J[0, 0] = -1e13 / (1.0 + (1e13 * y[0]) ** 2)
        J[0, 1] = 1.0
        J[1, 0] = 0.0
        J[1, 1] = -1.0

    ss.check_jacobian(Problem(rhs, [0.0, 1.0], (0.0, 1.0), jac=jac))


def test_cancellation_inside_the_right_hand_side_is_noise():
    def rhs(t, y, p, dy):
        dy[0] = 1e9 * ((y[0] + 1e6) - 1e6 - y[0]) - y[0]

    def jac(t, y, p, J):
        J[0, 0] = -1.0

    ss.check_jacobian(Problem(rhs, [1.0 / 3.0], (0.0, 1.0), jac=jac))


def altered(problem, change):
    """The problem with `change(J)` applied to what its jac has written."""
    own = problem.jac

    def jac(t, y, p, J):
        own(t, y, p, J)
        change(J)

    return dataclasses.replace(problem, jac=jac)


def set_entry(i, j, factor):
    def change(J):
        J[i, j] *= factor

    return change


@pytest.mark.parametrize("name", ["rober", "e5", "hires", "friction", "vdpol_stiff", "ring_modulator"])
@pytest.mark.parametrize("factor", [-1.0, 0.0, 1.01])
def test_wrong_entries_are_named(name, factor):
    problem = problems.make(name)
    J = np.zeros((2, problem.n, problem.n))
    for k, y in enumerate((problem.y0, plain.nearby(problem.y0))):
        problem.jac(problem.t_span[0], y, problem.p, J[k])
    found = np.argwhere(J.any(axis=0))
    assert len(found) >= 2
    for i, j in found.tolist():
        with pytest.raises(
            ValueError, match=rf"'{name}': entry \({i}, {j}\) is .*differences of the right-hand side give"
        ):
            ss.check_jacobian(altered(problem, set_entry(i, j, factor)))


def test_values_in_the_message():
    with pytest.raises(ValueError, match=r"entry \(1, 0\) is -1.3, differences of the right-hand side give 1.3 "):
        ss.check_jacobian(altered(linear([[-2.0, 0.0], [1.3, -1.0]]), set_entry(1, 0, -1.0)))


def linear(matrix, **options):
    A = np.array(matrix)
    n = len(A)

    def rhs(t, y, p, dy):
        for i in range(n):
            s = y[0] * A[i, 0]
            for j in range(1, n):
                s += A[i, j] * y[j]
            dy[i] = s

    def jac(t, y, p, J):
        for i in range(n):
            for j in range(n):
                J[i, j] = A[i, j]

    return Problem(rhs, np.linspace(1.0, 2.0, n), (0.0, 1.0), jac=jac, name="linear", **options)


def test_transposed_and_negated_as_a_whole():
    def transpose(J):
        J[:] = J.T.copy()

    def negate(J):
        J *= -1.0

    for name in ("rober", "pollu", "hodgkin_huxley"):
        with pytest.raises(ValueError, match="entries are wrong; its transpose fits"):
            ss.check_jacobian(altered(problems.make(name), transpose))
        with pytest.raises(ValueError, match="entries are wrong; its negative fits"):
            ss.check_jacobian(altered(problems.make(name), negate))


def test_unwritten_entries():
    def lazy(t, y, p, J):
        J[0, 0] = -1.0
        J[1, 1] = -1.0

    with pytest.raises(
        ValueError, match=r"'linear' does not write entries \(0, 1\), \(1, 0\): it must write every entry, zeros too, "
    ):
        ss.check_jacobian(dataclasses.replace(linear(-np.eye(2)), jac=lazy))
    with pytest.raises(ValueError, match=r"does not write .* and 10 more"):
        ss.check_jacobian(dataclasses.replace(linear(-np.eye(4)), jac=lambda t, y, p, J: None))

    def adds(t, y, p, J):
        for i in range(2):
            for j in range(2):
                J[i, j] += -1.0 if i == j else 0.0

    with pytest.raises(ValueError, match=r"does not write entries \(0, 0\), \(0, 1\), .* add to none before"):
        ss.check_jacobian(dataclasses.replace(linear(-np.eye(2)), jac=adds))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(value):
    with pytest.raises(
        ValueError,
        match=rf"'rober' is not finite in entry \(2, 1\): entry \(2, 1\) is {value} at t = 0, y = \(1, 0, 0\)",
    ):
        ss.check_jacobian(altered(problems.make("rober"), lambda J: J.__setitem__((2, 1), value)))


def test_a_jac_that_raises():
    def outside(t, y, p, J):
        J[0, 5] = 1.0

    with pytest.raises(ValueError, match="'linear' raises IndexError at t = 0, .*index 5"):
        ss.check_jacobian(dataclasses.replace(linear(-np.eye(2)), jac=outside))


def test_sparsity_frees_from_writing_the_rest():
    A = [[-2.0, 1.0, 0.0], [1.0, -2.0, 1.0], [0.0, 1.0, -2.0]]

    def band(t, y, p, J):
        for i in range(3):
            J[i, i] = -2.0
        for i in range(2):
            J[i, i + 1] = 1.0
            J[i + 1, i] = 1.0

    ss.check_jacobian(dataclasses.replace(linear(A, sparsity=(1, 1)), jac=band))
    ss.check_jacobian(dataclasses.replace(linear(A, sparsity=np.array(A)), jac=band))
    with pytest.raises(ValueError, match=r"does not write entries \(0, 2\), \(2, 0\)"):
        ss.check_jacobian(dataclasses.replace(linear(A), jac=band))
    with pytest.raises(
        ValueError, match=r"writes entries \(0, 1\), \(1, 2\), which the problem's sparsity says is zero"
    ):
        ss.check_jacobian(dataclasses.replace(linear(A, sparsity=(1, 0)), jac=band))

    def lower(t, y, p, J):
        for i in range(3):
            J[i, i] = -2.0
        for i in range(2):
            J[i + 1, i] = 1.0

    with pytest.raises(ValueError, match=r"\([01], [12]\) is 0, .*; it lies outside the problem's sparsity"):
        ss.check_jacobian(dataclasses.replace(linear(A, sparsity=(1, 0)), jac=lower))


def test_bad_arguments():
    problem = problems.make("rober")
    for change, words in (
        ({"t": np.nan}, "not finite at t = nan"), ({"y": [1.0, 2.0]}, r"shape \(3,\), got \(2,\)"),
        ({"y": [np.nan, 0.0, 0.0]}, "right-hand side of problem 'rober' is not finite"),
        ({"rtol": 0.0}, "rtol must be a positive number, got 0.0"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            ss.check_jacobian(problem, **change)
    with pytest.raises(ValueError, match="has no jac"):
        ss.check_jacobian(problems.make("lorenz"))
    with pytest.raises(ValueError, match="must be a Problem, got Batch"):
        ss.check_jacobian(problem.batch())


def test_right_hand_sides_that_branch_or_call_math():
    def rhs(t, y, p, dy):
        s = y[0]
        s += y[1]  # must not change y
        dy[0] = -s if y[0] > 0.0 else s
        dy[1] = math.exp(-y[1]) + y[0] * math.sqrt(y[0])

    def jac(t, y, p, J):
        J[0, 0] = -1.0 if y[0] > 0.0 else 1.0
        J[0, 1] = J[0, 0]
        J[1, 0] = 1.5 * math.sqrt(y[0])
        J[1, 1] = -math.exp(-y[1])

    problem = Problem(rhs, [1.0, 2.0], (0.0, 1.0), jac=jac)
    ss.check_jacobian(problem)
    ss.check_jacobian(problem, y=[1e-12, 2.0])  # half of the increments leave the domain of the root
    with pytest.raises(ValueError, match=r"entry \(1, 0\)"):
        ss.check_jacobian(altered(problem, set_entry(1, 0, 0.9)))


def test_four_hundred_dimensions_take_about_a_second():
    problem = problems.make("medical_akzo")
    assert problem.n == 400
    start = time.process_time()
    ss.check_jacobian(problem)
    assert time.process_time() - start < 3.0


# what a solve makes of it


def decay(t, y, p, dy):
    dy[0] = -100.0 * y[0] + y[1]
    dy[1] = -y[1]


def wrong_jac(t, y, p, J):
    J[0, 0] = 100.0
    J[0, 1] = 1.0
    J[1, 0] = 0.0
    J[1, 1] = -1.0


def lazy_jac(t, y, p, J):
    J[0, 0] = -100.0


def test_a_solve_warns_once_names_the_entry_and_goes_on():
    problem = Problem(decay, [1.0, 1.0], (0.0, 0.1), jac=wrong_jac, name="decay")
    with pytest.warns(
        JacobianWarning, match=r"'decay': entry \(0, 0\) is 100, differences of the right-hand side give -100 "
    ) as caught:
        sol = ss.solve(problem, "rodas5p", "rodas")
    assert sol.success and caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ss.solve(dataclasses.replace(problem, name="again"), "rodas5p", "rodas").success


def test_a_state_that_is_not_finite_is_not_checked():
    def own_jac(t, y, p, J):
        wrong_jac(t, y, p, J)

    batch = Problem(decay, [np.nan, 1.0], (0.0, 0.1), jac=own_jac, validate=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        jacobian_check.warn_once(batch)
        jacobian_check.warn_once(batch.batch())
        jacobian_check.warn_once(batch.batch()[:0])
    # nor does that count as having been checked; and a batch is checked at its first good instance
    both = ss.Batch(decay, [[np.nan, 1.0], [1.0, 1.0]], np.empty((2, 0)), 0.0, 0.1, jac=own_jac, validate=False)
    with pytest.warns(JacobianWarning, match=r"entry \(0, 0\)"):
        jacobian_check.warn_once(both)


def test_unwritten_and_raising_jacobians_end_a_solve():
    problem = Problem(decay, [1.0, 1.0], (0.0, 0.1), jac=lazy_jac, name="lazy")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"'lazy' does not write entries \(0, 1\), \(1, 0\), \(1, 1\)"):
            ss.solve(problem, "radau5", "radau5")
    with pytest.raises(ValueError, match="'lazy' does not write"):
        ensemble_kernel(problem.batch(), methods.get("radau5"), registry.get("radau5"))


def test_explicit_methods_do_not_care():
    problem = Problem(decay, [1.0, 1.0], (0.0, 0.1), jac=lazy_jac)
    assert not jacobian_check.concerns(problem, methods.get("tsit5"))
    assert jacobian_check.concerns(problem, methods.get("radau5"))
    assert not jacobian_check.concerns(dataclasses.replace(problem, jac=None), methods.get("radau5"))


def beside(t, y, p, J):
    for i in range(4):
        J[i, i] = -1.0
    J[0, 3] = 2.0


def four(t, y, p, dy):
    for i in range(4):
        dy[i] = -y[i]
    dy[0] = 2.0 * y[3] - y[0]


def test_entries_outside_the_declared_sparsity_are_named():
    with pytest.raises(ValueError, match=r"writes entry \(0, 3\), which the problem's sparsity says is zero"):
        ss.check_jacobian(Problem(four, [1.0, 2.0, 3.0, 4.0], (0.0, 1.0), jac=beside, sparsity=(1, 1)))
