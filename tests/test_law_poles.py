"""Poles, zeros and orders of every linear law, measured on the simulated loop, against the published ones."""

import math

import numpy as np
import pytest

from law_driver import Driver, row
from stepsmith.controllers.laws import registry
from stepsmith.controllers.laws.table import LAWS
from stepsmith.integrators.core.contract import ACCEPT, LOG_FACTOR, N_OUT

#: a law without anything around it: no safety, no limits, accepts everything finite
BARE = {
    "safety": 1.0, "kappa": 0.0, "fmin": 0.0, "fmax": math.inf, "fmax_first": math.inf,
    "accept_err": math.inf,
    "accept_factor": 0.0, "after_max": math.inf, "after_min": 0.0, "keep_min": 0.0, "err_min": 1e-300,
    "err_floor": 1e-300, "err_start": 1.0, "min_i": 0.0, "newton_m": 0.0, "band_lo": 1.0, "band_hi": 1.0,
}  # fmt: skip
#: poles as published (Soderlind 2003; Soderlind & Wang 2006; Gustafsson), three figures
POLES = {
    "i": (0,), "pi30": (0.667,), "pi42": (0.690, -0.290), "pi33": (0.768, -0.434), "pi34": (0.8, -0.5),
    "dopri5_pi": (0.529, -0.379), "expgus": (0.731, -0.366), "pc11": (0, 0),
    "pc47": (0.45 + 0.31j, 0.45 - 0.31j),
    "pc36": (0.55 + 0.31j, 0.55 - 0.31j), "impgus": (0.035 + 0.221j, 0.035 - 0.221j), "h0211": (0, 0),
    "h211b": (0, 0.5), "h211pi": (1 / 3, 1 / 2), "h0312": (0, 0, 0), "h312b": (0, 0, 0.5),
    "h312pid": (0.5, 0.623, -0.178), "h0321": (0, 0, 0), "h321": (1 / 3, 1 / 2, 2 / 3),
    "scipy": (0,), "julia_pi": (0.8, -0.5), "arkode": (0, 0, 0), "petsc_dsp": (0.690, -0.290), "dop853": (0,),
    "universal_law": (0.610, -0.410), "multistep": (0,),
}  # fmt: skip
#: order of the filter's zero at q = -1, order of adaptivity (zeros of the error response at q = 1)
ORDERS = {
    "i": (0, 1), "pi34": (0, 1), "pc11": (0, 2), "pc47": (0, 2), "pc36": (0, 2), "impgus": (0, 2),
    "h0211": (1, 1),
    "h211b": (1, 1), "h211pi": (1, 1), "h0312": (2, 1), "h312b": (2, 1), "h312pid": (2, 1), "h0321": (1, 2),
    "h321": (1, 2), "arkode": (1, 2),
}  # fmt: skip


def impulse_response(law, order=5.0, n=24, eps=1e-3):
    """(log h, log E) over n steps when log phi of E = phi h^k has one impulse, of size 1, at the
    fourth accepted step.
    """

    def run(size):
        fn, params, state, out = law.phases[0].fn, law.params, np.zeros(law.n_state), np.zeros(N_OUT)
        law.init(params, state)
        lh, hs, es = 0.0, [], []
        for step in range(n + 4):
            le = order * lh + (size if step == 4 else 0.0)
            hs.append(lh)
            es.append(le)
            fn(params, state, row(math.exp(le), math.exp(lh), order), out)
            assert out[ACCEPT] == 1.0
            lh += out[LOG_FACTOR]
        return np.array(hs[4:]), np.array(es[4:])

    (hp, ep), (hm, em) = run(eps), run(-eps)
    return (hp - hm) / (2 * eps), (ep - em) / (2 * eps)


@pytest.mark.parametrize("name", sorted(POLES))
def test_poles_and_zeros_of_the_simulated_loop(name):
    """The formula itself is driven; its response times the published denominator must end after the
    numerator.
    """
    order = 5.0
    law = registry.get(name, **BARE)
    h, e = impulse_response(law, order)
    poles = np.array(POLES[name] + (0,) * (3 - len(POLES[name])))
    published = np.poly(poles).real
    left = np.convolve(h, published)[: len(h)]
    assert np.abs(left[4:]).max() < 4e-3, "published poles"
    exact = np.poly(law.poles()).real
    numerator = np.convolve(h, exact)[: len(h)]
    gains = np.array([law["b1"], law["b2"], law["b3"]])
    assert numerator[1:4] == pytest.approx(-gains / order, abs=1e-11)
    assert np.abs(numerator[4:]).max() < 1e-11
    assert np.sort_complex(law.poles()) == pytest.approx(np.sort_complex(poles.astype(complex)), abs=4e-3)
    if name in ORDERS:
        filter_order, adaptivity = ORDERS[name]
        num = np.trim_zeros(numerator[1:4].round(12), "b")
        assert _multiplicity(num, -1.0) == filter_order
        assert _multiplicity(np.convolve(e, exact)[:4], 1.0) == adaptivity


def _multiplicity(poly, at, tol=1e-8):
    """Order of the zero of a polynomial (highest power first) at a point."""
    order = 0
    while len(poly) > 1 and abs(np.polyval(poly, at)) < tol:
        poly = np.polydiv(poly, [1.0, -at])[0]
        order += 1
    return order


@pytest.mark.parametrize(("name", "modulus"), [("sundials_pi", 0.666), ("sundials_pid", 0.472)])
def test_arkode_poles_by_their_largest_modulus(name, modulus):
    law = registry.get(name)
    assert abs(law.poles()[0]) == pytest.approx(modulus, abs=5e-4)
    h, _ = impulse_response(registry.get(name, **BARE))
    numerator = np.convolve(h, np.poly(law.poles()).real)[: len(h)]
    assert numerator[1:4] == pytest.approx([-law["b1"] / 5, -law["b2"] / 5, -law["b3"] / 5], abs=1e-11)
    assert np.abs(numerator[4:]).max() < 1e-11


def test_every_linear_law_is_stable_and_listed():
    for name in registry.names("linear"):
        assert abs(registry.get(name).poles()[0]) < 0.85, name
    assert set(POLES) | {"sundials_pi", "sundials_pid", "predictive", "radau5", "rodas", "scipy_radau", "torchdiffeq",
                         "diffrax", "torchode"} == set(LAWS)  # fmt: skip


def test_safety_inside_equals_outside_to_the_power_of_the_gains():
    """.9 inside is .969 outside for PI34, and the equilibrium errors are .59 and .17 (k = 5)."""
    inside = registry.get("pi34", **{**BARE, "safety_inside": 0.9})
    outside = registry.get("pi34", **{**BARE, "safety": 0.9**0.3})
    assert outside["safety"] == pytest.approx(0.969, abs=5e-4)
    for law, error in ((inside, 0.59), (outside, 0.59), (registry.get("pi34", **{**BARE, "safety": 0.9}), 0.17)):
        driver, h = Driver(law), 1.0
        for _ in range(200):
            h *= driver(h**5, h)[1]
        assert h**5 == pytest.approx(error, abs=5e-3)
    a, b = Driver(inside), Driver(outside)
    for err in (0.3, 0.7, 0.2):
        factors = a(err), b(err)
    assert factors[0] == pytest.approx(factors[1])
