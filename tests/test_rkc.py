"""Runge-Kutta-Chebyshev: its polynomials, every step against them, order, the heat equation against its exact solution,
a Brusselator against SciPy, what a larger spectral radius costs, the radius that is found and the one that is given.
"""

from __future__ import annotations

import pickle

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from chebyshev import beta, closed, coefficients
from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.controllers.laws import registry
from stepsmith.envs.ode import make_core
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import cos, sin, sqrt, where
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.engine import cuda
from stepsmith.integrators.kernels.layout import BAD_RADIUS, UNDERFLOW
from stepsmith.integrators.methods.stabilised.rkc import EPS, stages
from stepsmith.integrators.problems.families import Family
from stepsmith.integrators.problems.vary import varied

LAW = registry.get("universal_law").general()


# Polynomials


@pytest.mark.parametrize("s", [2, 3, 4, 7, 20, 61])
def test_the_stability_polynomial(s):
    with mp.workdps(60):
        w0, w1, b, a = coefficients(s)
        # second order: R = 1 + z + z^2/2 + ...
        assert all(abs(mp.diff(lambda z: closed(s, z), 0, k) - 1) < mp.mpf(10) ** -15 for k in range(3))
        end = beta(s)
        values = [abs(closed(s, -end * k / mp.mpf(400))) for k in range(401)]
        assert max(values) < 1 + mp.mpf(10) ** -40
        assert max(values[k] for k in range(401) if k >= 400 / s) < 0.97
        assert s % 2 == 1 or abs(closed(s, -1.1 * end)) > 1  # of odd degree they are stable for longer
        assert EPS == 2 / 13
        # the stages that are taken are stable, and one less would not be, or would be next to it
        for radius in (float(0.999 * end), float(1.001 * end)):
            m = stages(radius, 1.0)
            assert beta(m) >= radius and (m == 2 or beta(m - 2) < radius)


def test_stages_by_their_recursion_are_that_polynomial():
    s = 9
    with mp.workdps(40):
        w0, w1, b, a = coefficients(s)
        for z in (mp.mpf(-3), mp.mpf(-40), mp.mpf("0.3")):
            g = [mp.mpf(1), 1 + b[1] * w1 * z]
            for j in range(2, s + 1):
                mu, nu, m = 2 * b[j] * w0 / b[j - 1], -b[j] / b[j - 2], 2 * b[j] * w1 / b[j - 1]
                g.append((1 - mu - nu) + mu * g[-1] + nu * g[-2] + m * z * g[-1] - a[j - 1] * m * z)
            assert abs(g[s] - closed(s, z)) < mp.mpf(10) ** -30


# Modes: a diagonal system whose radius is given by a parameter, and an oscillator


def modes(t, y, p, dy):
    """Modes y_i' = p_i y_i, i < 5, the first two of them of y_i - g cos t with g = p[6]; an oscillator of frequency
    p[7].
    """
    for i in range(2):
        dy[i] = p[i] * (y[i] - p[6] * cos(t)) - p[6] * sin(t)
    for i in range(2, 5):
        dy[i] = p[i] * y[i]
    dy[5] = p[7] * y[6]
    dy[6] = -p[7] * y[5]


def radius(t, y, p):
    """p[5]; after the time p[8] the square root of p[9], which may be NaN."""
    return where(t > p[8], sqrt(p[9]), p[5])


RATES = np.array([-1.0, -10.0, -200.0, -3000.0, -6000.0])


def modal(rho=6000.0, g=0.0, frequency=0.0, after=1e9, later=-1.0, span=(0.0, 1.0), rates=RATES, own=radius):
    y0 = [1.0 + g] * 2 + [1.0] * 4 + [0.0]
    return Problem(modes, y0, span, [*rates, rho, g, frequency, after, later], spectral_radius=own)


def exact(t, g=0.0, frequency=0.0, rates=RATES):
    """From time 0 on."""
    t = np.asarray(t)[..., None]
    turn = [np.cos(frequency * t), -np.sin(frequency * t)]
    forced = g * np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    return np.concatenate([forced * np.cos(t) + np.exp(rates * t), *turn], -1)


def run(problem, tol=1e-5, atol=None, **options):
    return solve(problem, "rkc", LAW, rtol=tol, atol=tol if atol is None else atol, **options)


@pytest.mark.parametrize("s", [2, 3, 8, 30])
def test_a_step_multiplies_every_mode_by_the_polynomial(s):
    h = 0.999 * float(beta(s)) / 6000.0
    sol = run(modal(span=(0.0, h)), 10.0, 1e4, first_step=h)
    assert sol.success and stages(6000.0, h) in (s, s + 1)
    want = [float(closed(stages(6000.0, h), mp.mpf(h) * rate)) for rate in RATES]
    np.testing.assert_allclose(sol.y[-1, :5], want, rtol=1e-10, atol=1e-13)
    # a start without a size of the caller's evaluates twice; a step as often as it has stages
    assert sol.stats.nfev == 1 + stages(6000.0, h)


def test_order_two_also_of_dense_output_and_backwards():
    errors, dense, steps = [], [], []
    at = np.linspace(0.05, 4.0, 50)
    for tol in 10.0 ** -np.arange(4.0, 9.1):
        sol = run(modal(g=1.0, frequency=2.0, span=(0.0, 4.0)), tol)
        errors.append(np.abs(sol.y - exact(sol.t, 1.0, 2.0)).max())
        steps.append(sol.stats.naccept)
        sol = run(modal(g=1.0, frequency=2.0, span=(0.0, 4.0)), tol, t_eval=at)
        dense.append(np.abs(sol.y - exact(at, 1.0, 2.0)).max())
        assert sol.success and sol.stats.naccept == steps[-1] and sol.stats.nreject < 0.1 * steps[-1] + 3
    for found in (errors, dense):
        assert -2.25 < np.polyfit(np.log(steps), np.log(found), 1)[0] < -1.8
    assert np.all(np.array(dense) < 2 * np.array(errors))
    back = run(modal(span=(1.0, 0.0), rates=-RATES), 1e-6)  # stable backwards
    assert back.success and np.abs(back.y[-1, :5] - exact(1.0)[:5]).max() < 1e-4


def test_a_tighter_tolerance_bounds_the_stages_and_the_step_with_them():
    rho, tol = 1e9, 1e-12
    most = round((tol * 2.0 / (10.0 * 2.0**-52)) ** 0.5)  # rtol, and the share of atol at y = 1
    sol = run(modal(rho, span=(0.0, 1e-4), rates=0.0 * RATES), tol, first_step=1e-5)
    largest = (most**2 - 1) / (1.54 * rho)
    steps = np.diff(sol.t)
    assert sol.success and np.all(steps < 1.0001 * largest) and steps[0] == pytest.approx(largest, rel=1e-3)
    assert sol.stats.nfev <= 2 + most * sol.stats.naccept and sol.stats.nreject == 0
    # below what the time variable resolves
    sol = run(modal(1e30, span=(1.0, 2.0)), 1e-9)
    assert sol.status == UNDERFLOW and not sol.success and sol.t[-1] == 1.0 and sol.stats.naccept == 0


def test_a_radius_that_is_no_number_ends_the_solve():
    sol = run(modal(-1.0))
    assert sol.status == BAD_RADIUS and "spectral_radius" in sol.message and sol.t[-1] == 0.0
    sol = run(modal(after=0.5))
    assert sol.status == BAD_RADIUS and 0.5 < sol.t[-1] < 1.0 and sol.stats.nreject >= 1
    np.testing.assert_allclose(sol.y[-1], exact(sol.t[-1]), atol=1e-4)
    for bad in (-1.0, np.nan, np.inf, True, "1", [1.0]):
        with pytest.raises(OptionError, match="spectral_radius must be a"):
            modal(own=bad)
    with pytest.raises(ValueError, match="spectral radius .*one number"):
        modal(own=lambda t, y: [1.0, 2.0])


def test_a_radius_that_is_too_small_costs_steps_and_no_accuracy():
    right, wrong = run(modal()), run(modal(60.0))
    assert wrong.success and np.abs(wrong.y - exact(wrong.t)).max() < 3e-4
    assert wrong.stats.naccept > 2 * right.stats.naccept


def test_an_oscillator_is_held_by_its_error():
    w, tol = 40.0, 1e-6
    sol = run(modal(w, frequency=w, rates=0.0 * RATES, span=(0.0, 2.0)), tol)
    assert sol.success and np.abs(sol.y - exact(sol.t, 0.0, w, 0.0 * RATES)).max() < 5e3 * tol
    assert np.diff(sol.t).max() < 0.1 / w


def test_radius_of_problems_and_batches():
    many = [modal(), modal(rho=7000.0)]
    batch = Batch.of(many)
    assert batch.spectral_radius is many[0].spectral_radius is batch[1].spectral_radius
    with pytest.raises(ValueError, match="number 1 differs from number 0 in its spectral_radius"):
        Batch.of([modal(), modal(own=None)])
    with pytest.raises(ValueError, match="in its spectral_radius: 2.0 against 1.0"):
        Batch.of([modal(own=1.0), modal(own=2.0)])
    again = pickle.loads(pickle.dumps(modal(span=(0.0, 0.1))))
    assert np.array_equal(run(again).y, run(modal(span=(0.0, 0.1))).y)
    assert pickle.loads(pickle.dumps(modal(own=3.0).batch())).spectral_radius == 3.0
    fam = varied(modal(), {"p[0]": (-2.0, -1.0)})
    assert fam(np.random.default_rng(0), 3).spectral_radius is many[0].spectral_radius


def test_an_environment_is_the_law_where_nothing_is_changed():
    # its attempts are looked at, and made again, without another search for the radius
    def sampler(rng, count):
        p = modal(60.0, g=1.0, rates=RATES / 100).p
        rows = np.tile(p, (count, 1))
        rows[:, 1] *= 1.0 + 0.2 * rng.random(count)
        return modal(own=None).batch(p=rows)

    toy = Family("modes_of_rkc", "modes", modes, 7, 10, sampler, error="final", levels=(1e-5, 1e-3))
    core = make_core(4, True, family=toy, method="rkc", law="pi34", pool_size=4, rtol=(1e-3, 1e-5), baseline="pi34")
    core.seed(np.arange(4, dtype=np.uint64))
    core.reset()
    found = []
    while len(found) < 6:
        found += [core.episode(int(lane)) for lane in core.ended[: core.step(np.zeros((4, 2), np.float32))].copy()]
    for e in found:
        i = int(e["instance"])
        tol = e["rtol"]
        alone = solve_ensemble(core.pool.batch[i : i + 1], "rkc", "pi34", rtol=tol, atol=tol * toy.atol_factor).stats
        assert (e["nfev"], e["naccept"], e["nreject"]) == (alone.nfev[0], alone.naccept[0], alone.nreject[0])


# Diffusion

CELLS = 40


def heat(t, y, p, dy):
    """u_t = p u_xx on (0, 1), u = 0 at both ends."""
    strength = p[0] * (CELLS + 1.0) ** 2
    for i in range(CELLS):
        left = y[i - 1] if i > 0 else 0.0
        right = y[i + 1] if i < CELLS - 1 else 0.0
        dy[i] = strength * (left - 2.0 * y[i] + right)


X = np.arange(1, CELLS + 1) / (CELLS + 1)
MATRIX = (CELLS + 1) ** 2 * (np.diag(np.full(CELLS, -2.0)) + np.eye(CELLS, k=1) + np.eye(CELLS, k=-1))
ROUGH = (np.abs(X - 0.4) < 0.2) * 1.0


def diffusion(strength=1.0, y0=ROUGH, end=0.2):
    return Problem(heat, y0, (0.0, end), [strength])


@pytest.mark.parametrize("tol", [1e-3, 1e-6])
def test_the_heat_equation(tol):
    sol = run(diffusion(), tol)
    assert sol.success and np.abs(sol.y[-1] - expm(0.2 * MATRIX) @ ROUGH).max() < 10 * tol
    # from an eigenvector, whose slope says nothing of the others
    sol = run(diffusion(y0=np.sin(np.pi * X)), tol)
    assert sol.success and np.abs(sol.y[-1] - expm(0.2 * MATRIX) @ np.sin(np.pi * X)).max() < 20 * tol
    assert sol.stats.nreject <= 3


def test_the_radius_that_is_found_is_close_above_the_true_one():
    # evaluations of one step tell of its stages, and these of the radius
    true = float(np.abs(np.linalg.eigvalsh(MATRIX)).max())
    h = 0.5
    first, second = (
        run(diffusion(y0=np.ones(CELLS), end=end), 10.0, 1e4, first_step=h, max_steps=2) for end in (h, 2 * h)
    )
    assert first.stats.naccept == 1 and second.stats.naccept == 2
    found = ((second.stats.nfev - first.stats.nfev - 1) ** 2 - 1) / (1.54 * h)
    assert 0.99 * true < found < 1.3 * true
    # a search of few evaluations
    assert first.stats.nfev - 1 - (second.stats.nfev - first.stats.nfev) <= 12


def test_the_number_of_attempts_bounds_the_work():
    # by round-off alone an attempt at this tolerance might have 670,000 stages
    sol = run(diffusion(strength=1e10), 1e-3, max_steps=10, first_step=0.2)
    attempts = sol.stats.naccept + sol.stats.nreject
    assert 0 < attempts <= 10 and sol.stats.nfev < attempts * 20_100


def test_evaluations_grow_as_the_square_root_of_the_radius():
    # the same modes for the error to see, the largest of 25 times the modulus
    def work(factor):
        sol = run(modal(6000.0 * factor, rates=RATES * [1, 1, 1, 1, factor], g=1.0, span=(0.0, 4.0)))
        assert sol.success
        return sol.stats.nfev

    ratio = work(2500.0) / work(25.0)
    assert 5.0 < ratio < 14.0


def test_lanes_are_single_solves():
    strength = np.geomspace(0.05, 5.0, 20)
    y0 = np.tile(ROUGH, (20, 1))
    y0[3] = np.nan
    batch = Batch(heat, y0, strength[:, None], 0.0, 0.2, validate=False)
    many = solve_ensemble(batch, "rkc", LAW, rtol=1e-4, atol=1e-4)
    assert many.success.sum() == 19 and not many.success[3]
    for i in (0, 7, 19):
        one = run(diffusion(strength[i]), 1e-4)
        np.testing.assert_allclose(many.y[i], one.y[-1], rtol=1e-9, atol=1e-10)
        assert many.stats.nfev[i] == one.stats.nfev and many.stats.nreject[i] == one.stats.nreject


def test_events_stops_and_dense_output():
    def middle(t, y, p):
        return y[CELLS // 2] - 0.3

    middle.terminal = True
    sol = solve(diffusion(), "rkc", LAW, rtol=1e-6, atol=1e-6, events=middle, dense=True, tstops=[0.01])
    assert 0.01 in sol.t and sol.t[-1] == sol.t_events[0][0] and abs(sol.y[-1][CELLS // 2] - 0.3) < 1e-8
    for t in (0.004, 0.013, sol.t[-1]):
        assert np.abs(sol(t) - expm(t * MATRIX) @ ROUGH).max() < 2e-5


# A Brusselator

POINTS = 25


def brusselator(t, y, p, dy):
    """The one-dimensional Brusselator of Hairer & Wanner II, IV.1 (BRUSS), with diffusion p[0]."""
    strength = p[0] * (POINTS + 1.0) ** 2
    for i in range(POINTS):
        u = y[2 * i]
        v = y[2 * i + 1]
        west = y[2 * i - 2] if i > 0 else 1.0
        east = y[2 * i + 2] if i < POINTS - 1 else 1.0
        south = y[2 * i - 1] if i > 0 else 3.0
        north = y[2 * i + 3] if i < POINTS - 1 else 3.0
        dy[2 * i] = 1.0 + u * u * v - 4.0 * u + strength * (west - 2.0 * u + east)
        dy[2 * i + 1] = 3.0 * u - u * u * v + strength * (south - 2.0 * v + north)


@pytest.mark.parametrize("method", ["Radau", "BDF"])
def test_a_brusselator_against_scipy(method):
    y0 = np.full(2 * POINTS, 3.0)
    y0[::2] = 1.0 + np.sin(2.0 * np.pi * np.arange(1, POINTS + 1) / (POINTS + 1))

    def f(t, y):
        dy = np.empty(2 * POINTS)
        brusselator(t, y, [0.02], dy)
        return dy

    want = solve_ivp(f, (0.0, 3.0), y0, method, rtol=1e-8, atol=1e-8).y[:, -1]
    errors = []
    for tol in (1e-4, 1e-6):
        sol = run(Problem(brusselator, y0, (0.0, 3.0), [0.02]), tol)
        errors.append(np.abs(sol.y[-1] - want).max())
        assert sol.success and errors[-1] < 100 * tol
    assert errors[1] < 0.1 * errors[0]


def test_it_is_a_method_of_order_two_on_cpus():
    method = methods.get("rkc")
    assert (method.order, method.embedded_order, method.implicit, method.devices) == (2, 2, False, ("cpu",))
    with pytest.raises(ValueError, match="rkc"):
        cuda.ensemble_kernel(diffusion().batch(), method, LAW)
