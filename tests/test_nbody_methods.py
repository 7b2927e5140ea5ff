"""Hermite, leapfrog and the 8th-order composition: orders, symmetry, criteria, and what breaks."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.integrate import solve_ivp
from scipy.optimize import brentq

from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.core import record as rec
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.kernels import layout
from stepsmith.integrators.kernels.nbody.composition import GAMMA, coefficients
from stepsmith.integrators.problems.nbody import kepler, three_body
from stepsmith.integrators.problems.problem import Batch, Problem

E, SHARE, START = 0.3, 0.4, 0.2  # Kepler orbit: eccentricity, mass share, eccentric anomaly at t = 0
PERIOD = 2 * np.pi


def orbit(t1=PERIOD):
    y0, p = kepler.orbit(E, SHARE, START, 0.3)
    return replace(kepler.published(), y0=y0[0], p=p[0], t_span=(0.0, t1))


def exact(t):
    """State at time t by Kepler's equation, SciPy's root finder."""
    mean = START - E * np.sin(START) + t
    anomaly = brentq(lambda x: x - E * np.sin(x) - mean, mean - 1, mean + 1, xtol=1e-15)
    return kepler.orbit(E, SHARE, anomaly, 0.3)[0][0]


def constant(h):
    return registry.get("constant", h=h)


@pytest.mark.parametrize(
    ("method", "order", "steps"), [("hermite4", 4, (80, 160)), ("hermite4_pec", 4, (320, 640)), ("leapfrog", 2, (160, 320)),
                                   ("composition8", 8, (40, 80))],
)  # fmt: skip
def test_order_on_kepler(method, order, steps):
    errors = [np.abs(solve(orbit(), method, constant(PERIOD / n)).y[-1] - exact(PERIOD)).max() for n in steps]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)
    assert methods.get(method).order == order
    assert errors[1] < {2: 5e-3, 4: 1e-5, 8: 1e-10}[order]


def test_composition_conditions():
    """Sums of odd powers vanish (necessary for order 8), the scheme is symmetric, and its times end at 1."""
    g = [mpf(x) for x in GAMMA["composition8"]]
    assert len(g) == 17 and g == g[::-1]
    assert abs(mp.fsum(g) - 1) < 1e-15
    for power in (3, 5, 7):
        assert abs(mp.fsum(x**power for x in g)) < 1e-15
    assert abs(mp.fsum(x**9 for x in g)) > 1e-4
    kicks, drifts, times = coefficients("composition8")
    assert sum(kicks) == pytest.approx(1, abs=1e-15) and sum(drifts) == pytest.approx(1, abs=1e-15) and times[-1] == 1.0


def test_composition_order_in_high_precision():
    """The slope on a pendulum with 40 digits, where round-off hides nothing."""
    kicks, drifts, _ = coefficients("composition8")

    def run(n):
        h, x, v = mpf(4) / n, mpf(1), mpf(0)
        for _ in range(n):
            for kick, drift in zip(kicks, drifts, strict=False):
                v -= kick * h * mp.sin(x)
                x += drift * h * v
            v -= kicks[-1] * h * mp.sin(x)
        return x

    with mp.workdps(40):
        coarse, fine, ref = run(20), run(40), run(320)
        assert float(mp.log(abs((coarse - ref) / (fine - ref)), 2)) == pytest.approx(8, abs=0.3)


@pytest.mark.parametrize("method", ["leapfrog", "composition8"])
def test_reversible_and_without_drift(method):
    h = PERIOD / (100 if method == "leapfrog" else 60)
    forward = solve(orbit(3 * PERIOD), method, constant(h))
    back = solve(replace(orbit(), y0=forward.y[-1], t_span=(3 * PERIOD, 0.0)), method, constant(h))
    assert np.abs(back.y[-1] - orbit().y0).max() < 1e-11
    # not so Hermite PECE, which is not symmetric without iteration
    there = solve(orbit(3 * PERIOD), "hermite4", constant(h))
    again = solve(replace(orbit(), y0=there.y[-1], t_span=(3 * PERIOD, 0.0)), "hermite4", constant(h))
    assert np.abs(again.y[-1] - orbit().y0).max() > 1e-9


def test_energy_drift():
    """Leapfrog's energy error stays in its band, Hermite's grows along with time."""
    problem = orbit(60 * PERIOD)

    def drift(method, n):
        s = solve(problem, method, constant(PERIOD / n))
        e = problem.invariant("energy", s.t, s.y)
        error = np.abs(e / e[0] - 1)
        tenth = len(error) // 10
        return error[:tenth].max(), error[-tenth:].max()

    early, late = drift("leapfrog", 100)
    assert early > 1e-5 and late < 1.2 * early
    early, late = drift("hermite4", 60)
    assert late > 2.5 * early


def test_against_scipy():
    """Three bodies, error-based and criterion steps, outputs by dense output."""
    problem = three_body.published()
    times = np.linspace(0, problem.t_span[1], 40)

    def f(t, y):
        dy = np.empty(12)
        three_body.rhs(t, y, problem.p, dy)
        return dy

    ref = solve_ivp(f, problem.t_span, problem.y0, "DOP853", times, rtol=1e-12, atol=1e-13).y.T
    for law, tol, bound in (("pi34", 1e-8, 1e-5), (registry.get("amuse", mu=0.002), 1e-6, 1e-8)):
        s = solve(problem, "hermite4_pec", registry.get(law), tol, tol, t_eval=times)
        assert s.success
        assert np.abs(s.y - ref).max() < bound


def test_pece_is_more_accurate_and_counts_its_evaluations():
    pec, pece = (solve(orbit(), m, constant(PERIOD / 320)) for m in ("hermite4_pec", "hermite4"))
    n = pec.stats.naccept
    assert (pec.stats.nfev, pece.stats.nfev, pece.stats.naccept) == (n + 1, 2 * n + 1, n)
    errors = [np.abs(s.y[-1] - exact(PERIOD)).max() for s in (pec, pece)]
    assert errors[1] < 0.7 * errors[0]


def derivatives(y, p, bodies, dim):
    """Accelerations and jerks (bodies, dim), AMUSE's time scale: plain NumPy, every pair twice."""
    x, v = y.reshape(2, bodies, dim)
    a, j, tau4 = np.zeros_like(x), np.zeros_like(x), np.inf
    for i in range(bodies):
        for k in range(bodies):
            if i != k:
                d, u = x[k] - x[i], v[k] - v[i]
                r, m = np.linalg.norm(d), p[0] * p[k + 1]
                a[i] += m * d / r**3
                j[i] += m * (u / r**3 - 3 * (d @ u) * d / r**5)
                free = p[0] * (p[i + 1] + p[k + 1]) / r**2
                tau4 = min(tau4, 1 / max((u @ u) ** 2 / r**4, free**2 / r**2))
    return a, j, tau4**0.25


@pytest.mark.parametrize("case", ["three", "ten"])
def test_criteria_against_numpy(case):
    """Record of PECE steps against independent formulas; three bodies unrolled, ten by loops."""
    if case == "three":
        problem, bodies, dim = replace(three_body.published(), t_span=(0.0, 0.5)), 3, 2
    else:
        problem, bodies, dim = cloud(10, 3, 0.3)
    h = 0.01
    s = solve(problem, "hermite4", constant(h), 1e-6, 1e-6, log=True)
    column = {name: s.record[:, i] for i, name in enumerate(s.record_names)}
    norm = np.linalg.norm
    for n in range(5):
        a0, j0, _ = derivatives(s.y[n], problem.p, bodies, dim)
        a1, j1, amuse = derivatives(s.y[n + 1], problem.p, bodies, dim)
        # derivatives of the quintic through a, j at both ends, at its end: solve for them instead of quoting them
        lhs = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [1, h, h**2 / 2, h**3 / 6], [0, 1, h, h**2 / 2]])
        _, _, snap0, crackle = np.linalg.solve(lhs, np.stack([a0, j0, a1, j1]).reshape(4, -1)).reshape(4, bodies, dim)
        snap = snap0 + h * crackle
        A, J, S, C = (norm(q, axis=1) for q in (a1, j1, snap, crackle))
        assert column["tau_amuse"][n] == pytest.approx(amuse, rel=1e-10)
        assert column["tau_aarseth"][n] == pytest.approx(np.sqrt(((A * S + J**2) / (J * C + S**2)).min()), rel=1e-6)
        assert column["tau_prs"][n] == pytest.approx(np.sqrt((2 * A**2 / (J**2 + np.sqrt(S**2 * A**2))).min()), rel=1e-6)
        # the error: what the crackle term contributes, h^5/120 and h^4/24, as the corrector's evaluation (at the predictor) saw it
        size = np.concatenate([(h**5 / 120 * crackle).ravel(), (h**4 / 24 * crackle).ravel()])
        scale = 1e-6 + 1e-6 * np.maximum(np.abs(s.y[n]), np.abs(s.y[n + 1]))
        assert column["err"][n] == pytest.approx(np.sqrt(np.mean((size / scale) ** 2)), rel=0.05)
        assert column["order"][n] == 4


def cloud(bodies, dim, t1, seed=1):
    """`bodies` bodies of different masses on a jittered lattice: a regular field."""
    rng = np.random.default_rng(seed)
    x = np.stack(np.unravel_index(np.arange(bodies), (3,) * dim), axis=1) + rng.uniform(-0.2, 0.2, (bodies, dim))
    v = rng.normal(0, 0.2, (bodies, dim))
    p = np.concatenate([[1.0], rng.uniform(0.05, 0.2, bodies)])
    y0 = np.concatenate([x.ravel(), v.ravel()])
    return Problem(three_body.rhs, y0, (0.0, t1), p, name="cloud", nbody=(bodies, dim)), bodies, dim


def test_many_bodies():
    """Ten bodies in space run through loops over pairs: against SciPy."""
    problem, bodies, dim = cloud(10, 3, 0.3)

    def f(t, y):
        return np.concatenate([y[30:], derivatives(y, problem.p, bodies, dim)[0].ravel()])

    ref = solve_ivp(f, problem.t_span, problem.y0, "DOP853", rtol=1e-11, atol=1e-12).y[:, -1]
    assert np.abs(solve(problem, "hermite4", constant(0.01), 1e-6, 1e-6, log=True).y[-1] - ref).max() < 1e-8
    assert np.abs(solve(problem, "leapfrog", constant(0.01)).y[-1] - ref).max() < 1e-4


@pytest.mark.parametrize(
    ("law", "tau"), [(registry.get("amuse", mu=0.01), "tau_amuse"), (registry.get("aarseth", eta=1e-3), "tau_aarseth"),
                     (registry.get("ias15"), "tau_prs")],
)  # fmt: skip
def test_criterion_steps(law, tau):
    """h = constant * tau of the step before, the first from the start: AMUSE's exactly, the others' from |a|/|j| too."""
    problem = replace(eights(1)[0], t_span=(0.0, 0.7))
    s = solve(problem, "hermite4_pec", law, log=True)
    column = {name: s.record[:, i] for i, name in enumerate(s.record_names)}
    c = law[{"tau_amuse": "amuse", "tau_aarseth": "aarseth", "tau_prs": "prs"}[tau]]
    a, j, amuse = derivatives(problem.y0, problem.p, 3, 2)
    first = amuse if tau == "tau_amuse" else min(amuse, np.linalg.norm(a) / np.linalg.norm(j))
    assert column["h"][0] == pytest.approx(c * first, rel=1e-12)
    assert np.allclose(column["h_free"][1:], c * column[tau][:-1], rtol=1e-12)
    assert s.stats.nreject == 0
    # a step of the caller's own choice comes before it
    assert solve(problem, "hermite4_pec", law, first_step=1e-5, log=True).t[1] == 1e-5


def test_vanishing_acceleration_stalls_prs():
    """The exact figure eight starts with one body free of force: sqrt(2) c < 1/4, so every step is repeated, until underflow ends it."""
    for law, fine in (("ias15", False), ("aarseth", True), ("amuse", True)):
        s = solve(replace(three_body.published(), t_span=(0.0, 0.7)), "hermite4_pec", registry.get(law), log=True)
        assert s.success == fine and np.isfinite(s.y).all(), law


def test_circular_orbit_scales_agree():
    """Lagrange's rotating triangle: every derivative turns with the same angular velocity, here 1."""
    angle = 2 * np.pi * np.arange(3) / 3
    radius = 3 ** (-1 / 6)  # r^3 w^2 = G m / sqrt(3)
    x = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    v = x[:, ::-1] * [-1, 1]
    problem = replace(three_body.published(), y0=np.concatenate([x.ravel(), v.ravel()]), t_span=(0.0, 0.3))
    s = solve(problem, "hermite4", constant(1e-3), 1e-6, 1e-6, log=True)
    for name in ("tau_amuse", "tau_aarseth", "tau_prs"):
        assert np.allclose(s.record[:-1, rec.NAMES.index(name)], 1.0, atol=1e-4), name


def test_single_body_moves_straight():
    problem = Problem(three_body.rhs, [0.0, 0.0, 1.0, 2.0], (0.0, 3.0), [1.0, 1.0], nbody=(1, 2))
    for law in (registry.get("amuse"), registry.get("aarseth")):
        s = solve(problem, "hermite4", law, log=True)
        assert s.success and np.allclose(s.y[-1], [3, 6, 1, 2], rtol=1e-14)


def oscillator(t, y, p, a):
    a[0] = -y[0] + 0.5 * t


def oscillator_rhs(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] + 0.5 * t


@pytest.mark.parametrize(("method", "order", "steps"), [("leapfrog", 2, (60, 120)), ("composition8", 8, (10, 20))])
def test_accelerations_of_the_user(method, order, steps):
    """x'' = -x + t/2: x = cos t + t/2 from x(0) = 1, v(0) = 1/2; forward and backward, and dense output as accurate as the steps."""
    forward = Problem(oscillator_rhs, [1.0, 0.5], (0.0, 5.0), accel=oscillator, name="oscillator")
    errors = []
    for n in steps:
        s = solve(forward, method, constant(5 / n), t_eval=[1.234, 5.0])
        errors.append(np.abs(s.y[:, 0] - np.cos(s.t) - s.t / 2).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.4)
    y1 = [np.cos(5.0) + 2.5, 0.5 - np.sin(5.0)]
    back = solve(replace(forward, y0=y1, t_span=(5.0, 0.0)), method, constant(5 / 400))
    assert np.abs(back.y[-1] - [1.0, 0.5]).max() < 1e-4
    if method == "leapfrog":
        ensemble = solve_ensemble(forward.batch(), method, constant(5 / steps[1]))
        assert np.allclose(ensemble.y[0], solve(forward, method, constant(5 / steps[1])).y[-1], rtol=1e-13)


def eights(count):
    """Perturbed figure eights, which are not chaotic over their 1 to 3 time units."""
    base = three_body.published()
    rng = np.random.default_rng(3)
    y0 = base.y0 + 1e-2 * rng.normal(size=(count, 12))
    return Batch(base.rhs, y0, np.tile(base.p, (count, 1)), np.zeros(count), rng.uniform(1, 3, count), nbody=(3, 2))


def test_lanes_equal_single():
    batch, law = eights(70), registry.get("amuse", mu=0.005)
    ens = solve_ensemble(batch, "hermite4_pec", law)
    assert ens.success.all()
    for i in (0, 31, 69):
        one = solve(batch[i], "hermite4_pec", law)
        assert one.stats.naccept == ens.stats.naccept[i] and one.stats.nfev == ens.stats.nfev[i]
        assert np.abs(one.y[-1] - ens.y[i]).max() < 1e-11


def collision():
    """Two bodies at rest on a line, met head-on at r = 0; and one pair that starts at the same place."""
    fall = Problem(kepler.rhs, [-0.5, 0, 0.5, 0, 0, 0, 0, 0], (0.0, 3.0), [1.0, 0.5, 0.5], nbody=(2, 2))
    return fall, replace(fall, y0=[0.5, 0, 0.5, 0, 0, 0, 0, 0])


@pytest.mark.parametrize("method", ["hermite4_pec", "leapfrog"])
def test_collisions_end(method):
    """A head-on fall is stepped over or given up, but never runs on; bodies that start at one place are refused."""
    fall, together = collision()
    s = solve(fall, method, registry.get("amuse"), max_steps=3000)
    assert s.status in (layout.SUCCESS, layout.MAX_STEPS, layout.UNDERFLOW, layout.NON_FINITE)
    assert s.stats.naccept + s.stats.nreject <= 3000 and np.isfinite(s.y).all()
    s = solve(together, method, registry.get("amuse"))
    assert s.status == layout.BAD_START and np.isfinite(s.y).all()


def test_exact_hit_is_rejected():
    """A constant step that puts two bodies on the same spot: the attempt is not finite, a shorter one is tried."""
    y0 = np.array([-0.5, 0, 0.5, 0, 1.0, 0, -1.0, 0])
    problem = Problem(kepler.rhs, y0, (0.0, 1.0), [1e-30, 0.5, 0.5], nbody=(2, 2))
    s = solve(problem, "leapfrog", constant(0.5))
    assert s.stats.nreject >= 1 and s.t[1] == 0.25
    assert np.isfinite(s.y).all()


def test_one_bad_lane():
    good = eights(40)
    y0 = good.y0.copy()
    y0[17, :2] = y0[17, 2:4]
    law = registry.get("amuse", mu=0.03)
    a, b = (solve_ensemble(x, "hermite4_pec", law) for x in (good, replace(good, y0=y0)))
    others = np.arange(40) != 17
    assert b.status[17] == layout.BAD_START and np.array_equal(b.y[17], y0[17])
    assert b.success[others].all() and np.array_equal(a.y[others], b.y[others])


def test_refusals():
    smooth = Problem(oscillator_rhs, [1.0, 0.0], (0.0, 1.0), name="oscillator")
    for method in ("hermite4", "hermite4_pec", "leapfrog", "composition8"):
        with pytest.raises(ValueError, match="need.*N-body problem"):
            solve(smooth, method, constant(0.1))
    with pytest.raises(ValueError, match="'pi34' needs err, order, which method 'leapfrog' does not report"):
        solve(orbit(), "leapfrog", registry.get("pi34"))
    with pytest.raises(ValueError, match="tau_aarseth"):
        solve_ensemble(orbit().batch(), "composition8", registry.get("aarseth"))
    with pytest.raises(ValueError, match="tau_amuse, which method 'tsit5' does not report"):
        solve(orbit(), "tsit5", registry.get("amuse"))
    with pytest.raises(ValueError, match="'amuse' needs an N-body problem"):
        solve(replace(smooth, accel=oscillator), "leapfrog", registry.get("amuse"))


def test_pairs_are_counted_once():
    """The unrolled source has one square root a pair."""
    from stepsmith.integrators.kernels.nbody.hermite import attempt_source

    text = attempt_source(5, 3, frozenset(), pece=False)
    assert text.count("sqrt(") == len(list(combinations(range(5), 2)))
