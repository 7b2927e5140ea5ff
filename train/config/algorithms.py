"""What [train] of a training config may hold for each algorithm, and what its settings ask of each other.

The tables of the algorithms of Stable-Baselines3 hold its arguments by its names; what needs a Python object cannot
stand in a config.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...integrators.core import options
from .settings import MOST_ENVS, Rules, choice, count, flag, hidden, instances, left_out, many, number, table

#: [train] of the evolution strategy, `evolution.Settings`
ES: Rules = {
    "generations": count(), "population": lambda name, value: _population(name, value),
    "sigma": number(above=0.0, high=1000.0), "instances": instances, "redraw": count(), "dearest": number(above=0.0),
    "reach": number(0.0), "miss": number(0.0), "decay": number(0.0), "max_steps": count(),
    "total_steps": count(0),
}  # fmt: skip

#: [train] of the search of a closed form, `closed.stages.Settings`
CLOSED: Rules = {
    **ES, "generations": count(0), "refine": count(0), "polish": count(0), "products": count(0, 100),
    "most_numbers": count(), "worse": number(0.0),
}  # fmt: skip


def _population(name: str, value: Any) -> int:
    found = options.count(name, value, 0, 100_000)
    if found == 1:
        raise options.refuse(name, "a whole number of at least 2, or 0 for pycma's own", value)
    return found


def _entropy(name: str, value: Any) -> Any:
    """SAC's ent_coef: a number, "auto", or "auto_" and the positive number to begin with."""
    if not isinstance(value, str):
        return options.number(name, value, 0.0)
    start = value.removeprefix("auto_")
    try:
        good = value == "auto" or (start != value and 0.0 < float(start) < float("inf"))
    except ValueError:
        good = False
    if not good:
        raise options.refuse(name, 'a number of at least 0, "auto" or "auto_<number>"', value)
    return value


def _target_entropy(name: str, value: Any) -> Any:
    if isinstance(value, str) and value != "auto":
        raise options.refuse(name, 'a finite number or "auto"', value)
    return value if isinstance(value, str) else options.number(name, value)


def _gradient_steps(name: str, value: Any) -> int:
    found = options.count(name, value, -1, 1_000_000)
    if found == 0:  # it would never learn
        raise options.refuse(name, "a whole number of at least 1, or -1 for as many as env steps", value)
    return found


def _noise(name: str, value: Any) -> None:
    if value is not None:
        raise options.refuse(name, "left out: exploration_noise is the standard deviation of the noise", value)


def _values(name: str, value: Any) -> list[int]:
    return list(hidden(name, value, least=0))


_rate = number(above=0.0, high=1.0)
_share = number(0.0, 1.0)
#: keys of [train] that `train.algorithms.sb3` reads itself, for every algorithm
OWN: Rules = {"total_steps": count(), "num_envs": count(1, MOST_ENVS), "final_learning_rate": _rate}
_GAUSSIAN: Rules = {
    "value_hidden": _values,
    "log_std_init": number(-20.0, 2.0),
    "use_sde": flag,
    "sde_sample_freq": count(-1),
}
_EVERY: Rules = {**OWN, "learning_rate": _rate, "gamma": number(above=0.0, high=1.0), "stats_window_size": count()}
_OFF_POLICY: Rules = {
    **_EVERY, "buffer_size": count(1, 2**40), "learning_starts": count(0), "batch_size": count(1, 2**30),
    "tau": number(above=0.0, high=1.0), "train_freq": count(), "gradient_steps": _gradient_steps,
    "optimize_memory_usage": flag,
    "n_steps": count(1, 1_000_000), "replay_buffer_class": left_out,
    "replay_buffer_kwargs": table({"handle_timeout_termination": flag}),
}  # fmt: skip

#: [train] of every algorithm of Stable-Baselines3
PPO: Rules = {
    **_EVERY, **_GAUSSIAN, "n_steps": count(1, 2**30), "batch_size": count(2, 2**40), "n_epochs": count(1, 1_000_000),
    "gae_lambda": _share, "clip_range": number(above=0.0), "clip_range_vf": number(above=0.0),
    "normalize_advantage": flag,
    "ent_coef": number(0.0), "vf_coef": number(0.0), "max_grad_norm": number(above=0.0), "target_kl": number(above=0.0),
    "rollout_buffer_class": left_out, "rollout_buffer_kwargs": left_out,
    "actions": lambda name, value: _table(name, value),
}  # fmt: skip
#: discounts by time in the place of those by decision
TIME_AWARE_PPO: Rules = {
    **{name: rule for name, rule in PPO.items() if name not in ("gamma", "gae_lambda") and rule is not left_out},
    "beta": number(0.0), "kappa": number(0.0), "reward": choice("count", "rate"),
}  # fmt: skip
SAC: Rules = {
    **_OFF_POLICY, **_GAUSSIAN, "ent_coef": _entropy, "target_entropy": _target_entropy, "use_sde_at_warmup": flag,
    "action_noise": left_out, "target_update_interval": count(),
}  # fmt: skip
TD3: Rules = {
    **_OFF_POLICY, "value_hidden": _values, "exploration_noise": number(above=0.0, high=2.0), "action_noise": _noise,
    "policy_delay": count(), "target_policy_noise": number(0.0), "target_noise_clip": number(0.0),
}  # fmt: skip
_TD3_ALONE = ("policy_delay", "target_policy_noise", "target_noise_clip", "stats_window_size")
DDPG: Rules = {name: rule for name, rule in TD3.items() if name not in _TD3_ALONE}
DQN: Rules = {
    **_OFF_POLICY, "actions": lambda name, value: _table(name, value),
    "exploration_fraction": number(above=0.0, high=1.0), "exploration_initial_eps": _share,
    "exploration_final_eps": _share,
    "max_grad_norm": number(above=0.0), "target_update_interval": count(),
}  # fmt: skip
TRAIN: Mapping[str, Rules] = {
    "ppo": PPO, "time_aware_ppo": TIME_AWARE_PPO, "sac": SAC, "td3": TD3, "ddpg": DDPG, "dqn": DQN, "es": ES,
    "closed_form": CLOSED,
}  # fmt: skip

#: those that learn from one rollout at a time
ON_POLICY = ("ppo", "time_aware_ppo")

#: what td3 and ddpg take where [train] leaves a setting out, in the place of Stable-Baselines3's own defaults: those
#: are for one environment, and would make one gradient step for the steps of all of these
_DETERMINISTIC: Mapping[str, Any] = {
    "total_steps": 600_000, "num_envs": 256, "batch_size": 512, "learning_rate": 1e-4, "tau": 0.002, "n_steps": 4,
    "gradient_steps": 16, "learning_starts": 10_000, "value_hidden": [128, 128], "exploration_noise": 0.3,
}  # fmt: skip
#: an actor that follows its critic at once runs into a corner of the actions, and stays there
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "td3": {**_DETERMINISTIC, "policy_delay": 16}, "ddpg": _DETERMINISTIC,
}  # fmt: skip


def _table(name: str, value: Any) -> Any:
    """The actions that dqn, or ppo if it is to be discrete, chooses among."""
    return many(_action, "rows of numbers in [-1, 1]", 2, 100_000)(name, value)


def _action(name: str, value: Any) -> Any:
    one = number(-1.0, 1.0)
    return many(one, "numbers in [-1, 1]", 1, 4)(name, value) if isinstance(value, (list, tuple)) else one(name, value)


def check_critic(algorithm: str, critic: Any, train: Mapping[str, Any]) -> None:
    """ValueError where [policy] critic is given to an algorithm that has none, or beside [train] value_hidden."""
    if critic is None:
        return
    if "value_hidden" not in TRAIN[algorithm]:
        have = ", ".join(name for name, rules in TRAIN.items() if "value_hidden" in rules)
        raise options.OptionError(f"[policy] critic must be left out, for {algorithm} has no critic: {have} have one")
    if "value_hidden" in train:
        raise options.OptionError(
            "[policy] critic and [train] value_hidden are two names of one setting: leave one of them out"
        )


def together(algorithm: str, train: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """What settings of [train] ask of each other; OptionError naming both.  defaults: what those left out have."""
    whole = {**defaults, **train}

    def must(good: bool, name: str, takes: str) -> None:
        if not good:
            raise options.refuse(f"[train] {name}", takes, whole[name])

    if algorithm in ("es", "closed_form"):
        return
    last = whole.get("final_learning_rate")
    if last is not None:
        rate = whole["learning_rate"]
        must(last <= rate, "final_learning_rate", f"a positive number of at most learning_rate ({rate:g})")
    if algorithm in ON_POLICY:
        discrete = whole.get("actions") is not None
        must(not (discrete and whole["use_sde"]), "use_sde", "false with actions, which are discrete")
        steps, envs = whole["n_steps"], whole["num_envs"]
        size = steps * envs
        must(
            size % whole["batch_size"] == 0,
            "batch_size",
            f"a divisor of n_steps times num_envs ({steps} times {envs}, {size})",
        )
        return
    if algorithm == "sac":
        must(not whole["use_sde"], "use_sde", "false, for such policies cannot be exported as controllers")
    total, envs = whole["total_steps"], whole["num_envs"]
    must(whole["learning_starts"] < total, "learning_starts", f"less than total_steps ({total}), or nothing is learnt")
    least = max(envs, whole["batch_size"])
    must(whole["buffer_size"] >= least, "buffer_size", f"at least num_envs and batch_size ({least})")
    if whole["optimize_memory_usage"]:
        kept = (whole.get("replay_buffer_kwargs") or {}).get("handle_timeout_termination", True)
        must(
            not kept,
            "optimize_memory_usage",
            "false unless replay_buffer_kwargs = {handle_timeout_termination = false}",
        )
        must(whole["n_steps"] == 1, "n_steps", "1 with optimize_memory_usage")
    if algorithm == "dqn":
        first = whole["exploration_initial_eps"]
        must(
            whole["exploration_final_eps"] <= first,
            "exploration_final_eps",
            f"at most exploration_initial_eps ({first:g})",
        )
