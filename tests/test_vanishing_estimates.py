"""Error estimates that are 0 whatever the error is: which embedded pairs have one, and what guards against it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from stepsmith import Batch, Problem, solve, solve_ensemble
from stepsmith.integrators.compile.vecmath import tanh
from stepsmith.integrators.kernels.implicit.rosenbrock import rosenbrock_parts
from stepsmith.integrators.methods import tableaus
from stepsmith.integrators.methods.rational import dot, product


def terms(e, matrix, nodes, most=10):
    """Coefficients in y_new - y_hat: e M^(k-1) 1 of (hJ)^k for y' = J y, and e c^(k-1) of h^k for the quadrature y' =
    t^(k-1).
    """
    power, linear = [1] * len(e), []
    for _ in range(most):
        linear.append(float(dot(e, power)))
        power = [dot(row, power) for row in matrix]
    return np.array(linear), np.array([float(dot(e, [x**k for x in nodes])) for k in range(most)])


def estimate(name):
    """(order of y_hat, its `terms`)."""
    if name in tableaus.NAMES:
        tableau = tableaus.get(name)
        e = [float(x) for x in (tableau.e5 if tableau.error == "hairer853" else tableau.e)]
        # DOP853's e5 belongs to a formula of order 5, which E = E5^2/sqrt(E5^2 + ...) makes 7
        order = 5 if name == "dop853" else tableau.embedded_order
        return order, *terms(e, [[float(x) for x in row] for row in tableau.a], [float(x) for x in tableau.c])
    tableau = tableaus.implicit(name)
    if hasattr(tableau, "classical"):
        alpha, gammas, _ = tableau.classical
        e = product((tableau.e,), gammas)[0]
        matrix = tuple(tuple(x + y for x, y in zip(*rows, strict=True)) for rows in zip(alpha, gammas, strict=True))
        return tableau.embedded_order, *terms(e, matrix, tableau.c)
    return tableau.embedded_order, *terms(tableau.e, tableau.matrix, tableau.c)


# Radau's estimate is h^4 on every problem that is not a polynomial of degree 3 (it is a formula with a fourth stage)
@pytest.mark.parametrize("name", [n for n in (*tableaus.NAMES, *tableaus.IMPLICIT) if n != "radau5"])
def test_which_estimates_see_linear_problems_and_quadratures(name):
    order, linear, quadrature = estimate(name)
    bound = {"vern6": 1e-11, "vern8": 1e-12}.get(name, 1e-13)  # error weights of about 100, and of 24
    assert np.abs(linear[:order]).max() < bound and np.abs(quadrature[order:]).max() > 1e-5
    if name == "ros3prw":
        assert np.abs(linear).max() < 1e-15 and not tableaus.implicit(name).estimates_linear
    else:
        assert abs(linear[order]) > min(1e-5, 1e-3 / math.factorial(order + 1))  # the solution's own term is 1/(k + 1)!
        assert name in tableaus.NAMES or getattr(tableaus.implicit(name), "estimates_linear", True)


def saturating(t, y, p, dy):
    """As good as linear where tanh saturates, which is most of the span; linear with p0 = 0."""
    dy[0] = y[1]
    dy[1] = p[0] * tanh(y[0] * y[1]) + y[1] - p[1]


START, SPAN = [1.5827860773876088, -0.10692688917275506], (-2.0, -12.0)


def exact(p):
    def f(t, y):
        return [y[1], p[0] * np.tanh(y[0] * y[1]) + y[1] - p[1]]

    return solve_ivp(f, SPAN, START, "DOP853", rtol=1e-13, atol=1e-13).y[:, -1]


@pytest.mark.parametrize("p", [[1.0, 2.1586], [0.0, 2.1586]])
def test_ros3prw_where_its_own_estimate_vanishes(p):
    want, off = exact(p), []
    for tol in (1e-4, 1e-6, 1e-8):
        sol = solve(Problem(saturating, START, SPAN, p), "ros3prw", "rodas", rtol=tol, atol=tol)
        assert sol.success
        off.append(np.max(np.abs(sol.y[-1] - want) / (1.0 + np.abs(want))) / tol)
        attempts = sol.stats.naccept + sol.stats.nreject
        assert sol.stats.nsolve == 4 * attempts and sol.stats.nlu == attempts
    assert max(off) < 10.0, off


def test_ros3prw_in_lanes():
    p = np.stack([np.linspace(0.0, 1.0, 9), np.full(9, 2.1586)], axis=1)
    many = solve_ensemble(Batch(saturating, np.tile(START, (9, 1)), p, *SPAN), "ros3prw", "rodas", rtol=1e-6, atol=1e-6)
    assert many.success.all()
    for y, q in zip(many.y, p, strict=True):
        np.testing.assert_allclose(y, exact(q), rtol=1e-5, atol=1e-5)


def test_a_blind_pair_that_the_second_estimate_does_not_suit_is_refused():
    other = replace(tableaus.implicit("ros3prw"), embedded_order=3)
    with pytest.raises(ValueError, match="estimate is 0 on linear problems"):
        rosenbrock_parts(other, Problem(saturating, START, SPAN, [1.0, 2.0]), frozenset())
