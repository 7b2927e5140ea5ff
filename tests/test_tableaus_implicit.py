"""ESDIRK and Radau tableaus: order conditions, stability, dense output, transformation; bad parts are named."""

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy.integrate._ivp import radau as scipy_radau

from method_kinds import ESDIRK, NEWTON
from stepsmith.integrators.methods.rational import root
from stepsmith.integrators.methods.tableaus import IMPLICIT, NAMES, implicit
from stepsmith.integrators.methods.trees import StageWeights, density, rooted_trees

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
    with pytest.raises(ValueError, match="unknown implicit method 'kvaerno': did you mean 'kvaerno5'"):
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


@pytest.mark.parametrize("name", NEWTON)
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


@pytest.mark.parametrize("name", NEWTON)
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


@pytest.mark.parametrize("name", NEWTON)
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
