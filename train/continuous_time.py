"""Values where decisions take different times: discounts by time, advantages, and what tells a value function's error.

A decision covers the time h, its duration.  A discount a decision makes the value of a state depend on how finely time
is divided; a discount e^(-beta h) does not.  The temporal-difference error of a decision is

    delta = paid + e^(-beta h) V(next) - V,        paid = r for a count, r (1 - e^(-beta h))/beta for a rate

where a count is what is paid once, at the end of the decision, and a rate what is paid per unit of time all through it
(S. Bradtke & M. Duff 1995, "Reinforcement learning methods for continuous-time Markov decision problems", NIPS 7).
beta, kappa and rates are per unit of time; kappa is minus the logarithm of TD(lambda)'s lambda, per unit of time.

What a value function is fitted by is that of Y. Jia & X. Y. Zhou 2022, "Policy evaluation and temporal-difference
learning in continuous time and space: a martingale approach", JMLR 23 (arXiv:2108.06655).  V is the value where

    M_t = e^(-beta t) V(X_t) + integral of e^(-beta s) r_s ds from 0 to t

is a martingale, of which the errors delta are the increments, discounted.  Two ways use that, and one does not work:

- the martingale loss, the mean of the integral of (G - V)^2 / 2 over time, G being the discounted return from there on:
  Monte-Carlo regression (`martingale_loss`, `fit_returns`);
- orthogonality, the mean of the sum of xi delta is zero for everything xi that is known when the decision is made: the
  gradient of V gives TD(0), its discounted integral over the past TD(lambda) (`orthogonality`, `fit_td`);
- the mean square of delta tends to the quadratic variation of M as decisions become short, also of the true value
  function, and a V that varies less has less of it: its minimiser is wrong wherever there is noise
  (`mean_square_td_error`, `fit_mean_square`).  It stands here to be looked at, and nothing is trained by it.

Arrays have the shape (T, n): T decisions one after another in each of n environments, as in a rollout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..integrators.core import options

#: what a reward may be
KINDS = ("count", "rate")


def discount(durations: Any, beta: float) -> np.ndarray:
    """e^(-beta h), of any shape; beta: discount rate per unit of time."""
    return np.exp(-beta * np.asarray(durations, np.float64))


def payment(rewards: Any, durations: Any, beta: float, kind: str = "count") -> np.ndarray:
    """What decisions pay, as it is worth when they begin.

    rewards, durations: arrays of one shape.  kind: "count", paid once and not discounted within the decision; "rate",
    paid per unit of time all through it: r times the integral of e^(-beta s) from 0 to h, (1 - e^(-beta h))/beta.
    """
    rewards, h = np.asarray(rewards, np.float64), np.asarray(durations, np.float64)
    if options.choice("reward", kind, KINDS) == "count":
        return rewards
    return rewards * (h if beta == 0.0 else -np.expm1(-beta * h) / beta)


def td_error(paid: Any, values: Any, behind: Any, durations: Any, beta: float) -> np.ndarray:
    """paid + e^(-beta h) V(next) - V, arrays of one shape; behind: V(next), of the state behind a decision."""
    return paid + discount(durations, beta) * behind - values


def advantages(
    rewards: np.ndarray, values: np.ndarray, last_values: np.ndarray, durations: np.ndarray, ends: np.ndarray,
    final: np.ndarray, beta: float, kappa: float, kind: str = "count",
) -> np.ndarray:  # fmt: skip
    """Generalised advantages, A_k = delta_k + e^(-(beta + kappa) h_k) A_(k+1), (T, n) float64.

    rewards, values, durations (T, n): of decisions, and of the states that they are made in.  last_values (n,): values
    of the states behind the last decisions.  ends (T, n) bool: the episode is over behind the decision; final (T, n):
    what the state there is worth then, 0 where it has terminated, its value where it was truncated.  kind: of
    `payment`.

    J. Schulman et al. 2016, "High-dimensional continuous control using generalized advantage estimation", equation 16,
    with gamma = e^(-beta h) and lambda = e^(-kappa h).
    """
    out = np.zeros(np.shape(values))
    follows: np.ndarray = np.zeros(len(last_values))
    state = np.asarray(last_values, np.float64)
    for k in reversed(range(len(out))):
        behind = np.where(ends[k], final[k], state)
        paid = payment(rewards[k], durations[k], beta, kind)
        follows = np.where(ends[k], 0.0, discount(durations[k], beta + kappa) * follows)
        follows = td_error(paid, values[k], behind, durations[k], beta) + follows
        out[k], state = follows, np.asarray(values[k], np.float64)
    return out


@dataclass(frozen=True)
class Rollout:
    """Whole episodes in n environments, T decisions each, on which a value function is fitted.

    features (T, n, d)    of the states that decisions are made in; a linear value function is features @ theta.
    paid (T, n)           what the decisions pay (`payment`).
    durations (T, n)      the times that they cover.
    ends (T, n) bool      the episode is over behind the decision; those of the last row must be.
    final (T, n)          what the state there is worth then: a payoff at the end, 0, or a value; elsewhere not read.

    ValueError where shapes do not fit or the last row does not end.
    """

    features: np.ndarray
    paid: np.ndarray
    durations: np.ndarray
    ends: np.ndarray
    final: np.ndarray

    def __post_init__(self) -> None:
        shape = np.shape(self.paid)
        for name in ("durations", "ends", "final"):
            if np.shape(getattr(self, name)) != shape:
                raise ValueError(f"{name} must have the shape of paid, {shape}, got {np.shape(getattr(self, name))}")
        if len(shape) != 2 or np.ndim(self.features) != 3 or np.shape(self.features)[:2] != shape:
            raise ValueError(f"features must be (T, n, d) and paid (T, n), got {np.shape(self.features)} and {shape}")
        if not np.all(self.ends[-1]):
            raise ValueError("ends must be true in the last row: a rollout holds whole episodes")

    @property
    def episodes(self) -> int:
        """How many there are."""
        return int(np.sum(self.ends))

    def behind(self, values: np.ndarray) -> np.ndarray:
        """(T, n): values of the states behind the decisions, from those (T, n) that the decisions are made in."""
        following = np.concatenate([values[1:], values[-1:]])  # the last row is not read: all end there
        return np.where(self.ends, self.final, following)

    def errors(self, values: np.ndarray, beta: float) -> np.ndarray:
        """(T, n): temporal-difference errors of the values (T, n)."""
        return td_error(self.paid, values, self.behind(values), self.durations, beta)

    def returns(self, beta: float) -> np.ndarray:
        """(T, n): discounted returns from every state on."""
        out = np.zeros_like(self.paid, np.float64)
        following = out[0]  # not read: all episodes end in the last row
        for k in reversed(range(len(out))):
            behind = np.where(self.ends[k], self.final[k], following)
            out[k] = following = td_error(self.paid[k], 0.0, behind, self.durations[k], beta)
        return out


def martingale_loss(values: np.ndarray, rollout: Rollout, beta: float) -> float:
    """Mean over episodes of the sum of h (G - V)^2 / 2; G the returns from every state on, values V (T, n).

    It is least where V is the mean of G, the value.  Here errors are weighed alike at all times of an episode.
    """
    return float(np.sum(rollout.durations * (rollout.returns(beta) - values) ** 2) / (2.0 * rollout.episodes))


def fit_returns(rollout: Rollout, beta: float) -> np.ndarray:
    """(d,): theta of the linear value function with the least martingale loss."""
    root = np.sqrt(rollout.durations)
    return _least_squares(rollout.features * root[..., None], rollout.returns(beta) * root)


def traces(gradients: np.ndarray, rollout: Rollout, beta: float, kappa: float | None = None) -> np.ndarray:
    """(T, n, d): test functions that are known when decisions are made.

    gradients (T, n, d): of the values by their parameters.  kappa None: the gradients themselves, of TD(0).  Otherwise
    the sum of e^(-(beta + kappa) (t_k - t_j)) h_j gradient_j over j up to k, of TD(lambda): orthogonality to it is that
    of the gradients, weighed by time, to the advantages.
    """
    if kappa is None:
        return np.asarray(gradients, np.float64)
    out, past = np.zeros(np.shape(gradients)), np.zeros(np.shape(gradients)[1:])
    kept = np.where(rollout.ends, 0.0, discount(rollout.durations, beta + kappa))
    for k in range(len(out)):
        out[k] = past + rollout.durations[k][:, None] * gradients[k]
        past = kept[k][:, None] * out[k]
    return out


def orthogonality(
    gradients: np.ndarray, values: np.ndarray, rollout: Rollout, beta: float, kappa: float | None = None
) -> np.ndarray:
    """(d,): mean over episodes of the sum of xi delta, which vanishes in expectation where the values are right.

    gradients (T, n, d), values (T, n).  xi: `traces`; a step of theta along the result is one of TD(0) (kappa None) or
    TD(lambda).
    """
    xi = traces(gradients, rollout, beta, kappa)
    return np.einsum("kid,ki->d", xi, rollout.errors(values, beta)) / rollout.episodes


def fit_td(rollout: Rollout, beta: float, kappa: float | None = None) -> np.ndarray:
    """(d,): theta of the linear value function for which `orthogonality` vanishes (least squares TD).

    numpy.linalg.LinAlgError where the features do not determine it.
    """
    xi = traces(rollout.features, rollout, beta, kappa)
    known, per_theta = _linear_errors(rollout, beta)
    return np.linalg.solve(np.einsum("kid,kie->de", xi, per_theta), np.einsum("kid,ki->d", xi, known))


def mean_square_td_error(values: np.ndarray, rollout: Rollout, beta: float) -> float:
    """Mean over episodes of the sum of delta^2: the quadratic variation of M as decisions become short, and not 0,
    where values (T, n) are right.  Not an objective; see the module's text."""
    return float(np.sum(rollout.errors(values, beta) ** 2) / rollout.episodes)


def fit_mean_square(rollout: Rollout, beta: float) -> np.ndarray:
    """(d,): theta of the linear value function with the least `mean_square_td_error`: wrong wherever there is noise."""
    known, per_theta = _linear_errors(rollout, beta)
    return _least_squares(per_theta, known)


def _linear_errors(rollout: Rollout, beta: float) -> tuple[np.ndarray, np.ndarray]:
    """(T, n) a and (T, n, d) b such that the errors of features @ theta are a - b @ theta."""
    goes_on = discount(rollout.durations, beta) * ~rollout.ends
    following = np.concatenate([rollout.features[1:], rollout.features[-1:]])
    known = rollout.errors(np.zeros(np.shape(rollout.paid)), beta)
    return known, rollout.features - goes_on[..., None] * following


def _least_squares(features: np.ndarray, target: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(features.reshape(-1, features.shape[-1]), target.ravel(), rcond=None)[0]
