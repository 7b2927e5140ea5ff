"""Exported headers at work: a solver in C takes the steps of the engine and of SciPy, and ARKODE's calls are met."""

from __future__ import annotations

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from exported import answers, controller
from exported_c import DOUBLES, GCC, as_name, get, library
from exported_driver import DRIVER, MAIN, MOCK
from stepsmith.controllers import export
from stepsmith.controllers.export.arkode import accepting
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR

#: those that ARKODE can run
GLUED = ("pi34", "h211b", "h0321", "predictive", "i", "pi42", "sundials_pid")

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")


@pytest.fixture(scope="module")
def lib(tmp_path_factory):
    """The driver with the headers that it includes: one call of the compiler."""
    folder = tmp_path_factory.mktemp("drive")
    for name in ("pi34", "lorenz96", "scipy", "h0321", "h211b"):
        (folder / f"{name}.h").write_text(export.c_header(controller(name)))
    (folder / "h211b_ark.h").write_text(export.c_header(accepting(controller("h211b")), "h211b_ark"))
    (folder / "drive.c").write_text(DRIVER)
    return library(folder, "drive")


def driven(lib, kind, name, which, h, t_end, rtol, atol, *more):
    out = np.zeros((20000, 3))
    fn = getattr(lib, f"{kind}_{name}")
    fn.restype = ctypes.c_long
    numbers = [ctypes.c_double(x) for x in (h, t_end, rtol, atol)]
    n = fn(which, *numbers, out.ctypes.data_as(DOUBLES), ctypes.c_long(len(out)), *more)
    assert 0 < n < len(out)
    return out[:n]


def pendulum(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -np.sin(y[0])


PROBLEMS = (
    ss.problems.make("lotka_volterra"),
    ss.Problem(pendulum, [1.0, 1.0], (0.0, 10.0), name="pendulum of this test"),
)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", ["pi34", "h211b", "lorenz96"])
def test_a_solver_in_c_takes_the_steps_of_the_engine(lib, name, which):
    log = ss.solve(PROBLEMS[which], "dopri5", controller(name), rtol=1e-6, atol=1e-9, log=True).record
    steps = driven(lib, "drive", name, which, log[0, rec.H], 10.0, 1e-6, 1e-9)
    assert len(steps) == len(log) > 20 and np.array_equal(steps[:, 2], log[:, rec.N_RECORD + ACCEPT])
    np.testing.assert_allclose(steps[:, 0], log[:, rec.H], rtol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
def test_a_solver_in_c_takes_scipys_steps_under_scipys_law(lib, which):
    def f(t, y):
        dy = np.empty(2)
        PROBLEMS[which].rhs(t, y, PROBLEMS[which].p, dy)
        return dy

    theirs = solve_ivp(f, (0.0, 10.0), [1.0, 1.0], "RK45", rtol=1e-6, atol=1e-9, first_step=1e-3)
    steps = driven(lib, "drive", "scipy", which, 1e-3, 10.0, 1e-6, 1e-9)
    ours = np.cumsum(steps[steps[:, 2] == 1.0, 0])
    assert len(ours) == len(theirs.t) - 1 and len(ours) > 20
    np.testing.assert_allclose(ours, theirs.t[1:], rtol=1e-6)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(("name", "as_host"), [("pi34", "pi34"), ("h0321", "h0321"), ("h211b", "h211b_ark")])
def test_in_arkodes_order_of_calls_the_steps_are_those_of_the_law(lib, name, as_host, which):
    h = 0.5  # too large: it starts with rejections
    plain = driven(lib, "drive", as_host, which, h, 20.0, 1e-6, 1e-9)  # cut short after the other's end
    once = driven(lib, "ark", name, which, h, 10.0, 1e-6, 1e-9, 1)
    often = driven(lib, "ark", name, which, h, 10.0, 1e-6, 1e-9, 3)
    assert plain[0, 2] == 0.0 and len(once) > 20
    assert np.array_equal(once, often)  # an estimate of an accepted attempt moves nothing
    assert np.array_equal(once, plain[: len(once)])


def test_the_glue_follows_arkodes_own_filter(lib):
    """SUNDIALS' Soderlind module, H0321: ord = p + 1, the formula of its documentation, lags by UpdateH.

    Versions differ in the first two steps: 7.0 leaves out the lags that are missing, 7.5 has the I law there.
    """
    rng = np.random.default_rng(1)
    n, p = 60, 4
    h, dsm = rng.uniform(0.05, 0.08, n), rng.uniform(0.4, 1.0, n)
    found = np.zeros(n)
    pointers = [x.ctypes.data_as(DOUBLES) for x in (h, dsm, found)]
    assert lib.glue(*pointers[:2], ctypes.c_long(n), p, pointers[2]) == 0
    k1, k2, k3, k4, k5 = 1.25, 0.5, -0.75, 0.25, 0.75
    i = np.arange(2, n)
    theirs = h[i] * dsm[i] ** (-k1 / (p + 1)) * dsm[i - 1] ** (-k2 / (p + 1)) * dsm[i - 2] ** (-k3 / (p + 1))
    theirs = theirs * (h[i] / h[i - 1]) ** k4 * (h[i - 1] / h[i - 2]) ** k5
    # ARKODE multiplies by its safety factor of 0.9, which is in our law
    np.testing.assert_allclose(found[2:], 0.9 * theirs, rtol=1e-13)


def test_a_retry_of_the_same_size_is_another_attempt(lib):
    """H0321 may answer a rejection with the very size; ARKODE then passes the same numbers again."""
    h, dsm, found = np.full(4, 0.1), np.array([0.002, 2.5, 2.5, 2.5]), np.zeros(4)
    h[0] = 0.02
    pointers = [x.ctypes.data_as(DOUBLES) for x in (h, dsm, found)]
    assert lib.glue(*pointers[:2], ctypes.c_long(4), 4, pointers[2]) == 0
    np.testing.assert_allclose(found[1:] / h[1:], [1.0, 0.3, 0.3], rtol=1e-14)  # its rule from the second failure on


@pytest.mark.parametrize("name", GLUED)
def test_the_operations_of_a_sunadaptcontroller(tmp_path, name):
    """Against a mock of SUNDIALS' header: what is declared there in SUNDIALS 7, as far as the glue calls it."""
    (tmp_path / "a.c").write_text(MOCK + export.c_header(controller(name)) + MAIN.replace("@", name))
    run = subprocess.run([*GCC, "a.c", "-o", "a", "-lm"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[:2000]
    said = subprocess.run(["./a"], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    once, again = map(float, said.split())
    row = np.full((2, rec.N_RECORD), np.nan)
    row[:, rec.ERR], row[:, rec.H], row[:, rec.ORDER] = (0.3, 0.7), 0.1, 5.0
    row[:, rec.TRUNCATED], row[:, rec.FINITE] = 0.0, 1.0
    wanted = answers(accepting(controller(name)), row)
    assert wanted[:, ACCEPT].all()
    np.testing.assert_allclose([once, again], 0.1 * np.exp(wanted[:, LOG_FACTOR]), rtol=1e-15)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("three-body", "features log_left, log_hs"), ("aarseth", "tau_aarseth"),
        ("constant_step", "proposes from none"),
        ("lorenz96", "time_left"), ("stiff", "Jacobian"), ("table", "threshold"),
    ],
)  # fmt: skip
def test_arkode_is_refused_by_name_where_it_gives_too_little(tmp_path, name, why):
    text = export.c_header(get(name), as_name(name))
    note = text[text.index("Not for SUNDIALS ARKODE") :]
    assert why in note.splitlines()[0] and "_estimate_step" not in text
    (tmp_path / "a.c").write_text("#define STEPSMITH_ARKODE\n" + text)
    run = subprocess.run(["gcc", "-std=c99", "-c", "a.c", "-o", "a.o"], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0 and why in run.stderr
