"""Training with Stable-Baselines3: environment, model, callbacks, learn, export; read it from top to bottom.

`final_learning_rate` in [train] lets the learning rate fall to it, linearly over the training.  DQN chooses from a
table: `actions` in [train], rows in [-1, 1] as the environment's actions; so does PPO where there is one.
Where an environment's actions are no step sizes its policy is no controller: what is kept is chosen by the mean return
on the validation split, and is SB3's own file, or, of `Regularization-v0`, a strength (`sb3_checks`).

A run that was interrupted, by whatever, and resumed gives the log and the controller of an unbroken one, to the last
bit: a checkpoint is made between two rollouts, after every validation, and holds networks, optimisers, generators, the
lanes of the environment and the replay buffer (`sb3_state`).  Validations behind the checkpoint that the log has
already are not made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3 import DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper

from ...controllers.strengths.observation import FIRST_RATIO, action_of
from ...envs import make_sb3
from ...envs.specs import DEFAULT_ID, SPECS
from ...integrators.engine.costs import NONE
from ...policies import small_actor
from ...policies.normalisation import keep
from ..config import algorithms
from ..config.config import Config
from ..config.settings import STRENGTH_ID
from ..run.rundir import RunDir, opened
from ..run.runfiles import RunError
from ..run.threads import torch_threads
from .sb3_checks import check_of
from .sb3_noise import Gaussian
from .sb3_state import between_rollouts, restore
from .sb3_validate import Validate
from .time_aware_ppo import TimeAwarePPO

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {
    "ppo": PPO, "time_aware_ppo": TimeAwarePPO, "sac": SAC, "td3": TD3, "ddpg": DDPG, "dqn": DQN,
}  # fmt: skip


def train(config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train as `config` says; returns the path of the exported controller, strength or policy.

    The run folder keeps the config, what made it, a log, tensorboard events, the last checkpoint and the controller
    that was best on the validation split.  resume: go on from the last checkpoint.
    """
    with torch_threads(1), opened(config, out) as path:
        return _train(config, RunDir(config, path, resume), resume, progress)


def _train(config: Config, run: RunDir, resume: bool, progress: bool) -> Path:
    state = run.restored() if resume else None
    settings = {**algorithms.DEFAULTS.get(config.algorithm, {}), **config.train}
    total = int(settings.pop("total_steps", 10_000_000))
    table = settings.pop("actions", None)

    # 1. the environment: compiled lanes
    venv, core = _environment(config, run, int(settings.pop("num_envs", 512)), table)

    # 2. the model
    model = _model(config, settings, venv, str(run.path / "tensorboard"))

    # 3. validation, checkpoints, progress
    check = check_of(config, run, core, table)
    callback = Validate(config, run, check, core, total, progress)
    if state is not None:
        _take_up(state, model, venv, callback, run)

    # 4. learn
    left = max(0, total - model.num_timesteps)
    never: Any = None  # what SB3 takes for no printing, though its annotation says int
    try:
        if not callback.finished:
            model.learn(
                left, callback=callback, reset_num_timesteps=state is None, progress_bar=False, log_interval=never
            )

        # 5. the last policy is validated too; the best one was exported as it came
        callback.finish(model)
    finally:
        callback.bar.close()
    return check.path


def _environment(config: Config, run: RunDir, num_envs: int, table: Any) -> tuple[Any, Any]:
    """The environment that the model acts in, discrete where there is a table of actions, and its batch core."""
    env = dict(config.env)
    if (known := run.costs()) and "costs" not in env:
        (env["costs"],) = known.values()  # what the run was begun with
    inner = make_sb3(env.pop("id", DEFAULT_ID), num_envs, seed=config.seed, **env)
    core = inner.core
    if config.algorithm == "time_aware_ppo" and not hasattr(core, "durations"):
        name = config.env.get("id", DEFAULT_ID)
        raise ValueError(f"time_aware_ppo needs decisions that cover time, and those of {name} do not: take ppo")
    if SPECS[config.env.get("id", DEFAULT_ID)].steps and core.pool.costs is not NONE:
        run.write("costs.json", {core.pool.family.name: core.pool.costs.as_dict()})
    venv: Any = inner if table is None else Discrete(inner, table)
    if config.algorithm == "dqn" and not isinstance(venv.action_space, spaces.Discrete):
        raise ValueError(
            "dqn chooses from a table: give `actions` in [train], rows in [-1, 1], or take stepsmith/ThreeBodyPaper-v0"
        )
    return venv, core


def _model(config: Config, settings: dict[str, Any], venv: Any, board: str) -> BaseAlgorithm:
    """The model, not trained yet.

    settings: [train] without what the environment takes.  board: tensorboard's folder.
    """
    value = settings.pop("value_hidden", small_actor.CRITIC)
    if config.policy.critic is not None:
        value = config.policy.critic
    policy_kwargs = small_actor.policy_kwargs(config.algorithm, config.policy.hidden, value, config.policy.activation)
    log_std = settings.pop("log_std_init", None)
    if log_std is not None:
        policy_kwargs["log_std_init"] = log_std
    last = settings.pop("final_learning_rate", None)
    if last is not None:
        settings["learning_rate"] = Falling(float(settings.get("learning_rate", 3e-4)), float(last))
    noise = settings.pop("exploration_noise", 0.0)
    if noise > 0.0:
        settings["action_noise"] = Gaussian(noise, venv.num_envs, venv.action_space.shape[0])
    cls = between_rollouts(ALGORITHMS[config.algorithm])
    model = cls(
        "MlpPolicy", venv, policy_kwargs=policy_kwargs, seed=config.seed, device="cpu", tensorboard_log=board,
        **settings,
    )  # fmt: skip
    small_actor.start_as_the_law(model, log_std)
    if config.algorithm == "ppo" and config.env.get("id") == STRENGTH_ID and config.train.get("actions") is None:
        small_actor.start_at(model, action_of(FIRST_RATIO))
    keep(model, False)  # observations go to the policy as they are: a loaded checkpoint can say so
    return model


def _take_up(state: Any, model: BaseAlgorithm, venv: Any, callback: Validate, run: RunDir) -> None:
    """Go on from a checkpoint; RunError where it does not fit the run."""
    try:
        restore(model, venv, state["model"])
        callback.take_up(state)
    except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())[:160]
        raise RunError(
            f"{run.checkpoint.path}: its state does not fit the run ({type(error).__name__}: {told})"
        ) from None


class Falling:
    """A learning rate that falls linearly from `first` to `last` over the training.

    It is an object of a class, and no closure, so that checkpoints can hold it.
    """

    def __init__(self, first: float, last: float) -> None:
        if not 0.0 < last <= first:
            raise ValueError(
                f"final_learning_rate must lie in (0, learning_rate], got {last} with learning_rate {first}"
            )
        self.first, self.last = first, last

    def __call__(self, left: float) -> float:
        """The rate where the share `left` of the training is still to come."""
        return self.last + (self.first - self.last) * left


class Discrete(VecEnvWrapper):
    """An environment whose actions are the rows of a table, (n, n_act) in [-1, 1].

    ValueError where the table does not fit the environment.
    """

    passes_observations = True

    def __init__(self, venv: Any, table: Any) -> None:
        width = venv.action_space.shape[0] if isinstance(venv.action_space, spaces.Box) else 0
        self.table = np.array(table, dtype=np.float32).reshape(len(table), -1)
        if self.table.shape != (len(table), width) or len(table) < 2 or not np.all(np.abs(self.table) <= 1.0):
            raise ValueError(f"actions must be at least two rows of {width} numbers in [-1, 1], got {table!r}")
        super().__init__(venv, action_space=spaces.Discrete(len(table)))

    def reset(self) -> Any:
        return self.venv.reset()

    def step_async(self, actions: np.ndarray) -> None:
        self.venv.step_async(self.table[actions])

    def step_wait(self) -> Any:
        return self.venv.step_wait()
