"""What a policy of Stable-Baselines3 is measured by while it is trained, and what is kept of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

from ...controllers.file import save
from ...controllers.learned.network import Learned
from ...controllers.strengths import policy_file
from ...envs.specs import DEFAULT_ID, SPECS
from ...integrators.problems.nonstiff.neural_training import SNAPSHOTS
from ...policies.export import from_sb3
from ...policies.export_strength import strength_from_sb3
from ..config import settings
from ..config.config import Config
from ..config.resolved import environment, resolved
from ..evaluate import strengths
from ..evaluate.returns import mean_return
from ..run.provenance import provenance
from ..run.rundir import RunDir
from ..run.runfiles import put
from .validate import Validator


def acting(model: BaseAlgorithm, table: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The deterministic policy, from observations to the environment's actions.

    table: (n, n_act) the actions that the model chooses among; None: its actions are the environment's.
    """
    rows = None if table is None else np.array(table, np.float32).reshape(len(table), -1)

    def act(obs: np.ndarray) -> np.ndarray:
        action = model.predict(obs, deterministic=True)[0]
        return action if rows is None else rows[action]

    return act


def keys_of(seed: int, lanes: int) -> np.ndarray:
    """(lanes,) keys of the lanes' generators, others for every seed."""
    return np.random.default_rng(seed).integers(1, 2**63, lanes, dtype=np.uint64)


class LawCheck:
    """Work at matched error against a law on the family's validation split; keeps the policy as a controller."""

    name = "ratio"

    def __init__(self, config: Config, run: RunDir, core: Any, table: Any) -> None:
        self.config, self.decision, self.table, self.path = config, core.decision, table, run.controller
        self.pool_size = len(core.pool.batch)
        e = config.evaluate
        self.validator = Validator(core.pool.family.name, core.method, e.against, e.instances, e.seed, core.pool.costs)
        self.learned: Learned | None = None

    def __call__(self, model: BaseAlgorithm) -> float:
        """The figure, less is better."""
        self.learned = from_sb3(model, self.decision, actions=self.table)
        return self.validator.ratio(self.learned)

    def keep(self, model: BaseAlgorithm, ratio: float) -> None:
        """Save what was measured last."""
        assert self.learned is not None  # keep follows a call
        training = {"algorithm": self.config.algorithm, "method": self.validator.method, "seed": self.config.seed,
                    "env_steps": int(model.num_timesteps), "pool_size": self.pool_size, **provenance()}  # fmt: skip
        figures = {
            "validation_ratio": ratio,
            "against": self.config.evaluate.against,
            "instances": self.config.evaluate.instances,
        }
        best = self.learned.replace(
            name=self.config.name, family=self.validator.family.name, provenance=training, measured=figures
        )
        save(best, self.path)


class ReturnCheck:
    """Mean return, with its sign turned, over episodes of the validation split.

    It is of environments whose policies are no controllers of step sizes; what is kept is SB3's own file.
    """

    name = "minus_return"

    def __init__(self, config: Config, run: RunDir, table: Any) -> None:
        make, fixed = environment(config)
        known, e = inspect.signature(make).parameters, config.evaluate
        # NeuralODE-v0 plays the solves of a training one after another
        self.episodes = SNAPSHOTS if config.env["id"] == settings.NEURAL_ODE_ID else 1
        lanes = -(-e.instances // self.episodes)
        # ThreeBodyPaper-v0 takes its instances in turn
        own = {"split": "validation", "pool_size": lanes * self.episodes, "pool_seed": e.seed, "in_turn": True,
               "seeds": None}  # fmt: skip
        if "pool_size" in known and known["pool_size"].default is None:  # of the whole split
            own["pool_size"] = None
        given = fixed | {k: v for k, v in config.env.items() if k != "id"}
        self.core = make(lanes, True, **given | {k: v for k, v in own.items() if k in known})
        self.path, self.table = run.policy, table
        # in turn: from the first episode, thus all instances, every time
        self.keys = np.zeros(lanes, np.uint64) if "in_turn" in known else keys_of(e.seed, lanes)

    def __call__(self, model: BaseAlgorithm) -> float:
        """The figure, less is better."""
        self.core.seed(self.keys)
        return -mean_return(self.core, acting(model, self.table), self.episodes)

    def keep(self, model: BaseAlgorithm, figure: float) -> None:
        """Save the policy; the replay buffer is not part of it."""
        write: Any = model.save  # into an open file
        put(self.path, write)


class StrengthCheck:
    """As `ReturnCheck` for `stepsmith/Regularization-v0`: every instance of the validation split once.

    A policy that can be exported as a strength of a regulariser is; others are kept in SB3's own file.
    """

    name = "minus_return"

    def __init__(self, config: Config, run: RunDir, table: Any) -> None:
        env = resolved(config)["env"]
        self.config, self.numbers = config, strengths.instances("validation", config.evaluate.instances)
        self.options = {name: env[name] for name in ("lagrange", "fail", "actions", "observe", "against")}
        self.table = table
        self.exported = config.algorithm == "ppo" and table is None and env["actions"] == 1 and env["observe"] == "run"
        self.path = run.strength if self.exported else run.policy
        self.found: dict[str, float] = {}

    def __call__(self, model: BaseAlgorithm) -> float:
        """The figure, less is better."""
        self.found = strengths.means(strengths.play(acting(model, self.table), self.numbers, **self.options))
        return -self.found["return"]

    def keep(self, model: BaseAlgorithm, figure: float) -> None:
        """Save what was measured last."""
        if not self.exported:
            write: Any = model.save  # into an open file
            put(self.path, write)
            return
        made = {"algorithm": self.config.algorithm, "environment": settings.STRENGTH_ID, "seed": self.config.seed,
                "env_steps": int(model.num_timesteps), **self.options, **provenance()}  # fmt: skip
        figures = {**{f"validation_{name}": value for name, value in self.found.items()},
                   "instances": len(self.numbers)}  # fmt: skip
        policy_file.save(strength_from_sb3(model, self.config.name, made, figures), self.path)


Check = LawCheck | ReturnCheck | StrengthCheck


def check_of(config: Config, run: RunDir, core: Any, table: Any) -> Check:
    """What policies of the config's environment are measured by.  core: the one that is trained in."""
    ident = config.env.get("id", DEFAULT_ID)
    if ident == settings.STRENGTH_ID:
        return StrengthCheck(config, run, table)
    return LawCheck(config, run, core, table) if SPECS[ident].steps else ReturnCheck(config, run, table)
