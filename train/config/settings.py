"""What the settings of a training config may be: rules, and one table per part from the name of a setting to its rule.

    rules = {"total_steps": count(), "gamma": number(0.0, 1.0, open_low=True)}
    given = check("train", {"gamma": 5}, rules)          # OptionError: [train] gamma must be ...

A rule is called with the name and the value, returns the value to use, and raises `options.OptionError` otherwise.  The
tables of [train] stand in `algorithms`.  Nothing here looks names up, draws or computes: `train.config.resolved` does,
after these rules have passed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ...envs.specs import SPECS, ships
from ...integrators import problems
from ...integrators.core import options
from ...integrators.core.names import unknown
from ...integrators.problems.families import Family

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
#: activations of a policy that is trained; "leaky_relu" has the slope .01
ACTIVATIONS = ("tanh", "relu", "elu", "silu", "gelu", "gelu_tanh", "leaky_relu")
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
    """A list (or tuple) of values that each pass `rule`, from `least` to `most` of them.

    what: what the values are, said in the error.  distinct: none may stand there twice.
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
    """The settings `given` under [`where`], each as its rule returns it.

    OptionError for the first that is unknown or does not fit.
    """
    if not isinstance(given, Mapping):
        raise options.refuse(f"config: [{where}]", "a table", given)
    for key in given:
        if key not in rules:
            raise unknown(f"key in [{where}]", key, rules)
    return {key: rules[key](f"[{where}] {key}", value) for key, value in given.items()}


def run_name(name: str, value: Any) -> str:
    """The name of a run, which becomes a folder.

    It has up to 100 printable characters, holds no / or \\, and does not begin with a dot.
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


def family(name: str, value: Any) -> str:
    """A family or suite by its name, or where it is; a `Family` is registered, and its name stands in the config."""
    return problems.named(value) if isinstance(value, Family) else text(name, value)


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
        none = "" if least else ", or [] for a network without hidden layers"
        raise options.refuse(name, f"a list of {least} to {DEEPEST} widths, for instance [16]{none}", value)
    widths = tuple(_width(f"{name}[{i}]", v) for i, v in enumerate(value))
    weights = sum(a * b for a, b in zip(widths, widths[1:], strict=False))
    if weights > MOST_WEIGHTS:
        raise options.OptionError(
            f"{name} must make at most {MOST_WEIGHTS:,} weights, got {weights:,} of {options.shown(value)}"
        )
    return widths


def _any_widths(name: str, value: Any) -> tuple[int, ...]:
    """Widths of hidden layers, of which there may be none: the network is then linear."""
    return hidden(name, value, least=0)


def _critic(name: str, value: Any) -> tuple[int, ...] | None:
    return None if value is None else hidden(name, value, least=0)


def _start(name: str, value: Any) -> str | None:
    return None if value is None else text(name, value)


POLICY: Rules = {
    "hidden": _any_widths, "critic": _critic, "activation": choice(*ACTIVATIONS), "start": _start,
}  # fmt: skip
EVALUATE: Rules = {"every": count(), "instances": instances, "seed": seed, "against": text}
COSTS: Rules = {"jacobian": number(0.0), "lu": number(0.0), "solve": number(0.0), "seconds": lambda name, value: value}

#: [env] of the step-size environments, `envs.ode.make_core`
ODE: Rules = {
    "id": text, "family": family, "method": text, "law": law, "features": _names, "n_act": choice(1, 2, 4),
    "actions": _names, "baseline": text,
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
#: [env] of `Regularization-v0`, `envs.regularization.make_core`
REGULARIZATION: Rules = {
    "id": text, "split": choice("train", "validation", "test"), "lagrange": number(0.0), "fail": number(0.0),
    "actions": count(1, 3), "observe": choice("all", "training", "run", "spectrum"), "pool_size": instances,
    "against": number(0.0),
}  # fmt: skip
#: [env] of `NeuralODE-v0`, `envs.neural_ode.make_core`
NEURAL_ODE: Rules = {
    **{name: rule for name, rule in ODE.items() if name not in ("family", "actions", "band", "costs")},
    "n_act": choice(1, 2, 3),
}  # fmt: skip
#: [env] of `SteadyState-v0`, `envs.steady_state.make_core`
STEADY_STATE: Rules = {
    "id": text, "split": choice("train", "validation", "test"), "tol": number(1e-10, 1e-2),
    "first_step": number(1e-4, 1e4), "fail": number(0.0), "max_attempts": count(1, 1_000_000), "pool_size": instances,
}  # fmt: skip
#: [env] of `SDE-v0`, `envs.sde.make_core`
SDE: Rules = {
    "id": text, "family": text, "method": text, "law": law, "features": _names, "n_act": choice(1, 2), "baseline": text,
    "rtol": many(number(above=0.0, high=1.0), "numbers, loose and tight", 2, 2), "atol_factor": number(0.0),
    "pool_size": instances, "paths": instances, "split": choice("train", "validation", "test"), "pool_seed": seed,
    "reward": text, "lagrange": number(0.0), "fail": number(0.0), "max_attempts": count(),
    "estimate": choice("published", "difference"),
}  # fmt: skip
#: [env] of `Sampler-v0`, `stepsmith.flows.sampler_env.make_core`, of its own mixture: a model is no text
SAMPLER: Rules = {
    "id": text, "split": choice("train", "validation", "test"), "steps": count(2, 1000), "samples": count(1, 65_536),
    "pool_size": instances, "pool_seed": seed, "max_attempts": count(1, 1_000_000),
    "dtype": choice("float32", "float64"),
}  # fmt: skip
STRENGTH_ID = "stepsmith/Regularization-v0"
NEURAL_ODE_ID = "stepsmith/NeuralODE-v0"
STEADY_STATE_ID = "stepsmith/SteadyState-v0"
SDE_ID = "stepsmith/SDE-v0"
#: [env] by id, of those that are no `ODE`
ENVIRONMENTS: Mapping[str, Rules] = {
    "stepsmith/ThreeBodyPaper-v0": PAPER, STRENGTH_ID: REGULARIZATION, NEURAL_ODE_ID: NEURAL_ODE,
    STEADY_STATE_ID: STEADY_STATE, SDE_ID: SDE, "stepsmith/Sampler-v0": SAMPLER,
}  # fmt: skip


def environment_rules(name: Any, given: Any) -> Rules:
    """The rules of [env] for an environment's id: of those that ship, and otherwise only of the settings of `ODE` where
    it decides on steps, so that `make_core` of an environment of one's own checks its own arguments."""
    spec = SPECS.get(name) if isinstance(name, str) else None
    if spec is None or ships(spec.id):
        return ENVIRONMENTS.get(name, ODE) if isinstance(name, str) else ODE
    rules = ODE if spec.steps else {"id": text}
    return {**rules, **{key: _any for key in given if key not in rules}}


def _any(name: str, value: Any) -> Any:
    return value


def fits(name: str, amount: int, each: int, what: str) -> None:
    """OptionError where `amount` of something that takes `each` bytes would take more than `MEMORY`."""
    if amount * each > MEMORY:
        most = f"at most {MEMORY // each:,} ({what}: {each:,} bytes each, {MEMORY // 2**30} GiB in all)"
        raise options.refuse(name, most, amount)
