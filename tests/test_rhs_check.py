"""Right-hand sides that break their contract: one clear error from every host, or an unsuccessful status; never a wrong number."""

from __future__ import annotations

import os
import subprocess
import sys
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
from stepsmith.integrators.problems.problem import Batch, Problem
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

    return core._kernel(SimpleNamespace(batch=batch, family=family), "tsit5", Decision(law="pi34"), RULES["matched"])


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


def write_late(t, y, p, dy):
    dy[0] = 1.0
    dy[1] = 0.0
    if t > 0.5:
        y[0] = 1.0


def test_what_the_first_call_does_not_reach_the_compiler_refuses():
    words = r"^right-hand side 'write_late' cannot be compiled: y and p cannot be written to.*test_rhs_check.py"
    for host in ("single", "ensemble"):
        with pytest.raises(ValueError, match=words):
            HOSTS[host](write_late)


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
    for fn, words in ((bad_jac, r"Jacobian 'bad_jac' .*it writes y\[0\]"), (outside_jac, r"index \(2, 0\) is outside a matrix of 2 by 2")):
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


def late_gap(t, y, p, dy):
    dy[0] = 1.0
    if t < 0.5:
        dy[1] = 2.0


@pytest.mark.parametrize("method", ["bs32", "rodas5p"])
def test_a_component_left_out_later_ends_the_solve(method):
    one = solve(problem(late_gap), method, LAW, max_steps=2000)
    assert not one.success
    np.testing.assert_allclose(one.t[-1], 0.5, atol=1e-6)
    np.testing.assert_allclose(one.y[-1], [1.5, 3.0], rtol=1e-6)
    if method == "bs32":
        many = solve_ensemble(problem(late_gap).batch(), method, LAW, max_steps=2000)
        assert not many.success[0] and many.status[0] == one.status


def test_references_do_not_keep_what_is_left_out():
    assert not reference(problem(late_gap), [1.0], cache=False).ok[0]


def run_faults(*args, **env) -> dict[str, str]:
    """Lines of `helpers/rhs_faults.py`, by the right-hand side's name; a crash fails."""
    settings = {**os.environ, **env}
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/helpers/rhs_faults.py"), *args], capture_output=True, text=True, timeout=300, env=settings
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "end"
    return {line.split()[0]: line.split(maxsplit=2)[2] for line in lines[:-1]}


def test_indices_that_leave_the_arrays_in_mid_solve():
    found = run_faults()
    for name, at in (("reads", 0.2), ("writes", 0.5), ("below", 0.2), ("parameters", 0.5), ("jacobian", 0.5)):
        status, t = found[name].split()
        assert int(status) < 0, (name, found[name])
        assert at - 1e-6 <= float(t) < at + (0.1 if name == "jacobian" else 1e-6), (name, t)
    for name, at in (("swallowed_by_max", 0.2), ("swallowed_by_a_branch", 0.2), ("overwritten", 0.5), ("in_a_helper", 0.5)):
        for host in (name, f"{name}_lanes"):  # the value is not used, or NaN decides like a number
            status, t = found[host].split()
            assert int(status) < 0 and abs(float(t) - at) < 1e-6, (host, t)
    for kind in ("dense", "band", "sparse"):
        status, t = found[f"overwritten_jacobian_{kind}"].split()
        assert int(status) < 0 and 0.5 - 1e-6 <= float(t) < 0.8, (kind, found)
    assert found["table"].startswith("ValueError right-hand side 'table' indexes an array that it captures or makes outside of it")


def test_the_cuda_simulator_agrees():
    found = run_faults("cuda", NUMBA_ENABLE_CUDASIM="1")
    for name, at in (("reads", 0.2), ("writes", 0.5), ("swallowed_by_max", 0.2), ("overwritten", 0.5)):
        status, t = found[name].split()
        assert int(status) < 0 and abs(float(t) - at) < 1e-6, (name, found[name])


# what is sound, and must neither be refused nor cost anything


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
    "rhs, known", [(make(2.0), True), (good, True), (table, True), (branches, False), (divides, False), (truncates, False)],
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


def test_what_is_no_python_function():
    with pytest.raises(ValueError, match="must be a function written in Python"):
        solve(problem(np.sin), "bs32", LAW)


def test_other_errors_are_left_alone():
    assert isinstance(explained(RuntimeError("x"), problem(good)), RuntimeError)
