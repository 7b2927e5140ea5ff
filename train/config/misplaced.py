"""Keys of a training config that stand in the wrong table, belong to another algorithm, or have another name here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...integrators.core import options
from . import algorithms, settings

#: names of Stable-Baselines3 and of other programs, and what has their place in a config
NAMES = {
    "policy_kwargs": "[policy] hidden, critic and activation",
    "net_arch": "[policy] hidden and critic",
    "activation_fn": "[policy] activation",
    "critic_hidden": "[policy] critic",
    "total_timesteps": "[train] total_steps",
    "n_envs": "[train] num_envs",
    "lr": "[train] learning_rate",
    "action_noise": "[train] exploration_noise",
    "seed": "seed, at the top of the config",
    "name": "name, at the top of the config",
    "algorithm": "algorithm, at the top of the config",
}
#: settings that a run fixes, and why
FIXED = {
    "device": "training runs on the CPU, beside the compiled environments", "verbose": "log.jsonl and tensorboard tell",
    "tensorboard_log": "events are written into the run folder", "env": "the environment is described in [env]",
    "policy": "the network is described in [policy]",
}  # fmt: skip
#: discounts by decision, and what time_aware_ppo has in their place
TIMES = {
    "gamma": "time_aware_ppo discounts by time, and beta is the rate: gamma = e^(-beta h) for the share h of the span",
    "gae_lambda": "of time_aware_ppo kappa is its rate: lambda = e^(-kappa h) for the share h of the span",
}


def check(where: str, given: Any, known: Iterable[str], algorithm: str) -> None:
    """OptionError for the first key of the table [`where`] that is not `known` there and has its place elsewhere.

    A key that has none, a misspelt one for instance, is left to those who look keys up.
    """
    if not isinstance(given, Mapping):
        return
    for key in given:
        if key not in known and isinstance(key, str) and (place := _place(where, key, algorithm)):
            raise options.OptionError(f"unknown key in [{where}] {key!r}: {place}")


def _place(where: str, key: str, algorithm: str) -> str:
    if key in FIXED and where == "train":
        return f"it cannot be set, for {FIXED[key]}"
    if where == "train" and algorithm == "time_aware_ppo" and key in TIMES:
        return TIMES[key]
    if where == "train" and (others := [name for name, rules in algorithms.TRAIN.items() if key in rules]):
        too = "; [env] has one of this name" if key in settings.ODE else ""
        return f"a setting of {', '.join(others)}, not of {algorithm}{too}"
    if key in NAMES:
        return f"its place is {NAMES[key]}"
    tables = {"policy": settings.POLICY, "env": settings.ODE, "evaluate": settings.EVALUATE,
              "train": algorithms.TRAIN[algorithm]}  # fmt: skip
    for name, rules in tables.items():
        if name != where and key in rules:
            return f"it stands in [{name}]"
    return ""
