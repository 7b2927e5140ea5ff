"""Training with Stable-Baselines3: environment, model, callbacks, learn, export; read it from top to bottom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from ..controllers.decision import Decision
from ..controllers.file import save
from ..envs import make_sb3
from ..policies.export import from_sb3
from .config import Config
from .progress import Progress
from .provenance import provenance
from .rundir import RunDir
from .validate import Validator

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC, "dqn": DQN}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def train(config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train as `config` says; returns the exported controller's path.

    The run folder keeps the config, what made it, a log, tensorboard events, the last checkpoint and the controller that was best on the
    validation split.  resume: go on from the last checkpoint.
    """
    run = RunDir(config, out, resume)
    torch.set_num_threads(1)  # two threads on a small network cost more than they give

    # 1. the environment: compiled lanes
    settings = dict(config.train)
    total = int(settings.pop("total_steps", 10_000_000))
    num_envs = int(settings.pop("num_envs", 512))
    env = dict(config.env)
    venv = make_sb3(env.pop("id", "stepsmith/ODE-v0"), num_envs, seed=config.seed, **env)
    decision: Decision = venv.core.decision

    # 2. the model
    net_arch: Any = list(config.policy.hidden)
    value = settings.pop("value_hidden", [64, 64])
    if config.algorithm == "ppo":
        net_arch = {"pi": net_arch, "vf": value}
    elif config.algorithm == "sac":
        net_arch = {"pi": net_arch, "qf": value}
    policy_kwargs: dict[str, Any] = {"net_arch": net_arch, "activation_fn": ACTIVATIONS[config.policy.activation]}
    if "log_std_init" in settings:
        policy_kwargs["log_std_init"] = settings.pop("log_std_init")
    cls = ALGORITHMS[config.algorithm]
    checkpoint = run.path / "checkpoint.zip"
    if resume and checkpoint.exists():
        model = cls.load(checkpoint, env=venv, device="cpu")
    else:
        board = str(run.path / "tensorboard")
        model = cls("MlpPolicy", venv, policy_kwargs=policy_kwargs, seed=config.seed, device="cpu", tensorboard_log=board, **settings)

    # 3. validation against a classical law, checkpoints, progress
    validator = Validator(venv.core.pool.family.name, venv.core.method, config.evaluate.against, config.evaluate.instances,
                          config.evaluate.seed)  # fmt: skip
    callback = Validate(config, run, validator, decision, total, progress)

    # 4. learn
    left = max(0, total - model.num_timesteps)
    never: Any = None  # what SB3 takes for no printing, though its annotation says int
    model.learn(left, callback=callback, reset_num_timesteps=not resume, progress_bar=False, log_interval=never)

    # 5. the last policy is validated too; the best one was exported as it came
    callback.validate(model)
    callback.bar.close()
    return run.controller


class Validate(BaseCallback):
    """Every `evaluate.every` env steps: export, validate, keep the best, checkpoint.  Between: progress and episode statistics."""

    def __init__(
        self, config: Config, run: RunDir, validator: Validator, decision: Decision, total: int, progress: bool
    ) -> None:
        super().__init__()
        self.config, self.run, self.validator, self.decision = config, run, validator, decision
        self.best, self.due = np.inf, config.evaluate.every
        self.bar = Progress(f"{config.algorithm} {config.name}", total, "env steps", progress)
        self.episodes: list[tuple[float, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info:
                self.episodes.append((info["episode"]["r"], info["episode"]["nreject"] / max(info["episode"]["l"], 1)))
        if self.num_timesteps >= self.due:
            self.due = self.num_timesteps + self.config.evaluate.every
            self.validate(self.model)
        elif self.n_calls % 50 == 0:
            self.bar.update(self.num_timesteps, validation=self.best)
        return True

    def validate(self, model: BaseAlgorithm) -> float:
        """Validation ratio of the current policy; exports it where it is the best so far."""
        learned = from_sb3(model, self.decision)
        ratio = self.validator.ratio(learned)
        episodes = np.array(self.episodes[-2000:]) if self.episodes else np.full((1, 2), np.nan)
        self.episodes.clear()
        if ratio < self.best:
            self.best = ratio
            training = {"algorithm": self.config.algorithm, "seed": self.config.seed, "env_steps": int(self.num_timesteps),
                        **provenance()}  # fmt: skip
            figures = {"validation_ratio": ratio, "against": self.config.evaluate.against, "instances": self.config.evaluate.instances}
            best = learned.replace(
                name=self.config.name, family=self.validator.family.name, provenance=training, measured=figures
            )
            save(best, self.run.controller)
        mean = episodes.mean(axis=0)
        self.run.log(env_steps=int(self.num_timesteps), validation=ratio, best=self.best, episode_return=mean[0], rejected=mean[1])
        self.logger.record("validation/ratio", ratio)
        self.logger.record("rollout/episode_return", mean[0])
        self.logger.record("rollout/rejected_share", mean[1])
        self.logger.dump(self.num_timesteps)
        model.save(self.run.path / "checkpoint.zip")
        self.bar.update(self.num_timesteps, validation=self.best)
        return ratio


