"""ESDIRK and Radau tableaus: order conditions, stability, dense output, transformation, starting values, steps."""

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.integrate import Radau, solve_ivp
from scipy.integrate._ivp import radau as scipy_radau
from scipy.optimize import fsolve

from stepsmith.integrators.methods.rational import root
from stepsmith.integrators.methods.tableaus import IMPLICIT, NAMES, implicit
from stepsmith.integrators.methods.trees import StageWeights, density, rooted_trees

ESDIRK = ("kvaerno5", "esdirk43")
# Defects that the published digits leave, of y_new and of y_hat.
DIGITS = {"kvaerno5": (1e-36, 1e-36), "esdirk43": (1e-55, 1e-23), "radau5": (1e-55, 1e-55)}


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


@pytest.fixture(params=ESDIRK)
def esdirk(request):
    return implicit(request.param)


def mp(rows):
    return [[mpmath.mpf(x.numerator) / x.denominator for x in row] for row in rows]


def rows_of(tableau):
    return tableau.a if tableau.name == "radau5" else tableau.matrix


def worst(tableau, weights, order, only=False):
    """Largest relative defect over the trees of up to (or of exactly) `order` nodes, in 60 digits."""
    stage_weights = StageWeights(mp(rows_of(tableau)), mpmath.mpf(1))
    orders = [order] if only else range(1, order + 1)
    return max(abs(stage_weights.residual(mp([weights])[0], tree)) for p in orders for tree in rooted_trees(p))


# Registry --------------------------------------------------------------------------------------------------


def test_registry():
    assert not set(IMPLICIT) & set(NAMES)
    for name in IMPLICIT:
        assert implicit(name).name == name
        assert implicit(name) is implicit(name)
    with pytest.raises(ValueError, match="unknown implicit method 'kvaerno'; nearest: kvaerno5"):
        implicit("kvaerno")
    with pytest.raises(ValueError, match="unknown implicit method 'tsit5'"):
        implicit("tsit5")


def test_root():
    for x, n in ((2, 2), (3, 3), (3**7, 6), (0, 2), (16, 4)):
        assert abs(mpmath.mpf(root(x, n).numerator) / root(x, n).denominator - mpmath.root(x, n)) < 1e-58
    assert root(16, 4) == 2
    with pytest.raises(ValueError, match="root needs"):
        root(-1, 2)


# Orders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*ESDIRK, "radau5"])
def test_order_conditions(name):
    t = implicit(name)
    b = t.a[-1] if name == "radau5" else t.b
    assert worst(t, b, t.order) < DIGITS[name][0]
    assert worst(t, b, t.order + 1, only=True) > 1e-3


def test_embedded_order_conditions(esdirk):
    b_hat = tuple(x - y for x, y in zip(esdirk.b, esdirk.e, strict=True))
    assert worst(esdirk, b_hat, esdirk.embedded_order) < DIGITS[esdirk.name][1]
    assert worst(esdirk, b_hat, esdirk.embedded_order + 1, only=True) > 1e-3


def test_one_wrong_digit_is_noticed():
    good = implicit("kvaerno5")
    row = list(good.a[4])
    row[1], row[2] = row[1] + Fraction(1, 10**15), row[2] - Fraction(1, 10**15)
    bad = replace(good, a=(*good.a[:4], tuple(row), *good.a[5:]))
    assert worst(bad, bad.b, 5) > 1e-17 > worst(good, good.b, 5)


def test_stage_orders(esdirk):
    c, rows = mp([esdirk.c])[0], mp(esdirk.matrix)
    defects = [[sum(x * y**k for x, y in zip(row, c, strict=True)) - ci ** (k + 1) / (k + 1)
                for row, ci in zip(rows, c, strict=True)] for k in (1, 2)]  # fmt: skip
    assert max(map(abs, defects[0])) < 1e-36
    # Kvaerno's stages have order 3 but the second; of esdirk43's the last, which is y_new.
    exact = range(2, 7) if esdirk.name == "kvaerno5" else [5]
    assert max(abs(defects[1][i]) for i in exact) < 1e-36 and abs(defects[1][1]) > 1e-3


def test_radau_is_collocation():
    t = implicit("radau5")
    c, rows = mp([t.c])[0], mp(t.a)
    for k in range(3):
        assert all(abs(sum(x * y**k for x, y in zip(r, c, strict=True)) - ci ** (k + 1) / (k + 1)) < 1e-55
                   for r, ci in zip(rows, c, strict=True))  # fmt: skip
    # c are the roots of the Radau polynomial, d^2/dx^2 of x^2 (x - 1)^3.
    for x in c:
        assert abs(mpmath.polyval([20, -36, 18, -2], x)) < 1e-55


# Stability -------------------------------------------------------------------------------------------------


def linear(tableau, weights):
    """R(z) of the weights, float arithmetic."""
    a = np.array(mp(rows_of(tableau)), dtype=float)
    b = np.array(mp([weights])[0], dtype=float)
    return lambda z: 1 + z * (b @ np.linalg.solve(np.eye(len(b)) - z * a, np.ones(len(b))))


@pytest.mark.parametrize("name", [*ESDIRK, "radau5"])
def test_stability(name):
    t = implicit(name)
    grid = np.concatenate([np.linspace(0, 20, 400), np.geomspace(20, 1e5, 100)])
    pairs = [(t.a[-1], 0.0)] if name == "radau5" else [(t.b, 0.0)]
    if name != "radau5":
        pairs.append((tuple(x - y for x, y in zip(t.b, t.e, strict=True)), {"kvaerno5": 0.7483, "esdirk43": 0.0}[name]))
    for weights, at_infinity in pairs:
        r = linear(t, weights)
        assert max(abs(r(1j * x)) for x in grid) < 1 + 1e-9
        assert max(abs(r(-x)) for x in grid) < 1 + 1e-9
        assert abs(r(-1e7)) == pytest.approx(at_infinity, abs=1e-4)


def test_stages_of_esdirk43_are_damped_at_infinity():
    t = implicit("esdirk43")
    for i in range(2, 6):
        assert abs(linear(t, t.matrix[i])(-1e7)) < 1e-4


# Dense output of the ESDIRK pairs --------------------------------------------------------------------------


def test_dense_order_conditions_hold_for_every_theta(esdirk):
    weights, columns = StageWeights(mp(esdirk.matrix), mpmath.mpf(1)), list(zip(*mp(esdirk.dense), strict=True))
    defects = []
    for order in range(1, esdirk.dense_order + 2):
        values = [
            sum(p * x for p, x in zip(column, weights.phi(tree), strict=True)) * density(tree) - (j + 1 == order)
            for tree in rooted_trees(order)
            for j, column in enumerate(columns)
        ]
        defects.append(max(map(abs, values)))
    assert max(defects[:-1]) < 1e-33 and defects[-1] > 1e-2


def test_dense_output_is_damped_at_infinity(esdirk):
    for theta in np.linspace(0, 1, 11):
        weights = [sum(p * Fraction(theta) ** (j + 1) for j, p in enumerate(row)) for row in esdirk.dense]
        assert linear(esdirk, weights)(-1e6) == pytest.approx((1 - theta) ** 4, abs=1e-3)


@pytest.mark.parametrize("name", [*ESDIRK, "radau5"])
def test_both_forms_of_the_dense_output_are_the_same_polynomial(name):
    t = implicit(name)
    theta, z = np.linspace(0, 1, 21), np.linspace(-1, 1, t.stages) ** 3
    end = z[-1] if name == "radau5" else t.B @ z
    power = theta[:, None] ** np.arange(1, t.P.shape[1] + 1) @ t.P.T @ z
    between = theta[:, None] ** np.arange(t.D.shape[1]) @ t.D.T @ z
    np.testing.assert_allclose(theta * end + theta * (1 - theta) * between, power, rtol=0, atol=1e-13)


# Radau's transformation ------------------------------------------------------------------------------------


def test_radau_transformation():
    t = implicit("radau5")
    a, tm, ti = (mpmath.matrix(mp(x)) for x in (t.a, t.t, t.ti))
    g, al, be = mp([(t.gamma, t.alpha, t.beta)])[0]
    block = mpmath.matrix([[g, 0, 0], [0, al, -be], [0, be, al]])
    assert mpmath.mnorm(ti * a**-1 * tm - block) < 1e-54
    assert mpmath.mnorm(tm * ti - mpmath.eye(3)) < 1e-54
    for root_ in (g, mpmath.mpc(al, be)):
        assert abs(root_**3 - 9 * root_**2 + 36 * root_ - 60) < 1e-54


def test_radau_equal_to_scipy():
    t, s = implicit("radau5"), scipy_radau
    gamma, alpha, beta = t.eigenvalues
    flip = np.array([1, 1, -1])  # SciPy's pair of columns belongs to alpha - i beta
    assert gamma == s.MU_REAL
    assert complex(alpha, -beta) == pytest.approx(s.MU_COMPLEX, rel=1e-15)
    np.testing.assert_allclose(t.T * flip, s.T, rtol=0, atol=1e-16)
    np.testing.assert_allclose(t.TI * flip[:, None], s.TI, rtol=3e-16, atol=2e-16)
    np.testing.assert_allclose(t.E, s.E, rtol=0, atol=2e-15)
    np.testing.assert_allclose(t.P, s.P, rtol=0, atol=4e-15)
    np.testing.assert_allclose(t.C, s.C, rtol=0, atol=1e-16)


def test_radau_transformation_equal_to_radau5():
    # radau5.f scales the real eigenvector by T31 = 0.966...
    scale = 0.96604818261509293619
    published = [
        [9.1232394870892942792e-2, -0.14125529502095420843, -3.0029194105147424492e-2],
        [0.24171793270710701896, 0.20412935229379993199, 0.38294211275726193779],
        [scale, 1.0, 0.0],
    ]
    np.testing.assert_allclose(implicit("radau5").T * [scale, 1, 1], published, rtol=0, atol=1e-16)


# Steps -----------------------------------------------------------------------------------------------------


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


# What breaks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, message",
    [
        ({"c": (Fraction(0),)}, "c needs two nodes"),
        ({"gamma": Fraction(-1)}, "gamma must be positive"),
        ({"a": ((),)}, "a has 1 rows"),
        ({"predictor": ((),) * 7}, "row 1 of predictor must have 1 entries"),
        ({"b": (Fraction(1),)}, "b must have 7 entries"),
        ({"dense": ((Fraction(1),),)}, "dense must have 7 rows"),
        ({"gamma": Fraction(1, 4)}, r"c\[1\] is not the sum"),
        ({"e": (Fraction(1), *[Fraction(0)] * 6)}, "do not sum to 0"),
        ({"b": (Fraction(1), *[Fraction(0)] * 6)}, "b to be the last row"),
    ],
)
def test_bad_esdirk_parts_are_named(change, message):
    with pytest.raises(ValueError, match=f"'kvaerno5': .*{message}"):
        replace(implicit("kvaerno5"), **change)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"c": (Fraction(1),)}, "c must have 3 nodes"),
        ({"t": ((Fraction(1),),)}, "t must have 3 rows"),
        ({"beta": Fraction(-3)}, "must be positive"),
        ({"beta": Fraction(3)}, "not the block form"),
        ({"c": (Fraction(0), Fraction(1), Fraction(1))}, r"c\[0\] is not the sum"),
    ],
)
def test_bad_radau_parts_are_named(change, message):
    with pytest.raises(ValueError, match=f"'radau5': .*{message}"):
        replace(implicit("radau5"), **change)
