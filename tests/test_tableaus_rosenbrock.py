"""Rosenbrock tableaus: order conditions with the exact and with any Jacobian, dense output, stability, steps."""

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import prod

import mpmath
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from method_kinds import ROSENBROCK
from stepsmith.integrators.methods.tableaus import implicit
from stepsmith.integrators.methods.trees import density, rooted_trees

# Defects that the published digits leave.
DIGITS = {"rodas5p": 1e-13, "ros3prw": 2e-15, "ros34pw2": 2e-14, "rosenbrock23": 1e-30}


@pytest.fixture(autouse=True)
def forty_digits():
    with mpmath.workdps(40):
        yield


@pytest.fixture(params=ROSENBROCK)
def tableau(request):
    return implicit(request.param)


class Classical:
    """alpha, Gamma and weights in 40 digits; elementary weights of rooted trees."""

    def __init__(self, tableau):
        alpha, gammas, b = tableau.classical
        self.alpha, self.gamma = as_matrix(alpha), as_matrix(gammas)
        self.beta = self.alpha + self.gamma
        self.b = as_matrix((b,))
        self.b_hat = self.b - as_matrix((tableau.e,)) * self.gamma
        self.dense = as_matrix(tableau.dense).T * self.gamma
        self.one = mpmath.ones(len(b), 1)

    def exact(self, tree):
        """Phi(tree): beta below a node with one child, alpha below the others (Hairer & Wanner II, IV.7)."""
        if len(tree) == 1:
            return self.beta * self.exact(tree[0])
        return self.fan([self.exact(child) for child in tree])

    def mixed(self, tree):
        """(J occurs, Phi) for every choice, at the nodes with one child, between f (alpha) and the matrix J (Gamma)."""
        out = [
            (any(j for j, _ in choice), self.fan([phi for _, phi in choice]))
            for choice in product(*(self.mixed(child) for child in tree))
        ]
        if len(tree) == 1:
            out += [(True, self.gamma * phi) for _, phi in self.mixed(tree[0])]
        return out

    def fan(self, children):
        below = [self.alpha * phi for phi in children]
        return mpmath.matrix([prod((phi[i] for phi in below), start=mpmath.mpf(1)) for i in range(len(self.one))])

    def defect(self, weights, order):
        """Largest relative defect over the trees of exactly `order` nodes."""
        return max(abs((weights * self.exact(tree))[0] * density(tree) - 1) for tree in rooted_trees(order))

    def w_defect(self, weights, order):
        """Largest defect when J is any matrix: 1/density for trees of f alone, 0 where J occurs."""
        return max(
            abs((weights * phi)[0] - (0 if j else mpmath.mpf(1) / density(tree)))
            for tree in rooted_trees(order)
            for j, phi in self.mixed(tree)
        )


def as_matrix(rows):
    return mpmath.matrix([[mpmath.mpf(x.numerator) / x.denominator for x in row] for row in rows])


# Orders ----------------------------------------------------------------------------------------------------


def test_order_conditions(tableau):
    c, tolerance = Classical(tableau), DIGITS[tableau.name]
    # the estimate of rosenbrock23 is by the formula of higher order
    other = 3 if tableau.name == "rosenbrock23" else tableau.embedded_order
    for weights, order in ((c.b, tableau.order), (c.b_hat, other)):
        assert max(c.defect(weights, p) for p in range(1, order + 1)) < tolerance
        assert c.defect(weights, order + 1) > 0.1


def test_w_order_conditions(tableau):
    c, tolerance = Classical(tableau), DIGITS[tableau.name]
    for weights, order in ((c.b, tableau.w_order), (c.b_hat, tableau.embedded_w_order)):
        assert max(c.w_defect(weights, p) for p in range(1, order + 1)) < tolerance
        assert c.w_defect(weights, order + 1) > 0.02


def test_recursion_against_the_printed_conditions():
    # Hairer & Wanner II, (7.11) and (7.15'), order 4, with beta and the sums without the diagonal.
    t = implicit("rodas5p")
    alpha, gammas, b = (np.array(x, dtype=float) for x in t.classical)
    g = float(t.gamma)
    beta = alpha + gammas - g * np.eye(8)
    a, bp = alpha.sum(1), beta.sum(1)
    left = [
        b.sum(), b @ bp, b @ a**2, b @ beta @ bp, b @ a**3, b @ (a * (alpha @ bp)), b @ beta @ a**2,
        b @ beta @ beta @ bp,
    ]  # fmt: skip
    right = [
        1, 1 / 2 - g, 1 / 3, 1 / 6 - g + g**2, 1 / 4, 1 / 8 - g / 3, 1 / 12 - g / 3, 1 / 24 - g / 2 + 1.5 * g**2 - g**3,
    ]  # fmt: skip
    np.testing.assert_allclose(left, right, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ROSENBROCK)
def test_one_wrong_digit_is_noticed(name):
    good = implicit(name)
    row = (good.C[-1][0] + Fraction(1, 10**8), *good.C[-1][1:])
    with pytest.raises(ValueError, match="sum"):
        replace(good, C=(*good.C[:-1], row))
    # One that the sums do not show, the order conditions do.
    c = Classical(good)
    c.alpha[2, 0] += 1e-8
    # the third stage of rosenbrock23 has no part in y_new, but in y_hat of order 3
    weights, order = (c.b_hat, 3) if name == "rosenbrock23" else (c.b, good.order)
    assert max(c.defect(weights, p) for p in range(1, order + 1)) > 1e-9


def test_transformed_coefficients_equal_to_published():
    # OrdinaryDiffEq.jl, ROS34PW2RodasTableau.
    t = implicit("ros34pw2")
    a = {(1, 0): 2.0, (2, 0): 1.4192173174557647, (2, 1): -0.2592322116729697, (3, 0): 4.18476048231916,
         (3, 1): -0.28519201735549593, (3, 2): 2.294280360279042}  # fmt: skip
    c = {(1, 0): -4.588560720558084, (2, 0): -4.18476048231916, (2, 1): 0.28519201735549593,
         (3, 0): -6.368179200128359, (3, 1): -6.795620944466837, (3, 2): 2.8700986043310563}  # fmt: skip
    for published, ours in ((a, t.A), (c, t.coupling)):
        for (i, j), x in published.items():
            assert ours[i, j] == pytest.approx(x, rel=1e-14)
    np.testing.assert_allclose(
        t.time_weights, [0.435866521508459, -0.435866521508459, -0.4133333762338865, 0], atol=1e-15
    )
    np.testing.assert_allclose(t.E, [0.2777499476479681, -1.4032398951759992, 1.7726301276675507, 0.5], rtol=1e-14)


# Dense output and stability --------------------------------------------------------------------------------


def test_dense_order_conditions_hold_for_every_theta(tableau):
    c = Classical(tableau)
    defects = {}
    for order in range(1, tableau.dense_order + 2):
        values = [(density(tree) * c.dense * c.exact(tree), tree) for tree in rooted_trees(order)]
        defects[order] = max(abs(v[j] - (j + 1 == order)) for v, _ in values for j in range(len(v)))
    assert defects.pop(tableau.dense_order + 1) > 0.1
    assert max(defects.values()) < 100 * DIGITS[tableau.name]


def test_dense_output_of_ros34pw2_keeps_order_2_with_any_jacobian():
    c = Classical(implicit("ros34pw2"))
    for tree in [t for p in (1, 2) for t in rooted_trees(p)]:
        for j, phi in c.mixed(tree):
            for k, value in enumerate(c.dense * phi):
                expected = 0 if j or k + 1 != 1 + len(tree) else mpmath.mpf(1) / density(tree)
                assert abs(value - expected) < 1e-14


def test_both_forms_of_the_dense_output_are_the_same_polynomial(tableau):
    theta, u = np.linspace(0, 1, 21), np.linspace(-1, 1, tableau.stages)
    power = theta[:, None] ** np.arange(1, tableau.P.shape[1] + 1) @ tableau.P.T @ u
    between = theta[:, None] ** np.arange(tableau.D.shape[1]) @ tableau.D.T @ u
    np.testing.assert_allclose(theta * (tableau.M @ u) + theta * (1 - theta) * between, power, rtol=0, atol=2e-13)


def test_stability(tableau):
    c = Classical(tableau)
    y = np.concatenate([np.linspace(0, 20, 400), np.geomspace(20, 1e6, 200)])
    beta, b = np.array(c.beta.tolist(), dtype=float), np.array(c.b.tolist(), dtype=float)[0]

    def r(z):
        return 1 + z * (b @ np.linalg.solve(np.eye(len(b)) - z * beta, np.ones(len(b))))

    assert max(abs(r(1j * x)) for x in y) < 1 + 1e-12
    assert max(abs(r(-x)) for x in y) < 1 + 1e-12
    at_infinity = [abs(1 - (w * mpmath.lu_solve(c.beta, c.one))[0]) for w in (c.b, c.b_hat)]
    same = (np.sqrt(3) - 1, np.sqrt(3) - 1)
    expected = {"rodas5p": (0, 0), "ros3prw": same, "ros34pw2": (0, 0.4783), "rosenbrock23": (0, 1.6095)}[tableau.name]
    np.testing.assert_allclose([float(x) for x in at_infinity], expected, rtol=0, atol=1e-4)
    assert tableau.stiffly_accurate == (expected[0] == 0 and tableau.name != "rosenbrock23")
    if expected[0] == 0:
        assert at_infinity[0] < 1e-12


# Steps with the transformed coefficients -------------------------------------------------------------------


def attempt(tableau, rhs, jacobian, time_derivative, t, y, h):
    """u (s, n), y_new and y_new - y_hat, as the module's docstring of rosenbrock.py has it."""
    u = np.zeros((tableau.stages, len(y)))
    matrix = np.eye(len(y)) / (h * tableau.gamma_float) - jacobian
    for i in range(tableau.stages):
        right = rhs(t + tableau.nodes[i] * h, y + tableau.A[i] @ u) + tableau.coupling[i] @ u / h
        u[i] = np.linalg.solve(matrix, right + h * tableau.time_weights[i] * time_derivative)
    return u, y + tableau.M @ u, tableau.E @ u


def field(t, y):
    return np.array([y[1] + np.cos(t), -np.sin(y[0]) - 0.3 * y[1] ** 2 + np.sin(2 * t)])


def field_y(t, y):
    return np.array([[0, 1], [-np.cos(y[0]), -0.6 * y[1]]])


def field_t(t, y):
    return np.array([-np.sin(t), 2 * np.cos(2 * t)])


THETA = np.linspace(0.1, 1, 10)


def reference(t, y, h):
    """Solution at t + THETA h, (10, 2); the last row is the end."""
    return solve_ivp(field, (t, t + h), y, method="DOP853", t_eval=t + THETA * h, rtol=3e-14, atol=1e-15).y.T


def polynomial(tableau, y, increments):
    """Dense output at THETA, (10, 2)."""
    return y + THETA[:, None] ** np.arange(1, tableau.P.shape[1] + 1) @ tableau.P.T @ increments


def local_order(tableau, perturb, steps):
    """Observed exponents of the local error, of the estimate and of the dense output."""
    y, rows = np.array([0.8, -0.3]), []
    for h in steps:
        jacobian = field_y(0.2, y) + perturb(h)
        u, new, estimate = attempt(tableau, field, jacobian, field_t(0.2, y), 0.2, y, h)
        exact = reference(0.2, y, h)
        errors = new - exact[-1], estimate, polynomial(tableau, y, u) - exact
        rows.append([np.linalg.norm(x) for x in errors])
    return np.log2(np.array(rows[0]) / np.array(rows[1]))


def test_steps_converge_with_the_exact_jacobian(tableau):
    steps = (0.2, 0.1) if tableau.order == 5 else (0.04, 0.02)
    order, estimate, dense = local_order(tableau, lambda h: 0.0, steps)
    assert order == pytest.approx(tableau.order + 1, abs=0.35)
    assert estimate == pytest.approx(tableau.embedded_order + 1, abs=0.35)
    assert dense == pytest.approx(tableau.dense_order + 1, abs=0.35)


WRONG = np.array([[0.7, -0.4], [0.3, 0.9]])


def test_steps_converge_with_any_jacobian(tableau):
    order, estimate, _ = local_order(tableau, lambda h: WRONG, (0.02, 0.01))
    assert order == pytest.approx(tableau.w_order + 1, abs=0.35)
    assert estimate == pytest.approx(tableau.embedded_w_order + 1, abs=0.35)


def test_steps_converge_with_a_jacobian_off_by_h(tableau):
    order, _, _ = local_order(tableau, lambda h: h * WRONG, (0.04, 0.02))
    assert order == pytest.approx(min(tableau.order, tableau.w_order + 1) + 1, abs=0.35)


def prothero_robinson(tableau, stiffness, n):
    """Error at t = 1.5 of y' = lambda (y - sin t) + cos t from y = sin t at t = 0.5, in n steps; lambda = stiffness."""
    y, h = np.array([np.sin(0.5)]), 1 / n
    for t in 0.5 + h * np.arange(n):
        slope = np.array([-stiffness * np.cos(t) - np.sin(t)])
        y = attempt(
            tableau, lambda s, x: stiffness * (x - np.sin(s)) + np.cos(s), np.array([[stiffness]]), slope, t, y, h
        )[1]
    return abs(y[0] - np.sin(1.5))


def test_rodas5p_keeps_order_4_on_prothero_robinson_whatever_the_stiffness():
    # The conditions of Steinebach 2023.
    tableau = implicit("rodas5p")
    coarse, fine = (max(prothero_robinson(tableau, -(10.0**k), n) for k in range(7)) for n in (16, 32))
    assert np.log2(coarse / fine) > 3.8
    assert fine < 1e-9


# What breaks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"c": ()}, "c is empty"),
        ({"gamma": Fraction(0)}, "gamma must be positive"),
        ({"a": ((),)}, "a has 1 rows"),
        ({"C": ((), (), (), ())}, "row 1 of C must have 1 entries"),
        ({"m": (Fraction(1),)}, "m must have 4 entries, has 1"),
        ({"dense": ((Fraction(1),),)}, "dense must have 4 rows"),
        ({"w_order": 4}, "w_order"),
        ({"embedded_w_order": 3}, "embedded_w_order"),
        ({"c": tuple(map(Fraction, (0, 1, 1, 1)))}, r"c\[1\] is not the sum"),
        ({"d": tuple(map(Fraction, (0, 1, 1, 1)))}, r"d\[0\] is not the sum"),
        ({"e": tuple(map(Fraction, (1, 0, 0, 0)))}, "do not sum to 0"),
    ],
)
def test_bad_parts_are_named(change, message):
    with pytest.raises(ValueError, match=f"'ros34pw2': .*{message}"):
        replace(implicit("ros34pw2"), **change)


def test_stiff_accuracy_is_checked():
    with pytest.raises(ValueError, match="stiffly_accurate needs"):
        replace(implicit("ros3prw"), stiffly_accurate=True)
