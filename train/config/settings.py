"""What every setting of a training config may be: one table per part, from the name of a setting to the rule that
checks it.

    rules = {"total_steps": count(), "gamma": number(0.0, 1.0, open_low=True)}
    given = check("train", {"gamma": 5}, rules)          # OptionError: [train] gamma must be ...

A rule is called with the name and the value, returns the value to use, and raises `options.OptionError` otherwise.  The
tables of the algorithms of Stable-Baselines3 hold its arguments by its names; what needs a Python object cannot stand
in a config.  Nothing here looks names up, draws or computes: `train.config.resolved` does, after these rules have
passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...integrators.core import options
from ...integrators.core.names import unknown

Rule = Callable[[str, Any], Any]
Rules = Mapping[str, Rule]

#: seeds of all that is random: NumPy, pycma and Optuna take 32 bits, and some add a little to them
LARGEST_SEED = 2**31 - 1
#: instances that one split or pool may be asked for
MOST_INSTANCES = 1_000_000
#: environments that step together
MOST_ENVS = 2**20
#: widths of a network's layers, their number, and its weights
WIDEST, DEEPEST, MOST_WEIGHTS = 65_536, 32, 50_000_000
#: bytes that a pool's references, a rollout or a replay buffer may take
MEMORY = 2**34


def count(low: int = 1, high: int = options.LARGEST_COUNT, none: bool = False) -> Rule:
    """A whole number from `low` to `high`."""
    return lambda name, value: options.count(name, value, low, high, none)


def number(
    low: float | None = None, high: float | None = None, *, above: float | None = None, none: bool = False
) -> Rule:
    """A finite number: at least `low`, at most `high`, greater than `above`."""
    bounds = {k: v for k, v in (("low", low), ("high", high), ("above", above)) if v is not None}
    return lambda name, value: options.number(name, value, none=none, **bounds)


def flag(name: str, value: Any) -> bool:
    """True or False."""
    return options.flag(name, value)


def text(name: str, value: Any) -> str:
    """A string that is not empty."""
    return options.text(name, value)


def choice(*known: Any) -> Rule:
    """One of `known`: strings, of which the error names the nearest, or whole numbers."""

    def rule(name: str, value: Any) -> Any:
        if isinstance(known[0], str):
            where, _, key = name.rpartition("] ")
            if isinstance(value, str) and value not in known:
                raise options.OptionError(f"{where}{'] ' if where else ''}{unknown(key, value, known)}")
            return options.choice(name, value, known)
        if isinstance(value, bool) or not isinstance(value, int) or value not in known:
            raise options.refuse(name, f"one of {', '.join(map(str, known))}", value)
        return value

    return rule


def many(rule: Rule, what: str, least: int = 1, most: int | None = None, distinct: bool = False) -> Rule:
    """A list (or tuple) of values that each pass `rule`, from `least` to `most` of them; what: said of a value that is
    no such list.
    """
    size = f"{least}" if most == least else f"at least {least}" if most is None else f"{least} to {most}"
    takes = f"a list of {size} {what}"

    def checked(name: str, value: Any) -> list[Any]:
        if not isinstance(value, (list, tuple)) or len(value) < least or (most is not None and len(value) > most):
            raise options.refuse(name, takes, value)
        found = [rule(f"{name}[{i}]", v) for i, v in enumerate(value)]
        if distinct and len(set(found)) < len(found):
            raise options.OptionError(f"{name} names something twice: {options.shown(value)}")
        return found

    return checked


def table(rules: Rules, needs: tuple[str, ...] = ()) -> Rule:
    """A table with keys of `rules`, `needs` among them."""

    def checked(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise options.refuse(name, f"a table of {', '.join(rules)}", value)
        for key in value:
            if key not in rules:
                raise unknown(f"key of {name}", key, rules)
        for key in needs:
            if key not in value:
                raise options.OptionError(f"{name} must have {key}, got {options.shown(dict(value))}")
        return {key: rules[key](f"{name}.{key}", v) for key, v in value.items()}

    return checked


def left_out(name: str, value: Any) -> None:
    """Nothing: an argument that takes a Python object, and Stable-Baselines3's own default."""
    if value is not None:
        raise options.refuse(name, "left out, for it takes a Python object, which no config holds", value)


def mapping(name: str, value: Any) -> dict[str, Any]:
    """A table of anything: what takes it checks the rest."""
    if not isinstance(value, Mapping):
        raise options.refuse(name, "a table", value)
    return dict(value)


def check(where: str, given: Any, rules: Rules) -> dict[str, Any]:
    """The settings `given` under [`where`], each as its rule returns it; OptionError for the first that is unknown or
    does not fit.
    """
    if not isinstance(given, Mapping):
        raise options.refuse(f"config: [{where}]", "a table", given)
    for key in given:
        if key not in rules:
            raise unknown(f"key in [{where}]", key, rules)
    return {key: rules[key](f"[{where}] {key}", value) for key, value in given.items()}


def run_name(name: str, value: Any) -> str:
    """The name of a run, which becomes a folder: up to 100 printable characters, without / and not beginning with a
    dot.
    """
    options.text(name, value)
    if (
        len(value) > 100
        or not value.isprintable()
        or "/" in value
        or "\\" in value
        or value[0] in ". "
        or value[-1] == " "
    ):
        raise options.refuse(
            name, "a name for a folder (at most 100 printable characters, no / or \\, no dot in front)", value
        )
    return value


def law(name: str, value: Any) -> Any:
    """A law's name, "tuned", or a table {base = one of these, coefficient = number, ...}."""
    if not isinstance(value, Mapping):
        if not isinstance(value, str) or not value:
            raise options.refuse(name, "a law's name or a table with a base", value)
        return value
    if "base" not in value:
        raise options.OptionError(f"{name} must have a base, got {options.shown(dict(value))}")
    return {k: law(f"{name}.base", v) if k == "base" else options.number(f"{name}.{k}", v) for k, v in value.items()}


seed = count(0, LARGEST_SEED)
instances = count(1, MOST_INSTANCES)
_names = many(text, "names", distinct=True)
_width = count(1, WIDEST)


def hidden(name: str, value: Any, least: int = 1) -> tuple[int, ...]:
    """Widths of hidden layers: a list of whole numbers."""
    if not isinstance(value, (list, tuple)) or not least <= len(value) <= DEEPEST:
        raise options.refuse(name, f"a list of {least} to {DEEPEST} widths, for instance [16]", value)
    widths = tuple(_width(f"{name}[{i}]", v) for i, v in enumerate(value))
    weights = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    if weights > MOST_WEIGHTS:
        raise options.OptionError(
            f"{name} must make at most {MOST_WEIGHTS:,} weights, got {weights:,} of {options.shown(value)}"
        )
    return widths


POLICY: Rules = {"hidden": hidden, "activation": choice("tanh", "relu")}
EVALUATE: Rules = {"every": count(), "instances": instances, "seed": seed, "against": text}
COSTS: Rules = {"jacobian": number(0.0), "lu": number(0.0), "solve": number(0.0), "seconds": lambda name, value: value}

#: [env] of the step-size environments, `envs.ode.make_core`
ODE: Rules = {
    "id": text, "family": text, "method": text, "law": law, "features": _names, "n_act": choice(1, 2, 4),
    "baseline": text,
    "rtol": many(number(above=0.0, high=1.0), "numbers, loose and tight", 2, 2), "band": flag, "pool_size": instances,
    "split": choice("train", "validation", "test"), "pool_seed": seed, "reward": text, "lagrange": number(0.0),
    "fail": number(0.0),
    "time_discount": number(above=0.0, high=1.0), "window": number(0.0), "max_attempts": count(), "costs": table(COSTS),
}  # fmt: skip
#: [env] of `ThreeBodyPaper-v0`, `envs.three_body_paper.make_core`
PAPER: Rules = {
    "id": text, "steps": count(1, 1_000_000), "weights": many(number(), "numbers [W0, W1, W2]", 3, 3),
    "counter": choice("observed", "out", "hidden"), "method": choice("hermite4_pec", "hermite4"),
    "seeds": many(seed, "numbers of instances", 1, MOST_INSTANCES), "in_turn": flag, "pool_size": instances,
    "split": choice("train", "validation", "test"), "pool_seed": seed, "energy_limit": number(above=0.0),
}  # fmt: skip

#: [train] of the evolution strategy, `evolution.Settings`
ES: Rules = {
    "generations": count(), "population": lambda name, value: _population(name, value),
    "sigma": number(above=0.0, high=1000.0),
    "instances": instances, "redraw": count(), "dearest": number(above=0.0), "reach": number(0.0), "miss": number(0.0),
    "decay": number(0.0), "max_steps": count(),
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
    "n_steps": count(1, 1_000_000), "target_update_interval": count(), "replay_buffer_class": left_out,
    "replay_buffer_kwargs": table({"handle_timeout_termination": flag}),
}  # fmt: skip

#: [train] of every algorithm of Stable-Baselines3
PPO: Rules = {
    **_EVERY, **_GAUSSIAN, "n_steps": count(1, 2**30), "batch_size": count(2, 2**40), "n_epochs": count(1, 1_000_000),
    "gae_lambda": _share, "clip_range": number(above=0.0), "clip_range_vf": number(above=0.0),
    "normalize_advantage": flag,
    "ent_coef": number(0.0), "vf_coef": number(0.0), "max_grad_norm": number(above=0.0), "target_kl": number(above=0.0),
    "rollout_buffer_class": left_out, "rollout_buffer_kwargs": left_out,
}  # fmt: skip
SAC: Rules = {
    **_OFF_POLICY, **_GAUSSIAN, "ent_coef": _entropy, "target_entropy": _target_entropy, "use_sde_at_warmup": flag,
    "action_noise": left_out,
}  # fmt: skip
DQN: Rules = {
    **_OFF_POLICY, "actions": many(lambda name, value: _action(name, value), "rows of numbers in [-1, 1]", 2, 100_000),
    "exploration_fraction": number(above=0.0, high=1.0), "exploration_initial_eps": _share,
    "exploration_final_eps": _share,
    "max_grad_norm": number(above=0.0),
}  # fmt: skip
TRAIN: Mapping[str, Rules] = {"ppo": PPO, "sac": SAC, "dqn": DQN, "es": ES}


def _action(name: str, value: Any) -> Any:
    one = number(-1.0, 1.0)
    return many(one, "numbers in [-1, 1]", 1, 4)(name, value) if isinstance(value, (list, tuple)) else one(name, value)


def together(algorithm: str, train: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    """What settings of [train] ask of each other; OptionError naming both.  defaults: what those left out have."""
    whole = {**defaults, **train}

    def must(good: bool, name: str, takes: str) -> None:
        if not good:
            raise options.refuse(f"[train] {name}", takes, whole[name])

    if algorithm == "es":
        return
    last = whole.get("final_learning_rate")
    if last is not None:
        rate = whole["learning_rate"]
        must(last <= rate, "final_learning_rate", f"a positive number of at most learning_rate ({rate:g})")
    if algorithm == "ppo":
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


def fits(name: str, amount: int, each: int, what: str) -> None:
    """OptionError where `amount` of something that takes `each` bytes would take more than `MEMORY`."""
    if amount * each > MEMORY:
        most = f"at most {MEMORY // each:,} ({what}: {each:,} bytes each, {MEMORY // 2**30} GiB in all)"
        raise options.refuse(name, most, amount)
