"""A run of an explicit method on a stiff problem says that it was stability that held its steps; others do not."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import stepsmith as ss
from stepsmith.integrators import methods
from stepsmith.integrators.core.errors import StiffnessWarning
from stepsmith.integrators.engine import stiff
from stepsmith.integrators.engine.spectrum import FULL, Field

#: families whose published instance is stiff for tsit5 at rtol 1e-6; the other long runs are held by the error
STIFF = (
    "chua", "e5", "flame", "gray_scott_1d", "hires", "ignition", "orego", "pollu", "ring_modulator", "rober",
    "steppo_brusselator", "steppo_vdpol", "vdpol_stiff",
)  # fmt: skip
#: their steps are so many on some pieces, and so few on others, that either answer is right; or they take seconds
UNJUDGED = ("friction", "medical_akzo")
#: a kernel of a second method takes seconds to compile: these stand for the others
DEARER = ("lorenz", "henon_heiles", "kepler", "vanderpol")
QUIET = tuple(name for name in ss.problems.names() if name not in (*STIFF, *UNJUDGED))


@pytest.fixture(autouse=True)
def forgotten(monkeypatch):
    monkeypatch.setattr(stiff, "_TOLD", set())
    monkeypatch.setattr(stiff, "_SEEN", {})


def quiet_solve(*args, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StiffnessWarning)
        return ss.solve(*args, **options)


def relaxing(t, y, p, dy):
    dy[0] = -p[0] * (y[0] - np.cos(t)) - np.sin(t)
    dy[1] = y[0] - y[1]


@pytest.mark.parametrize("name", STIFF)
def test_stiff_families(name):
    problem = ss.problems.make(name)
    with pytest.warns(StiffnessWarning, match="rodas5p"):
        sol = ss.solve(problem, max_steps=20_000)
    assert "stiff" in sol.message and "rodas5p" in sol.message
    stiff._SEEN.clear()  # the same run is not looked at again
    times = np.linspace(*problem.t_span, 4)
    assert "stiff" in quiet_solve(problem, t_eval=times, max_steps=20_000).message


@pytest.mark.parametrize("name", QUIET)
def test_families_held_by_the_error(name):
    problem = ss.problems.make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("error", StiffnessWarning)
        for rtol in (1e-3, 1e-6, 1e-9):
            for method in ("tsit5", "dop853") if name in DEARER else ("tsit5",):
                assert "stiff" not in ss.solve(problem, method, rtol=rtol, atol=1e-3 * rtol).message
        assert "stiff" not in ss.solve(problem, rtol=1e-9, atol=1e-12, t_eval=problem.t_span).message


@pytest.mark.parametrize("method", ["bs32", "dopri5", "tsit5", "dop853"])
def test_every_explicit_method(method):
    problem = ss.Problem(relaxing, [0.0, 0.0], (0.0, 10.0), [2e3])
    assert f"steps of {method}" in quiet_solve(problem, method).message
    mild = ss.Problem(relaxing, [0.0, 0.0], (0.0, 10.0), [2.0])
    assert "stiff" not in quiet_solve(mild, method, rtol=1e-11, atol=1e-13).message


def test_backwards_and_damped_oscillation():
    def damped(t, y, p, dy):  # a circle of radius 1 attracts at a rate that p[0] gives; it turns at one radian a unit
        r = y[0] * y[0] + y[1] * y[1]
        dy[0] = y[1] - p[0] * y[0] * (r - 1.0)
        dy[1] = -y[0] - p[0] * y[1] * (r - 1.0)

    def mirrored(t, y, p, dy):
        r = y[0] * y[0] + y[1] * y[1]
        dy[0] = -y[1] + p[0] * y[0] * (r - 1.0)
        dy[1] = y[0] + p[0] * y[1] * (r - 1.0)

    assert "stiff" in quiet_solve(ss.Problem(damped, [1.0, 0.0], (0.0, 10.0), [1e3])).message
    assert "stiff" in quiet_solve(ss.Problem(mirrored, [1.0, 0.0], (0.0, -10.0), [1e3])).message


def test_it_warns_once_a_function():
    with pytest.warns(StiffnessWarning) as seen:
        for rate in (1e3, 2e3):
            sol = ss.solve(ss.Problem(relaxing, [0.0, 0.0], (0.0, 10.0), [rate], name="mine"))
            assert "stiff" in sol.message
    assert len(seen) == 1 and "'mine'" in str(seen[0].message)
    assert seen[0].filename == __file__


def test_implicit_methods_and_short_runs_say_nothing():
    problem = ss.Problem(relaxing, [0.0, 0.0], (0.0, 10.0), [1e3])
    assert "stiff" not in ss.solve(problem, "rodas5p", rtol=1e-11, atol=1e-12).message
    short = ss.Problem(relaxing, [0.0, 0.0], (0.0, 0.1), [1e3])
    assert "stiff" not in ss.solve(short).message


def test_ensemble_warns_once():
    batch = ss.problems.sample("hires", n=9, seed=0)
    with pytest.warns(StiffnessWarning, match="hires") as seen:
        first = ss.solve_ensemble(batch)
        ss.solve_ensemble(batch)
    assert len(seen) == 1 and first.success.all()
    with warnings.catch_warnings():
        warnings.simplefilter("error", StiffnessWarning)
        ss.solve_ensemble(ss.problems.sample("lorenz", n=9, seed=0), rtol=1e-9, atol=1e-12)
        ss.solve_ensemble(batch, "rodas5p")


def test_a_function_that_raises_in_plain_python_is_not_judged():
    method, y = methods.get("tsit5"), np.array([1.0, 1.0])

    def raises(t, y, p, dy):
        raise RuntimeError("no")

    assert not stiff.held(raises, np.zeros(0), method.tableau, [(0.0, y, 1e-3)])
    assert not stiff.held(relaxing, np.array([np.inf]), method.tableau, [(0.0, y, 1e-3)])
    assert not stiff.held(relaxing, np.array([1e3]), method.tableau, [(0.0, y, 0.0)])
    assert not stiff.held(relaxing, np.array([1e3]), method.tableau, [(0.0, y * np.nan, 1e-3)])
    assert not stiff.held(relaxing, np.array([1e3]), method.tableau, [])


@pytest.mark.parametrize("n", [3, FULL, 200])
@pytest.mark.parametrize("pair", [False, True])
def test_dominant_eigenvalue(n, pair):
    rng = np.random.default_rng(n)
    values = -rng.uniform(0.1, 1.0, n)
    D = np.diag(values)
    D[:2, :2] = [[-4.0, 2.0], [-2.0, -4.0]] if pair else [[-4.0, 1.0], [0.0, -0.5]]
    Q = np.linalg.qr(rng.normal(size=(n, n)))[0]
    A, calls = Q @ D @ Q.T, []

    def linear(t, y, p, dy):
        calls.append(1)
        dy[:] = (A @ np.array(y)).tolist()

    found = Field(linear, np.zeros(0)).dominant(0.0, rng.normal(size=n).tolist())
    assert complex(found.real, abs(found.imag)) == pytest.approx(-4.0 + 2.0j * pair, rel=0.05)
    assert len(calls) <= FULL + 1


def test_a_run_is_looked_at_once_and_calm_functions_no_more(monkeypatch):
    looked = []
    held = stiff.held
    monkeypatch.setattr(stiff, "held", lambda *given: looked.append(1) or held(*given))

    def calm(t, y, p, dy):
        dy[0] = y[1]
        dy[1] = -p[0] * y[0]

    def run(k, span=400.0):
        return ss.solve(ss.Problem(calm, [1.0, 0.0], (0.0, span), [k]))

    for _ in range(3):
        assert run(1.0).stats.naccept > stiff.LEAST
    assert len(looked) == 1
    for k in range(2 * stiff.CALM):
        run(1.0 + 1e-3 * k)
    assert len(looked) == stiff.CALM
    run(1.0, 4000.0)  # a much longer one
    assert len(looked) == stiff.CALM + 1
