"""Right-hand sides that break their contract: one clear error from every host."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numba
import numpy as np
import pytest

from stepsmith.controllers.laws import registry
from stepsmith.controllers.learned.decision import Decision
from stepsmith.envs import core
from stepsmith.integrators import methods
from stepsmith.integrators.checks import rhs_check
from stepsmith.integrators.engine import costs, cuda
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.explained import explained
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.methods import tableaus
from stepsmith.integrators.problems.problem import Problem
from stepsmith.integrators.reference.gbs import reference
from stepsmith.integrators.reference.radau import stiff_reference
from stepsmith.train.oracle.oracle import Oracle

LAW = registry.get("pi34")
SIZE = 4
ROOT = Path(__file__).resolve().parents[1]


def loop(t, y, p, dy):
    for i in range(4):
        dy[i] = 1.0


def ahead(t, y, p, dy):
    for i in range(SIZE):
        if i < 2:
            dy[i] = y[i + 1]


def writes_y(t, y, p, dy):
    y[0] = 1.0
    dy[0] = 1.0
    dy[1] = 0.0


def adds_to_p(t, y, p, dy):
    dy[0] = 1.0
    dy[1] = 0.0
    p[0] += 1.0


def no_parameter(t, y, p, dy):
    dy[0] = p[1]
    dy[1] = 0.0


def missing(t, y, p, dy):
    dy[0] = 1.0


def missing_here(t, y, p, dy):
    dy[0] = 1.0
    if t > 0.5:
        dy[1] = 1.0


def accumulates(t, y, p, dy):
    for i in range(2):
        dy[i] += y[i]


def generator(t, y, p, dy):
    dy[0] = dy[1] = 1.0
    yield


async def coroutine(t, y, p, dy):
    dy[0] = dy[1] = 1.0


async def stream(t, y, p, dy):
    dy[0] = dy[1] = 1.0
    yield 1


def answers(t, y, p, dy):
    dy[0] = dy[1] = 1.0
    return [1.0, 1.0]


def catches(t, y, p, dy):
    dy[0] = dy[1] = 1.0
    try:
        y[0] = 2.0
    except Exception:
        pass


@numba.njit
def scale(v):
    for i in range(len(v)):
        v[i] = 2.0 * v[i]


def by_helper(t, y, p, dy):
    scale(y)
    dy[0] = dy[1] = 1.0


def half_index(t, y, p, dy):
    dy[0] = y[0.5]
    dy[1] = 0.0


BROKEN = [
    (loop, r"'loop' cannot be compiled: dy\[2\]: index 2 is outside an array of length 2"),
    (ahead, r"'ahead' cannot be compiled: y\[2\]: index 2 is outside an array of length 2"),
    (writes_y, r"'writes_y' cannot be compiled: it writes y\[0\]"),
    (adds_to_p, r"'adds_to_p' cannot be compiled: it writes p\[0\]"),
    (no_parameter, r"'no_parameter' cannot be compiled: p\[1\]: index 1 is outside an array of length 1"),
    (missing, r"'missing' cannot be used: it does not write dy\[1\]"),
    (missing_here, r"'missing_here' cannot be used: it does not write dy\[1\]"),
    (accumulates, r"'accumulates' cannot be used: it reads dy\[0\] before it has written it"),
    (generator, "'generator' cannot be compiled: it holds `yield`"),
    (coroutine, "'coroutine' cannot be compiled: it is declared with `async`"),
    (stream, "'stream' cannot be compiled: it is declared with `async`"),
    (answers, r"'answers' cannot be used: it must fill dy in place and return nothing, got \[1.0, 1.0\]"),
    (catches, r"'catches' cannot be compiled: it writes y\[0\]"),
    (by_helper, r"'by_helper' cannot be compiled: it writes y\[0\]"),
    (half_index, "'half_index' cannot be compiled: y takes whole numbers as indices, got 0.5"),
]


def problem(rhs, **options) -> Problem:
    return Problem(rhs, [1.0, 2.0], (0.0, 1.0), [1.0], **options)


def jac(t, y, p, J):
    for i in range(2):
        for j in range(2):
            J[i, j] = 0.0


def environment(batch):
    """The kernel of environments, for a pool of this batch."""
    family = SimpleNamespace(n=batch.n, m=batch.m, components=None, error="final", floor=0.0)
    from stepsmith.integrators.kernels.environment.rewards import RULES

    return core._kernel(SimpleNamespace(batch=batch, family=family), "tsit5", Decision(law="pi34"), RULES["matched"], 1)


HOSTS = {
    "single": lambda rhs: solve(problem(rhs), "bs32", LAW),
    "single, implicit": lambda rhs: solve(problem(rhs), "kvaerno5", LAW),
    "ensemble": lambda rhs: solve_ensemble(problem(rhs).batch(), "bs32", LAW),
    "environment": lambda rhs: environment(problem(rhs).batch()),
    "cuda": lambda rhs: cuda.ensemble_kernel(problem(rhs).batch(), methods.get("bs32"), LAW),
    "costs": lambda rhs: costs.measure(problem(rhs).batch(), "rodas5p"),
    "reference": lambda rhs: reference(problem(rhs), [1.0], cache=False),
    "stiff reference": lambda rhs: stiff_reference(problem(rhs, jac=jac), [1.0], cache=False),
    "oracle": lambda rhs: Oracle(rhs, tableaus.get("bs32")).run([1.0, 2.0], [1.0], (0.0, 1.0), [0.5, 0.5]),
}


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("rhs, words", BROKEN, ids=lambda x: getattr(x, "__name__", ""))
def test_every_host_refuses(host, rhs, words):
    for _ in range(2):  # what was refused once is refused again
        with pytest.raises(ValueError, match=f"^right-hand side {words}") as error:
            HOSTS[host](rhs)
        assert len(str(error.value).splitlines()) == 1


def test_no_parameters():
    """p = () has no first element; it used to read as 0."""

    def first(t, y, p, dy):
        dy[0] = p[0]

    with pytest.raises(ValueError, match=r"p\[0\]: index 0 is outside an array of length 0"):
        solve(Problem(first, [1.0], (0.0, 1.0)), "bs32", LAW)

    def later(t, y, p, dy):
        if t > 0.5:
            dy[0] = p[0]
        else:
            dy[0] = float(len(p))

    with pytest.raises(ValueError, match="index 0 is outside an array of length 0"):
        solve(Problem(later, [1.0], (0.0, 1.0)), "bs32", LAW)


def bad_jac(t, y, p, J):
    y[0] = 1.0


def outside_jac(t, y, p, J):
    for i in range(3):
        J[i, 0] = 1.0


def bad_accel(t, y, p, a):
    pass


def fall(t, y, p, a):
    for i in range(len(a)):
        a[i] = -y[i]


def good(t, y, p, dy):
    for i in range(len(y)):
        dy[i] = -y[i]


def test_jacobians_and_accelerations():
    for fn, words in (
        (bad_jac, r"Jacobian 'bad_jac' .*it writes y\[0\]"),
        (outside_jac, r"index \(2, 0\) is outside a matrix of 2 by 2"),
    ):
        given = problem(good, jac=fn)
        with pytest.raises(ValueError, match=words):
            solve(given, "rodas5p", LAW)
        rhs_check.check(given, methods.get("bs32"))  # which does not use it
    with pytest.raises(ValueError, match=r"accelerations 'bad_accel' .*does not write a\[0\]"):
        solve(problem(good, accel=bad_accel), "leapfrog", registry.get("constant", h=0.1))
    rhs_check.check(problem(missing, accel=fall), methods.get("leapfrog"))


def invariant(t, y, p):
    y[0] = 1.0
    return y[0]


def test_invariants():
    with pytest.raises(ValueError, match=r"invariant 'invariant' .*it writes y\[0\]"):
        rhs_check.check(problem(good), None, (invariant,))


def test_what_is_no_python_function():
    with pytest.raises(ValueError, match="must be a function written in Python"):
        solve(problem(np.sin), "bs32", LAW)


def test_other_errors_are_left_alone():
    assert isinstance(explained(RuntimeError("x"), problem(good)), RuntimeError)
