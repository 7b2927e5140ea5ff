"""The error of stiff solves follows the tolerance down to 1e-9 and below; orders on Prothero-Robinson are those of
theory.
"""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from stepsmith import Problem, solve
from stepsmith.controllers.laws import registry
from stepsmith.integrators import methods
from stepsmith.integrators.compile.vecmath import cos, sin


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parent.parent / "benchmarks" / "stiff_order.py"
    spec = importlib.util.spec_from_file_location("stiff_order", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Medical Akzo's inflow jumps at t = 5, which makes its errors scatter: a decade more of tolerance, wider bounds
@pytest.mark.parametrize(
    ("problem", "method"),
    [
        ("rober", "radau5"), ("rober", "rodas5p"), ("hires", "esdirk43"), ("orego", "kvaerno5"),
        ("vdpol_stiff", "radau5"),
        ("pollu", "rodas5p"), ("e5", "radau5"), ("medical_akzo_20", "rodas5p"),
    ],
)  # fmt: skip
def test_error_follows_tolerance(bench, problem, method):
    tolerances = 10.0 ** np.arange(-4.0, -11.01, -1.0)
    error, own = bench.errors(problem, method, bench.LAWS[method], tolerances)
    assert own < 1e-11 and np.isfinite(error).all()
    assert error.min() < 1e-9 and error[-1] < 1e-9
    ideal, jump = bench.ideal(method), problem == "medical_akzo_20"
    assert ideal == (1.25 if method == "radau5" else 1.0)
    assert ideal * (0.7 if jump else 0.8) < bench.slope(tolerances, error, own) < ideal * (1.4 if jump else 1.2)
    if not jump:  # two decades of tolerance are never wasted
        later = error[2:]
        assert np.all((later < 0.2 * error[:-2]) | (later < 1e-11))


def test_slope_leaves_out_order_one_and_round_off(bench):
    tol = 10.0 ** np.arange(-1.0, -12.0, -1.0)
    error = np.maximum(5.0 * tol**1.25, 2e-12)
    error[0] = 0.9
    assert bench.slope(tol, error, 1e-15) == pytest.approx(1.25, abs=1e-9)
    assert bench.slope(tol, np.maximum(error, 1e-6), 1e-15) == pytest.approx(1.25, abs=1e-9)
    assert np.isnan(bench.slope(tol, np.full(tol.size, np.inf), 1e-15))


# Prothero and Robinson (1974): y' = lambda (y - sin t) + cos t, y = sin t


def prothero_robinson(t, y, p, dy):
    dy[0] = p[0] * (y[0] - sin(t)) + cos(t)


def prothero_robinson_jac(t, y, p, J):
    J[0, 0] = p[0]


def largest_errors(method, rate, steps):
    """Over the whole run 0.5 .. 2.5, for constant steps."""
    out = []
    for h in steps:
        problem = Problem(prothero_robinson, [math.sin(0.5)], (0.5, 2.5), [rate], jac=prothero_robinson_jac)
        sol = solve(problem, method, registry.constant(h), rtol=1e-12, atol=1e-12, first_step=h)
        assert sol.success and sol.stats.nreject == 0 and sol.stats.naccept == round(2.0 / h)
        out.append(np.abs(sol.y[:, 0] - np.sin(sol.t)).max())
    return np.array(out)


# q of an error ~ h^q / |lambda|, that of a stiffly accurate method with stage order q (Hairer & Wanner II, IV.15, table
# 15.2; for Rodas5P see G. Steinebach, BIT 63 (2023) 27).  ROS3PRw, not stiffly accurate, is built for h^3 whatever
# lambda is (Rang 2014).
STIFF_ORDERS = {"radau5": 3, "kvaerno5": 2, "esdirk43": 2, "rodas5p": 3, "ros34pw2": 2, "ros3prw": 3}


@pytest.mark.parametrize("method", STIFF_ORDERS)
def test_orders_on_prothero_robinson(method):
    steps = 2.0 ** -np.arange(3.0, 6.0)
    order = methods.get(method).order
    # not stiff: the classical order
    mild = np.log2(largest_errors(method, -1.0, steps[:2]))
    assert -np.diff(mild) == pytest.approx(order, abs=0.15)
    stiff = largest_errors(method, -1e6, steps)
    slopes = -np.diff(np.log2(stiff))
    softer = largest_errors(method, -1e5, steps[:1])[0]
    if method == "ros3prw":
        assert np.all(slopes > 2.9) and softer == pytest.approx(stiff[0], rel=0.05)
    else:
        assert slopes == pytest.approx(STIFF_ORDERS[method], abs=0.1)
        assert softer == pytest.approx(10.0 * stiff[0], rel=0.1)
    assert np.all(stiff < 1e-5)
