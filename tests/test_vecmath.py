"""Elementary functions of compiled code against mpmath, their special values, and the packed instructions they become.
"""

from __future__ import annotations

import math
import re

import mpmath
import numba
import numpy as np
import pytest

from stepsmith.integrators.compile import vecmath
from stepsmith.integrators.compile.lanes import FASTMATH

RNG = np.random.default_rng(0)


def mapped(fn):
    """fn over an array, compiled as kernels are."""

    @numba.njit(fastmath=FASTMATH, error_model="numpy")
    def run(x, out):
        for i in range(x.shape[0]):
            out[i] = fn(x[i])

    def call(x):
        x = np.asarray(x, dtype=np.float64)
        out = np.empty_like(x)
        run(x, out)
        return out

    call.jitted = run
    return call


COMPILED = {
    name: mapped(getattr(vecmath, name)) for name in ("exp", "log", "tanh", "atan", "sin", "cos", "sqrt", "fabs")
}


def ulps(got, exact):
    """Largest distance in units of the last place of the exact values (mpmath numbers)."""
    with mpmath.workprec(200):
        return max(
            float(abs(mpmath.mpf(float(g)) - e) / mpmath.mpf(math.ulp(abs(float(e)))))
            for g, e in zip(got, exact, strict=True)
        )


def spread(low, high, n=1500):
    """Values of either sign whose logarithms are spread over [log low, log high]."""
    x = np.exp(RNG.uniform(math.log(low), math.log(high), n))
    return np.concatenate([x, -x])


POINTS = {
    "exp": np.concatenate([RNG.uniform(-708, 709.7, 3000), spread(1e-12, 1.0), np.arange(-40, 41) * math.log(2) / 2]),
    "log": np.concatenate(
        [np.abs(spread(1e-307, 1e308)), 1.0 + spread(1e-15, 0.3), [math.sqrt(0.5), math.sqrt(2.0), 5e-324, 1e-310]]
    ),
    "tanh": np.concatenate([spread(1e-8, 30.0), [0.625, -0.625, math.nextafter(0.625, 1.0)]]),
    "atan": np.concatenate([spread(1e-8, 1e8), [0.66, 2.414213562373095, 1.0, -1.0]]),
    "sin": spread(1e-8, 1.5),
    "cos": spread(1e-8, 1.5),
}


@pytest.mark.parametrize("name", POINTS)
def test_two_units_in_the_last_place(name):
    x = POINTS[name]
    with mpmath.workprec(200):
        exact = [getattr(mpmath, name)(mpmath.mpf(float(v))) for v in x]
    assert ulps(COMPILED[name](x), exact) <= 2.0


def nearest_multiples(n):
    """The float64 nearest to n pi/2 for whole numbers n, and its neighbours."""
    with mpmath.workprec(200):
        near = [float(int(k) * mpmath.pi / 2) for k in n]
    return np.array([v for x in near for v in (x, math.nextafter(x, 0.0), math.nextafter(x, math.inf))])


ANGLES = {
    "to 1e6": np.concatenate([spread(1.0, 1e6), np.arange(-2000, 2001) * (math.pi / 2)]),
    "to 1e15": spread(1e6, 1e15, 4000),
    "multiples of pi/2": nearest_multiples(np.exp(RNG.uniform(0.0, math.log(6.3e14), 1500))),
    # where the reduction changes its first part, and x close to multiples of pi/2 among all float64 (6381956970095103
    # 2**k is closest)
    "seams": np.concatenate([
        nearest_multiples([(2 * k + 1) * 2**20 + d for k in (0, 1, 5, 2**20 + 3, 2**28 - 7) for d in (-1, 0, 1)]),
        [6381956970095103.0 * 2.0**k for k in range(-52, -2)], [math.nextafter(1e6, 2e6), 1e6, 1e15, -1e15],
    ]),
    "Unix time": (1.7e9 + RNG.uniform(0.0, 1e7, 1000)) * (2.0 * math.pi / 86400.0),
    "Unix time, every second": 2.0 * math.pi * (1.7e9 + RNG.uniform(0.0, 1e7, 1000)),
}  # fmt: skip


@pytest.mark.parametrize("name", ["sin", "cos"])
@pytest.mark.parametrize("where", ANGLES)
def test_large_angles(name, where):
    x = ANGLES[where]
    with mpmath.workprec(250):
        exact = np.array([float(getattr(mpmath, name)(mpmath.mpf(float(v)))) for v in x])
    assert np.abs(COMPILED[name](x) - exact).max() <= 4e-16


@pytest.mark.parametrize("name", ["sin", "cos"])
def test_no_sine_rather_than_a_wrong_one(name):
    assert np.isnan(COMPILED[name]([1.1e15, -2e15, 1e22, -1e300, np.inf, np.nan])).all()


def test_special_values():
    inf, nan = np.inf, np.nan
    cases = {
        "exp": ([0.0, inf, -inf, 710.0, -746.0, nan], [1.0, inf, 0.0, inf, 0.0, nan]),
        "log": ([1.0, 0.0, inf, -1.0, nan, -inf], [0.0, -inf, inf, nan, nan, nan]),
        "tanh": ([0.0, inf, -inf, 800.0, -800.0, nan], [0.0, 1.0, -1.0, 1.0, -1.0, nan]),
        "atan": ([0.0, inf, -inf, nan], [0.0, math.pi / 2, -math.pi / 2, nan]),
        "sqrt": ([0.0, 4.0, inf, -1.0, nan], [0.0, 2.0, inf, nan, nan]),
        "fabs": ([-0.0, -3.0, -inf, nan], [0.0, 3.0, inf, nan]),
    }
    for name, (x, want) in cases.items():
        np.testing.assert_array_equal(COMPILED[name](x), want, err_msg=name)


def test_exp_flushes_subnormals_and_reaches_the_largest_number():
    assert COMPILED["exp"]([-708.5])[0] == 0.0
    assert COMPILED["exp"]([709.78])[0] == pytest.approx(math.exp(709.78), rel=1e-15)


@numba.njit(fastmath=FASTMATH, error_model="numpy")
def _two(x, y, low, high, pick, power):
    for i in range(x.shape[0]):
        low[i] = vecmath.minimum(x[i], y[i])
        high[i] = vecmath.maximum(x[i], y[i])
        pick[i] = vecmath.where(x[i] > y[i], x[i], 7)
        power[i] = vecmath.pow_(x[i], y[i])


def test_functions_of_two_arguments():
    x = np.array([1.0, 2.0, np.nan, 3.0, -np.inf, np.nan, 0.5])
    y = np.array([2.0, 1.0, 1.0, np.nan, np.inf, np.nan, 0.5])
    low, high, pick, power = np.empty((4, 7))
    _two(x, y, low, high, pick, power)
    np.testing.assert_array_equal(low, np.minimum(x, y))
    np.testing.assert_array_equal(high, np.maximum(x, y))
    np.testing.assert_array_equal(pick, np.where(x > y, x, 7.0))
    np.testing.assert_allclose(power[[0, 1, 6]], [1.0, 2.0, 0.5**0.5], rtol=1e-15)
    assert np.isnan(power[[2, 3, 4, 5]]).all()


def test_python_calls_are_numpys():
    x = np.array([0.3, 1.7])
    for name in COMPILED:
        fn = getattr(vecmath, name)
        np.testing.assert_array_equal(fn(x), getattr(np, {"atan": "arctan", "fabs": "abs"}.get(name, name))(x))
        assert float(fn(0.3)) == fn(x)[0]
    assert vecmath.where(True, 1.0, 2.0) == 1.0
    np.testing.assert_array_equal(vecmath.where(x > 1, x, 0.0), [0.0, 1.7])


@pytest.mark.parametrize("name", ["exp", "log", "tanh", "atan", "sin", "cos", "sqrt"])
def test_loops_over_them_are_packed(name):
    if numba.core.config.DISABLE_JIT:
        pytest.skip("needs the compiler")
    COMPILED[name]([1.0])
    asm = next(iter(COMPILED[name].jitted.inspect_asm().values()))
    wide = re.findall(r"\b(?:v?mulpd|vfm\w+pd|v?sqrtpd|fmla\tv\S+2d|fmul\tv\S+2d|fsqrt\tv\S+2d)\b", asm)
    assert wide, f"{name} runs one number at a time"
