"""`stepsmith/ODE-v0`: choose the step size inside an integrator, one decision an attempted step.

Observation: the decision's features of the last attempt record (scale-free, float32).  Action, in [-1, 1]: a residual
log-factor on the base law's proposal (0 is that law), with two actions the acceptance threshold, and with four, for
implicit methods, the width of the dead band in which step and LU factors are kept and the Newton rate at which the
Jacobian is renewed.  `stepsmith/Stiff-v0` is the same under an implicit method with four actions.  An episode is one
trajectory of one instance of the family at a relative tolerance drawn log-uniformly from `rtol` (`band`: from where
this instance's errors are compared); it ends (terminates) when the span is covered or the integration fails, and is cut
(truncated) after `max_attempts`.  Rewards: see `integrators/kernels/env.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from ..controllers import registry, resolve
from ..controllers.decision import N_ACTS, Decision
from ..controllers.laws import Law
from ..controllers.observation import FEATURES, STIFF
from ..integrators import methods, problems
from ..integrators.core import options, record
from ..integrators.engine.costs import Costs, of_family
from ..integrators.methods.tableaus import ExplicitTableau
from ..integrators.problems.families import SPLITS, Family
from .core import MOST, Core, Reward
from .faces import Native, Single
from .pool import Pool, make_pool


@functools.lru_cache(maxsize=8)
def _pool(
    family: Family,
    method: str | ExplicitTableau,
    baseline: Law,
    size: int,
    split: str,
    seed: int,
    rtol: tuple[float, float],
    costs: Costs,
) -> Pool:
    return make_pool(family, method, baseline, size, split, seed, rtol, costs=costs)


@functools.lru_cache(maxsize=64)
def _shipped_law(name: str, family: str, method: str | ExplicitTableau) -> Law:
    return resolve.base_law(name, family, method)


def _law(baseline: str | Law, family: str, method: str | ExplicitTableau) -> Law:
    """The baseline; the same object for the same law, so that pools are found again."""
    if isinstance(baseline, Law) or registry.of_caller(baseline) is not None:
        return resolve.base_law(baseline, family, method)
    return _shipped_law(baseline, family, method)


def make_decision(
    family: str,
    method: str | ExplicitTableau,
    law: str | Law | Mapping[str, Any] = "i",
    features: tuple[str, ...] | None = None,
    n_act: int = 2,
) -> Decision:  # fmt: skip
    """The decision on a law; features: None for the default, which for an implicit method is `observation.STIFF`."""
    if not isinstance(law, (str, Law, Mapping)):
        raise options.refuse("law", "the name of a law, a Law, or a table with a 'base'", law)
    if options.count("n_act", n_act) not in N_ACTS:
        known = "1 (step size), 2 (and acceptance threshold) or 4 (and dead band, Jacobian)"
        raise options.refuse("n_act", known, n_act)
    if features is not None and (isinstance(features, str) or not isinstance(features, Sequence)):
        raise options.refuse("features", "a sequence of names or None", features)
    for name in features or ():
        options.choice("feature", name, FEATURES)
    base = resolve.base_law(law, family, method)
    if n_act == 4 and not methods.get(method).fills >= {record.NEWTON_RATE, record.LU_SHIFT}:
        decides = "n_act = 4 decides on Jacobian and LU factors of Newton's iteration"
        raise ValueError(f"{decides}; method {method!r} has none")
    if features is None and methods.get(method).implicit:
        features = STIFF
    return Decision(law=base, n_act=n_act) if features is None else Decision(tuple(features), base, n_act=n_act)


def check_pool(size: Any, split: Any, seed: Any) -> None:
    """The options `pool_size`, `split` and `pool_seed`."""
    options.count("pool_size", size, high=MOST)
    options.choice("split", split, SPLITS)
    options.count("pool_seed", seed, low=0)


def _range(rtol: Any) -> tuple[float, float]:
    """The option `rtol` as (loose, tight)."""
    if isinstance(rtol, (str, bytes)) or not np.iterable(rtol) or len(pair := tuple(rtol)) != 2:
        raise options.refuse("rtol", "(loose, tight) or None", rtol)
    loose, tight = (options.number("rtol", v, above=0.0, high=1.0) for v in pair)
    if tight > loose:
        raise options.refuse("rtol", "(loose, tight) with tight <= loose", rtol)
    return loose, tight


def _costs(costs: Any, family: str, method: str | ExplicitTableau) -> Costs:
    """The option `costs`."""
    if costs is None:
        return of_family(family, method)
    if not isinstance(costs, Mapping):
        raise options.refuse("costs", "a table with 'jacobian', 'lu', 'solve' (in right-hand sides), or None", costs)
    options.check_names("costs", costs, ("jacobian", "lu", "solve", "seconds"))
    found = Costs(**{k: v if k == "seconds" else options.number(f"cost of {k}", v, low=0.0) for k, v in costs.items()})
    if not methods.get(method).implicit and (found.jacobian, found.lu, found.solve) != (0.0, 0.0, 0.0):
        raise options.OptionError(f"costs have no effect under method {method!r}, which has no linear algebra")
    return found


def make_core(
    lanes: int,
    same_step: bool,
    family: str = "lorenz",
    method: str | ExplicitTableau | None = None,
    decision: Decision | None = None,
    law: str | Law | Mapping[str, Any] = "i",
    features: tuple[str, ...] | None = None,
    n_act: int = 2,
    baseline: str = "pi34",
    rtol: tuple[float, float] | None = None,
    band: bool = False,
    pool_size: int = 256,
    split: str = "train",
    pool_seed: int = 0,
    reward: str | Reward = "matched",
    lagrange: float = 1.0,
    fail: float = 1.0,
    time_discount: float = 1.0,
    window: float = 0.0,
    max_attempts: int = 20_000,
    costs: Mapping[str, float] | None = None,
) -> Core:
    """Build the batch core that an environment's arguments describe.

    family: its name. method (None: the family's own; a name or an `ExplicitTableau`), law (base of the residual, see
    `controllers.resolve.base_law`), features (None: the decision's default), n_act (1: step size, 2: and acceptance
    threshold, 4: and dead band and Jacobian), decision (in place of law, features and n_act: a `Decision`), baseline
    (law whose work the rewards compare with, by name, "tuned" or a `Law`), rtol (loose, tight; None: the family's grid;
    at most 1), band (draw only tolerances at which the baseline's error lies about the family's band), pool_size
    instances of `split` drawn with `pool_seed`, reward "matched", "matched_end", "constraint" or "propagated" with
    `lagrange`, `fail`, `time_discount`, `window` (see `core.Reward`; a `Reward` may be given itself), max_attempts an
    episode, after which it is cut. costs: {"jacobian", "lu", "solve"} in right-hand sides, of an implicit method's
    linear algebra (None: measured on the family); they are part of the work that rewards charge.
    Raises ValueError on unknown names, naming the nearest, on bad values, and on options that would have no effect
    beside others: law, features and n_act beside `decision`, the weights of a reward beside a `Reward`, `lagrange` or
    `window` where the reward does not use it, `costs` under a method without linear algebra.
    """
    options.count("num_envs", lanes, high=MOST)
    fam = problems.family(options.text("family", family))
    method = fam.method if method is None else method
    method = methods.named(method)
    given = decision
    if decision is None:
        decision = make_decision(fam.name, method, law, features, n_act)
    elif not isinstance(decision, Decision):
        raise options.refuse("decision", "a Decision or None", decision)
    else:
        parts = {"law": law, "features": features, "n_act": n_act}
        _unused("decision", parts, {"law": "i", "features": None, "n_act": 2})
    if isinstance(reward, Reward):
        weights = {"lagrange": lagrange, "fail": fail, "time_discount": time_discount, "window": window}
        _unused("a Reward", weights, {"lagrange": 1.0, "fail": 1.0, "time_discount": 1.0, "window": 0.0})
        rule = reward
    else:
        rule = Reward(reward, lagrange, fail, time_discount, window)
    band, span = options.flag("band", band), (fam.tolerances[0], fam.tolerances[-1]) if rtol is None else _range(rtol)
    check_pool(pool_size, split, pool_seed)
    options.count("max_attempts", max_attempts)
    if not isinstance(baseline, (str, Law)):
        raise options.refuse("baseline", "the name of a law, 'tuned' or a Law", baseline)
    price = _costs(costs, fam.name, method)
    pool = _pool(fam, method, _law(baseline, fam.name, method), pool_size, split, pool_seed, span, price)
    pool = pool.followed if rule.followed else pool
    core = Core(pool, method, decision, lanes, rule, pool.span(span, band), max_attempts, same_step)
    core.recipe = make_core, (lanes, same_step), {
        "family": fam.name, "method": method, "decision": given, "law": law, "features": features, "n_act": n_act,
        "baseline": baseline, "rtol": span, "band": band, "pool_size": pool_size, "split": split, "pool_seed": pool_seed, "reward": rule,
        "max_attempts": max_attempts, "costs": price.as_dict() if methods.get(method).implicit else None,
    }  # fmt: skip
    return core


def _unused(beside: str, given: dict[str, Any], defaults: dict[str, Any]) -> None:
    for name, value in given.items():
        if isinstance(value, (Law, Mapping)) or value != defaults[name]:
            raise options.OptionError(f"{name} has no effect beside {beside}, which holds its own: give one of them")


def spaces_of(core: Any) -> tuple[spaces.Box, spaces.Box]:
    """Observation space (bounds of the features after the normaliser) and action space of one lane."""
    d = core.decision
    bound = min(d.obs_clip, 1e30)
    low = np.clip((d.observation.low - d.shift) * d.scale, -bound, bound)
    high = np.clip((d.observation.high - d.shift) * d.scale, -bound, bound)
    return (
        spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32),
        spaces.Box(-1.0, 1.0, (d.n_act,), np.float32),
    )


class ODEEnv(Single):
    """Single environment; arguments as `make_core`, and render_mode None or "rgb_array"."""

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class ODEVectorEnv(Native):
    """Native vector environment; arguments as `make_core`."""

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
