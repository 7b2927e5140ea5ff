"""A config's tables with another algorithm or other single settings, as `stepsmith train --algo` and `--set` ask."""

from __future__ import annotations

import copy
import inspect
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any

from ...envs.specs import SPECS
from ...integrators.core import options
from . import config as configs
from .algorithms import ON_POLICY, TRAIN
from .resolved import ES_KEYS
from .settings import ENVIRONMENTS, STRENGTH_ID

#: the shipped config whose [train], and whose steps between validations, an algorithm is given
SHIPPED = {
    "ppo": "three_body_ppo", "time_aware_ppo": "three_body_ppo", "sac": "three_body_sac", "td3": "three_body_td3",
    "ddpg": "three_body_td3",
    "es": "three_body_es", "closed_form": "three_body_closed_form", "dqn": "three_body_paper_dqn",
}  # fmt: skip
#: keys of [env] that the evolution strategy uses for strengths of a regulariser
STRENGTH_KEYS = frozenset({"id", "split", "lagrange", "fail", "pool_size"})
#: what `SHIPPED` is for them
STRENGTHS = {**SHIPPED, "ppo": "regularization_ppo", "es": "regularization_es"}
#: first components of the actions that DQN is given to choose from; the other components are 0
CHOICES = (-1.0, -0.5, 0.0, 0.5, 1.0)
#: tables of a config that --set reaches into
TABLES = ("env", "policy", "train", "evaluate")


def with_algorithm(tables: Mapping[str, Any], algorithm: str) -> dict[str, Any]:
    """The tables of a training config for another algorithm; unchanged where it is the config's own.

    [train] and the steps between validations become those of the shipped config of that algorithm (`SHIPPED`), since
    settings of one algorithm mean something else to another.  What only the former algorithm has a use for goes: the
    critic of [policy], and in [env], for es and closed_form, everything about single steps.  DQN gets a table of five
    step sizes.

    OptionError for an unknown algorithm, and for a config that trains no controller with one of them.
    """
    options.choice("algo", algorithm, configs.ALGORITHMS)
    if "task" in tables or "fields" in tables:
        kind = "task" if "task" in tables else "fields"
        raise options.OptionError(
            f"algo must be left out: a config with a [{kind}] table has one way of training and no algorithm to choose"
        )
    data = copy.deepcopy(dict(tables))
    if data.get("algorithm") == algorithm or not isinstance(data.get("env"), dict):
        return {**data, "algorithm": algorithm}
    strengths = data["env"].get("id") == STRENGTH_ID
    shipped = configs.read((STRENGTHS if strengths else SHIPPED)[algorithm])
    data |= {"algorithm": algorithm, "train": {k: v for k, v in shipped["train"].items() if k in TRAIN[algorithm]}}
    if algorithm == "closed_form":
        data["train"].pop("generations")  # the search has several stages, each with generations of its own
    if data["env"].get("id") in ENVIRONMENTS and algorithm not in configs.WHOLE:
        _budget(data, {**(configs.read(STRENGTHS["ppo"])["train"] if strengths else {}), **tables.get("train", {})})
    evaluate = data.get("evaluate", {})
    if isinstance(evaluate, dict):
        data["evaluate"] = {**evaluate, "every": shipped["evaluate"]["every"]}
    if "value_hidden" not in TRAIN[algorithm] and isinstance(data.get("policy"), dict):
        data["policy"].pop("critic", None)
    elif "critic" in data.get("policy", ()):
        data["train"].pop("value_hidden", None)
    if algorithm == "closed_form" and isinstance(data.get("policy"), dict):
        data["policy"]["hidden"] = []
    if algorithm not in configs.WHOLE and isinstance(data.get("policy"), dict):
        data["policy"].pop("start", None)
    if algorithm in configs.WHOLE:
        kept = STRENGTH_KEYS if strengths else ES_KEYS
        data["env"] = {k: v for k, v in data["env"].items() if k in kept}
    elif strengths and tables.get("algorithm") == "es":
        data["env"] = {"actions": 1, "observe": "run", **data["env"]}  # as es has it
    if algorithm == "dqn":
        data["train"] |= _choices(data["env"])
    return data


def _budget(data: dict[str, Any], train: Mapping[str, Any]) -> None:
    """Keep the budget and the discount of [train]: those of the shipped config are for solves of many steps."""
    rules, own = TRAIN[data["algorithm"]], data["train"]
    kept = ("total_steps", "gamma") if data["algorithm"] in ON_POLICY else ("total_steps", "gamma", "num_envs")
    own |= {name: train[name] for name in kept if name in train and name in rules}
    if "learning_starts" in own:
        own["learning_starts"] = min(own["learning_starts"], own["total_steps"] // 10)


def _choices(env: Mapping[str, Any]) -> dict[str, Any]:
    """The setting `actions` of DQN for an environment; none where the environment is discrete itself."""
    spec = SPECS.get(env.get("id", "stepsmith/ODE-v0"))
    if spec is None or spec.discrete:  # what is unknown is refused where the config is read
        return {}
    defaults = {name: p.default for name, p in inspect.signature(spec.make_core()).parameters.items()}
    whole = {**defaults, **spec.fixed, **env}
    named = whole.get("actions")
    width = len(named) if isinstance(named, list) else whole.get("n_act", 1) if named is None else named
    return {"actions": [[v, *[0.0] * (width - 1)] for v in CHOICES]}


def with_settings(tables: Mapping[str, Any], given: Sequence[str]) -> dict[str, Any]:
    """The tables with settings put in: "train.total_steps=5000", the value as TOML would have it; "name=mine" too.

    What is no TOML is taken for a string, so that quotes may be left out.  OptionError for what is no such setting.
    """
    data = copy.deepcopy(dict(tables))
    for text in given:
        name, equals, value = text.partition("=")
        section, _, key = name.strip().partition(".")
        if equals and name.strip() == "name":
            found = _value(value.strip())
            data["name"] = found if isinstance(found, str) else value.strip()
            continue
        if not equals or section not in TABLES or not key:
            known = ", ".join(("name", *(f"{s}.KEY" for s in TABLES)))
            raise options.refuse("set", f"KEY=VALUE with one of {known} as its KEY", text)
        table = data.setdefault(section, {})
        if isinstance(table, dict):  # otherwise it is refused where the config is read
            table[key] = _value(value.strip())
    return data


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError, ValueError, KeyError):
        return text
