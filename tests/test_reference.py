"""The reference solver against published end points, SciPy, mpmath, closed orbits and its own failure modes."""

import json
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stepsmith.integrators import problems
from stepsmith.integrators.problems.problem import Batch, Problem
from stepsmith.integrators.reference.gbs import reference

DATA = json.loads((Path(__file__).parent / "data" / "reference_solutions.json").read_text())


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    """Results go to an empty folder, compiled modules stay where they are."""
    from stepsmith.integrators.reference import pair as module

    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    return tmp_path


def relative(y, ref):
    return np.linalg.norm(np.asarray(y) - ref) / np.linalg.norm(ref)


@pytest.mark.parametrize(("name", "key"), [("lotka_volterra", "lv"), ("lorenz", "lorenz")])
def test_quadruple_precision_end_points(name, key):
    problem = problems.make(name)
    assert problem.y0.tolist() == DATA[key]["y0"] and list(problem.t_span) == DATA[key]["t"]
    assert problem.p == pytest.approx(DATA[key]["p"], rel=1e-15)
    found = reference(problem, [1.0])
    assert relative(found.y[0, 0], DATA[key]["quad"]) < 2e-13
    assert found.ok[0] and found.self_error[0] < 1e-12


def test_pleiades_end_point():
    found = reference(problems.make("pleiades"), [1.0])
    y = found.y[0, 0]
    y = np.concatenate([y[:14].reshape(7, 2).T.ravel(), y[14:].reshape(7, 2).T.ravel()])
    assert relative(y, DATA["pleiades"]["ref"]) < 2e-12


def test_arenstorf_orbit_closes():
    problem = problems.make("arenstorf")
    assert problem.y0 == pytest.approx(DATA["arenstorf"]["y0"], rel=1e-15)
    assert problem.t_span[1] == pytest.approx(DATA["arenstorf"]["t"][1], rel=1e-15)
    # rounding the start to double precision alone moves the end by about 1e-9
    assert relative(reference(problem, [1.0]).y[0, 0], problem.y0) < 1e-8


def test_figure_eight_closes():
    problem = problems.make("three_body")
    assert relative(reference(problem, [1.0]).y[0, 0], problem.y0) < 1e-6  # the start has eight digits


def test_kepler_against_kepler():
    """e = .6 over 20 time units: the eccentric anomaly by mpmath."""
    y = reference(problems.make("kepler"), [1.0]).y[0, 0]
    angle = float(mpmath.findroot(lambda a: a - mpmath.mpf("0.6") * mpmath.sin(a) - 20, 20))
    want = [np.cos(angle) - 0.6, 0.8 * np.sin(angle)]
    assert y[2:4] - y[0:2] == pytest.approx(want, rel=1e-12)


def test_against_mpmath_taylor():
    problem = problems.make("vanderpol")
    with mpmath.workdps(30):
        f = mpmath.odefun(lambda t, y: [y[1], (1 - y[0] ** 2) * y[1] - y[0]], 0, [mpmath.mpf(2), mpmath.mpf(0)])
        want = [[float(v) for v in f(t)] for t in (1.0, 2.0)]
    found = reference(problem, [0.05, 0.1])
    assert found.y[0] == pytest.approx(np.array(want), rel=2e-14)


@pytest.mark.parametrize("name", ["brusselator", "fitzhugh_nagumo", "neural_field", "double_pendulum", "henon_heiles"])
def test_against_scipy_dop853(name):
    batch = problems.sample(name, 2, seed=8)
    found = reference(batch, [0.0, 0.1, 0.2])
    assert np.array_equal(found.y[:, 0], batch.y0) and found.ok.all()
    for i in range(2):

        def f(t, y, i=i):
            dy = np.empty(batch.n)
            batch.rhs(t, y, batch.p[i], dy)
            return dy

        times = batch.times([0.1, 0.2])[i]
        sol = solve_ivp(f, (0, times[-1]), batch.y0[i], "DOP853", t_eval=times[-1:], rtol=1e-13, atol=1e-14)
        assert relative(found.y[i, 2], sol.y[:, -1]) < 1e-10


def test_close_encounters_keep_their_energy():
    """Straight through near-collisions, where a state in one double a coordinate loses digits."""
    batch = problems.family("three_body").split("validation", 200, seed=3)
    found = reference(batch, [1.0], bound=1e-7)
    assert np.isfinite(found.self_error).all() and found.ok.mean() >= 0.95
    e0, e1 = (batch.invariant("energy", batch.t0, y) for y in (batch.y0, found.y[:, 0]))
    drift = np.abs(e1 / e0 - 1)[found.ok]  # the others are counted and not used
    assert np.median(drift) < 1e-12 and np.quantile(drift, 0.9) < 1e-10


def test_time_reversal():
    batch = problems.sample("three_body", 10, seed=3)
    there = reference(batch, [1.0])
    back = reference(Batch(batch.rhs, there.y[:, 0], batch.p, batch.t1, batch.t0, nbody=batch.nbody), [1.0])
    for i in np.flatnonzero(there.self_error < 1e-12):
        assert relative(back.y[i, 0], batch.y0[i]) < 1e-9
    assert (there.self_error < 1e-12).sum() >= 5


def test_extra_forces_are_not_dropped():
    """An N-body layout with another law: the split evaluation would be wrong, the plain one is taken."""

    def rhs(t, y, p, dy):  # two bodies on a line, joined by a spring: relative motion x'' = -2 x
        dy[0], dy[1] = y[2], y[3]
        dy[2], dy[3] = y[1] - y[0], y[0] - y[1]

    # at the start, one unit apart, spring and gravity agree
    problem = Problem(rhs, [0.0, 1.0, 0.0, 0.0], (0.0, 3.0), [1.0, 1.0, 1.0], nbody=(2, 1))
    y = reference(problem, [1.0]).y[0, 0]
    assert y[1] - y[0] == pytest.approx(np.cos(3 * np.sqrt(2)), rel=1e-13)


def test_zero_length_span():
    problem = Problem(problems.make("lorenz").rhs, [1.0, 2.0, 3.0], (4.0, 4.0), [10, 28, 8 / 3])
    found = reference(problem, [0.5, 1.0])
    assert np.array_equal(found.y[0], [[1, 2, 3], [1, 2, 3]]) and found.ok[0] and found.self_error[0] == 0.0


def test_at_rest():
    def rhs(t, y, p, dy):
        dy[0] = 0.0

    found = reference(Problem(rhs, [0.0], (0.0, 5.0)), [0.5, 1.0])
    assert np.array_equal(found.y[0, :, 0], [0.0, 0.0]) and found.ok[0]


def blow_up(t, y, p, dy):
    dy[0] = y[0] * y[0]


def test_blow_up_and_bad_starts_are_not_ok_and_spare_their_neighbours():
    y0 = np.array([[1.0], [np.nan], [-1.0], [np.inf]])
    batch = Batch(blow_up, y0, np.empty((4, 0)), np.zeros(4), np.full(4, 2.0), validate=False)
    found = reference(batch, [0.25, 1.0])
    assert found.ok.tolist() == [False, False, True, False]
    assert np.isinf(found.self_error[[0, 1, 3]]).all()
    assert found.y[0, 0, 0] == pytest.approx(2.0, rel=1e-13) and np.isnan(found.y[0, 1, 0])  # 1/(1 - t), gone at t = 1
    assert found.y[2, 1, 0] == pytest.approx(-1 / 3, rel=1e-13)


def test_step_limit():
    found = reference(problems.make("lorenz"), [1.0], max_steps=3)
    assert not found.ok[0] and np.isnan(found.y).all()


def test_bound_decides():
    problem = problems.make("pleiades")
    error = reference(problem, [1.0]).self_error[0]
    assert 0 < error < 1e-8
    assert not reference(problem, [1.0], bound=error / 2).ok[0] and reference(problem, [1.0], bound=error * 2).ok[0]


def test_results_are_kept_on_disk(own_cache, monkeypatch):
    from stepsmith.integrators.reference import gbs, pair

    batch = problems.sample("lorenz", 3, seed=0)
    first = reference(batch, [0.5, 1.0])
    (file,) = own_cache.glob("*.npz")
    monkeypatch.setattr(gbs, "_solve", lambda *a: pytest.fail("solved again"))
    again = reference(batch, [0.5, 1.0])
    assert np.array_equal(first.y, again.y) and np.array_equal(first.self_error, again.self_error)
    monkeypatch.undo()
    monkeypatch.setattr(pair, "folder", lambda: own_cache)
    file.write_bytes(file.read_bytes()[:100])  # a damaged file is solved afresh
    assert np.array_equal(reference(batch, [0.5, 1.0]).y, first.y)
    other = Batch(batch.rhs, batch.y0, batch.p * 1.001, batch.t0, batch.t1)
    assert not np.array_equal(reference(other, [0.5, 1.0]).y, first.y)
    assert len(list(own_cache.glob("*.npz"))) == 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fractions": []}, "fractions"),
        ({"fractions": [0.5, 0.2]}, "fractions"),
        ({"fractions": [np.nan]}, "fractions"),
        ({"fractions": [1.5]}, "fractions"),
        ({"bound": 0.0}, "bound"),
        ({"max_steps": 0}, "max_steps"),
        ({"components": [3]}, "components"),
    ],
)
def test_bad_arguments(change, word):
    with pytest.raises(ValueError, match=word):
        reference(problems.make("lorenz"), **({"fractions": [1.0]} | change))


def test_empty_batch():
    found = reference(problems.sample("lorenz", 0, seed=0), [1.0])
    assert found.y.shape == (0, 1, 3) and found.ok.shape == (0,)
