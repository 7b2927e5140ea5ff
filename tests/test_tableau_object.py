"""Explicit tableaus: stability and stiffness, the object's arrays and errors, the registry."""

import subprocess
import sys
from dataclasses import replace
from fractions import Fraction

import mpmath
import numpy as np
import pytest

from stepsmith.integrators.methods.tableaus import NAMES, ExplicitTableau, get


@pytest.fixture(autouse=True)
def sixty_digits():
    with mpmath.workdps(60):
        yield


@pytest.fixture(params=NAMES)
def tableau(request):
    return get(request.param)


# Stability and stiffness -----------------------------------------------------------------------------------


PUBLISHED_RADIUS = {"bs32": 2.51, "dopri5": 3.3066, "tsit5": 3.5068}


@pytest.mark.parametrize("name", NAMES)
def test_stability_radius(name):
    tableau = get(name)
    if name in PUBLISHED_RADIUS:
        assert tableau.stability_radius == pytest.approx(PUBLISHED_RADIUS[name], abs=5e-3)
    # An independent way: the first root of |R| = 1 by polynomial roots in 60 digits.
    r = [mpmath.mpf(x.numerator) / x.denominator for x in tableau.stability_polynomial]
    crossings = []
    for side in (1, -1):
        for root in mpmath.polyroots([*reversed(r[1:]), r[0] - side], maxsteps=500, extraprec=200):
            if abs(mpmath.im(root)) < 1e-30 and mpmath.re(root) < -1e-9:
                crossings.append(-mpmath.re(root))
    assert tableau.stability_radius == pytest.approx(float(min(crossings)), abs=1e-11)


def test_stability_polynomial_is_the_methods_answer_to_a_linear_problem(tableau):
    z = -1.7
    k = np.zeros(tableau.stages)
    for i in range(tableau.stages):
        k[i] = z * (1.0 + tableau.A[i] @ k)
    value = np.polynomial.polynomial.polyval(z, [float(r) for r in tableau.stability_polynomial])
    # weights of 176 and 172, and of up to 32
    assert 1.0 + tableau.B @ k == pytest.approx(value, abs={"vern6": 5e-11, "vern8": 1e-12}.get(tableau.name, 1e-13))
    # R agrees with exp up to the order and not beyond.
    factorials = [Fraction(1)]
    for n in range(1, tableau.order + 2):
        factorials.append(factorials[-1] / n)
    differences = [abs(x - y) for x, y in zip(tableau.stability_polynomial, factorials, strict=False)]
    assert max(differences[: tableau.order + 1]) <= (
        0 if tableau.exact else Fraction(1, 10**17 if tableau.name == "dopri8" else 10**24)
    )
    if len(tableau.stability_polynomial) > tableau.order + 1:
        assert differences[tableau.order + 1] > Fraction(1, 10**9)


@pytest.mark.parametrize("name", [name for name in NAMES if get(name).stiffness])
def test_stiffness_pair_finds_the_eigenvalue(name):
    # y' = -50 (y - cos t): the quotient of stage differences is the eigenvalue's size, whatever h.
    tableau = get(name)
    i, j = tableau.stiffness
    assert tableau.c[i] == tableau.c[j] == 1
    h, y = 0.03, 0.8
    k, g = np.zeros(tableau.stages), np.zeros(tableau.stages)
    for s in range(tableau.stages):
        g[s] = y + h * tableau.A[s] @ k
        k[s] = -50.0 * (g[s] - np.cos(tableau.C[s] * h))
    assert abs(k[j] - k[i]) / abs(g[j] - g[i]) == pytest.approx(50.0, rel=1e-9)
    assert get("bs32").stiffness is None


# The object and the registry -------------------------------------------------------------------------------


def test_arrays_are_float64_read_only_and_padded(tableau):
    s, d = tableau.stages, tableau.dense_stages
    shapes = {"A": (s, s), "B": (s,), "C": (s,), "E": (s,), "P": (s + d, len(tableau.dense[0])),
              "dense_A": (d, s + d), "dense_C": (d,)}  # fmt: skip
    for label, shape in shapes.items():
        array = getattr(tableau, label)
        assert array.shape == shape and array.dtype == np.float64
        assert array is getattr(tableau, label)
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0
    assert np.all(np.triu(tableau.A) == 0)
    if tableau.error == "embedded":
        with pytest.raises(ValueError, match="one embedded formula"):
            _ = tableau.E5


@pytest.mark.parametrize(
    "given, nearest", [("Tsit5", "tsit5"), ("dop835", "dop853"), ("rk45", "bs32"), (None, "bs32")]
)
def test_unknown_name_lists_the_nearest(given, nearest):
    with pytest.raises(ValueError, match=nearest):
        get(given)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"a": get("bs32").a[:-1]}, "a has 3 rows"),
        ({"a": ((), (), (Fraction(0), Fraction(3, 4)), get("bs32").b[:-1])}, "row 1 of a"),
        ({"b": get("bs32").b[:-1]}, "b must have 4"),
        ({"b": tuple(reversed(get("bs32").b))}, "fsal"),
        ({"a": (*get("bs32").a[:-1], (1, 0, 0))}, "fsal"),
        ({"c": ()}, "empty"),
        ({"error": "richardson"}, "richardson"),
        ({"error": "hairer853"}, "e5"),
        ({"e3": get("bs32").e}, "e3"),
        ({"dense": get("bs32").dense[:-1]}, "dense must have 4"),
        ({"dense": (*get("bs32").dense[:-1], (0, 1))}, "differ in length"),
        ({"dense_c": (Fraction(1, 2),)}, "dense_a"),
        ({"dense_c": (Fraction(1, 2),), "dense_a": ((),)}, "row 0 of dense_a"),
        ({"stiffness": (2, 3)}, "equal c"),
    ],
)
def test_parts_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(get("bs32"), **change)


def test_unstable_method_has_no_stability_radius():
    rows = {"c": (Fraction(0),), "a": ((),), "e": (Fraction(0),), "fsal": False, "dense": ((Fraction(-1),),)}
    shape = {"name": "backwards", "order": 0, "embedded_order": 0, "dense_order": 0, "exact": True}
    with pytest.raises(ValueError, match="unstable"):
        _ = ExplicitTableau(b=(Fraction(-1),), **rows, **shape).stability_radius
    with pytest.raises(ValueError, match="constant"):
        _ = ExplicitTableau(b=(Fraction(0),), **rows, **shape).stability_radius


def test_import_stays_light():
    code = (
        "import sys; import stepsmith.integrators.methods.tableaus as t; t.get('dop853');"
        "print(sorted({'scipy', 'numba', 'torch', 'mpmath'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
