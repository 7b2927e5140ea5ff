"""Bandits: probabilities against mpmath, regret on random and hostile costs, states, bad input."""

from __future__ import annotations

import copy
import json
import math
import pickle

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize

from online_cases import contextual, play
from stepsmith.controllers.online import ChebCB, EpsilonGreedy, Fixed, TsallisINF
from stepsmith.controllers.online.tsallis import weights

MAKERS = {
    "importance": lambda arms, seed=0: TsallisINF(arms, seed, estimator="importance"),
    "reduced_variance": lambda arms, seed=0: TsallisINF(arms, seed),
    "chebyshev": lambda arms, seed=0: ChebCB(arms, seed, context_range=(-1.0, 2.0)),
    "epsilon_greedy": lambda arms, seed=0: EpsilonGreedy(arms, seed),
    "fixed": lambda arms, seed=0: Fixed(arms, seed, arm=1),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def regret(costs, arms):
    """Cumulative regret against the best fixed arm (T,)."""
    return np.cumsum(costs[np.arange(len(arms)), arms] - costs[:, costs.sum(0).argmin()])


# ------------------------------------------------------------------------------------------------------- Tsallis-INF


@pytest.mark.parametrize("rate", [2.0, 0.3, 1e-6])
@pytest.mark.parametrize("spread", [0.0, 1e-9, 1.0, 1e3, 1e9, 1e150])
@pytest.mark.parametrize("arms", [1, 2, 20])
def test_probabilities_solve_the_equation_of_the_mirror_step(arms, spread, rate):
    """p_i = 4/(rate (L_i - x))^2 with sum 1, by bisection with 40 digits."""
    losses = spread * np.random.default_rng(arms).standard_normal(arms)
    p = weights(losses, rate)
    with mpmath.workdps(40):
        exact = [mpmath.mpf(float(x)) for x in losses]
        least, eta = min(exact), mpmath.mpf(rate)
        low, high = 2 / eta * mpmath.mpf("0.999"), 2 * mpmath.sqrt(arms) / eta * mpmath.mpf("1.001")
        for _ in range(90):
            u = (low + high) / 2
            total = mpmath.fsum(4 / (eta * (x - least + u)) ** 2 for x in exact)
            low, high = (u, high) if total > 1 else (low, u)
        wanted = [4 / (eta * (x - least + u)) ** 2 for x in exact]
    assert abs(p.sum() - 1.0) <= 1e-12
    # L - min L is rounded to 1e-16 of its size
    np.testing.assert_allclose(p, np.array(wanted, float), rtol=1e-11 + 1e-15 * rate * spread, atol=0.0)


def test_the_mirror_step_minimises_its_objective():
    """p minimises <p, L> - (4/rate) sum sqrt(p) over the simplex: SciPy's minimiser finds nothing lower."""
    losses, rate = np.array([0.3, 1.1, 0.0, 2.5]), 0.7

    def objective(p):
        return float(p @ losses - 4.0 / rate * np.sqrt(np.maximum(p, 0.0)).sum())

    found = minimize(
        objective, np.full(4, 0.25), bounds=[(1e-9, 1.0)] * 4, options={"ftol": 1e-14},
        constraints={"type": "eq", "fun": lambda p: p.sum() - 1.0},
    )  # fmt: skip
    np.testing.assert_allclose(weights(losses, rate), found.x, atol=1e-5)


def test_losses_that_are_not_finite_are_an_error():
    for bad in (math.nan, math.inf):
        with pytest.raises(ArithmeticError, match="the probabilities have sum"), np.errstate(invalid="ignore"):
            weights(np.array([0.0, bad, bad]) if bad != bad else np.full(3, bad), 1.0)


def test_losses_of_importance_are_those_of_the_paper():
    """Over the first rounds, by hand: L_i = sum (cost - least)/p_i over (mean - least), rates 2/sqrt t."""
    bandit = TsallisINF(3, estimator="importance")
    np.testing.assert_allclose(bandit.probabilities(), np.full(3, 1 / 3))
    bandit.update(1, 7.0)
    np.testing.assert_allclose(bandit.probabilities(), np.full(3, 1 / 3))  # one cost says nothing yet
    bandit.update(2, 9.0)
    np.testing.assert_allclose(bandit.losses(), [0.0, 0.0, 3.0 * 2.0 / 1.0], atol=1e-12)
    p = bandit.probabilities()
    x = -2.0 / (bandit.rate * math.sqrt(p[0]))
    assert bandit.rate == 2.0 / math.sqrt(3.0)
    np.testing.assert_allclose(p[2], 4.0 / (bandit.rate * (6.0 - x)) ** 2, rtol=1e-12)
    bandit.update(2, 8.0)
    np.testing.assert_allclose(bandit.losses(), [0.0, 0.0, 6.0 + 1.0 / p[2]], rtol=1e-12)


@pytest.mark.parametrize("estimator", ["importance", "reduced_variance"])
def test_estimated_losses_are_right_in_the_mean(estimator):
    """Over all draws of a round: the sums of costs and of weights grow by the costs and by 1, the baselines by 0."""
    costs = np.array([1.0, 3.0, 8.0])
    bandit = TsallisINF(3, 0, estimator=estimator)
    play(bandit, np.tile([4.0, 4.3, 4.2], (60, 1)))
    p, mean, moved = bandit.probabilities(), np.zeros((3, 3)), False
    for arm in range(3):
        twin = pickle.loads(pickle.dumps(bandit))
        twin.update(arm, costs[arm])
        moved |= bool((twin._baseline != bandit._baseline).any())
        for row, name in zip(mean, ("_over", "_weight", "_baseline"), strict=True):
            row += p[arm] * (getattr(twin, name) - getattr(bandit, name))
    np.testing.assert_allclose(mean, [costs, np.ones(3), np.zeros(3)], atol=1e-9)
    assert moved == (estimator == "reduced_variance")


@pytest.mark.parametrize("estimator", ["importance", "reduced_variance"])
def test_units_and_shifts_of_costs_change_nothing(estimator):
    costs = np.random.default_rng(3).gamma(2.0, 1.0, (300, 5))
    plain = play(TsallisINF(5, 1, estimator=estimator), costs)
    assert (plain == play(TsallisINF(5, 1, estimator=estimator), 1024.0 * costs)).all()
    assert (plain == play(TsallisINF(5, 1, estimator=estimator), costs - 8.0)).mean() > 0.99
    assert len(set(plain[-100:])) < 5 or np.bincount(plain).max() > 80  # it learned something to change


# ------------------------------------------------------------------------------------------------------------ regret


@pytest.mark.parametrize("estimator", ["importance", "reduced_variance"])
def test_regret_on_random_costs_grows_slower_than_a_root(estimator):
    """Bernoulli costs with gap .2: far below the bound 4 sqrt(K T) + 1, and the last three quarters of the rounds cost
    less than twice the first quarter; even play would cost T gap (K - 1)/K."""
    arms, rounds = 5, 4000
    means = np.array([0.3, 0.5, 0.5, 0.5, 0.5])
    found = []
    for seed in range(3):
        costs = (np.random.default_rng(seed).random((rounds, arms)) < means).astype(float)
        found.append(regret(costs, play(TsallisINF(arms, seed, estimator=estimator), costs)))
    mean = np.mean(found, axis=0)
    assert mean[-1] < 1.5 * math.sqrt(arms * rounds)
    assert mean[-1] < 0.25 * 0.2 * 0.8 * rounds
    assert mean[-1] - mean[rounds // 4] < 2.0 * mean[rounds // 4]


@pytest.mark.parametrize("estimator", ["importance", "reduced_variance"])
def test_regret_on_hostile_costs_grows_as_a_root(estimator):
    """The level of all costs jumps between two values over ever longer spells, which deceives means over an arm's
    plays; the gap is .2 in each (the constrained adversary of Zimmert & Seldin, section 6)."""
    arms, rounds = 4, 4000
    spell = np.floor(np.log(np.arange(1, rounds + 1)) / math.log(1.6)).astype(int)
    gap = np.array([0.0, 0.2, 0.2, 0.2])
    found = []
    for seed in range(3):
        means = np.where(spell % 2 == 0, 0.0, 0.8)[:, None] + gap
        costs = (np.random.default_rng(seed).random((rounds, arms)) < means).astype(float)
        found.append(regret(costs, play(TsallisINF(arms, seed, estimator=estimator), costs)))
    mean = np.mean(found, axis=0)
    assert mean[-1] < 1.5 * math.sqrt(arms * rounds)
    assert mean[-1] < 0.4 * 0.2 * 0.75 * rounds


def test_an_arm_that_becomes_the_best_is_found_again():
    """The best arm changes at a third: the regret against the best fixed arm stays below the bound."""
    rounds = 6000
    costs = np.full((rounds, 3), 0.6)
    costs[: rounds // 3, 0], costs[rounds // 3 :, 2] = 0.2, 0.2
    costs = (np.random.default_rng(0).random(costs.shape) < costs).astype(float)
    arms = play(TsallisINF(3, 0), costs)
    assert regret(costs, arms)[-1] < 4.0 * math.sqrt(3 * rounds)
    assert (arms[-500:] == 2).mean() > 0.8


# -------------------------------------------------------------------------------------------------------- baselines


def test_epsilon_greedy_tries_all_and_then_takes_the_cheapest():
    costs = np.tile([3.0, 1.0, 2.0], (400, 1))
    arms = play(EpsilonGreedy(3, 0, epsilon=0.3), costs)
    assert sorted(arms[:3]) == [0, 1, 2]
    assert 0.7 < (arms[3:] == 1).mean() < 0.9
    assert (play(EpsilonGreedy(3, 0, epsilon=0.0), costs)[3:] == 1).all()


def test_fixed_never_changes():
    assert set(play(Fixed(3, arm=2), np.ones((20, 3)))) == {2}


# ------------------------------------------------------------------------------------------------------- all of them


def some(make, rounds=120, seed=5):
    costs, contexts = contextual(rounds, seed)
    return make, costs, contexts


@every
def test_the_same_seed_plays_the_same_and_another_does_not(make):
    _, costs, contexts = some(make)
    first = play(make(5, 3), costs, contexts)
    assert (first == play(make(5, 3), costs, contexts)).all()
    assert isinstance(make(5), Fixed) or (first != play(make(5, 4), costs, contexts)).any()


@every
def test_a_state_goes_on_where_it_was_and_is_json(make):
    _, costs, contexts = some(make)
    whole, half = make(5, 3), make(5, 3)
    wanted = play(whole, costs, contexts)
    play(half, costs[:60], contexts[:60])
    other = make(5, 99)
    other.restore(json.loads(json.dumps(half.state(), allow_nan=False)))
    copied = pickle.loads(pickle.dumps(half))
    for bandit in (other, copied):
        assert (play(bandit, costs[60:], contexts[60:]) == wanted[60:]).all()
        assert bandit.rounds == 120


@every
def test_probabilities_are_probabilities_and_are_followed(make):
    _, costs, contexts = some(make, 60)
    bandit = make(5)
    play(bandit, costs, contexts)
    p = bandit.probabilities(0.1)
    assert p.shape == (5,) and p.dtype == np.float64 and (p >= 0).all() and abs(p.sum() - 1.0) < 1e-12
    seen = np.bincount([bandit.draw(0.1) for _ in range(4000)], minlength=5) / 4000
    np.testing.assert_allclose(seen, p, atol=0.04)


@every
def test_bad_updates_are_refused_and_change_nothing(make):
    bandit = make(3)
    before = json.dumps(bandit.state())
    for arm in (-1, 3, 0.5, None, True):
        with pytest.raises(ValueError, match="arm must be a whole number from 0 to 2"):
            bandit.update(arm, 1.0, 0.0)
    for cost in (math.nan, math.inf, -math.inf, "1", None, 1e101):
        with pytest.raises(ValueError, match="cost must be a finite number"):
            bandit.update(1, cost, 0.0)
    assert json.dumps(bandit.state()) == before


@every
def test_states_of_others_and_damaged_ones_are_refused(make):
    bandit = make(3)
    good = bandit.state()
    for bad, what in (
        ({**good, "arms": 4}, "state must be of bandit"),
        ({**good, "bandit": "other"}, "state must be of bandit"),
        ({k: v for k, v in good.items() if k != "rng"}, "damaged: rng missing"),
        ({**good, "rng": {"state": 1}}, "generator is damaged"),
        ({**good, "rounds": -1}, "rounds must be"),
    ):
        with pytest.raises(ValueError, match=what):
            bandit.restore(bad)
    for name in bandit._kept:
        with pytest.raises(ValueError, match=name):
            bandit.restore({**good, name: [[math.nan]]})
        with pytest.raises(ValueError, match=name):
            bandit.restore({**good, name: "x"})
    assert bandit.state() == good


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: TsallisINF(0), "arms must be a whole number"),
        (lambda: TsallisINF(2.0), "arms must be a whole number"),
        (lambda: TsallisINF(2, seed=-1), "seed must be a whole number"),
        (lambda: TsallisINF(2, estimator="importances"), "did you mean 'importance'"),
        (lambda: ChebCB(2, context_range=(1.0, 1.0)), "low < high"),
        (lambda: ChebCB(2, context_range=(0.0, math.inf)), "low < high"),
        (lambda: ChebCB(2, context_range=3.0), "low < high"),
        (lambda: ChebCB(2, context_range=(0.0, 1.0), coefficients=0), "coefficients must be"),
        (lambda: ChebCB(2, context_range=(0.0, 1.0)).draw(), "needs a context"),
        (lambda: ChebCB(2, context_range=(0.0, 1.0)).draw(math.nan), "context must be a finite number"),
        (lambda: EpsilonGreedy(2, epsilon=1.5), "epsilon must be"),
        (lambda: Fixed(2, arm=2), "arm must be"),
    ],
)
def test_bad_arguments_are_named(make, what):
    with pytest.raises(ValueError, match=what):
        make()


@every
def test_costs_that_are_all_the_same_are_fine(make):
    for level in (0.0, 1.0, -3.0, 1e100, 1e-300):
        bandit = make(4)
        play(bandit, np.full((50, 4), level), np.zeros(50))
        assert np.isfinite(bandit.probabilities(0.0)).all()


@pytest.mark.parametrize("seed", [0, 3])
def test_a_bandit_does_not_draw_the_numbers_of_a_users_generator_with_the_same_seed(seed):
    # costs that a user draws from default_rng(seed) would follow the arms: the least loses by far
    means, users = np.array([0.3, 0.5, 0.5, 0.5, 0.5]), np.random.default_rng(seed)
    bandit, best = TsallisINF(5, seed), 0
    assert np.random.default_rng(seed).random() != copy.deepcopy(bandit).rng.random()
    for _ in range(2000):
        arm = bandit.draw()
        bandit.update(arm, float(users.random() < means[arm]))
        best += arm == 0
    assert best > 1000
