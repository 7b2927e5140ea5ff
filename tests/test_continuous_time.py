"""Values where decisions take different times: what a discount by time, and a fit of a value function, must give."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stepsmith.train import continuous_time as ct

BETA, SPAN = 1.3, 2.0


def grid(steps, rng=None):
    """Durations (T, 1) of decisions that cover the span: equal, or random."""
    h = np.ones(steps) if rng is None else rng.exponential(size=steps)
    return (h * SPAN / h.sum())[:, None]


GRIDS = {
    "4": grid(4), "40": grid(40), "400": grid(400), "random": grid(150, np.random.default_rng(1)),
    "random, with rejections": np.where(np.arange(200)[:, None] % 3 == 1, 0.0, grid(200)) * 200 / 133,
}  # fmt: skip


def constant_rate(durations):
    """A rollout of the reward 1 per unit of time, and its values, (1 - e^(-beta (T - t)))/beta."""
    left = SPAN - np.concatenate([np.zeros((1, 1)), np.cumsum(durations, axis=0)[:-1]])
    shape = np.shape(durations)
    ends = np.zeros(shape, bool)
    ends[-1] = True
    features = np.stack([np.ones(shape), np.exp(-BETA * left)], axis=-1)
    paid = ct.payment(np.ones(shape), durations, BETA, "rate")
    return ct.Rollout(features, paid, durations, ends, np.zeros(shape)), (1.0 - np.exp(-BETA * left)) / BETA


@pytest.mark.parametrize("durations", GRIDS.values(), ids=GRIDS)
def test_values_do_not_depend_on_how_time_is_divided(durations):
    assert durations.sum() == pytest.approx(SPAN, rel=1e-12)
    rollout, true = constant_rate(durations)
    assert rollout.returns(BETA) == pytest.approx(true, abs=1e-12)
    for theta in (ct.fit_returns(rollout, BETA), ct.fit_td(rollout, BETA), ct.fit_td(rollout, BETA, kappa=0.7)):
        assert theta == pytest.approx([1.0 / BETA, -1.0 / BETA], abs=1e-9)
    assert ct.martingale_loss(true, rollout, BETA) < 1e-24 and ct.mean_square_td_error(true, rollout, BETA) < 1e-24
    none, end = np.zeros(1), np.zeros(durations.shape)
    ones = np.ones(durations.shape)
    found = ct.advantages(ones, end, none, durations, rollout.ends, end, BETA, 0.0, "rate")
    assert found == pytest.approx(true, abs=1e-12)  # of values 0 and lambda 1 the return itself


def test_with_a_discount_a_decision_they_do():
    """The discount that is right for forty decisions gives other values for four and for four hundred."""
    gamma, first = math.exp(-BETA * SPAN / 40), {}
    for steps in (4, 40, 400):
        h = SPAN / steps
        first[steps] = sum(gamma**k * h for k in range(steps))
    true = (1.0 - math.exp(-BETA * SPAN)) / BETA
    assert first[40] == pytest.approx(true, rel=0.04)
    assert first[4] > 1.5 * true and first[400] < 0.3 * true


def test_no_discount_leaves_the_sum():
    h = grid(7, np.random.default_rng(2))
    assert ct.payment(np.full((7, 1), 3.0), h, 0.0, "rate") == pytest.approx(3.0 * h)
    assert ct.payment(np.full((7, 1), 3.0), h, 1e-12, "rate") == pytest.approx(3.0 * h, rel=1e-9)
    assert np.array_equal(ct.payment(np.full((7, 1), 3.0), h, 5.0, "count"), np.full((7, 1), 3.0))


@pytest.mark.parametrize("kind", ct.KINDS)
def test_advantages_are_those_of_the_formula_written_out(kind):
    """Every advantage as the sum of all later errors of its episode, with ends and truncations at random."""
    rng, beta, kappa, shape = np.random.default_rng(3), 0.9, 4.0, (23, 5)
    rewards, values, final = rng.normal(size=shape), rng.normal(size=shape), rng.normal(size=shape)
    h = np.where(rng.random(shape) < 0.2, 0.0, rng.exponential(0.1, shape))
    ends, last = rng.random(shape) < 0.15, rng.normal(size=5)
    final = np.where(ends & (rng.random(shape) < 0.5), final, 0.0)  # the others have terminated
    assert (ends & (final == 0.0)).any() and (ends & (final != 0.0)).any() and not ends[-1].all()
    found = ct.advantages(rewards, values, last, h, ends, final, beta, kappa, kind)
    for i in range(5):
        for k in range(23):
            total, weight = 0.0, 1.0
            for j in range(k, 23):
                x = h[j, i]
                behind = final[j, i] if ends[j, i] else last[i] if j == 22 else values[j + 1, i]
                pay = rewards[j, i] * ((1.0 - math.exp(-beta * x)) / beta if kind == "rate" else 1.0)
                total += weight * (pay + math.exp(-beta * x) * behind - values[j, i])
                weight *= math.exp(-beta * x) * math.exp(-kappa * x)
                if ends[j, i]:
                    break
            assert found[k, i] == pytest.approx(total, rel=1e-9, abs=1e-12)


# -- Brownian motion W with the payoff W_T^2 at T: V = e^(-beta (T - t)) (W_t^2 + T - t), from Ito's formula


def brownian(steps, n, seed, beta=0.0, random=False, final=1.0):
    """A rollout whose one feature is the true value function: theta = 1 is right."""
    rng = np.random.default_rng(seed)
    h = rng.exponential(size=(steps, n)) if random else np.ones((steps, n))
    h *= SPAN / h.sum(axis=0)
    w = np.cumsum(np.sqrt(h) * rng.normal(size=(steps, n)), axis=0)
    before = np.concatenate([np.zeros((1, n)), w[:-1]])
    left = SPAN - np.concatenate([np.zeros((1, n)), np.cumsum(h, axis=0)[:-1]])
    ends = np.zeros((steps, n), bool)
    ends[-1] = True
    features = (np.exp(-beta * left) * (before**2 + left))[..., None]
    return ct.Rollout(features, np.zeros((steps, n)), h, ends, np.where(ends, final * w**2, 0.0))


@pytest.mark.parametrize("steps", [10, 80])
def test_the_mean_square_error_of_the_true_values_is_the_quadratic_variation(steps):
    """It is 2 T^2 for any number of steps: the integral of 4 W^2, and not 0 as they become many."""
    rollout = brownian(steps, 40_000, 4)
    found = ct.mean_square_td_error(rollout.features[..., 0], rollout, 0.0)
    assert found == pytest.approx(2.0 * SPAN**2, rel=0.04)


@pytest.mark.parametrize("steps", [10, 80])
def test_the_minimiser_of_the_mean_square_error_is_wrong(steps):
    """theta = C/(C + 2 s^2) with C = 3 s^2 + 2 s h + h^2 and s = T - h, which tends to 3/5; it has less error."""
    rollout, h = brownian(steps, 40_000, 5), SPAN / steps
    s = SPAN - h
    c = 3.0 * s**2 + 2.0 * s * h + h**2
    (theta,) = ct.fit_mean_square(rollout, 0.0)
    assert theta == pytest.approx(c / (c + 2.0 * s**2), abs=0.03) and theta < 0.75
    right, wrong = (ct.mean_square_td_error(x * rollout.features[..., 0], rollout, 0.0) for x in (1.0, theta))
    assert wrong < 0.8 * right


@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize(("steps", "random"), [(10, False), (80, False), (40, True)])
def test_orthogonality_and_regression_find_the_right_value_function(beta, steps, random):
    rollout = brownian(steps, 40_000, 6, beta, random)
    for theta in (
        ct.fit_td(rollout, beta), ct.fit_td(rollout, beta, kappa=2.0), ct.fit_td(rollout, beta, kappa=0.0),
        ct.fit_returns(rollout, beta),
    ):  # fmt: skip
        assert theta == pytest.approx([1.0], abs=0.04)


def test_orthogonality_vanishes_where_the_values_are_fitted_and_points_there():
    rollout = brownian(20, 2_000, 7, BETA)
    for kappa in (None, 3.0):
        (theta,) = ct.fit_td(rollout, BETA, kappa)
        at = {x: ct.orthogonality(rollout.features, x * rollout.features[..., 0], rollout, BETA, kappa)[0]
              for x in (0.5, theta, 1.5)}  # fmt: skip
        assert abs(at[theta]) < 1e-9 and at[0.5] > 1e-3 and at[1.5] < -1e-3


def test_traces_are_the_advantages_seen_from_behind():
    """Orthogonality to the traces is that of the gradients, weighed by time, to the advantages."""
    rng, shape, kappa = np.random.default_rng(8), (30, 4), 2.5
    ends = rng.random(shape) < 0.2
    ends[-1] = True
    rollout = ct.Rollout(
        rng.normal(size=(*shape, 3)), rng.normal(size=shape), rng.exponential(0.1, shape), ends,
        np.where(ends, rng.normal(size=shape), 0.0),
    )  # fmt: skip
    values = rng.normal(size=shape)
    forward = ct.advantages(
        rollout.paid, values, np.zeros(4), rollout.durations, ends, rollout.final, BETA, kappa, "count"
    )
    expected = np.einsum("kid,ki,ki->d", rollout.features, rollout.durations, forward) / rollout.episodes
    assert ct.orthogonality(rollout.features, values, rollout, BETA, kappa) == pytest.approx(expected, rel=1e-10)


def test_what_is_wrong_is_said():
    good = brownian(3, 2, 0)
    with pytest.raises(ValueError, match="did you mean 'rate'"):
        ct.payment([1.0], [0.1], 1.0, "rates")
    with pytest.raises(ValueError, match=r"durations must have the shape of paid, \(3, 2\)"):
        ct.Rollout(good.features, good.paid, good.durations[:2], good.ends, good.final)
    with pytest.raises(ValueError, match="features must be"):
        ct.Rollout(good.features[..., 0], good.paid, good.durations, good.ends, good.final)
    with pytest.raises(ValueError, match="whole episodes"):
        ct.Rollout(good.features, good.paid, good.durations, np.zeros((3, 2), bool), good.final)
