"""Strengths in `stepsmith/Regularization-v0`, each instance played once: what is maximised, validated and reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...controllers.strengths.observation import action_of
from ...controllers.strengths.policy_file import StrengthNetwork
from ...envs.regularization.core import EPISODE, make_core
from ...envs.regularization.grid import DECISIONS, known
from ...envs.regularization.instances import SPLITS

Array = np.ndarray
Answer = Callable[[Array], Array]


def instances(split: str, count: int | None = None) -> Array:
    """(n,) the first `count` instances of a split; None, or more than there are: all."""
    return np.array(list(SPLITS[split])[:count])


def play(
    answer: Answer, numbers: Array, lagrange: float, fail: float = 1.0, actions: int = 1, observe: str = "run",
    against: float | None = None,
) -> dict[str, Array]:
    """Statistics of one episode of each instance, (n,) by the names of `envs.regularization.core.EPISODE`.

    answer      from observations (n, features) to actions (n, actions) in [-1, 1].
    numbers     (n,) the instances, from any split; one may stand there several times.
    lagrange, fail, actions, observe, against
                those of the environment.
    """
    core = make_core(
        len(numbers), False, lagrange=lagrange, fail=fail, actions=actions, observe=observe, against=against
    )
    core.begin(numbers)
    open_ = np.ones(len(numbers), np.bool_)
    found = np.zeros((len(numbers), len(EPISODE)))
    for _ in range(DECISIONS):  # a lane that fails early begins anew, which does not count
        core.step(np.asarray(answer(core.obs)).reshape(len(numbers), actions))
        ended = core.terminated & open_
        found[ended] = core.stats[ended]
        open_ &= ~ended
        if not open_.any():
            break
    return dict(zip(EPISODE, found.T, strict=True))


def play_all(networks: Sequence[StrengthNetwork], numbers: Array, lagrange: float, fail: float = 1.0) -> Array:
    """(networks, n) returns of every network on the same instances, trained as one batch."""
    count = len(numbers)

    def answer(obs: Array) -> Array:
        parts = np.split(obs, len(networks))
        return np.concatenate([network(part) for network, part in zip(networks, parts, strict=True)])

    found = play(answer, np.tile(numbers, len(networks)), lagrange, fail)
    return found["return"].reshape(len(networks), count)


def means(found: dict[str, Array]) -> dict[str, float]:
    """Of statistics by `play`: the mean return and cost (1: that without a penalty), and the share of instances whose
    quality is within the budget."""
    within = (found["excess"] <= 1.0) & (found["failed"] == 0.0)
    return {
        "return": float(found["return"].mean()), "cost": float(found["cost"].mean()), "within": float(within.mean()),
    }  # fmt: skip


def of_constant(ratio: float, lagrange: float) -> Array:
    """(instances,) returns of a constant ratio of the table of `envs.regularization.grid`, on every instance.

    ValueError where the table does not have the ratio.
    """
    cost, charged = known(ratio)
    return known(None)[0] - cost - lagrange * charged


def constant(ratio: float) -> Answer:
    """The policy that sets this ratio, whatever it sees."""
    return lambda obs: np.full((len(obs), 1), action_of(ratio))
