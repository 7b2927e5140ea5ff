"""What `stepsmith/NeuralODE-v0` plays: solves of the snapshots of real trainings, in the order of each training."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...controllers.laws.law import Law
from ...controllers.learned.decision import Decision
from ...integrators import methods, problems
from ...integrators.core import options
from ...integrators.kernels.environment.series_rows import MOST_ACTIONS
from ...integrators.methods.tableaus import ExplicitTableau
from ...integrators.problems.nonstiff.neural_training import SNAPSHOTS, in_order
from ..core import MOST, Core, Reward, Series
from ..ode import check_pool, law_of, make_decision, reward_of, tolerances_of
from ..pool import Pool, pool_of

FAMILY = "neural_training"


@functools.lru_cache(maxsize=8)
def _pool(
    method: str | ExplicitTableau, baseline: Law, size: int, split: str, seed: int, rtol: tuple[float, float]
) -> tuple[Pool, np.ndarray]:
    """The pool of `size` solves of a split, and which training of the pool each of its instances is of."""
    family = problems.family(FAMILY)
    batch = in_order(split, size // SNAPSHOTS, seed)
    pool, kept = pool_of(batch, family, method, baseline, rtol)
    return pool, kept // SNAPSHOTS


def series_of(training: np.ndarray, actions: int) -> Series:
    """The order of instances that are sorted by training; training (I,): the one that each is of."""
    number = np.arange(len(training))
    last = np.append(training[1:] != training[:-1], True)
    first = np.append(True, training[1:] != training[:-1])
    return Series(np.where(last, -1, number + 1), np.flatnonzero(first), actions)


def checked(
    method: Any, law: Any, features: Any, n_act: Any, baseline: Any, rtol: Any, pool_size: Any, split: Any,
    pool_seed: Any, reward: Any, lagrange: Any, fail: Any, time_discount: Any, window: Any, max_attempts: Any,
) -> tuple[Any, Decision, Reward, tuple[float, float]]:  # fmt: skip
    """The method, the decision, the reward and the range of tolerances that arguments of `make_core` ask for.

    Nothing is drawn or solved.  Raises as `make_core`.
    """
    family = problems.family(FAMILY)
    method = methods.named(family.method if method is None else method)
    if methods.get(method).implicit or methods.get(method).tableau is None:
        raise options.refuse("method", "an explicit Runge-Kutta method, as the solves of trainings take", method)
    if options.count("n_act", n_act) > MOST_ACTIONS:
        raise options.refuse("n_act", "1 (step size), 2 (and first size) or 3 (and division of what is left)", n_act)
    decision = make_decision(family.name, method, law, features, n_act=1)
    law_of(baseline, family.name, method)
    rule = reward_of(reward, lagrange, fail, time_discount, window)
    span = tolerances_of(rtol)
    options.choice("split", split, ("train", "validation", "test"))
    check_pool(pool_size, split, pool_seed)
    if pool_size % SNAPSHOTS:
        raise options.refuse("pool_size", f"a multiple of {SNAPSHOTS}, the solves of a training", pool_size)
    options.count("max_attempts", max_attempts)
    return method, decision, rule, span


def make_core(
    lanes: int,
    same_step: bool,
    method: str | ExplicitTableau | None = None,
    law: str | Law | Mapping[str, Any] = "pi34",
    features: tuple[str, ...] | None = None,
    n_act: int = MOST_ACTIONS,
    baseline: str | Law = "pi34",
    rtol: tuple[float, float] = (1e-2, 1e-6),
    pool_size: int = 256,
    split: str = "train",
    pool_seed: int = 0,
    reward: str | Reward = "matched",
    lagrange: float = 1.0,
    fail: float = 1.0,
    time_discount: float = 1.0,
    window: float = 0.0,
    max_attempts: int = 1000,
) -> Core:
    """Build the batch core that an environment's arguments describe.

    lanes       number of environments in lock-step.
    same_step   a finished lane restarts in the call that ended it, instead of the next one.
    method      an explicit method's name or an `ExplicitTableau`; None: tsit5.
    law         base of the residual, see `controllers.resolve.base_law`.
    features    names of the features to observe; None: the decision's default.
    n_act       number of actions: 1 (step size), 2 (and first size) or 3 (and division of what is left).
    baseline    the law whose work, at cold starts, the rewards compare with: a name, "tuned" or a `Law`.
    rtol        (loose, tight), the range of relative tolerances, at most 1; a training has one tolerance.
    pool_size   number of solves, a multiple of the `SNAPSHOTS` (8) of a training.
    split, pool_seed
                which trainings, and the seed that they and the rows of data are drawn with.
    reward      "matched", "matched_end", "constraint", "propagated", a registered name, or a `core.Reward`.
    lagrange, fail, time_discount, window
                weights of the reward, see `core.Reward`.
    max_attempts
                attempts after which an episode is truncated.

    Raises ValueError on unknown names, naming the nearest, on bad values, on implicit methods, and on options that
    would have no effect beside others, as `ode.make_core`.
    """
    options.count("num_envs", lanes, high=MOST)
    method, decision, rule, span = checked(
        method, law, features, n_act, baseline, rtol, pool_size, split, pool_seed, reward, lagrange, fail,
        time_discount, window, max_attempts,
    )  # fmt: skip
    pool, training = _pool(method, law_of(baseline, FAMILY, method), pool_size, split, pool_seed, span)
    if rule.followed:
        pool, kept = pool.followed_of
        training = training[kept]
    series = series_of(training, n_act)
    core = Core(pool, method, decision, lanes, rule, pool.span(span), max_attempts, same_step, series)
    core.recipe = make_core, (lanes, same_step), {
        "method": method, "law": law, "features": features, "n_act": n_act, "baseline": baseline, "rtol": span,
        "pool_size": pool_size, "split": split, "pool_seed": pool_seed, "reward": rule, "max_attempts": max_attempts,
    }  # fmt: skip
    return core
