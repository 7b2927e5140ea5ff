"""`stepsmith/ODE-v0`: choose the step size inside an integrator, one decision an attempted step.

`ODEEnv` says what is observed, done and paid; `make_core` builds what an environment's arguments describe.
`stepsmith/ThreeBody-v0` and `stepsmith/Stiff-v0` are the same classes with some arguments fixed (`specs`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from ..controllers import resolve
from ..controllers.laws import registry
from ..controllers.laws.law import Law
from ..controllers.learned import products
from ..controllers.learned.actions import SETS
from ..controllers.learned.decision import Decision
from ..controllers.learned.observation import STIFF
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


def law_of(baseline: Any, family: str, method: str | ExplicitTableau) -> Law:
    """The option `baseline`; the same object for the same law, so that pools are found again."""
    if not isinstance(baseline, (str, Law)):
        raise options.refuse("baseline", "the name of a law, 'tuned' or a Law", baseline)
    if isinstance(baseline, Law) or registry.of_caller(baseline) is not None:
        return resolve.base_law(baseline, family, method)
    return _shipped_law(baseline, family, method)


def make_decision(
    family: str,
    method: str | ExplicitTableau,
    law: str | Law | Mapping[str, Any] = "i",
    features: tuple[str, ...] | None = None,
    n_act: int = 2,
    actions: Sequence[str] | None = None,
) -> Decision:
    """The decision on a law.

    features: None for the default, which for an implicit method is `observation.STIFF`.  actions: names of
    `controllers.learned.actions.ACTIONS` in the place of n_act; None: the set that n_act stands for.
    """
    if not isinstance(law, (str, Law, Mapping)):
        raise options.refuse("law", "the name of a law, a Law, or a table with a 'base'", law)
    if options.count("n_act", n_act) not in SETS:
        raise options.refuse(
            "n_act", "1 (step size), 2 (and acceptance threshold) or 4 (and dead band, Jacobian)", n_act
        )
    if features is not None and (isinstance(features, str) or not isinstance(features, Sequence)):
        raise options.refuse("features", "a sequence of names or None", features)
    for name in features or ():
        products.named(name)
    base = resolve.base_law(law, family, method)
    if n_act == 4 and not methods.get(method).fills >= {record.NEWTON_RATE, record.LU_SHIFT}:
        raise ValueError(
            f"n_act = 4 decides on Jacobian and LU factors of Newton's iteration; method {method!r} has none"
        )
    if actions is not None:
        _unused("actions", {"n_act": n_act}, {"n_act": 2})
    if features is None and methods.get(method).implicit:
        features = STIFF
    seen = {} if features is None else {"observation": tuple(features)}
    return Decision(**seen, law=base, actions=SETS[n_act] if actions is None else actions)  # type: ignore[arg-type]


def check_pool(size: Any, split: Any, seed: Any) -> None:
    """The options `pool_size`, `split` and `pool_seed`."""
    options.count("pool_size", size, high=MOST)
    options.choice("split", split, SPLITS)
    options.count("pool_seed", seed, low=0)


def reward_of(reward: str | Reward, lagrange: float, fail: float, time_discount: float, window: float) -> Reward:
    """The options `reward` and its weights."""
    if not isinstance(reward, Reward):
        return Reward(reward, lagrange, fail, time_discount, window)
    weights = {"lagrange": lagrange, "fail": fail, "time_discount": time_discount, "window": window}
    _unused("a Reward", weights, {"lagrange": 1.0, "fail": 1.0, "time_discount": 1.0, "window": 0.0})
    return reward


def tolerances_of(rtol: Any) -> tuple[float, float]:
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
    family: str | Family = "lorenz",
    method: str | ExplicitTableau | None = None,
    decision: Decision | None = None,
    law: str | Law | Mapping[str, Any] = "i",
    features: tuple[str, ...] | None = None,
    n_act: int = 2,
    actions: Sequence[str] | None = None,
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

    lanes       number of environments in lock-step.
    same_step   a finished lane restarts in the call that ended it, instead of the next one.
    family      the family of problems: a `Family`, its name, or where it is (file.py:NAME).
    method      a method's name or an `ExplicitTableau`; None: the family's own.
    decision    a `Decision`, in the place of law, features, n_act and actions; or None.
    law         base of the residual, see `controllers.resolve.base_law`.
    features    names of the features to observe; None: the decision's default.
    n_act       number of actions: 1 (step size), 2 (and acceptance threshold) or 4 (and dead band, Jacobian).
    actions     names of `controllers.learned.actions.ACTIONS`, in the place of n_act; None: the set of n_act.
    baseline    the law whose work the rewards compare with: a name, "tuned" or a `Law`.
    rtol        (loose, tight), the range of relative tolerances, at most 1; None: the family's grid.
    band        draw only tolerances at which the baseline's error lies about the family's band.
    pool_size, split, pool_seed
                number of instances, and the family's split and the seed that they are drawn with.
    reward      "matched", "matched_end", "constraint", "propagated", a registered name, or a `core.Reward`.
    lagrange, fail, time_discount, window
                weights of the reward, see `core.Reward`.
    max_attempts
                attempts after which an episode is truncated.
    costs       {"jacobian", "lu", "solve"} in right-hand sides, of an implicit method's linear algebra, which are part
                of the work that rewards charge; None: measured on the family.

    Raises ValueError on unknown names, naming the nearest, on bad values, and on options that would have no effect
    beside others: law, features and n_act beside `decision`, the weights of a reward beside a `Reward`, `lagrange` or
    `window` where the reward does not use it, `costs` under a method without linear algebra.
    """
    options.count("num_envs", lanes, high=MOST)
    fam = problems.family(problems.named(family))
    method = fam.method if method is None else method
    method = methods.named(method)
    given = decision
    if decision is None:
        decision = make_decision(fam.name, method, law, features, n_act, actions)
    elif not isinstance(decision, Decision):
        raise options.refuse("decision", "a Decision or None", decision)
    else:
        parts = {"law": law, "features": features, "n_act": n_act, "actions": actions}
        _unused("decision", parts, {"law": "i", "features": None, "n_act": 2, "actions": None})
    rule = reward_of(reward, lagrange, fail, time_discount, window)
    band = options.flag("band", band)
    span = (fam.tolerances[0], fam.tolerances[-1]) if rtol is None else tolerances_of(rtol)
    check_pool(pool_size, split, pool_seed)
    options.count("max_attempts", max_attempts)
    price = _costs(costs, fam.name, method)
    pool = _pool(fam, method, law_of(baseline, fam.name, method), pool_size, split, pool_seed, span, price)
    pool = pool.followed if rule.followed else pool
    core = Core(pool, method, decision, lanes, rule, pool.span(span, band), max_attempts, same_step)
    core.recipe = make_core, (lanes, same_step), {
        "family": fam.name, "method": method, "decision": given, "law": law, "features": features, "n_act": n_act,
        "actions": actions, "baseline": baseline, "rtol": span, "band": band, "pool_size": pool_size, "split": split,
        "pool_seed": pool_seed, "reward": rule,
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
    """
    ## Description

    An integrator solves an ordinary differential equation, and the agent chooses its step size.  A step of the
    environment carries out the decision on the last attempted step of the method (accept or reject it, and a size for
    the next one), and makes the next attempt.  An episode is one trajectory of one instance of a family of problems, at
    a relative tolerance of its own.

    ## Action Space

    `Box(-1, 1, (n_act,), float32)`.  Zero is the decision of the base law `law`, bit for bit.

    | action | n_act | what it changes |
    |---|---|---|
    | 0 | 1, 2, 4 | the step size: a residual on the logarithm of the factor that the law proposes |
    | 1 | 2, 4 | the acceptance threshold: the scaled error up to which an attempt is accepted |
    | 2 | 4 | the width of the dead band, in which the step size and the LU factors are kept |
    | 3 | 4 | the rate of Newton's iteration above which the Jacobian is renewed |

    Four actions are for implicit methods with Newton's iteration.  A `decision` that is given has its own actions.
    How far each reaches stands in
    `controllers/learned/actions.py`.  An action that is not finite or lies outside is answered by the law, and counted.

    ## Observation Space

    `Box(low, high, (n_obs,), float32)`: the features of the last attempt that `features` names, scale-free, clipped and
    normalised (`controllers/learned/observation.py`); the bounds are those of the features.  The default is that of
    `Decision`, and for implicit methods `observation.STIFF`.  The work so far and the error that was reached are not
    observed.

    ## Rewards

    | reward | what it pays |
    |---|---|
    | "matched" | the matched-error return: work saved against the baseline law at the error that was reached |
    | "matched_end" | the same return, paid at the end alone |
    | "constraint" | minus the work, and at the end minus the error above the baseline's at the price `lagrange` |
    | "propagated" | progress, work, and what every local error becomes at the end, all paid at once |

    The formulas stand in `integrators/kernels/environment/pay.py`; a registered reward of one's own has its own.  A
    trajectory that fails pays `fail` on top ("propagated": 100 times that).

    ## Starting State

    An instance of the pool, drawn uniformly, at its initial value, and a relative tolerance drawn log-uniformly from
    `rtol` (with `band`: from where the baseline's errors on this instance lie about the family's band of error levels).
    The first observation is that of a first attempt, with the method's automatic first size.

    ## Episode End

    The episode terminates when the end of the span is reached, or when the integration fails.  It is truncated after
    `max_attempts` attempts.  `info["stepsmith"]` then holds its statistics (`kernels.environment.env.EPISODE`).

    ## Arguments

    Those of `make_core`, which says what they are, all by name, and `render_mode`: None or "rgb_array".

    ```python
    >>> import gymnasium as gym
    >>> import stepsmith
    >>> env = gym.make("stepsmith/ODE-v0", family="lorenz", method="dopri5", reward="matched")
    ```

    ## Version History

    * v0: Initial version
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)


class ODEVectorEnv(Native):
    """`num_envs` lanes of what `ODEEnv` describes as a native vector environment.

    Its arguments are those of `make_core`, all by name, and those of `faces.Native`: num_envs, autoreset_mode.
    """

    make = staticmethod(make_core)
    spaces_of = staticmethod(spaces_of)
