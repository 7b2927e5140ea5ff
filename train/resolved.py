"""A config with its keys checked by name and what it leaves to defaults filled in: what a run really runs with."""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import gymnasium

from ..controllers import resolve
from ..controllers.observation import Observation
from ..integrators import methods, problems, suites
from ..integrators.names import unknown
from .config import Config

_PACKAGE = __package__.rsplit(".", 1)[0]
#: keys of [train] that `train.sb3` reads itself, with the values that it takes where they are missing; None: Stable-Baselines3's own
OWN: dict[str, Any] = {
    "total_steps": 10_000_000, "num_envs": 512, "value_hidden": [64, 64], "log_std_init": None, "actions": None,
    "final_learning_rate": None,
}  # fmt: skip
#: keys of [env] that the evolution strategy uses
ES_KEYS = frozenset(
    {"id", "family", "method", "law", "features", "n_act", "baseline", "pool_size", "pool_seed", "costs"}
)
_FIXED = {"self", "policy", "env", "policy_kwargs", "seed", "device", "tensorboard_log", "verbose", "_init_setup_model"}


def resolved(config: Config) -> dict[str, Any]:
    """The whole config as plain data.

    Raises ValueError naming the nearest for environments, families, methods, laws, features, rewards and keys of [env] and [train] that
    do not exist, and for settings of the evolution strategy that are out of range.
    """
    make, fixed = environment(config)
    env = {k: v.default for k, v in inspect.signature(make).parameters.items() if k in env_keys(config)} | fixed
    _known("key in [env]", config.env, {*env, "id"})
    env |= config.env
    if "family" in env:  # what the environment takes from its family
        if suites.is_suite(env["family"]) and config.algorithm != "es":
            raise ValueError(f"{env['family']!r} is a suite: an environment plays one family, only es trains on several")
        env["method"] = suites.members(env["family"], env["method"])[1]
        if not suites.is_suite(env["family"]):
            family = problems.family(env["family"])
            env["rtol"] = env["rtol"] or (family.tolerances[0], family.tolerances[-1])
        _names(config, env)
    defaults = train_defaults(config)
    _known("key in [train]", config.train, defaults)
    if config.algorithm == "es":
        from .evolution import Settings

        idle = sorted(set(config.env) - ES_KEYS)
        if idle:
            raise ValueError(f"es solves whole trajectories and does not use {', '.join(idle)} of [env]")
        Settings(**config.train)  # it refuses what is out of range
    data = {**config.as_dict(), "env": env, "train": {**defaults, **config.train}}
    return json.loads(json.dumps(data, default=str))


def environment(config: Config) -> tuple[Callable[..., Any], dict[str, Any]]:
    """`make_core` of the config's environment, and the arguments that its id fixes; ValueError for unknown ids, and where the evolution
    strategy, which trains step-size controllers, is given an environment of anything else."""
    ident = config.env.get("id", "stepsmith/ODE-v0")
    known = {name: spec for name, spec in gymnasium.registry.items() if name.startswith("stepsmith/")}
    if ident not in known:
        raise unknown("environment", ident, known)
    module = str(known[ident].entry_point).partition(":")[0].removeprefix(_PACKAGE)
    if config.algorithm == "es" and module != ".envs.ode":
        raise ValueError(f"es trains step-size controllers; the actions of {ident} are none")
    return import_module(module, _PACKAGE).make_core, dict(known[ident].kwargs)


def env_arguments(config: Config) -> dict[str, Any]:
    """What `make_core` is called with: the config's [env], and what its id fixes."""
    return environment(config)[1] | {k: v for k, v in config.env.items() if k != "id"}


def env_keys(config: Config) -> set[str]:
    """Keys of [env] besides `id`."""
    return set(inspect.signature(environment(config)[0]).parameters) - {"lanes", "same_step", "decision"}


def train_defaults(config: Config) -> dict[str, Any]:
    """Keys of [train] with their defaults."""
    if config.algorithm == "es":
        from .evolution import Settings

        return {f.name: f.default for f in dataclasses.fields(Settings)}
    from .sb3 import ALGORITHMS

    theirs = inspect.signature(ALGORITHMS[config.algorithm].__init__).parameters
    return OWN | {k: v.default for k, v in theirs.items() if k not in _FIXED}


def _names(config: Config, env: dict[str, Any]) -> None:
    """Look up every name that [env] and [evaluate] hold; each look-up raises its own ValueError."""
    from ..envs.core import Reward

    method = methods.get(env["method"]).name
    resolve.base_law(env["law"], env["family"], method)
    resolve.base_law(env["baseline"], env["family"], method)
    resolve.controller(config.evaluate.against, env["family"], method)
    if env["features"] is not None:
        Observation(tuple(env["features"]))
    Reward(env["reward"])


def _known(kind: str, given: dict[str, Any], keys: Any) -> None:
    for key in given:
        if key not in keys:
            raise unknown(kind, key, keys)
