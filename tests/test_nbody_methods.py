"""Hermite, leapfrog and the 8th-order composition: orders, symmetry, energy, lanes, and what breaks."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.integrate import solve_ivp

from bodies import PERIOD, constant, eights, exact, orbit
from method_kinds import NBODY
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.engine.ensemble import solve_ensemble
from stepsmith.integrators.engine.solve import solve
from stepsmith.integrators.kernels import layout
from stepsmith.integrators.kernels.nbody.composition import GAMMA, coefficients
from stepsmith.integrators.problems.nbody import kepler, three_body
from stepsmith.integrators.problems.problem import Problem


@pytest.mark.parametrize(
    ("method", "order", "steps"),
    [("hermite4", 4, (80, 160)), ("hermite4_pec", 4, (320, 640)), ("leapfrog", 2, (160, 320)),
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


def oscillator(t, y, p, a):
    a[0] = -y[0] + 0.5 * t


def oscillator_rhs(t, y, p, dy):
    dy[0] = y[1]
    dy[1] = -y[0] + 0.5 * t


@pytest.mark.parametrize(("method", "order", "steps"), [("leapfrog", 2, (60, 120)), ("composition8", 8, (10, 20))])
def test_accelerations_of_the_user(method, order, steps):
    """x'' = -x + t/2: x = cos t + t/2 from x(0) = 1, v(0) = 1/2; forward and backward, and dense output as accurate as
    the steps.
    """
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
    for method in NBODY:
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
