"""Verner's efficient pairs, Bogacki-Shampine 5(4) and Fehlberg 4(5): convergence in 80 digits, published error norms
and solutions, the engine's steps and outputs by the definition, evaluations, lanes.

Their order conditions are in `test_tableaus`, with those of the other pairs.
"""

from __future__ import annotations

import json
from collections import Counter
from math import factorial, prod
from pathlib import Path

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from method_kinds import MORE
from pairs import FEHLBERG5
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import cos
from stepsmith.integrators.core import record
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.methods import tableaus
from stepsmith.integrators.methods.places import UNASKED
from stepsmith.integrators.methods.trees import StageWeights, density, rooted_trees
from stepsmith.integrators.problems.nbody import pleiades
from stepsmith.integrators.problems.nonstiff import arenstorf

REFERENCE = json.loads((Path(__file__).parent / "data" / "reference_solutions.json").read_text())
LAW = registry.get("scipy")
each = pytest.mark.parametrize("name", MORE)


@pytest.fixture
def digits():
    with mpmath.workdps(80):
        yield


def multiple(row):
    """Coefficients as mpmath's numbers."""
    return [mpmath.mpf(x.numerator) / x.denominator for x in row]


# -- coefficients


def symmetry(tree):
    """sigma(t), of Butcher 2016, section 304."""
    return prod(factorial(k) * symmetry(child) ** k for child, k in Counter(tree).items())


@pytest.mark.parametrize(
    # in the names of Verner's files: RKV65.IIIXb.Efficient.00000144617, RKV76.IIa.Efficient.00001675585,
    # RKV87.IIa.Efficient.000000282866 and RKV98.IIa.Efficient.000000349
    "name, norm, digit",
    [("vern6", 1.44617e-6, 1e-5), ("vern7", 1.675585e-5, 1e-6), ("vern8", 2.82866e-7, 3e-4), ("vern9", 3.49e-7, 2e-3)],
)
def test_the_norm_of_the_local_error_is_the_published_one(digits, name, norm, digit):
    tableau = tableaus.get(name)
    weights, b = StageWeights([multiple(row) for row in tableau.a], mpmath.mpf(1)), multiple(tableau.b)
    trees = rooted_trees(tableau.order + 1)
    total = sum((weights.residual(b, tree) / density(tree) / symmetry(tree)) ** 2 for tree in trees)
    assert float(mpmath.sqrt(total)) == pytest.approx(norm, rel=digit)


def test_fehlbergs_pair_is_the_one_of_the_books_table():
    ours = tableaus.get("fehlberg45")
    assert (ours.c, ours.a, ours.b, ours.e) == (FEHLBERG5.c, FEHLBERG5.a, FEHLBERG5.b, FEHLBERG5.e)
    assert (ours.order, ours.embedded_order, ours.dense_order) == (5, 4, 4)


def test_bs54_has_the_published_weights():
    # Bogacki, Shampine 1996: the embedded formula with all eight stages
    b_hat = [x - y for x, y in zip(tableaus.get("bs54").b, tableaus.get("bs54").e, strict=True)]
    assert [str(x) for x in b_hat] == [
        "2479/34992", "0", "123/416", "612941/3411720", "43/1440", "2272/6561", "79937/1113912", "3293/556956",
    ]  # fmt: skip


def test_heun_euler_is_adaptive_heun():
    assert methods.get("heun_euler") is methods.get("adaptive_heun") and "heun_euler" not in methods.names()
    assert "also called heun_euler" in methods.get("heun_euler").doc
    assert set(UNASKED) <= set(methods.names())


# -- convergence, beyond the digits of float64


def butcher(t, y):
    """Closed form: (exp s, exp 5s, s + 1, cos t^2) with s = sin t^2."""
    return [
        2 * t * y[1] ** mpmath.mpf("0.2") * y[3], 10 * t * mpmath.exp(5 * (y[2] - 1)) * y[3], 2 * t * y[3],
        -2 * t * mpmath.log(y[0]),
    ]  # fmt: skip


def butcher_exact(t):
    s = mpmath.sin(t * t)
    return [mpmath.exp(s), mpmath.exp(5 * s), s + 1, mpmath.cos(t * t)]


def off_by(tableau, h):
    """Largest error of a step of size h at its end and within, and of its estimate, from t = 0.3."""
    t, y, k = mpmath.mpf("0.3"), butcher_exact(mpmath.mpf("0.3")), []
    rows = [*map(multiple, tableau.a), *map(multiple, tableau.dense_a)]
    for c, row in zip(multiple(tableau.c + tableau.dense_c), rows, strict=True):
        moved = [sum(a * slope[d] for a, slope in zip(row, k, strict=False) if a) for d in range(4)]
        k.append(butcher(t + c * h, [y[d] + h * moved[d] for d in range(4)]))

    def error(weights, theta):
        moved = [sum(w * slope[d] for w, slope in zip(weights, k, strict=False) if w) for d in range(4)]
        exact = butcher_exact(t + theta * h)
        return max(abs(y[d] + h * moved[d] - exact[d]) for d in range(4))

    dense = [multiple(row) for row in tableau.dense]
    at = [mpmath.mpf(i) / 8 for i in range(1, 8)]
    within = max(error([sum(p * x ** (j + 1) for j, p in enumerate(row)) for row in dense], x) for x in at)
    e = multiple(tableau.e)
    estimate = max(abs(h * sum(w * slope[d] for w, slope in zip(e, k, strict=False))) for d in range(4))
    return error(multiple(tableau.b), 1), estimate, within


@each
def test_step_estimate_and_dense_output_converge_at_their_orders(digits, name):
    tableau = tableaus.get(name)
    n = {"vern8": 3000, "vern9": 1000}.get(name, 20_000)  # so many that tables of 40 digits show no round-off
    coarse, fine = (off_by(tableau, 1 / mpmath.mpf(k)) for k in (n, 2 * n))
    rates = [float(mpmath.log(a / b, 2)) for a, b in zip(coarse, fine, strict=True)]
    assert rates == pytest.approx([tableau.order + 1, tableau.embedded_order + 1, tableau.dense_order + 1], abs=0.1)


# -- the compiled engine


def forced(t, y, p, dy):
    """A pendulum, damped and driven: not autonomous, not linear."""
    dy[0] = y[1]
    dy[1] = -p[0] * y[0] * y[0] * y[0] - 0.1 * y[1] + cos(2.0 * t)


def plain(t, y):
    return np.array([y[1], -1.3 * y[0] ** 3 - 0.1 * y[1] + np.cos(2.0 * t)])


def pendulum():
    return ss.Problem(forced, (1.0, 0.5), (0.0, 6.0), (1.3,))


@each
def test_steps_and_outputs_are_those_of_the_definition(name):
    """An attempt in NumPy, from the engine's own times, with the interpolant in powers of theta."""
    tableau, at = tableaus.get(name), np.linspace(0.0, 6.0, 1301)
    steps, dense = (solve(pendulum(), name, LAW, 1e-5, 1e-7, t_eval=t) for t in (None, at))
    assert steps.success and dense.stats.naccept == steps.stats.naccept
    np.testing.assert_array_equal(dense.y[-1], steps.y[-1])  # outputs change no step, not by a bit
    size = tableau.stages + tableau.dense_stages
    a, c = np.zeros((size, size)), np.concatenate([tableau.C, tableau.dense_C])
    a[: tableau.stages, : tableau.stages], a[tableau.stages :] = tableau.A, tableau.dense_A
    for t, h, y, end in zip(steps.t[:-1], np.diff(steps.t), steps.y[:-1], steps.y[1:], strict=True):
        k = np.zeros((size, 2))
        for j in range(size):
            k[j] = plain(t + c[j] * h, y + h * a[j] @ k)
        np.testing.assert_allclose(end, y + h * tableau.B @ k[: tableau.stages], rtol=0, atol=1e-11)
        inside = (at > t) & (at < t + h)
        theta = (at[inside] - t) / h
        values = y + h * (theta[:, None] ** np.arange(1, tableau.P.shape[1] + 1) @ tableau.P.T) @ k
        np.testing.assert_allclose(dense.y[inside], values, rtol=0, atol=1e-10)


@each
def test_evaluations(name):
    """Two at the start; an attempt takes stages - 1; a step of a method that is not FSAL its first slope, which dense
    output of the step before has evaluated where there was any.
    """
    tableau = tableaus.get(name)
    for at in (None, np.linspace(0.0, 6.0, 1301)[:-1]):
        stats = solve(pendulum(), name, LAW, 1e-5, 1e-7, t_eval=at, first_step=2.0).stats
        attempts = stats.naccept + stats.nreject
        assert stats.nreject > 0
        expected = 1 + (tableau.stages - 1) * attempts + (0 if tableau.fsal else stats.naccept - 1)
        if at is not None:
            # of a method that is not FSAL the slopes at the ends are counted above, but for the last one
            expected += tableau.dense_stages * stats.naccept - (0 if tableau.fsal else stats.naccept - 1)
        assert stats.nfev == expected


@pytest.mark.parametrize("name", ["vern6", "vern9"])
def test_lanes_are_single_solves(name):
    rng, count, at = np.random.default_rng(0), 19, np.linspace(0.0, 6.0, 7)
    batch = ss.Batch(
        forced, rng.normal(size=(count, 2)), rng.uniform(0.5, 3.0, (count, 1)), np.zeros(count), np.full(count, 6.0)
    )
    # the estimate of the automatic first step is round-off
    many = solve_ensemble(batch, name, LAW, 1e-6, 1e-8, at, first_step=0.5)
    assert many.success.all() and (many.stats.nreject > 0).any()
    for i in range(count):
        problem = ss.Problem(forced, batch.y0[i], (0.0, 6.0), batch.p[i])
        one = solve(problem, name, LAW, 1e-6, 1e-8, t_eval=at, first_step=0.5)
        assert (one.stats.nfev, one.stats.naccept) == (many.stats.nfev[i], many.stats.naccept[i])
        np.testing.assert_allclose(many.y_eval[i], one.y, rtol=0, atol=1e-10)


@each
def test_dense_output_is_about_as_good_as_the_steps(name):
    at = np.linspace(0.0, 6.0, 1301)
    sol = solve(pendulum(), name, LAW, 1e-8, 1e-8, t_eval=at)
    steps = solve(pendulum(), name, LAW, 1e-8, 1e-8)
    exact = solve_ivp(plain, (0.0, 6.0), [1.0, 0.5], "DOP853", dense_output=True, rtol=1e-13, atol=1e-13).sol
    # of order 8 the errors of the steps are far below the tolerance, as of dop853 and dopri8
    more = 20 if name == "vern8" else 3
    assert np.abs(sol.y - exact(at).T).max() < min(2e-7, more * np.abs(steps.y - exact(steps.t).T).max())


@pytest.mark.parametrize("name", ["vern7", "vern8", "vern9"])
def test_published_orbits(name):
    """The Arenstorf orbit closes, and the Pleiades end where they are known to; at tolerances where DOP853's errors are
    2.5e-9 and 2.2e-10.
    """
    ref = np.array(REFERENCE["pleiades"]["ref"])
    exact = np.concatenate([ref[:14].reshape(2, 7).T.ravel(), ref[14:].reshape(2, 7).T.ravel()])
    orbit, seven = arenstorf.published(), pleiades.published()
    assert np.abs(solve(orbit, name, LAW, 1e-11, 1e-13).y[-1] - orbit.y0).max() < 2e-8
    assert np.abs(solve(seven, name, LAW, 1e-11, 1e-11).y[-1] - exact).max() < 5e-9


def relaxing(t, y, p, dy):
    dy[0] = p[0] * (cos(t) - y[0])


@pytest.mark.parametrize("name", ["vern6", "bs54"])
def test_stiffness_of_a_linear_problem(name):
    sol = solve(ss.Problem(relaxing, (0.3,), (0.0, 2.0), (50.0,)), name, LAW, 1e-4, 1e-6, log=True)
    h, hs = sol.record[:, record.H], sol.record[:, record.HS]
    np.testing.assert_allclose(hs, 50.0 * h, rtol=1e-6)
