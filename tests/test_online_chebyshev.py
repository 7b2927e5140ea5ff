"""ChebCB: its polynomials and fits against NumPy and SciPy, its probabilities, contexts that decide the best arm."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.polynomial import chebyshev as cheb
from scipy.optimize import minimize

from online_cases import contextual, play
from stepsmith.controllers.online import ChebCB
from stepsmith.controllers.online.chebyshev import fitted


def test_chebcb_finds_the_best_arm_of_each_context():
    costs, contexts = contextual(3000, 0)
    arms = play(ChebCB(5, 0, context_range=(-1.0, 2.0)), costs, contexts)
    late = slice(2000, None)
    paid = costs[np.arange(3000), arms][late].mean()
    best_fixed, best_each = costs[late].mean(0).min(), costs[late].min(1).mean()
    assert paid < best_each + 0.15 * (best_fixed - best_each)


def test_features_are_chebyshev_polynomials():
    bandit = ChebCB(1, context_range=(-1.0, 2.0), coefficients=7)
    for context in (-1.0, -0.3, 0.5, 1.9, 2.0):
        z = (2.0 * context - 1.0) / 3.0
        np.testing.assert_allclose(bandit.features(context), cheb.chebvander(z, 6)[0], atol=1e-14)


@pytest.mark.parametrize("rounds", [1, 3, 40])
def test_the_fit_is_the_least_squares_fit(rounds):
    rng = np.random.default_rng(rounds)
    X, y = cheb.chebvander(rng.uniform(-1, 1, rounds), 5), rng.random(rounds)
    wanted = np.linalg.lstsq(X, y, rcond=1e-5)[0]
    np.testing.assert_allclose(fitted(X.T @ X, X.T @ y, np.full(6, 1e9)), wanted, atol=1e-6)


def test_the_fit_keeps_its_bounds():
    rng = np.random.default_rng(0)
    X, y, bound = cheb.chebvander(rng.uniform(-1, 1, 30), 3), rng.normal(0.0, 3.0, 30), np.array([0.2, 0.1, 0.5, 0.01])
    theta = fitted(X.T @ X, X.T @ y, bound)
    assert (np.abs(theta) <= bound * (1 + 1e-12)).all()

    def objective(v):
        return float(((X @ v - y) ** 2).sum())

    other = minimize(objective, np.zeros(4), bounds=list(zip(-bound, bound, strict=True)), options={"ftol": 1e-15}).x
    assert objective(theta) <= objective(other) * (1 + 1e-9)


def test_probabilities_of_chebcb_fall_with_the_gap():
    costs, contexts = contextual(200, 1)
    bandit = ChebCB(5, 0, context_range=(-1.0, 2.0))
    play(bandit, costs, contexts)
    y, p = bandit.predictions(0.4), bandit.probabilities(0.4)
    assert p.argmax() == y.argmin() and p.min() > 0.0 and abs(p.sum() - 1.0) < 1e-12
    others = np.argsort(y)[1:]
    assert (np.diff(p[others]) <= 0.0).all()
    # 1/p - K is proportional to the gap
    ratio = (1.0 / p[others] - 5.0) / (y[others] - y.min())
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)


def test_a_context_out_of_range_is_counted_and_warned_of():
    bandit = ChebCB(2, context_range=(0.0, 1.0))
    with pytest.warns(UserWarning, match="give a wider context_range"):
        bandit.update(bandit.draw(3.0), 1.0, 3.0)
    assert bandit.outside == 1
    np.testing.assert_array_equal(bandit.features(3.0), bandit.features(1.0))
