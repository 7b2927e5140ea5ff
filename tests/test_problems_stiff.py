"""Stiff families: Jacobians against differences, published end points, SciPy, exact solutions."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.special import lambertw

from stepsmith.integrators import problems
from stepsmith.integrators.problems.problem import Batch, Problem
from stepsmith.integrators.reference import radau as stiff_reference

DATA = json.loads((Path(__file__).parent / "data" / "reference_solutions.json").read_text())
STIFF = [name for name in problems.names() if problems.family(name).stiff]
SMALL = [f"{name}_9" if name in problems._SIZED else name for name in STIFF]
LINES = [name for name in problems._SIZED if problems.family(name).stiff]  # by the method of lines
CORNERS = ("friction", "chua")  # not complex-analytic


def value(problem, y=None, t=0.0, dtype=float):
    y = problem.y0 if y is None else y
    dy = np.full(problem.n, np.nan, dtype)
    problem.rhs(t, y, problem.p, dy)
    return dy


def jacobian(problem, y, t=0.0):
    J = np.full((problem.n, problem.n), np.nan)  # an entry left unwritten stays NaN
    if problem.sparsity is not None:  # what lies outside it need not be written
        away = np.subtract.outer(np.arange(problem.n), np.arange(problem.n))
        J[(away > problem.sparsity[0]) | (-away > problem.sparsity[1])] = 0.0
    problem.jac(t, y, problem.p, J)
    return J


def relative(y, ref):
    return np.linalg.norm(np.asarray(y) - ref) / np.linalg.norm(ref)


def test_stiff_families_say_so():
    assert len(STIFF) == 18
    for name in problems.names():
        fam = problems.family(name)
        assert fam.stiff == ("stiff" in fam.tags)
        if fam.stiff:
            assert fam.canonical().jac is not None and fam.split("train", 2).jac is fam.canonical().jac
            assert 0 < fam.atol_factor < 1 and fam.error != "energy"


def differences(problem, y, t, exact):
    if not exact:
        h = 1e-7
        columns = [(value(problem, y + h * e, t) - value(problem, y - h * e, t)) / (2 * h) for e in np.eye(problem.n)]
    else:
        columns = [value(problem, y + 1e-40j * e, t, complex).imag / 1e-40 for e in np.eye(problem.n)]
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("name", SMALL)
def test_jacobians_against_differences(name):
    rng = np.random.default_rng(5)
    batch = problems.sample(name, 3, seed=1)
    for i in range(3):
        problem, t = batch[i], 0.7 * batch.t1[i]
        size = np.maximum(np.abs(problem.y0), 0.1)
        for y in (problem.y0, np.abs(problem.y0 + size * rng.normal(size=problem.n))):
            want = differences(problem, y, t, name not in CORNERS)
            tight = 1e-12 if name not in CORNERS else 1e-4  # friction curves on a scale of 1/eps
            assert jacobian(problem, y, t) == pytest.approx(want, rel=tight, abs=tight * np.abs(want).max() * 1e-3)


def test_jacobian_at_the_removable_singularities():
    problem = problems.make("hodgkin_huxley")
    for v in (-40.0, -55.0, -40.0 + 0.9, -55.0 - 0.9, -40.0 + 1.1, -55.0 - 1.1):
        y = np.array([v, 0.3, 0.4, 0.5])
        want = differences(problem, y, 0.0, True)
        assert jacobian(problem, y) == pytest.approx(want, rel=1e-10)
    below, above = (value(problem, np.array([-40.0 + s, 0.3, 0.4, 0.5])) for s in (1 - 1e-13, 1 + 1e-13))
    assert below == pytest.approx(above, rel=1e-12)


# --- end points --------------------------------------------------------------------------------------------------


def end_point(key):
    entry = DATA[key]
    if key == "e5":
        return np.array(entry["ref_converged"])[[0, 1, 3]]
    return np.array(entry.get("quad_verified", entry.get("ref")))


CASES = {"vdpol": "vdpol_stiff", "rober": "rober", "hires": "hires", "orego": "orego", "e5": "e5", "pollu": "pollu"}
# relative 2-norm and, over components above the smallest meaningful one, the largest relative error: digits stated for
# each end point
BOUNDS = {
    "vdpol": (1e-13, 5e-13),
    "rober": (1e-13, 1e-12),
    "hires": (1e-12, 1e-12),
    "orego": (1e-11, 1e-11),
    "e5": (1e-10, 1e-10),
    "pollu": (1e-11, 1e-11),
}  # E5's is stated to ten digits


@pytest.mark.parametrize("key", CASES)
def test_published_end_points_by_the_reference(key):
    problem, fam, want = problems.make(CASES[key]), problems.family(CASES[key]), end_point(key)
    assert list(problem.t_span) == DATA[key]["t"]
    if isinstance(DATA[key]["y0"], list):
        assert problem.y0 == pytest.approx([v for i, v in enumerate(DATA[key]["y0"]) if key != "e5" or i != 2])
    found = stiff_reference.stiff_reference(problem, [1.0], fam.reference_bound, fam.components, fam.atol_factor)
    assert found.ok[0]
    whole, each = BOUNDS[key]
    y, there = found.y[0, 0], np.abs(want) > 0
    assert relative(y, want) < whole and np.abs(y[there] / want[there] - 1).max() < each


SCIPY = {
    "vdpol": ("LSODA", 1e-9, 1e-12),
    "rober": ("Radau", 1e-8, 1e-22),
    "hires": ("Radau", 1e-8, 1e-12),
    "orego": ("LSODA", 1e-9, 1e-9),
    "e5": ("Radau", 1e-7, 1e-31),
    "pollu": ("Radau", 1e-7, 1e-14),
}


@pytest.mark.parametrize("key", CASES)
def test_published_end_points_by_scipy(key):
    problem, want = problems.make(CASES[key]), end_point(key)
    method, rtol, atol = SCIPY[key]
    sol = solve_ivp(lambda t, y: value(problem, y, t), problem.t_span, problem.y0, method=method, rtol=rtol, atol=atol,
                    jac=lambda t, y: jacobian(problem, y, t))
    assert sol.success
    there = np.abs(want) > 0
    assert np.abs(sol.y[there, -1] / want[there] - 1).max() < 2e-5


def test_medical_akzo_end_point():
    problem, fam = problems.make("medical_akzo"), problems.family("medical_akzo")
    y = stiff_reference._solve(problem.batch(), np.array([[20.0]]), 5, 1e-9, 1e-13, 100_000)[0, 0]
    for index, want in DATA["medakzo"]["ref_selected"].items():
        assert y[int(index) - 1] == pytest.approx(want, rel=1e-6, abs=1e-13)
    assert fam.n == 400 and len(fam.components) == 200


def test_ring_modulator_end_point():
    batch = problems.make("ring_modulator").batch()
    y = stiff_reference._solve(batch, np.array([[1e-3]]), 5, 1e-6, 1e-8, 200_000)[0, 0]
    assert y == pytest.approx(np.array(DATA["ringmod"]["ref"]), rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("name", SMALL)
def test_references_of_samples_agree_with_scipy(name):
    fam = problems.family(name)
    batch = fam.split("test", 2)
    if name == "ring_modulator":  # five periods of the parasitic capacitance, for SciPy's sake
        batch = Batch(batch.rhs, batch.y0, batch.p, batch.t0, np.full(2, 1e-6), jac=batch.jac)
    found = fam.reference(batch)
    assert np.isfinite(found.y).all() and found.ok.all() and found.y.shape == (2, fam.fractions.size, fam.n)
    problem, times = batch[0], batch.times(fam.fractions)[0]
    sol = solve_ivp(
        lambda t, y: value(problem, y, t),
        problem.t_span,
        problem.y0,
        method="Radau",
        t_eval=times,
        rtol=1e-7,
        atol=1e-8 * fam.atol_factor,
        jac=lambda t, y: jacobian(problem, y, t),
        max_step=problem.t_span[1] / 20,
    )
    assert sol.success
    if fam.error == "final":
        sol.y = sol.y[:, -1:]
    assert fam.errors(batch[:1], sol.y.T[None], found.y[:1])[0] < (1e-3 if name in ("chua", "flame") else 1e-4)


INVARIANTS = {"rober": "mass", "hires": "enzyme", "pollu": "nitrogen"}


@pytest.mark.parametrize("name", INVARIANTS)
def test_invariants(name):
    batch = problems.sample(name, 2, seed=8)
    fractions = [0.0, 0.1, 1.0]
    found = stiff_reference.stiff_reference(batch, fractions, atol_factor=problems.family(name).atol_factor)
    e = batch.invariant(INVARIANTS[name], batch.times(fractions), found.y)
    assert e == pytest.approx(np.repeat(e[:, :1], 3, axis=1), rel=1e-12)


def test_flame_against_lambert():
    delta = 0.01
    problem = Problem(
        problems.family("flame").rhs, [delta], (0.0, 200.0), (), jac=problems.family("flame").canonical().jac
    )
    s, a = np.linspace(0.1, 1.0, 10), 1 / delta - 1
    want = 1 / (lambertw(a * np.exp(a - 200.0 * s)).real + 1)
    found = stiff_reference.stiff_reference(problem, s)
    assert found.y[0, :, 0] == pytest.approx(want, rel=1e-11)


def test_decay_against_the_exponential():
    fam = problems.family("steppo_decay")
    batch = fam.split("train", 20)
    want = np.exp(-batch.p * batch.times(fam.fractions))
    found = fam.reference(batch)
    assert found.ok.all() and np.abs(found.y[..., 0] - want).max() < 1e-14
    assert want.min() == 0.0  # the floor: zero has no relative error
    assert fam.errors(batch, found.y, want[..., None]).max() < 1e-14
    doubled = found.y + 1e-3 * want[..., None]
    assert fam.errors(batch, doubled, want[..., None]) == pytest.approx(1e-3 * want.max(axis=1), rel=1e-9)
    assert want.max(axis=1).min() > 0.9  # the first output time sees every decay from its start


def test_published_comparison_families_start_as_published():
    starts = {
        "steppo_vdpol": ([0.0, -2.0], 50.0, [50.0], 100.0),
        "steppo_brusselator": ([0.5, 1.0], 100.0, [1.0, 50.0], 50.0),
        "steppo_decay": ([1.0], 10.0, [50.0], 100.0),
    }
    for name, (y0, end, p, most) in starts.items():
        problem, batch = problems.make(name), problems.sample(name, 2000, seed=0)
        assert list(problem.y0) == y0 and problem.t_span == (0.0, end) and list(problem.p) == p
        assert problems.family(name).method == "kvaerno5"
        value = np.log(batch.p[:, -1])
        assert 0.0 <= value.min() < 0.02 and np.log(most) - 0.02 < value.max() <= np.log(most)
        assert np.mean(value < 0.5 * np.log(most)) == pytest.approx(0.5, abs=0.05)  # log-uniform


def test_published_membrane_rests_and_fires():
    problem = problems.make("hodgkin_huxley")
    rest = value(Problem(problem.rhs, problem.y0, (0.0, 1.0), [0.0, *problem.p[1:]]))
    assert np.abs(rest).max() < 5e-3  # -65 mV is the rest to three digits
    y = stiff_reference.stiff_reference(problem, np.arange(1, 501) / 500).y[0]
    spikes = np.flatnonzero((y[1:, 0] > 0) & (y[:-1, 0] <= 0))
    assert spikes.size in (3, 4) and 30 < y[:, 0].max() < 45


# --- sizes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LINES)
def test_sizes(name):
    fam = problems.family(f"{name}_12")
    assert fam.n == 24 and fam.name == f"{name}_12" and problems.make(fam.name).n == 24
    batch = problems.sample(fam.name, 2, seed=0)
    assert batch.rhs is fam.rhs and batch.family == fam.name
    for fn in (fam.rhs, batch.jac, problems.family(name).rhs, problems.family(name).canonical().jac):
        assert pickle.loads(pickle.dumps(fn)) is fn
    assert pickle.loads(pickle.dumps(fam)).draw(2, 0).y0.tolist() == batch.y0.tolist()
    assert stiff_reference.bandwidth(batch) == (2, 2)
    with pytest.raises(ValueError, match="at least 3"):
        problems.family(f"{name}_2")
    with pytest.raises(ValueError, match=name):
        problems.family(f"{name}_x")
    with pytest.raises(AttributeError, match="no attribute"):
        __import__(f"stepsmith.integrators.problems.lines.{name}", fromlist=["x"]).nothing_here  # noqa: B018
