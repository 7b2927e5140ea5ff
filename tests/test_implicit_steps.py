"""ESDIRK and Radau steps in NumPy from the tableaus: they converge as their orders say, and agree with SciPy's."""

import numpy as np
import pytest
from scipy.integrate import Radau, solve_ivp
from scipy.optimize import fsolve

from method_kinds import ESDIRK
from stepsmith.integrators.methods.tableaus import implicit


@pytest.fixture(params=ESDIRK)
def esdirk(request):
    return implicit(request.param)


def field(t, y):
    return np.array([y[1] + np.cos(t), -np.sin(y[0]) - 0.3 * y[1] ** 2 + np.sin(2 * t)])


def jacobian(t, y):
    return np.array([[0, 1], [-np.cos(y[0]), -0.6 * y[1]]])


THETA = np.linspace(0.1, 1, 10)


def reference(t, y, h):
    """Solution at t + THETA h, (10, 2); the last row is the end."""
    return solve_ivp(field, (t, t + h), y, method="DOP853", t_eval=t + THETA * h, rtol=3e-14, atol=1e-15).y.T


def polynomial(tableau, y, increments):
    """Dense output at THETA, (10, 2)."""
    return y + THETA[:, None] ** np.arange(1, tableau.P.shape[1] + 1) @ tableau.P.T @ increments


def esdirk_attempt(tableau, t, y, h):
    """z (s, 2), y_new, and what the predictors were off by (s), by the recursion in the docstring of esdirk.py."""
    z, off = np.zeros((tableau.stages, 2)), np.zeros(tableau.stages)
    z[0] = h * field(t, y)
    matrix = np.eye(2) / (h * tableau.gamma_float) - jacobian(t, y)
    for i in range(1, tableau.stages):
        start = tableau.predictors[i] @ z
        z[i] = start
        g = y + tableau.A[i] @ z + tableau.gamma_float * z[i]
        for _ in range(12):
            right = (field(t + tableau.C[i] * h, g) - z[i] / h) / tableau.gamma_float
            delta = np.linalg.solve(matrix, right)
            z[i] += delta
            g += tableau.gamma_float * delta
        off[i] = np.linalg.norm(z[i] - start)
    np.testing.assert_allclose(g, y + tableau.B @ z, rtol=0, atol=1e-14)
    return z, g, off


def test_esdirk_steps_converge(esdirk):
    y, rows, offs = np.array([0.8, -0.3]), [], []
    for h in (0.1, 0.05):
        z, new, off = esdirk_attempt(esdirk, 0.2, y, h)
        exact = reference(0.2, y, h)
        rows.append([np.linalg.norm(x) for x in (new - exact[-1], esdirk.E @ z, polynomial(esdirk, y, z) - exact)])
        offs.append(off[1:])
    order, estimate, dense = np.log2(np.array(rows[0]) / np.array(rows[1]))
    assert order == pytest.approx(esdirk.order + 1, abs=0.4)
    assert estimate == pytest.approx(esdirk.embedded_order + 1, abs=0.4)
    assert dense == pytest.approx(esdirk.dense_order + 1, abs=0.4)
    # The constant, the linear, then the quadratic predictors; z_6 predicts Kvaerno's z_7 as y_hat does y_new.
    expected = [2, 3, 4, 4, 4, *([6] if esdirk.name == "kvaerno5" else [])]
    np.testing.assert_allclose(np.log2(offs[0] / offs[1]), expected, rtol=0, atol=0.5)


def test_kvaerno_predictors_equal_to_published():
    # OrdinaryDiffEq.jl and diffrax, stages 3 and 4.
    p = implicit("kvaerno5").predictors
    np.testing.assert_allclose(p[2, :2], [-1.366025403784441, 2.3660254037844357], rtol=1e-14)
    np.testing.assert_allclose(p[3, :3], [-0.19650552613122207, 0.8113579546496623, 0.38514757148155954], rtol=1e-13)


def radau_attempt(tableau, t, y, h):
    """Z (3, 2), y_new and err by the transformed iteration in the docstring of radau5.py."""
    gamma, alpha, beta = tableau.eigenvalues
    real = gamma / h * np.eye(2) - jacobian(t, y)
    pair = (alpha + 1j * beta) / h * np.eye(2) - jacobian(t, y)
    w, z = np.zeros((3, 2)), np.zeros((3, 2))
    for _ in range(15):
        f = tableau.TI @ np.array([field(t + c * h, y + zi) for c, zi in zip(tableau.C, z, strict=True)])
        w[0] += np.linalg.solve(real, f[0] - gamma / h * w[0])
        both = w[1] + 1j * w[2]
        both += np.linalg.solve(pair, f[1] + 1j * f[2] - (alpha + 1j * beta) / h * both)
        w[1:] = both.real, both.imag
        z = tableau.T @ w
    return z, y + z[2], np.linalg.solve(real, field(t, y) + tableau.E @ z / h)


def test_radau_steps():
    t, y = implicit("radau5"), np.array([0.8, -0.3])
    rows = []
    for h in (0.4, 0.2):
        z, new, error = radau_attempt(t, 0.2, y, h)
        exact = reference(0.2, y, h)
        rows.append([np.linalg.norm(x) for x in (new - exact[-1], error, polynomial(t, y, z) - exact)])
    np.testing.assert_allclose(np.log2(np.array(rows[0]) / rows[1]), [6, 4, 4], rtol=0, atol=0.4)

    def untransformed(flat):
        f = np.array([field(0.2 + c * h, y + zi) for c, zi in zip(t.C, flat.reshape(3, 2), strict=True)])
        return flat - (h * t.A @ f).ravel()

    np.testing.assert_allclose(z.ravel(), fsolve(untransformed, z.ravel() * 1.1, xtol=1e-14), rtol=0, atol=1e-13)


def test_radau_step_equal_to_scipy():
    t, y, h = implicit("radau5"), np.array([0.8, -0.3]), 0.3
    solver = Radau(field, 0.2, y, 5.0, first_step=h, rtol=1e-9, atol=1e9, jac=jacobian)
    solver.step()
    assert solver.step_size == h
    z, new, _ = radau_attempt(t, 0.2, y, h)
    # SciPy's atol stops its iteration after the first or second turn; the polynomial is the same function of Z.
    q = solver.dense_output()
    theirs = np.array([q(0.2 + c * h) - y for c in t.C])
    np.testing.assert_allclose(theirs[2], solver.y - y, rtol=0, atol=1e-14)
    np.testing.assert_allclose(theirs, z, rtol=0, atol=5e-3)
    r = 1.7
    ahead = np.array([q(0.2 + h + c * r * h) - solver.y for c in t.C])
    np.testing.assert_allclose(t.start(r) @ theirs, ahead, rtol=0, atol=1e-13)


def test_radau_error_filter_at_infinity():
    # y' = lambda y, lambda h -> -infinity: the estimate tends to -y, filtered once more to 0.
    t, z = implicit("radau5"), -1e9
    gamma = t.eigenvalues[0]
    stages = np.linalg.solve(np.eye(3) - z * t.A, z * t.A @ np.ones(3))
    once = (z + t.E @ stages) / (gamma - z)
    assert once == pytest.approx(-1, abs=1e-6)
    assert (z * (1 + once) + t.E @ stages) / (gamma - z) == pytest.approx(0, abs=1e-6)
