"""A config with its keys checked by name and what it leaves to defaults filled in: what a run really runs with."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from ...controllers import resolve
from ...controllers.learned.decision import Decision
from ...envs.specs import DEFAULT_ID, SPECS
from ...integrators import methods, problems
from ...integrators.core import options
from ...integrators.core.names import unknown
from ...integrators.engine.solve import check_controller
from ...integrators.methods import tableaus
from ...integrators.problems import suites
from ..evaluate.splits import check_size
from . import algorithms, settings
from .config import WHOLE, Config, Evaluate, Policy

#: keys of [train] that `train.algorithms.sb3` reads itself, with the values that it takes where they are missing; None:
#: Stable-Baselines3's own. Those that an algorithm has no rule for (`algorithms.TRAIN`) are not its keys
OWN: dict[str, Any] = {
    "total_steps": 10_000_000, "num_envs": 512, "value_hidden": [64, 64], "log_std_init": None, "actions": None,
    "final_learning_rate": None, "exploration_noise": 0.3,
}  # fmt: skip
#: most observations and actions of an environment that has no decision, in an estimate of memory
OTHER_OBS, OTHER_ACTIONS = 20, 3
#: keys of [env] that the evolution strategy uses
ES_KEYS = frozenset(
    {"id", "family", "method", "law", "features", "n_act", "actions", "baseline", "pool_size", "pool_seed", "costs"}
)
_FIXED = {"self", "policy", "env", "policy_kwargs", "seed", "device", "tensorboard_log", "verbose", "_init_setup_model"}


def resolved(config: Config) -> dict[str, Any]:
    """The whole config as plain data.

    Raises ValueError naming the nearest for environments, families, methods, laws, features, rewards and keys of [env]
    and [train] that do not exist, for settings that do not fit each other (law and method, reward and family, batch and
    rollout, actions and decision), and for pools, rollouts and replay buffers that would take more than
    `settings.MEMORY`.  No pool is drawn, and nothing solved or written.
    """
    make, fixed = environment(config)
    env = {k: v.default for k, v in inspect.signature(make).parameters.items() if k in env_keys(config)} | fixed
    _known("key in [env]", config.env, {*env, "id"})
    env |= config.env
    ordinary = {"family", "method"} <= env.keys() and ident(config) != settings.SDE_ID  # its families are others
    if ordinary:  # what the environment takes from its family
        env["family"] = suites.called(env["family"])
        if suites.is_suite(env["family"]) and config.algorithm not in WHOLE:
            several = " and ".join(WHOLE)
            raise ValueError(
                f"{env['family']!r} is a suite: an environment plays one family, only {several} train on several"
            )
        env["method"] = suites.members(env["family"], env["method"])[1]
        if not suites.is_suite(env["family"]):
            family = problems.family(env["family"])
            env["rtol"] = env["rtol"] or (family.tolerances[0], family.tolerances[-1])
    defaults = train_defaults(config)
    _known("key in [train]", config.train, defaults)
    algorithms.together(config.algorithm, config.train, defaults)
    _policy(config)
    decision = _names(config, env) if ordinary else None
    _apart(config, env)
    _timed(config, env)
    if ident(config) == settings.STRENGTH_ID:
        _strength(config, env)
    elif config.algorithm in WHOLE:
        idle = sorted(set(config.env) - ES_KEYS)
        if idle:
            raise ValueError(
                f"{config.algorithm} solves whole trajectories and does not use {', '.join(idle)} of [env]"
            )
    _actions(config, env, decision)
    _memory(config, env, {**defaults, **config.train}, decision)
    data = {**config.as_dict(), "env": env, "train": {**defaults, **config.train}}
    return json.loads(json.dumps(data, default=str))


def decision_of(env: Mapping[str, Any], method: str) -> Decision:
    """The decision of an environment's arguments: the one that its id fixes, or the one that they describe."""
    from ...envs.ode import make_decision

    if env.get("decision") is not None:
        return env["decision"]
    return make_decision(
        env["family"], method, env.get("law", "i"), env.get("features"), env.get("n_act", 2), env.get("actions")
    )


def environment(config: Config) -> tuple[Callable[..., Any], dict[str, Any]]:
    """`make_core` of the config's environment, and the arguments that its id fixes.

    ValueError for an unknown id, and where the evolution strategy, which trains step-size controllers, is given an
    environment of anything else.
    """
    name = ident(config)
    if name not in SPECS:
        raise unknown("environment", name, SPECS)
    spec = SPECS[name]
    strength = name == settings.STRENGTH_ID and config.algorithm == "es"
    if config.algorithm in WHOLE and not spec.steps and not strength:
        raise ValueError(
            f"{config.algorithm} trains controllers, and none comes out of {name}: take ppo, sac, td3, ddpg or dqn"
        )
    # what a strength's file holds is one ratio, by what a training loop observes
    return spec.make_core(), {**spec.fixed, **({"actions": 1, "observe": "run"} if strength else {})}


def ident(config: Config) -> str:
    """The id of the config's environment."""
    return config.env.get("id", DEFAULT_ID)


def env_arguments(config: Config) -> dict[str, Any]:
    """What `make_core` is called with: the config's [env], and what its id fixes."""
    found = environment(config)[1] | {k: v for k, v in config.env.items() if k != "id"}
    of_problems = "family" in found and ident(config) != settings.SDE_ID  # whose families are those of SDEs
    return found | ({"family": suites.called(found["family"])} if of_problems else {})


def env_keys(config: Config) -> set[str]:
    """Keys of [env] besides `id`."""
    return set(inspect.signature(environment(config)[0]).parameters) - {"lanes", "same_step", "decision"}


def train_defaults(config: Config) -> dict[str, Any]:
    """Keys of [train] with their defaults."""
    if config.algorithm in WHOLE:
        from ..algorithms.evolution import Settings
        from ..closed.stages import Settings as ClosedSettings

        whole = Settings if config.algorithm == "es" else ClosedSettings
        return {f.name: f.default for f in dataclasses.fields(whole)}
    from ..algorithms.sb3 import ALGORITHMS

    theirs = inspect.signature(ALGORITHMS[config.algorithm].__init__).parameters
    own = {k: v for k, v in OWN.items() if k in algorithms.TRAIN[config.algorithm]}
    rest = {k: v.default for k, v in theirs.items() if k not in _FIXED}
    found = {**own, **rest, **algorithms.DEFAULTS.get(config.algorithm, {})}
    return found if config.policy.critic is None else {**found, "value_hidden": list(config.policy.critic)}


def _names(config: Config, env: dict[str, Any]) -> Decision:
    """The decision, after every name that [env] and [evaluate] hold has been looked up.

    Each look-up raises its own ValueError.
    """
    from ...envs.core import Reward

    names, method = suites.members(env["family"], env["method"])
    decision = decision_of(env, method)
    against = resolve.controller(config.evaluate.against, env["family"], method)
    for controller in (decision, resolve.base_law(env["baseline"], env["family"], method), against):
        for name in names:
            check_controller(controller, methods.get(method), problems.family(name).draw(1, 0))
    rule = Reward(env["reward"], env["lagrange"], env["fail"], env["time_discount"], env["window"])
    if config.algorithm not in WHOLE:
        loose, tight = env["rtol"]
        if tight > loose:
            raise options.refuse("[env] rtol", "[loose, tight] with tight at most loose", [loose, tight])
        family = problems.family(env["family"])
        if rule.followed and family.error != "final":
            measured = f"that of family {family.name!r} is {family.error!r}"
            raise ValueError(f"reward 'propagated' needs the error measure 'final'; {measured}")
        if rule.followed and methods.get(method).tableau is None:
            known = ", ".join(tableaus.NAMES)
            raise ValueError(f"reward 'propagated' needs an explicit Runge-Kutta method ({known}), got {method!r}")
    return decision


def _apart(config: Config, env: Mapping[str, Any]) -> None:
    """What is asked of environments that no controller comes out of: ValueError for what would have no effect, for
    training on what is validated on, and as their `make_core`."""
    name = ident(config)
    if SPECS[name].steps:
        return
    if config.evaluate.against != Evaluate().against:
        raise ValueError(f"[evaluate] against must be left out: what is validated in {name} is the mean return")
    if config.env.get("split") == "validation" and name in settings.ENVIRONMENTS:
        raise ValueError("[env] split must not be 'validation', on which the run is validated")
    if name == settings.NEURAL_ODE_ID:
        from ...envs.neural_ode.core import checked

        checked(**{key: value for key, value in env.items() if key != "id"})
    if name == settings.STEADY_STATE_ID:
        from ...envs.steady_state.instances import SPLITS

        options.count("[env] pool_size", env["pool_size"], high=len(SPLITS[env["split"]]), none=True)
    if name == settings.SDE_ID:
        from ...envs.sde.core import checked as checked_sde

        checked_sde(**{key: value for key, value in env.items() if key != "id"})


def _timed(config: Config, env: Mapping[str, Any]) -> None:
    """OptionError where time_aware_ppo is given an environment that discounts by time itself."""
    if config.algorithm == "time_aware_ppo" and env.get("time_discount", 1.0) != 1.0:
        raise options.refuse(
            "[env] time_discount", "1 with time_aware_ppo, which discounts by time by its beta", env["time_discount"]
        )


def _strength(config: Config, env: Mapping[str, Any]) -> None:
    """ValueError for settings of a strength's training that its evolution strategy would not use, and for a pool that
    is larger than the split."""
    from ...envs.regularization.instances import SPLITS  # which imports torch

    options.count("[env] pool_size", env["pool_size"], high=len(SPLITS[env["split"]]), none=True)
    if config.algorithm != "es":
        return
    for name, fixed in (("actions", 1), ("observe", "run")):
        if env[name] != fixed:
            raise options.refuse(f"[env] {name}", f"{fixed!r} with es, as the file of a strength has it", env[name])
    if "against" in config.env:
        raise ValueError(f"es does not use against of [env] in {settings.STRENGTH_ID}: all play the same instances")
    idle = sorted(set(config.train) & {"dearest", "reach", "miss", "max_steps"})
    if idle:
        raise ValueError(f"es does not use {', '.join(idle)} of [train] in {settings.STRENGTH_ID}")


def _actions(config: Config, env: Mapping[str, Any], decision: Decision | None) -> None:
    """ValueError unless the algorithm and its table of actions fit the environment.

    dqn has a table where its environment has continuous actions, with rows as wide as they are, and none where it is
    discrete; the others take no discrete environment, and ppo may have a table.
    """
    table = config.train.get("actions")
    discrete = SPECS[ident(config)].discrete
    if config.algorithm != "dqn" and discrete:
        raise ValueError(
            f"{config.algorithm} takes an environment that decides on steps; that of [env] id is discrete: take dqn"
        )
    if discrete and table is not None:
        raise ValueError(
            "[train] actions are for environments that decide on steps; that of [env] id is discrete itself"
        )
    if config.algorithm == "dqn" and not discrete and table is None:
        raise ValueError(
            "dqn chooses from a table: give `actions` in [train], rows in [-1, 1], or take stepsmith/ThreeBodyPaper-v0"
        )
    count = "n_act" if "n_act" in env else "actions"
    wide = env.get(count) if decision is None else decision.n_act
    wide = 1 if ident(config) == settings.STEADY_STATE_ID else wide
    for i, row in enumerate(table or ()):
        width = len(row) if isinstance(row, list) else 1
        if wide is not None and width != wide:
            raise options.refuse(f"[train] actions[{i}]", f"{wide} numbers in [-1, 1], as [env] {count} says", row)


def _policy(config: Config) -> None:
    """OptionError for settings of [policy] that the algorithm would not use."""
    if config.policy.start is not None and config.algorithm not in WHOLE:
        raise options.OptionError(f"[policy] start is for {' and '.join(WHOLE)}, not for {config.algorithm}")
    if config.algorithm == "closed_form" and config.policy.hidden not in ((), Policy().hidden):
        raise options.OptionError(
            f"[policy] hidden must be left out or [] for closed_form, which has no hidden layers, got "
            f"{list(config.policy.hidden)}"
        )


def _memory(config: Config, env: dict[str, Any], train: dict[str, Any], decision: Decision | None) -> None:
    """ValueError unless what is asked for fits into `settings.MEMORY`.

    That is references with the baseline's runs on them, and what an algorithm keeps.
    """
    ordinary = "family" in env and ident(config) != settings.SDE_ID
    for name in suites.members(env["family"], env["method"])[0] if ordinary else ():
        family = problems.family(name)
        check_size("[env] pool_size", env["pool_size"], family)
        check_size("[evaluate] instances", config.evaluate.instances, family)
    n_obs, n_act = (OTHER_OBS, OTHER_ACTIONS) if decision is None else (decision.n_obs, decision.n_act)
    if config.algorithm in algorithms.ON_POLICY:
        columns = n_obs + n_act + (6 if config.algorithm == "ppo" else 8)  # durations and bootstraps
        settings.fits("[train] n_steps num_envs", train["n_steps"] * train["num_envs"], 4 * columns, "a rollout")
    elif config.algorithm not in WHOLE:
        settings.fits("[train] buffer_size", train["buffer_size"], 4 * (2 * n_obs + n_act + 3), "a replay buffer")


def _known(kind: str, given: dict[str, Any], keys: Any) -> None:
    for key in given:
        if key not in keys:
            raise unknown(kind, key, keys)
