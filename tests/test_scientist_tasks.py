"""What a simulation scientist does in a first week with the library: single solves.

Every right-hand side is written as its author would write it, and every answer is checked against something that does
not come from here: SciPy at a tight tolerance, a closed form, a conserved quantity, mpmath.  The ensembles of that week
stand in `test_scientist_ensembles.py`.
"""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.interpolate import CubicSpline
from scipy.linalg import solve_continuous_are

import stepsmith as ss

pytestmark = pytest.mark.filterwarnings("ignore::stepsmith.integrators.core.errors.UncompiledWarning")


def scipy_end(f, span, y0, method="DOP853", **given):
    """What SciPy says of the end of the span, at a tolerance far below those used here."""
    sol = solve_ivp(f, span, y0, method, **{"rtol": 1e-11, "atol": 1e-13, **given})
    assert sol.success
    return sol.y[:, -1]


def test_predator_and_prey_as_a_list():
    def lotka_volterra(t, z, p):
        x, y = z
        alpha, beta, delta, gamma = p
        return [alpha * x - beta * x * y, delta * x * y - gamma * y]

    p = [1.5, 1, 1, 3]
    sol = ss.solve(ss.Problem(lotka_volterra, [10, 5], (0, 15), p=p), rtol=1e-9, atol=1e-9)
    assert sol.y[-1] == pytest.approx(scipy_end(lambda t, z: lotka_volterra(t, z, p), (0, 15), [10, 5]), rel=1e-5)
    x, y = sol.y.T
    conserved = x - 3 * np.log(x) + y - 1.5 * np.log(y)
    assert np.ptp(conserved) < 1e-6


def test_a_forced_pendulum_with_args():
    def pendulum(t, y, b, c, drive):
        theta, omega = y
        return [omega, -b * omega - c * np.sin(theta) + drive * np.cos(0.7 * t)]

    y0, args = [np.pi - 0.1, 0.0], (0.25, 5.0, 1.5)
    sol = ss.solve(ss.Problem(pendulum, y0, (0, 10), args=args), rtol=1e-9)
    assert sol.y[-1] == pytest.approx(scipy_end(pendulum, (0, 10), y0, args=args), abs=1e-6)


def robertson(t, y):
    r1 = 0.04 * y[0]
    r2 = 1e4 * y[1] * y[2]
    r3 = 3e7 * y[1] ** 2
    return [-r1 + r2, r1 - r2 - r3, r3]


#: at t = 1e4, SciPy's Radau at rtol 1e-12
def robertson_end():
    return scipy_end(robertson, (0, 1e4), [1.0, 0.0, 0.0], "Radau", atol=1e-15)


def test_kinetics_of_ones_own_without_a_jacobian():
    problem = ss.Problem(robertson, [1.0, 0.0, 0.0], (0, 1e4))
    sol = ss.solve(problem, method="rodas5p", rtol=1e-7, atol=1e-12)
    assert sol.success and sol.y[-1] == pytest.approx(robertson_end(), rel=1e-5)
    assert sol.y.sum(axis=1) == pytest.approx(1.0, abs=1e-9)


def test_kinetics_with_a_jacobian_that_is_returned():
    def jacobian(t, y):
        return np.array([
            [-0.04, 1e4 * y[2], 1e4 * y[1]],
            [0.04, -1e4 * y[2] - 6e7 * y[1], -1e4 * y[1]],
            [0, 6e7 * y[1], 0],
        ])  # fmt: skip

    problem = ss.Problem(robertson, [1.0, 0.0, 0.0], (0, 1e4), jac=jacobian)
    ss.check_jacobian(problem)
    sol = ss.solve(problem, method="rodas5p", rtol=1e-7, atol=1e-12)
    assert sol.success and sol.stats.njev > 0 and sol.y[-1] == pytest.approx(robertson_end(), rel=1e-5)


def test_a_slip_in_the_jacobian_is_named():
    def jacobian(t, y):
        return [[-0.04, 1e4 * y[2], 1e4 * y[1]], [0.04, -1e4 * y[2], -1e4 * y[1]], [0, 6e7 * y[1], 0]]

    problem = ss.Problem(robertson, [0.5, 1e-4, 0.5], (0, 1.0), jac=jacobian)
    with pytest.raises(ValueError, match=r"entry \(1, 1\) is -5000"):
        ss.check_jacobian(problem)


@pytest.mark.filterwarnings("ignore")
def test_stiff_kinetics_under_the_default_never_passes_for_solved():
    # an explicit method needs some ten million steps here: it must stop and say that it did
    sol = ss.solve(ss.Problem(robertson, [1.0, 0.0, 0.0], (0, 1e4)), max_steps=2000)
    assert not sol.success and "step limit" in sol.message and sol.t[-1] < 1e4


def test_a_tolerance_for_each_species():
    atol = [1e-8, 1e-14, 1e-8]
    problem = ss.Problem(robertson, [1.0, 0.0, 0.0], (0, 1e4))
    sol = ss.solve(problem, method="rodas5p", rtol=1e-6, atol=atol)
    assert sol.y[-1] == pytest.approx(robertson_end(), rel=1e-4)
    with pytest.raises(ValueError, match="atol"):
        ss.solve(problem, method="rodas5p", atol=[1e-8, 1e-14])


#: Fisher's equation u_t = u_xx + u (1 - u) on 200 points, with its travelling wave of speed 5/sqrt(6) at the walls
X = np.linspace(-25.0, 30.0, 200)
DX = X[1] - X[0]
SPEED = 5 / np.sqrt(6)


def wave(t):
    return (1 + np.exp((X - SPEED * t) / np.sqrt(6))) ** -2.0


def fisher(t, u, p, du):
    du[0] = 0.0
    du[-1] = 0.0
    du[1:-1] = p[0] * (u[2:] - 2 * u[1:-1] + u[:-2]) / DX**2 + u[1:-1] * (1 - u[1:-1])


def fisher_for_scipy(t, u):
    du = np.empty_like(u)
    fisher(t, u, [1.0], du)
    return du


@pytest.mark.slow
def test_fishers_equation_by_slices():
    exact = scipy_end(fisher_for_scipy, (0, 4), wave(0), rtol=1e-10, atol=1e-10)
    sol = ss.solve(ss.Problem(fisher, wave(0), (0, 4), p=[1.0]), rtol=1e-8, atol=1e-8)
    assert sol.y[-1] == pytest.approx(exact, abs=1e-7)
    assert sol.y[-1] == pytest.approx(wave(4), abs=2e-3)  # the grid's own error


@pytest.mark.slow
def test_fishers_equation_by_an_implicit_method_and_a_band():
    exact = scipy_end(fisher_for_scipy, (0, 4), wave(0), rtol=1e-10, atol=1e-10)
    banded = ss.Problem(fisher, wave(0), (0, 4), p=[1.0], sparsity=(1, 1))
    sol = ss.solve(banded, method="rodas5p", rtol=1e-6, atol=1e-8)
    assert sol.success and sol.y[-1] == pytest.approx(exact, abs=1e-5)
    # three colours are enough for the differences of a band: a full Jacobian would take 200 calls each
    assert sol.stats.nfev < 8 * (sol.stats.naccept + sol.stats.nreject) + 10 * sol.stats.njev


def test_a_comet():
    def kepler(t, w):
        r = np.hypot(w[0], w[1])
        return np.array([w[2], w[3], -w[0] / r**3, -w[1] / r**3])

    e = 0.99
    perihelion = np.array([1 - e, 0.0, 0.0, np.sqrt((1 + e) / (1 - e))])
    sol = ss.solve(ss.Problem(kepler, perihelion, (0.0, 2 * np.pi)), method="dop853", rtol=1e-12, atol=1e-14)
    energy = 0.5 * (sol.y[:, 2] ** 2 + sol.y[:, 3] ** 2) - 1 / np.hypot(sol.y[:, 0], sol.y[:, 1])
    assert sol.success and energy == pytest.approx(-0.5, abs=1e-8)
    assert np.hypot(sol.y[:, 0], sol.y[:, 1]).max() == pytest.approx(1 + e, rel=1e-2)
    assert sol.y[-1, :2] == pytest.approx(perihelion[:2], abs=1e-6)  # back after one period


@pytest.mark.slow
def test_a_ring_of_a_thousand_oscillators():
    def ring(t, y, k):
        x, v = y[:1000], y[1000:]
        return np.concatenate((v, k * (np.roll(x, 1) - 2 * x + np.roll(x, -1))))

    i = np.arange(1000)
    modes = [(1.0, 40), (0.3, 250)]  # amplitude and wave number of two normal modes
    x0 = sum(a * np.cos(2 * np.pi * k * i / 1000) for a, k in modes)
    exact = sum(a * np.cos(2 * np.pi * k * i / 1000) * np.cos(2 * np.sin(np.pi * k / 1000) * 20) for a, k in modes)
    sol = ss.solve(ss.Problem(ring, np.concatenate((x0, 0 * x0)), (0, 20), args=(1.0,)), rtol=1e-8, atol=1e-9)
    assert sol.success and sol.y[-1, :1000] == pytest.approx(exact, abs=1e-6)


NEURONS = 50
W = 0.2 * np.random.default_rng(1).standard_normal((NEURONS, NEURONS)) / np.sqrt(NEURONS)


@pytest.mark.slow
def test_a_network_of_neurons():
    def fitzhugh_nagumo(t, y, current):
        v, w = y[:NEURONS], y[NEURONS:]
        dv = v - v**3 / 3 - w + current + W @ np.tanh(v)
        dw = 0.08 * (v + 0.7 - 0.8 * w)
        return np.concatenate([dv, dw])

    y0 = np.random.default_rng(2).uniform(-1, 1, 2 * NEURONS)
    sol = ss.solve(ss.Problem(fitzhugh_nagumo, y0, (0, 30), args=(0.5,)), rtol=1e-8)
    assert sol.y[-1] == pytest.approx(scipy_end(fitzhugh_nagumo, (0, 30), y0, args=(0.5,)), abs=1e-5)


def test_a_riccati_equation_of_matrices():
    a, b = np.array([[0.0, 1.0], [-1.0, 0.3]]), np.array([[0.0], [1.0]])
    q, s = np.eye(2), b @ b.T

    def riccati(t, P):
        return a.T @ P + P @ a - P @ s @ P + q

    sol = ss.solve(ss.Problem(riccati, np.zeros((2, 2)), (0, 40)), rtol=1e-9)
    assert sol.y.shape[1:] == (2, 2)
    assert sol.y[-1] == pytest.approx(solve_continuous_are(a, b, q, np.eye(1)), abs=1e-6)


def test_variational_equations_keep_the_area():
    def pendulum_and_tangents(t, y):
        Phi = y[2:].reshape(2, 2)
        A = np.array([[0.0, 1.0], [-np.cos(y[0]), 0.0]])
        return np.hstack((np.array([y[1], -np.sin(y[0])]), (A @ Phi).ravel()))

    y0 = np.concatenate(([2.0, 0.0], np.eye(2).ravel()))
    sol = ss.solve(ss.Problem(pendulum_and_tangents, y0, (0, 10)), rtol=1e-10, atol=1e-10)
    assert np.linalg.det(sol.y[:, 2:].reshape(-1, 2, 2)) == pytest.approx(1.0, abs=1e-7)  # Liouville's theorem
    eps = 1e-6
    ends = [scipy_end(lambda t, y: [y[1], -np.sin(y[0])], (0, 10), [2.0 + s * eps, 0.0]) for s in (1, -1)]
    assert sol.y[-1, [2, 4]] == pytest.approx((ends[0] - ends[1]) / (2 * eps), abs=1e-4)


def test_rabi_oscillations_of_two_levels():
    omega, delta = 1.0, 0.6
    H = 0.5 * np.array([[-delta, omega], [omega, delta]], dtype=complex)

    def schroedinger(t, psi):
        return -1j * (H @ psi)

    t = np.linspace(0, 20, 101)
    sol = ss.solve(ss.Problem(schroedinger, [1 + 0j, 0], (0, 20)), rtol=1e-9, t_eval=t)
    general = np.hypot(omega, delta)
    assert np.abs(sol.y[:, 1]) ** 2 == pytest.approx((omega / general * np.sin(general * t / 2)) ** 2, abs=1e-7)
    assert np.linalg.norm(sol.y, axis=1) == pytest.approx(1.0, abs=1e-7)


def test_logistic_growth_of_one_number():
    def logistic(t, n, p):
        return p["r"] * n * (1 - n / p["K"])

    t = [0, 1, 2.5, 10]
    sol = ss.solve(ss.Problem(logistic, 5, (0, 10), p={"r": 1.2, "K": 100}), rtol=1e-9, t_eval=t)
    assert sol.y == pytest.approx(100 / (1 + 19 * np.exp(-1.2 * np.array(t))), rel=1e-7)
    assert sol.y.shape == (4,)


def test_an_airy_function():
    start = [float(mpmath.airyai(0)), float(mpmath.airyai(0, derivative=1))]
    problem = ss.Problem(lambda t, y: [y[1], t * y[0]], start, (0.0, -10.0))  # backward in time
    sol = ss.solve(problem, rtol=1e-10, atol=1e-12)
    assert sol.t[-1] == -10.0 and np.all(np.diff(sol.t) < 0)
    assert sol.y[-1] == pytest.approx([float(mpmath.airyai(-10, derivative=k)) for k in (0, 1)], abs=1e-8)


def test_there_and_back():
    def duffing(t, y):
        return [y[1], y[0] - y[0] ** 3 - 0.1 * y[1] + 0.3 * np.cos(t)]

    there = ss.solve(ss.Problem(duffing, [1.0, 0.0], (0, 10)), rtol=1e-10, atol=1e-10)
    back = ss.solve(ss.Problem(duffing, there.y[-1], (10, 0)), rtol=1e-10, atol=1e-10)
    assert there.y[-1] == pytest.approx(scipy_end(duffing, (0, 10), [1.0, 0.0]), abs=1e-7)
    assert back.y[-1] == pytest.approx([1.0, 0.0], abs=1e-6)


def test_a_measured_forcing_as_a_spline():
    hours = np.linspace(0, 24, 25)
    outside = CubicSpline(hours, 10 + 5 * np.sin(2 * np.pi * hours / 24))

    def room(t, T):
        return 0.3 * (outside(t) - T)

    sol = ss.solve(ss.Problem(room, [20.0], (0, 24), compiled=False), rtol=1e-8, atol=1e-8)
    assert sol.y[-1] == pytest.approx(scipy_end(room, (0, 24), [20.0]), abs=1e-6)
    with pytest.raises(ValueError, match="compiled=False"):
        ss.solve(ss.Problem(room, [20.0], (0, 24)))


class Reactor:
    """A tank with a first-order reaction and an inflow."""

    def __init__(self, k, flow):
        self.k, self.flow, self.calls = k, flow, 0

    def balance(self, t, c):
        self.calls += 1
        return self.flow * (1.0 - c) - self.k * c


def test_a_method_of_a_class():
    tank = Reactor(2.0, 0.5)
    sol = ss.solve(ss.Problem(tank.balance, [0.0], (0, 3), compiled=False), rtol=1e-8)
    assert sol.y[-1, 0] == pytest.approx(0.2 * (1 - np.exp(-7.5)), abs=1e-7)
    assert tank.calls >= sol.stats.nfev


def arrhenius(a, e, temperature):
    return a * np.exp(-e / (8.314 * temperature))


def heat(temperature, wall=300.0):
    return 0.5 * (temperature - wall)


def rates(c, temperature):
    k = arrhenius(1e6, 4e4, temperature)
    return -k * c, 80.0 * k * c - heat(temperature)


def test_helper_functions_that_call_helper_functions():
    def burning(t, y):
        return rates(*y)

    sol = ss.solve(ss.Problem(burning, [1.0, 350.0], (0, 5)), rtol=1e-9, atol=1e-9)
    assert sol.y[-1] == pytest.approx(scipy_end(burning, (0, 5), [1.0, 350.0]), rel=1e-6)
