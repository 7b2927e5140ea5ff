"""Problems with a singular mass matrix: published solutions, order, consistent starts, index."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.controllers.laws import registry
from stepsmith.integrators.core.errors import OptionError
from stepsmith.integrators.kernels import layout

METHODS = ("rodas5p", "ros3prw", "ros34pw2", "radau5", "esdirk43", "kvaerno5")


def robertson(t, y, p, dy):
    dy[0] = -0.04 * y[0] + 1e4 * y[1] * y[2]
    dy[1] = 0.04 * y[0] - 1e4 * y[1] * y[2] - 3e7 * y[1] * y[1]
    dy[2] = y[0] + y[1] + y[2] - 1.0


def robertson_jac(t, y, p, J):
    J[0, 0], J[0, 1], J[0, 2] = -0.04, 1e4 * y[2], 1e4 * y[1]
    J[1, 0], J[1, 1], J[1, 2] = 0.04, -1e4 * y[2] - 6e7 * y[1], -1e4 * y[1]
    J[2, 0], J[2, 1], J[2, 2] = 1.0, 1.0, 1.0


#: t, y_1, y_2, y_3: what SUNDIALS prints of its example idaRoberts_dns, at rtol = 1e-4
PRINTED = """
4.0000e-01   9.8517e-01   3.3864e-05   1.4794e-02
4.0000e+00   9.0553e-01   2.2406e-05   9.4452e-02
4.0000e+01   7.1579e-01   9.1838e-06   2.8420e-01
4.0000e+02   4.5044e-01   3.2218e-06   5.4956e-01
4.0000e+03   1.8320e-01   8.9444e-07   8.1680e-01
4.0000e+04   3.8992e-02   1.6221e-07   9.6101e-01
4.0000e+05   4.9369e-03   1.9842e-08   9.9506e-01
4.0000e+06   5.1674e-04   2.0684e-09   9.9948e-01
"""
#: the ODE's at t = 1e11, from the Test Set for IVP Solvers (F. Mazzia, C. Magherini, University of Bari)
ROBER = [2.083340149701255e-08, 8.333360770334713e-14, 0.999999979166505]


@pytest.mark.parametrize(("method", "bound"), [("rodas5p", 2e-6), ("radau5", 1e-7), ("esdirk43", 1e-5)])
def test_robertson(method, bound):
    rows = np.array([line.split() for line in PRINTED.strip().splitlines()], dtype=float)
    problem = ss.Problem(robertson, [1.0, 0.0, 0.0], (0.0, 1e11), mass=[1.0, 1.0, 0.0], jac=robertson_jac)
    sol = ss.solve(problem, method=method, rtol=1e-6, atol=1e-14, t_eval=[*rows[:, 0], 1e11])
    assert sol.success, sol.message
    assert np.abs(sol.y[:-1] / rows[:, 1:] - 1.0).max() < 1e-3
    assert np.abs(sol.y[-1] / ROBER - 1.0).max() < bound
    assert np.abs(sol.y.sum(axis=1) - 1.0).max() < 1e-9


def test_robertson_by_differences():
    # the sum holds components of 1e-5 and less beside 1: CVODE's increments would be lost in it
    problem = ss.Problem(robertson, [1.0, 0.0, 0.0], (0.0, 4e4), mass=[1.0, 1.0, 0.0])
    given = ss.Problem(robertson, [1.0, 0.0, 0.0], (0.0, 4e4), mass=[1.0, 1.0, 0.0], jac=robertson_jac)
    one, two = (ss.solve(x, method="radau5", rtol=1e-6, atol=1e-12) for x in (problem, given))
    assert one.success and two.success
    assert np.abs(one.y[-1] / two.y[-1] - 1.0).max() < 1e-5
    assert one.stats.naccept < 1.1 * two.stats.naccept


def amplifier(t, y, p, dy):
    r0, r, alpha, ub = 1000.0, 9000.0, 0.99, 6.0
    one = 1e-6 * (math.exp((y[1] - y[2]) / 0.026) - 1.0)
    two = 1e-6 * (math.exp((y[4] - y[5]) / 0.026) - 1.0)
    dy[0] = (y[0] - 0.1 * math.sin(200.0 * math.pi * t)) / r0
    dy[1] = y[1] / r + (y[1] - ub) / r + (1.0 - alpha) * one
    dy[2] = y[2] / r - one
    dy[3] = (y[3] - ub) / r + alpha * one
    dy[4] = y[4] / r + (y[4] - ub) / r + (1.0 - alpha) * two
    dy[5] = y[5] / r - two
    dy[6] = (y[6] - ub) / r + alpha * two
    dy[7] = y[7] / r


def capacitors():
    matrix = np.zeros((8, 8))
    for i, j, c in ((0, 1, 1e-6), (3, 4, 3e-6), (6, 7, 5e-6)):
        matrix[i, i] = matrix[j, j] = -c
        matrix[i, j] = matrix[j, i] = c
    matrix[2, 2], matrix[5, 5] = -2e-6, -4e-6
    return matrix


#: transistor amplifier, at t = 0.2 (Test Set for IVP Solvers, transamp.f: by PSIDE at tolerances of 1e-14)
TRANSAMP = [
    -0.5562145012262709e-2, 3.006522471903042, 2.849958788608128, 2.926422536206241,
    2.704617865010554, 2.761837778393145, 4.770927631616772, 1.236995868091548,
]  # fmt: skip
AT_REST = [0.0, 3.0, 3.0, 6.0, 3.0, 3.0, 6.0, 0.0]


@pytest.mark.parametrize(
    ("method", "rtol", "bound"), [("rodas5p", 1e-6, 1e-6), ("radau5", 1e-6, 1e-6), ("esdirk43", 1e-6, 5e-5)]
)
def test_transistor_amplifier(method, rtol, bound):
    assert np.linalg.matrix_rank(capacitors()) == 5
    sol = ss.solve(ss.Problem(amplifier, AT_REST, (0.0, 0.2), mass=capacitors()), method=method, rtol=rtol, atol=rtol)
    assert sol.success, sol.message
    assert np.abs(sol.y[-1] - TRANSAMP).max() < bound


@pytest.mark.parametrize(("method", "most"), [("ros34pw2", 40), ("ros3prw", 200)])
def test_no_step_leaves_what_the_next_cannot_pass(method, most):
    # an embedded formula that does not see how far the algebraic equations are missed stops here with any step size
    problem = ss.Problem(amplifier, AT_REST, (0.0, 0.002), mass=capacitors())
    sol = ss.solve(problem, method=method, rtol=1e-4, atol=1e-4)
    assert sol.success and sol.stats.naccept < most, sol.message
    fine = ss.solve(problem, method="radau5", rtol=1e-9, atol=1e-9)
    assert np.abs(sol.y[-1] - fine.y[-1]).max() < 5e-3


G = 9.81


def pendulum(t, y, p, dy):
    """Positions, velocities, multiplier; the constraint has been differentiated twice: index 1."""
    dy[0], dy[1] = y[2], y[3]
    dy[2], dy[3] = -y[4] * y[0], -y[4] * y[1] - G
    dy[4] = y[2] * y[2] + y[3] * y[3] - y[4] * (y[0] * y[0] + y[1] * y[1]) - G * y[1]


def constrained(t, y, p, dy):
    """The same with the constraint itself: index 3."""
    dy[0], dy[1] = y[2], y[3]
    dy[2], dy[3] = -y[4] * y[0], -y[4] * y[1] - G
    dy[4] = y[0] * y[0] + y[1] * y[1] - 1.0


HANGING = [1.0, 1.0, 1.0, 1.0, 0.0]


def by_angle(times):
    """The pendulum from (1, 0) with velocity (0, 0.5): x = cos a, y = sin a, a'' = -g cos a, by SciPy."""
    sol = solve_ivp(
        lambda t, a: [a[1], -G * np.cos(a[0])], (0.0, times[-1]), [0.0, 0.5], "DOP853", times, rtol=1e-13, atol=1e-13
    )
    a, w = sol.y
    x, y = np.cos(a), np.sin(a)
    return np.stack([x, y, -w * y, w * x, w * w - G * y], axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_pendulum(method):
    times = np.linspace(0.0, 2.0, 21)
    problem = ss.consistent_start(ss.Problem(pendulum, [1.0, 0.0, 0.0, 0.5, 7.0], (0.0, 2.0), mass=HANGING))
    assert np.allclose(problem.y0, [1.0, 0.0, 0.0, 0.5, 0.25], rtol=0.0, atol=1e-15)
    sol = ss.solve(problem, method=method, rtol=1e-6, atol=1e-6, t_eval=times)
    assert sol.success, sol.message
    # the multiplier is of size 25, and dense output gives it too
    assert np.abs(sol.y - by_angle(times)).max() < 5e-4


def forced(t, y, p, dy):
    """u = 2 + sin t, z = exp -t, with the time in both equations."""
    u, z = y[0], y[1]
    dy[0] = math.cos(t) - 3.0 * (u - math.sin(t) - 2.0) * z + (z - math.exp(-t)) * u
    dy[1] = z * u * u + z - math.exp(-t) * ((2.0 + math.sin(t)) ** 2 + 1.0)


@pytest.mark.parametrize(
    ("method", "order", "tolerance", "counts"),
    [
        ("rodas5p", 5, 1e-11, (32, 64)), ("ros3prw", 3, 1e-11, (64, 128)), ("ros34pw2", 3, 1e-11, (256, 512)),
        ("esdirk43", 4, 1e-8, (32, 64)), ("kvaerno5", 5, 1e-8, (32, 64)),
    ],
)  # fmt: skip
def test_order_of_both_kinds_of_components(method, order, tolerance, counts):
    problem = ss.Problem(forced, [2.0, 1.0], (0.0, 2.0), mass=[1.0, 0.0])
    errors = []
    for count in counts:
        law = registry.get("constant", h=2.0 / count)
        sol = ss.solve(
            problem, method=method, controller=law, rtol=tolerance, atol=tolerance, first_step=2.0 / count
        )
        assert sol.success and sol.stats.nreject == 0, sol.message
        errors.append(np.abs(sol.y[-1] - [2.0 + math.sin(2.0), math.exp(-2.0)]))
    rates = np.log2(errors[0] / errors[1])
    assert np.all(np.abs(rates - order) < 0.3), rates


def test_order_of_radau():
    # Newton's limit of 7 iterations keeps its errors visible at large steps: over tolerances, err ~ steps**-5
    problem = ss.Problem(forced, [2.0, 1.0], (0.0, 2.0), mass=[1.0, 0.0])
    found = []
    for tolerance in (1e-6, 1e-10):
        sol = ss.solve(problem, method="radau5", rtol=tolerance, atol=tolerance)
        error = np.abs(sol.y[-1] - [2.0 + math.sin(2.0), math.exp(-2.0)])
        assert np.all(error < tolerance)
        found.append((sol.stats.naccept, error))
    (few, rough), (many, fine) = found
    assert np.all(np.log(rough / fine) / math.log(many / few) > 4.7)


@pytest.mark.parametrize("method", ["esdirk43", "rodas5p"])
def test_dense_output_of_algebraic_components(method):
    times = np.linspace(0.0, 2.0, 101)
    problem = ss.Problem(forced, [2.0, 1.0], (0.0, 2.0), mass=[1.0, 0.0])
    sol = ss.solve(problem, method=method, rtol=1e-7, atol=1e-7, t_eval=times)
    exact = np.stack([2.0 + np.sin(times), np.exp(-times)], axis=1)
    assert np.abs(sol.y - exact).max() < 3e-6


def test_inconsistent_start_is_refused_and_mended():
    wrong = ss.Problem(pendulum, [1.0, 0.0, 0.0, 0.5, 0.2501], (0.0, 1.0), mass=HANGING)
    with pytest.raises(OptionError, match="algebraic equations.*stepsmith.consistent_start"):
        ss.solve(wrong, method="radau5", rtol=1e-6, atol=1e-6)
    # within the tolerance it is none
    assert ss.solve(wrong, method="radau5", rtol=1e-3, atol=1e-3).success
    mended = ss.consistent_start(wrong)
    assert np.array_equal(mended.y0[:4], wrong.y0[:4]) and abs(mended.y0[4] - 0.25) < 1e-15
    # a matrix that is not diagonal keeps M y
    off = ss.Problem(amplifier, [0.1, 3.05, 3.0, 5.9, 3.0, 3.0, 6.1, 0.2], (0.0, 0.2), mass=capacitors())
    found = ss.consistent_start(off, rtol=1e-8, atol=1e-8)
    f = np.zeros(8)
    amplifier(0.0, found.y0, found.p, f)
    assert np.abs([f[0] + f[1], f[3] + f[4], f[6] + f[7]]).max() < 1e-12
    assert np.allclose(capacitors() @ found.y0, capacitors() @ off.y0, rtol=0.0, atol=1e-18)


def test_no_consistent_start():
    def no_root(t, y, p, dy):
        dy[0] = 1.0
        dy[1] = y[1] * y[1] + 1.0

    with pytest.raises(OptionError, match="no state that satisfies the algebraic equations was found"):
        ss.consistent_start(ss.Problem(no_root, [0.0, 0.3], (0.0, 1.0), mass=[1.0, 0.0]))
    with pytest.raises(OptionError, match="problem must be"):
        ss.consistent_start(no_root)


@pytest.mark.parametrize("call", [ss.consistent_start, lambda problem: ss.solve(problem, method="radau5")])
def test_higher_index_is_refused(call):
    with pytest.raises(OptionError, match="index 2 or higher"):
        call(ss.Problem(constrained, [1.0, 0.0, 0.0, 0.5, 0.25], (0.0, 1.0), mass=HANGING))

    def by_value(t, y, p, dy):  # every place of the Jacobian is taken, and it is singular
        dy[0] = -y[0]
        dy[1] = y[0] + y[1] + y[2] - 1.0
        dy[2] = 2.0 * y[0] + 3.0 * y[1] + 3.0 * y[2] - 2.0

    def jac(t, y, p, J):
        for i, row in enumerate(((-1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (2.0, 3.0, 3.0))):
            for j, v in enumerate(row):
                J[i, j] = v

    with pytest.raises(OptionError, match="index 2 or higher"):
        call(ss.Problem(by_value, [1.0, 0.0, 0.0], (0.0, 1.0), mass=[1.0, 0.0, 0.0], jac=jac))


def test_lanes():
    count = 40
    speeds = np.linspace(0.0, 3.0, count)
    y0 = np.tile([1.0, 0.0, 0.0, 0.0, 0.0], (count, 1))
    y0[:, 3], y0[:, 4] = speeds, speeds**2
    y0[7, 4] += 1.0  # this one does not fit
    batch = ss.Batch(pendulum, y0, np.zeros((count, 0)), 0.0, 1.0, mass=HANGING)
    for method in ("rodas5p", "radau5"):
        sol = ss.solve_ensemble(batch, method=method, rtol=1e-6, atol=1e-6)
        assert sol.status[7] == layout.INCONSISTENT and "consistent_start" in layout.MESSAGES[sol.status[7]]
        assert np.all(np.delete(sol.status, 7) == layout.SUCCESS)
        for i in (0, 6, 8, count - 1):
            one = ss.solve(batch[i], method=method, rtol=1e-6, atol=1e-6)
            assert np.abs(sol.y[i] - one.y[-1]).max() < 1e-8
            assert sol.stats.naccept[i] == one.stats.naccept
    mended = ss.consistent_start(batch)
    assert np.allclose(mended.y0[:, 4], speeds**2) and np.array_equal(mended.y0[:, :4], y0[:, :4])
    assert ss.solve_ensemble(mended, method="radau5", rtol=1e-6, atol=1e-6).success.all()


