"""Forms of NumPy's functions that Numba does not compile by itself, and right-hand sides may use: equal to NumPy's."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import stepsmith as ss
from stepsmith.integrators.compile import array_forms  # noqa: F401

X, A = np.array([0.5, -1.5, 2.5]), np.arange(12.0).reshape(4, 3)
Z, WHOLE = X + 1j, np.arange(9).reshape(3, 3)

FORMS = {
    "concatenate": (lambda x: np.concatenate([x, -x[1:]]), X), "hstack": (lambda x: np.hstack([x[::2], x]), X),
    "vstack": (lambda x: np.vstack([x, -x]), X), "stack": (lambda x: np.stack([x, -x]), X),
    "column_stack": (lambda x: np.column_stack([x, -x]), X), "array of rows": (lambda x: np.array([x, -x]), X),
    "array of a tuple": (lambda x: np.array((x, -x)), X), "complex rows": (lambda x: np.array([x, -x]), Z),
    "whole @ real": (lambda x: WHOLE @ x, X), "real @ whole": (lambda x: x @ WHOLE, X),
    "real @ complex": (lambda x: A @ x, Z), "dot": (lambda x: np.dot(A, x), Z), "method dot": (lambda x: A.dot(x), Z),
    "matrices": (lambda x: x @ WHOLE, A), "mean": (lambda x: np.mean(x, axis=1), A),
    "mean of columns": (lambda x: np.mean(x, 0), A), "mean from behind": (lambda x: np.mean(x, axis=-1), A),
    "roll rows": (lambda x: np.roll(x, 1, axis=0), A), "roll columns": (lambda x: np.roll(x, -5, axis=1), A),
    "roll from behind": (lambda x: np.roll(x, 2, -1), A),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_each_form_is_numpys(name):
    form, value = FORMS[name]
    compiled, plain = numba.njit(form)(value), form(value)
    assert compiled.dtype == plain.dtype and compiled.shape == plain.shape
    assert compiled == pytest.approx(plain, rel=1e-15)


def test_rows_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="same length"):
        numba.njit(lambda x: np.array([x, x[1:]]))(X)


def test_large_states_in_rows():
    couplings = np.random.default_rng(0).integers(-1, 2, (40, 40))

    def network(t, y):
        v, w = y
        return [v - v**3 / 3 - w + 0.1 * (couplings @ v), 0.1 * (v + 0.7 - w)]

    y0 = np.random.default_rng(1).uniform(-1, 1, (2, 40))
    exact = solve_ivp(lambda t, y: np.ravel(network(t, y.reshape(2, 40))), (0, 5), y0.ravel(), "DOP853", rtol=1e-11,
                      atol=1e-12).y[:, -1]  # fmt: skip
    sol = ss.solve(ss.Problem(network, y0, (0, 5)), rtol=1e-8)
    assert sol.y[-1].ravel() == pytest.approx(exact, abs=1e-6)
