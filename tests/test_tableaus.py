"""Explicit tableaus: order conditions by rooted trees, dense output, SciPy's arrays."""

from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from scipy import integrate
from scipy.integrate._ivp import dop853_coefficients

from method_kinds import MORE
from stepsmith.integrators.methods.tableaus import NAMES, get
from stepsmith.integrators.methods.trees import StageWeights, density, nodes, rooted_trees

DECIMAL = {
    "tsit5": mpmath.mpf("1e-38"), "dop853": mpmath.mpf("1e-25"), "dopri8": mpmath.mpf("1e-16"),
    "vern7": mpmath.mpf("1e-41"), "vern8": mpmath.mpf("1e-38"), "vern9": mpmath.mpf("1e-41"),
}  # fmt: skip
#: of dense outputs
DENSE = {"tsit5": 1e-35, "dop853": 1e-22, "dopri8": 1e-14, "vern7": 1e-37, "vern8": 1e-31, "vern9": 1e-32}
#: round-off of order conditions in float64, where coefficients are large
ROUND = {"vern6": 4e-10, "vern8": 1e-11}
EIGHT = ("dop853", "dopri8")


def trees_to(order):
    return [tree for n in range(1, order + 1) for tree in rooted_trees(n)]


def arithmetic(tableau, extended=False):
    """Stage weights and a converter: exact fractions where the method is rational, else 60 digits."""
    rows = tableau.a + (tableau.dense_a if extended else ())
    if tableau.exact:
        return StageWeights(rows), lambda row: row
    to_mp = lambda row: [mpmath.mpf(x.numerator) / x.denominator for x in row]  # noqa: E731
    return StageWeights([to_mp(row) for row in rows], mpmath.mpf(1)), to_mp


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


@pytest.fixture(params=NAMES)
def tableau(request):
    return get(request.param)


def embedded(tableau):
    """(weights, order) of every embedded formula, as fractions."""
    minus = lambda e: tuple(x - y for x, y in zip(tableau.b, e, strict=True))  # noqa: E731
    if tableau.error == "hairer853":
        return [(minus(tableau.e5), 5), (minus(tableau.e3), 3)]
    return [(minus(tableau.e), tableau.embedded_order)]


def worst(tableau, weights, order, only=False):
    """Largest relative defect over the trees of up to (or of exactly) `order` nodes."""
    stage_weights, convert = arithmetic(tableau)
    chosen = rooted_trees(order) if only else trees_to(order)
    return max(abs(stage_weights.residual(convert(weights), tree)) for tree in chosen)


# Trees -----------------------------------------------------------------------------------------------------


def test_rooted_trees_count_and_density():
    # Butcher 2016, table 300(I) (OEIS A000081); sum over trees of n!/(sigma gamma) = (n - 1)! orderings.
    assert [len(rooted_trees(n)) for n in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert all(nodes(tree) == 7 for tree in rooted_trees(7))
    tall, bushy = ((((),),),), ((), (), (), ())
    assert density(tall) == 24 and density(bushy) == 5
    with pytest.raises(ValueError, match="at least one node"):
        rooted_trees(0)


def test_trees_fail_a_method_of_lower_order():
    # Classical Runge-Kutta: order 4 exactly, so the test of conditions can tell.
    half = Fraction(1, 2)
    weights = StageWeights(((), (half,), (0, half), (0, 0, Fraction(1))))
    b = (Fraction(1, 6), Fraction(1, 3), Fraction(1, 3), Fraction(1, 6))
    assert all(weights.residual(b, tree) == 0 for tree in trees_to(4))
    assert any(weights.residual(b, tree) != 0 for tree in rooted_trees(5))


# Orders ----------------------------------------------------------------------------------------------------


def test_order_conditions(tableau):
    assert worst(tableau, tableau.b, tableau.order) <= (0 if tableau.exact else DECIMAL[tableau.name])
    assert worst(tableau, tableau.b, tableau.order + 1, only=True) > 1e-3


def test_embedded_order_conditions(tableau):
    for weights, order in embedded(tableau):
        assert worst(tableau, weights, order) <= (0 if tableau.exact else DECIMAL[tableau.name])
        assert worst(tableau, weights, order + 1, only=True) > 1e-3


def test_float_arrays_keep_the_order_conditions(tableau):
    weights = StageWeights([row[:i].tolist() for i, row in enumerate(tableau.A)], 1.0)
    b = tableau.B.tolist()
    bound = ROUND.get(tableau.name, 2e-13)
    assert max(abs(weights.residual(b, tree)) for tree in trees_to(tableau.order)) < bound
    for e, order in [(tableau.B - np.array([float(x) for x in w]), p) for w, p in embedded(tableau)]:
        for tree in trees_to(order):
            phi = weights.phi(tree)
            assert abs(density(tree) * np.dot(e, phi)) < bound


def test_one_wrong_digit_is_noticed():
    good = get("dop853")
    row = list(good.a[8])
    row[5] += Fraction(1, 10**15)
    a = (*good.a[:8], tuple(row), *good.a[9:])
    assert worst(replace(good, a=a), good.b, 8) > 1e-16 > worst(good, good.b, 8)


def test_row_sums_and_fsal(tableau):
    tolerance = 0 if tableau.exact else Fraction(1, 10**16 if tableau.name == "dopri8" else 10**27)
    for c, row in zip(tableau.c + tableau.dense_c, tableau.a + tableau.dense_a, strict=True):
        assert abs(sum(row) - c) <= tolerance
    own = ("adaptive_heun", "fehlberg2", "vern7", "vern8", "vern9", "fehlberg45")
    assert tableau.fsal == (tableau.name not in own) and (tableau.c[-1] == 1) == (tableau.name != "fehlberg45")
    assert tableau.fsal == (tableau.a[-1] == tableau.b[:-1]) and (tableau.b[-1] == 0 or not tableau.fsal)
    assert abs(sum(tableau.e)) <= tolerance


# Dense output ----------------------------------------------------------------------------------------------


def continuous_defects(tableau, order):
    """Defects of the continuous order conditions for every power of theta, trees of exactly `order` nodes."""
    weights, convert = arithmetic(tableau, extended=True)
    out = []
    for tree in rooted_trees(order):
        phi = weights.phi(tree)
        for j, column in enumerate(zip(*map(convert, tableau.dense), strict=True)):
            value = sum(p * x for p, x in zip(column, phi, strict=True))
            out.append(abs(value * density(tree) - (j + 1 == order)))
    return out


def test_dense_order_conditions_hold_for_every_theta(tableau):
    tolerance = DENSE.get(tableau.name, 0)
    for order in range(1, tableau.dense_order + 1):
        assert max(continuous_defects(tableau, order)) <= tolerance
    assert max(continuous_defects(tableau, tableau.dense_order + 1)) > 1e-3


def test_dense_output_joins_value_and_slope(tableau):
    tolerance = {"dop853": Fraction(1, 10**22)}.get(tableau.name, Fraction(int(tableau.name in DENSE), 10**39))
    b = tableau.b + (0,) * tableau.dense_stages
    last = tableau.end
    for i, row in enumerate(tableau.dense):
        assert abs(sum(row) - b[i]) <= tolerance
        assert row[0] == (i == 0)
        assert abs(sum((j + 1) * p for j, p in enumerate(row)) - (i == last)) <= tolerance


def pendulum(t, y):
    return np.array([y[1], -np.sin(y[0]) + 0.3 * np.cos(2.0 * t)])


def butcher(t, y):
    power = 10 * t * np.exp(5 * (y[2] - 1)) * y[3]
    return np.array([2 * t * y[1] ** 0.2 * y[3], power, 2 * t * y[3], -2 * t * np.log(y[0])])


def butcher_exact(t):
    """Closed form: (exp s, exp 5s, s + 1, cos t^2) with s = sin t^2; (len(t), 4)."""
    s = np.sin(t * t)
    return np.stack([np.exp(s), np.exp(5 * s), s + 1, np.cos(t * t)], axis=-1)


def attempt(tableau, rhs, t, y, h):
    """One step in plain NumPy: stages (dense ones included) and y_new."""
    c = np.concatenate([tableau.C, tableau.dense_C])
    a = np.zeros((len(c), len(c)))
    a[: tableau.stages, : tableau.stages] = tableau.A
    a[tableau.stages :] = tableau.dense_A
    k = np.zeros((len(c), len(y)))
    for i in range(len(c)):
        k[i] = rhs(t + c[i] * h, y + h * a[i] @ k)
    return k, y + h * tableau.B @ k[: tableau.stages]


def interpolate(tableau, y, h, k, theta):
    powers = theta[:, None] ** np.arange(1, tableau.P.shape[1] + 1)
    return y + h * (powers @ tableau.P.T) @ k


def hermite_form(tableau, y, y1, h, k, theta):
    """The same polynomial as cubic Hermite plus theta^2 (1 - theta)^2 D k."""
    x, last = theta[:, None], tableau.stages - 1
    bubble = (theta[:, None] ** np.arange(tableau.D.shape[1]) @ tableau.D.T) @ k
    cubic = (1 - x) * y + x * y1 + x * (1 - x) * (
        (1 - 2 * x) * (y - y1) + (1 - x) * h * k[0] - x * h * k[last]
    )  # fmt: skip
    return cubic + h * (x * (1 - x)) ** 2 * bubble


@pytest.mark.parametrize("name", [name for name in NAMES if get(name).fsal])
def test_both_forms_of_the_dense_output_are_the_same_polynomial(name):
    tableau = get(name)
    h, theta = 0.2, np.linspace(0.0, 1.0, 41)
    y0 = butcher_exact(np.array(0.3))
    k, y1 = attempt(tableau, butcher, 0.3, y0, h)
    power, hermite = interpolate(tableau, y0, h, k, theta), hermite_form(tableau, y0, y1, h, k, theta)
    atol = 5e-12 if name == "vern6" else 5e-13 if name in EIGHT else 5e-14
    np.testing.assert_allclose(hermite, power, rtol=0, atol=atol)
    np.testing.assert_array_equal(hermite[0], y0)
    np.testing.assert_array_equal(hermite[-1], y1)
    assert tableau.D.shape == (tableau.stages + tableau.dense_stages, max(len(tableau.dense[0]) - 3, 0))


def test_hermite_form_needs_joined_slopes():
    linear = tuple((b,) for b in get("bs32").b)
    with pytest.raises(ValueError, match="join"):
        _ = replace(get("bs32"), dense=linear, dense_order=1).D


def test_dop853_hermite_form_equal_to_scipy():
    # SciPy's nested F_3 ... F_6: F_3 + theta F_4 + theta (1 - theta) F_5 + theta^2 (1 - theta) F_6.
    f3, f4, f5, f6 = dop853_coefficients.D
    expected = np.stack([f3, f4 + f5, f6 - f5, -f6], axis=1)
    np.testing.assert_allclose(get("dop853").D, expected, rtol=4e-16, atol=2e-13)


#: those of `MORE` converge in `test_more_pairs`, in more digits
in_float64 = pytest.mark.parametrize("tableau", [name for name in NAMES if name not in MORE], indirect=True)


@in_float64
def test_dense_output_converges_at_its_order(tableau):
    t0, theta = 0.3, np.linspace(0.05, 0.95, 19)
    y0 = butcher_exact(np.array(t0))
    errors = []
    for h in (0.1, 0.05) if tableau.name == "dop853" else (0.05, 0.025):
        k, y1 = attempt(tableau, butcher, t0, y0, h)
        values = interpolate(tableau, y0, h, k, theta)
        errors.append(np.abs(values - butcher_exact(t0 + theta * h)).max())
        assert np.abs(interpolate(tableau, y0, h, k, np.array([1.0]))[0] - y1).max() < 5e-13
    assert np.log2(errors[0] / errors[1]) == pytest.approx(tableau.dense_order + 1, abs=0.2)


@in_float64
def test_step_converges_at_the_order_and_estimate_at_the_embedded_order(tableau):
    t0 = 0.3
    y0 = butcher_exact(np.array(t0))
    errors, estimates = [], []
    for h in {"dop853": (0.2, 0.1), "dopri8": (0.12, 0.06)}.get(tableau.name, (0.05, 0.025)):
        k, y1 = attempt(tableau, butcher, t0, y0, h)
        k = k[: tableau.stages]
        errors.append(np.abs(y1 - butcher_exact(np.array(t0 + h))).max())
        if tableau.error == "embedded":
            estimates.append(np.linalg.norm(h * tableau.E @ k))
        else:
            s5, s3 = np.linalg.norm(h * tableau.E5 @ k), np.linalg.norm(h * tableau.E3 @ k)
            estimates.append(s5**2 / np.hypot(s5, 0.1 * s3))
    # dopri8's leading term is so small that the next one shows
    slack = 0.8 if tableau.name == "dopri8" else 0.6
    assert np.log2(errors[0] / errors[1]) == pytest.approx(tableau.order + 1, abs=slack)
    assert np.log2(estimates[0] / estimates[1]) == pytest.approx(tableau.embedded_order + 1, abs=0.6)


# Against codes that nobody here wrote ----------------------------------------------------------------------


@pytest.mark.parametrize("name, scipy_class", [("bs32", integrate.RK23), ("dopri5", integrate.RK45)])
def test_equal_to_scipy_pairs(name, scipy_class):
    ours, s = get(name), scipy_class.n_stages
    np.testing.assert_array_equal(ours.A[:s, :s], np.pad(scipy_class.A, (0, s))[:s, :s])
    np.testing.assert_array_equal(ours.B[:s], scipy_class.B)
    np.testing.assert_array_equal(ours.C[:s], scipy_class.C)
    np.testing.assert_allclose(ours.E, -scipy_class.E, rtol=0, atol=1e-17)  # SciPy: b_hat - b
    np.testing.assert_allclose(ours.P, scipy_class.P, rtol=2e-16, atol=0)
    assert ours.embedded_order == scipy_class.error_estimator_order


def test_equal_to_scipy_dop853():
    ours, theirs = get("dop853"), dop853_coefficients
    np.testing.assert_array_equal(ours.A, theirs.A[:13, :13])
    np.testing.assert_array_equal(ours.dense_A, theirs.A[13:])
    np.testing.assert_array_equal(np.concatenate([ours.C, ours.dense_C]), theirs.C)
    np.testing.assert_array_equal(ours.B[:12], theirs.B)
    np.testing.assert_array_equal(ours.E5, theirs.E5)
    np.testing.assert_allclose(ours.E3, theirs.E3, rtol=0, atol=1e-16)
    assert ours.embedded_order == integrate.DOP853.error_estimator_order


def test_dop853_dense_output_equal_to_scipy():
    y0, h = np.array([1.2, 0.4]), 0.7
    solver = integrate.DOP853(pendulum, 0.3, y0, 5.0, first_step=h, rtol=1e-3, atol=1e-3)
    solver.step()
    assert solver.step_size == h
    ours, theta = get("dop853"), np.linspace(0.0, 1.0, 21)
    k, y1 = attempt(ours, pendulum, 0.3, y0, h)
    np.testing.assert_allclose(y1, solver.y, rtol=0, atol=2e-15)
    theirs = solver.dense_output()(0.3 + h * theta).T
    np.testing.assert_allclose(hermite_form(ours, y0, y1, h, k, theta), theirs, rtol=0, atol=1e-14)
    np.testing.assert_allclose(interpolate(ours, y0, h, k, theta), theirs, rtol=0, atol=1e-13)


def test_tsit5_dense_output_equal_to_published_factors():
    # The factored weights as printed in Tsitouras 2011 and used by OrdinaryDiffEq.jl, torchode and diffrax.
    t = np.linspace(0.0, 1.0, 31)
    published = np.stack([
        -1.0530884977290216 * t * (t - 1.3299890189751412)
        * (t**2 - 1.4364028541716351 * t + 0.7139816917074209),
        0.1017 * t**2 * (t**2 - 2.1966568338249754 * t + 1.2949852507374631),
        2.490627285651252793 * t**2 * (t**2 - 2.38535645472061657 * t + 1.57803468208092486),
        -16.54810288924490272 * (t - 1.21712927295533244) * (t - 0.61620406037800089) * t**2,
        47.37952196281928122 * (t - 1.203071208372362603) * (t - 0.658047292653547382) * t**2,
        -34.87065786149660974 * (t - 1.2) * (t - 0.666666666666666667) * t**2,
        2.5 * (t - 1) * (t - 0.6) * t**2,
    ])  # fmt: skip
    ours = get("tsit5").P @ t[None, :] ** np.arange(1, 5)[:, None]
    np.testing.assert_allclose(ours, published, rtol=0, atol=3e-14)


def test_tsit5_error_weights_equal_to_published():
    # Tsitouras 2011, table 1, with the sign of the last entry mended.
    published = [
        0.001780011052226, 0.000816434459657, -0.007880878010262, 0.144711007173263, -0.582357165452555,
        0.458082105929187, -1 / 66,
    ]  # fmt: skip
    np.testing.assert_allclose(get("tsit5").E, published, rtol=0, atol=6e-16)
