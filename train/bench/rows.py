"""The rows of a protocol's table: what stands in it beside submissions, and how each is made.

    zero      the law that learned controllers change: a policy that always answers 0
    random    a policy that answers uniform random numbers, at every decision anew
    the rest  trained by the protocol's settings, all with the same number of env steps
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...integrators.core.names import unknown
from ..config import config as configs
from ..config.config import Config
from ..config.resolved import ES_KEYS
from .protocol import Protocol

#: rows that are not trained
FIXED = ("zero", "random")


def row_names(protocol: Protocol) -> tuple[str, ...]:
    """All rows of a protocol, in the order of its file behind those that are not trained."""
    return (*FIXED, *protocol.data["rows"])


class Zero:
    """The policy that leaves everything to the law that is changed.  n_act: numbers of an action."""

    def __init__(self, n_act: int) -> None:
        self.n_act = n_act

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Actions (lanes, n_act) for observations (lanes, n_obs)."""
        return np.zeros((len(obs), self.n_act), dtype=np.float32)


class Random:
    """The policy of uniform random numbers in [-1, 1].  n_act: numbers of an action.  seed: of the generator."""

    def __init__(self, n_act: int, seed: int) -> None:
        self.n_act, self.rng = n_act, np.random.default_rng(seed)

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """Actions (lanes, n_act) for observations (lanes, n_obs)."""
        return self.rng.uniform(-1.0, 1.0, (len(obs), self.n_act)).astype(np.float32)


def fixed(protocol: Protocol, row: str, seed: int) -> Any:
    """The policy of a row that is not trained."""
    n_act = int(protocol.data["decision"]["n_act"])
    return Zero(n_act) if row == "zero" else Random(n_act, seed)


def config(protocol: Protocol, row: str, seed: int, env_steps: int | None = None) -> Config:
    """The training config of a row that is trained.

    env_steps: in the place of the protocol's; rollouts, warm-ups and buffers shrink where they would not fit.
    ValueError naming the nearest for an unknown row.
    """
    rows = protocol.data["rows"]
    if row not in rows:
        raise unknown(f"row of {protocol.name}", row, row_names(protocol))
    asked, budget = rows[row], protocol.data["budget"]
    steps = protocol.env_steps if env_steps is None else env_steps
    env, train = protocol.env, dict(asked["train"])
    if asked["algorithm"] == "es":
        env = {k: v for k, v in env.items() if k in ES_KEYS}
    train["total_steps"] = steps
    policy = {**protocol.data["policy"], **({"hidden": asked["hidden"]} if "hidden" in asked else {})}
    return configs.from_dict({
        "name": f"{protocol.name}-{row}", "algorithm": asked["algorithm"], "seed": seed, "env": env, "policy": policy,
        "train": _fitting(train, steps),
        "evaluate": {
            "every": max(1, steps // budget["validations"]), "instances": budget["validation_instances"],
            "against": protocol.name,
        },
    })  # fmt: skip


def _fitting(train: dict[str, Any], steps: int) -> dict[str, Any]:
    """[train] for a budget that may be smaller than the protocol's: at least 8 rollouts, and a warm-up of a quarter."""
    found = dict(train)
    if "num_envs" in found:
        found["num_envs"] = min(found["num_envs"], steps // 64)
    if "n_steps" in found and "num_envs" in found:
        found["n_steps"] = max(8, min(found["n_steps"], steps // (8 * found["num_envs"])))
        size = found["n_steps"] * found["num_envs"]
        found["batch_size"] = found["batch_size"] if size % found["batch_size"] == 0 else size
    if "learning_starts" in found:
        found["learning_starts"] = min(found["learning_starts"], steps // 4)
    return found
