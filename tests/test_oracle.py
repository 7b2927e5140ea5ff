"""The oracle against a problem whose best mesh is known, and against what controllers and constant steps reach."""

import numpy as np
import pytest
from scipy.integrate import quad, solve_ivp

from stepsmith.integrators.methods.tableaus import get
from stepsmith.train.oracle.oracle import Oracle

BS32 = get("bs32")
TSIT5 = get("tsit5")


def scalar(t, y, p, dy):
    dy[0] = p[0] * np.exp(p[1] * t) + p[2] * y[0] + p[3] * y[0] * y[0]


def kepler(t, y, p, dy):
    r = np.sqrt(y[0] * y[0] + y[1] * y[1])
    dy[0] = y[2]
    dy[1] = y[3]
    dy[2] = -y[0] / (r * r * r)
    dy[3] = -y[1] / (r * r * r)


def newton(t, y):
    return [y[2], y[3], *(-y[:2] / np.hypot(*y[:2]) ** 3)]


LINEAR = np.array([0.0, 0.0, -0.7, 0.0])


@pytest.fixture(scope="module")
def quadrature():
    """y' = exp(6 t): every local error has one sign, so nothing cancels and the best mesh is known."""
    rate, span = 6.0, (0.0, 1.0)
    exact = np.array([1.0 + (np.exp(rate) - 1.0) / rate])
    return Oracle(scalar, BS32), np.array([1.0]), np.array([1.0, rate, 0.0, 0.0]), span, exact


ECC = 0.8
ORBIT = (np.array([1 - ECC, 0, 0, np.sqrt((1 + ECC) / (1 - ECC))]), np.empty(0), (0.0, 2 * np.pi))


@pytest.fixture(scope="module")
def orbit():
    """One period of an eccentric Kepler orbit: the final state is the first."""
    return Oracle(kepler, TSIT5), *ORBIT, ORBIT[0]


@pytest.fixture(scope="module")
def orbit_curve(orbit):
    oracle, *instance = orbit
    return oracle.curve(*instance, max_steps=80, iterations=25)


def error(oracle, y0, p, span, ref, steps):
    return np.linalg.norm(oracle.run(y0, p, span, steps) - ref) / np.linalg.norm(ref)


def test_run_takes_the_steps_of_the_method():
    # one step of y' = z y multiplies y by the stability polynomial; Dormand-Prince 5(4): 1/720 becomes 1/600
    z = -0.7
    got = Oracle(scalar, get("dopri5")).run([2.0], LINEAR, (0.0, 2.0), [1.0, 1.0])
    factor = 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24 + z**5 / 120 + z**6 / 600
    assert got[0] == pytest.approx(2 * factor**2, rel=1e-14)


def test_plan_finds_the_known_best_mesh(quadrature):
    oracle, y0, p, span, exact = quadrature
    plan = oracle.plan(*quadrature[1:], prices=10.0 ** np.arange(-4, -11, -0.5))
    n = np.array([len(h) for h in plan.steps])
    uniform = [error(oracle, y0, p, span, exact, np.full(m, 1.0 / m)) for m in n]
    # density psi^(1/(p+1)) with psi = exp(6 t), p = 3 (Hairer, Norsett, Wanner II.4)
    best_gain = quad(lambda t: np.exp(6 * t), 0, 1)[0] / quad(lambda t: np.exp(6 * t / 4), 0, 1)[0] ** 4
    long = n >= 20
    assert long.sum() >= 4
    np.testing.assert_allclose((np.array(uniform) / plan.err)[long], best_gain, rtol=0.01)
    steps = plan.steps[-1]
    t = np.cumsum(steps) - steps / 2
    slope = np.polyfit(t, np.log(steps), 1)[0]
    assert slope == pytest.approx(-6 / 4, rel=0.01)


def test_descent_reaches_the_same_mesh_from_constant_steps(quadrature):
    oracle, *instance = quadrature
    plan = oracle.plan(*instance)
    k = next(i for i, h in enumerate(plan.steps) if h.size >= 20)
    m = plan.steps[k].size
    start = np.full(m, 1.0 / m)
    got, steps = oracle.descend(*instance, start, iterations=200)
    assert got < 0.5 * error(oracle, *instance, start)
    # the planned nodes are discrete: descent may be a little better, and must not be much worse
    assert 0.93 < got / plan.err[k] < 1.1
    assert steps.size == m and steps.sum() == pytest.approx(1.0, rel=1e-12) and (steps > 0).all()


def test_oracle_beats_constant_steps_and_a_controller_on_an_eccentric_orbit(orbit, orbit_curve):
    oracle, y0, p, span, ref = orbit
    curve = orbit_curve
    assert (np.diff(curve.nfev) > 0).all() and (np.diff(curve.err) < 0).all()
    rtols = 10.0 ** np.arange(-2, -7.1, -1)
    for rtol in rtols:
        steps = oracle.adaptive(y0, p, span, rtol)
        controlled = error(oracle, y0, p, span, ref, steps)
        constant = error(oracle, y0, p, span, ref, np.full(steps.size, (span[1] - span[0]) / steps.size))
        same = curve.err[curve.nfev <= oracle.nfev(steps.size)].min()
        assert same <= controlled and same < constant
    # and SciPy's own controller, its rejections not counted
    sol = solve_ivp(newton, span, y0, rtol=1e-5, atol=1e-8)
    scipy_err = np.linalg.norm(sol.y[:, -1] - ref) / np.linalg.norm(ref)
    assert curve.err[curve.nfev <= oracle.nfev(len(sol.t) - 1)].min() < 0.2 * scipy_err


def test_curve_reports_what_its_steps_do(orbit, orbit_curve):
    oracle, *instance = orbit
    for err, nfev, steps in zip(orbit_curve.err, orbit_curve.nfev, orbit_curve.steps, strict=True):
        assert error(oracle, *instance, steps) == pytest.approx(err, rel=1e-9)
        assert nfev == 1 + 6 * steps.size and steps.size <= 80
        assert steps.sum() == pytest.approx(2 * np.pi, rel=1e-12)


def test_descent_is_never_worse_and_starts_are_used(orbit, orbit_curve):
    oracle, *instance = orbit
    planned = oracle.curve(*instance, max_steps=80, iterations=0)
    for n, err in zip(planned.nfev, planned.err, strict=True):
        assert orbit_curve.err[orbit_curve.nfev <= n].min() <= err
    best = orbit_curve.steps[len(orbit_curve.steps) // 2]
    given = oracle.curve(*instance, starts=[best], max_steps=80, iterations=0)
    assert given.err[given.nfev == oracle.nfev(best.size)] <= error(oracle, *instance, best) * (1 + 1e-12)


def test_evaluations_without_fsal():
    class Euler:
        A, B, C, E, fsal, stages, embedded_order = np.zeros((1, 1)), np.ones(1), np.zeros(1), np.ones(1), False, 1, 1

    oracle = Oracle(scalar, Euler())
    assert oracle.nfev(7) == 7
    assert oracle.run([1.0], LINEAR, (0.0, 1.0), [0.5, 0.5])[0] == pytest.approx(0.65**2)


def test_backward_time_and_components(orbit):
    oracle, y0, p, *_ = orbit
    span = (2.0, 0.0)
    tight = solve_ivp(newton, span, y0, method="DOP853", rtol=1e-13, atol=1e-13)
    ref = tight.y[:, -1]
    curve = oracle.curve(y0, p, span, ref, max_steps=40, iterations=5)
    assert all((h < 0).all() for h in curve.steps) and curve.err[-1] < 1e-7
    first = oracle.curve(y0, p, span, ref, max_steps=40, iterations=5, components=[0])
    one = [abs(oracle.run(y0, p, span, h)[0] - ref[0]) / abs(ref[0]) for h in first.steps]
    np.testing.assert_allclose(first.err, one, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y0": [np.nan, 1, 0, 0]}, "y0 must be a finite vector"),
        ({"y0": []}, "y0 must be a finite vector"),
        ({"t_span": (1.0, 1.0)}, "two different finite times"),
        ({"y_ref": [1.0]}, r"shape \(4,\)"),
        ({"y_ref": [np.inf, 0, 0, 0]}, "finite state"),
        ({"y_ref": [0, 0, 0, 0]}, "reference is zero"),
        ({"max_steps": 0}, "no sequence of at most 0 steps"),
    ],
)
def test_bad_instances_are_named(change, message):
    good = {"y0": [1, 0, 0, 1], "p": [], "t_span": (0.0, 1.0), "y_ref": [0.5, 0.8, -0.8, 0.5]}
    with pytest.raises(ValueError, match=message):
        Oracle(kepler, TSIT5).curve(**{**good, **change})


@pytest.mark.parametrize("steps", [[], [0.5, -0.5], [np.nan, 1.0], [[1.0]]])
def test_bad_starts_are_named(steps):
    with pytest.raises(ValueError, match="steps must be"):
        Oracle(kepler, TSIT5).descend([1, 0, 0, 1], [], (0.0, 1.0), [0.5, 0.8, -0.8, 0.5], steps)


def test_an_instance_that_blows_up_is_refused():
    with pytest.raises(ValueError, match="cannot be solved at rtol"):
        Oracle(scalar, BS32).plan([1.0], [0.0, 0.0, 0.0, 1.0], (0.0, 2.0), [1.0])
