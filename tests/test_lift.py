"""Closures that differ in a number share one kernel, with the right values; what cannot be lifted stays a constant."""

from __future__ import annotations

import importlib
import linecache

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators.compile import lift
from stepsmith.integrators.compile.digest import identity
from stepsmith.integrators.problems.problem import Problem


def decay(rate, shift=0.0):
    def rhs(t, y, p, dy):
        """Its docstring and p stay."""
        dy[0] = -rate * y[0] * p[0] + shift

    return rhs


def solved(problem, **options):
    sol = ss.solve(problem, "bs32", rtol=1e-9, atol=1e-12, **options)
    assert sol.success
    return sol.y[-1, 0]


def test_one_kernel_for_many_numbers(monkeypatch):
    from stepsmith.integrators.compile.cache import Recent
    from stepsmith.integrators.engine import solve as engine

    monkeypatch.setattr(engine, "_KERNELS", Recent())  # that of the other tests may be full
    for rate in (0.5, 1.0, 2.0):
        assert solved(Problem(decay(rate), [1.0], (0.0, 1.0), [1.0])) == pytest.approx(np.exp(-rate), rel=1e-7)
    assert len(engine._KERNELS) == 1
    one, other = (lift.lifted(Problem(decay(rate), [1.0], (0.0, 1.0), [1.0])) for rate in (0.5, 1.0))
    assert one.rhs is other.rhs and one.p.tolist() == [1.0, 0.5, 0.0] and other.p.tolist() == [1.0, 1.0, 0.0]
    batch = lift.lifted(Problem(decay(3.0), [1.0], (0.0, 1.0), [1.0]).batch())
    assert batch.p.tolist() == [[1.0, 3.0, 0.0]]


def test_a_number_that_changes_in_its_cell():
    rate = 1.0

    def rhs(t, y, p, dy):
        dy[0] = -rate * y[0]

    problem = Problem(rhs, [1.0], (0.0, 1.0))
    for value in (1.0, 2.0, 2, 3.0):  # 2 is a whole number: a constant of the code
        rate = value
        assert solved(problem) == pytest.approx(np.exp(-rate), rel=1e-7)


def test_what_else_is_captured_stays():
    def make(f, rate):
        def rhs(t, y, p, dy):
            dy[0] = rate * f(y[0])

        return rhs

    import numba

    square, negate = numba.njit(lambda x: x * x), numba.njit(lambda x: -x)
    for rate in (1.0, 2.0):
        assert solved(Problem(make(negate, rate), [1.0], (0.0, 0.25))) == pytest.approx(np.exp(-0.25 * rate), rel=1e-7)
        assert solved(Problem(make(square, rate), [1.0], (0.0, 0.25))) == pytest.approx(
            1.0 / (1.0 - 0.25 * rate), rel=1e-7
        )


def deciding(a):
    def rhs(t, y, p, dy):
        dy[0] = y[0] if a > 1.0 else -y[0]

    return rhs


def exponent(a):
    def rhs(t, y, p, dy):
        dy[0] = y[0] ** a

    return rhs


def whole_p(a):
    def rhs(t, y, p, dy):
        dy[0] = a * len(p)

    return rhs


def from_the_end(a):
    def rhs(t, y, p, dy):
        dy[0] = a * p[-1]

    return rhs


def other_scope(a):
    def rhs(t, y, p, dy):
        dy[0] = sum([a * x for x in (1.0, 2.0)])

    return rhs


def whole_number(a):
    def rhs(t, y, p, dy):
        dy[0] = int(a) * y[0]

    return rhs


@pytest.mark.parametrize("make", [deciding, exponent, whole_p, from_the_end, other_scope, whole_number])
def test_what_is_not_lifted(make):
    problem = Problem(make(2.0), [1.0], (0.0, 0.1), [1.0])
    assert lift.lifted(problem) is problem
    assert identity(make(2.0)) != identity(make(3.0))


def test_a_source_that_is_not_the_code(tmp_path, monkeypatch):
    text = "def make(a):\n    def rhs(t, y, p, dy):\n        dy[0] = {}a*y[0]\n    return rhs\n"
    scope: dict = {}
    exec(text.format(""), scope)
    problem = Problem(scope["make"](1.0), [1.0], (0.0, 0.1))
    assert lift.lifted(problem) is problem  # no source

    file = tmp_path / "changed_meanwhile.py"
    file.write_text(text.format(""))
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("changed_meanwhile")
    file.write_text(text.format("2.0*"))
    linecache.clearcache()
    problem = Problem(module.make(1.0), [1.0], (0.0, 0.1))
    assert lift.lifted(problem) is problem
    file.write_text(text.format(""))
    linecache.clearcache()
    problem = Problem(module.make(1.0), [1.0], (0.0, 0.1), [7.0])
    assert lift.lifted(problem).p.tolist() == [7.0, 1.0]


def test_a_parameter_beyond_p_is_no_number_of_the_closure():
    def make(a):
        def rhs(t, y, p, dy):
            dy[0] = a * p[1]

        return rhs

    problem = Problem(make(1.0), [1.0], (0.0, 0.1), [1.0])
    assert lift.lifted(problem) is problem
