"""Training with Stable-Baselines3: environment, model, callbacks, learn, export; read it from top to bottom.

`final_learning_rate` in [train] lets the learning rate fall to it, linearly over the training.  DQN chooses from a table: `actions` in
[train], rows in [-1, 1] as the environment's actions.  `ThreeBodyPaper-v0` is discrete itself, and its policy no step-size controller (it
sees raw states, and decides ten times a year): what is kept of it is SB3's own file, chosen by the mean return on the validation split.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper

from ..controllers.file import save
from ..controllers.learned import Learned
from ..envs import make_sb3
from ..envs.three_body_paper import PaperCore
from ..envs.three_body_paper import make_core as make_paper_core
from ..integrators.costs import NONE
from ..policies.export import from_sb3
from ..policies.normalisation import keep
from .config import Config
from .paper import play
from .progress import Progress
from .provenance import provenance
from .rundir import RunDir
from .validate import Validator

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC, "dqn": DQN}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def train(config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train as `config` says; returns the path of the exported controller (of `ThreeBodyPaper-v0`: of the policy).

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
    if (known := run.costs()) and "costs" not in env:
        (env["costs"],) = known.values()  # what the run was begun with
    inner = make_sb3(env.pop("id", "stepsmith/ODE-v0"), num_envs, seed=config.seed, **env)
    core = inner.core
    if not isinstance(core, PaperCore) and core.pool.costs is not NONE:
        run.write("costs.json", {core.pool.family.name: core.pool.costs.as_dict()})
    table = settings.pop("actions", None)
    if table is not None and config.algorithm != "dqn":
        raise ValueError(f"actions in [train] are for dqn, which chooses among them, not for {config.algorithm}")
    venv: Any = inner if table is None else Discrete(inner, table)
    if config.algorithm == "dqn" and not isinstance(venv.action_space, spaces.Discrete):
        raise ValueError("dqn chooses from a table: give `actions` in [train], rows in [-1, 1], or take stepsmith/ThreeBodyPaper-v0")

    # 2. the model
    net_arch: Any = list(config.policy.hidden)
    value = settings.pop("value_hidden", [64, 64])
    if config.algorithm == "ppo":
        net_arch = {"pi": net_arch, "vf": value}
    elif config.algorithm == "sac":
        net_arch = {"pi": net_arch, "qf": value}
    policy_kwargs: dict[str, Any] = {"net_arch": net_arch, "activation_fn": ACTIVATIONS[config.policy.activation]}
    log_std = settings.pop("log_std_init", None)
    if log_std is not None:
        policy_kwargs["log_std_init"] = log_std
    cls = ALGORITHMS[config.algorithm]
    last = settings.pop("final_learning_rate", None)
    if last is not None:
        settings["learning_rate"] = Falling(float(settings.get("learning_rate", 3e-4)), float(last))
    checkpoint = run.path / "checkpoint.zip"
    if resume and checkpoint.exists():
        model = cls.load(checkpoint, env=venv, device="cpu")
        venv.seed(config.seed + model.num_timesteps)  # other episodes than those that were played
        if isinstance(model, OffPolicyAlgorithm):
            model.load_replay_buffer(run.path / "replay.pkl")
    else:
        board = str(run.path / "tensorboard")
        model = cls("MlpPolicy", venv, policy_kwargs=policy_kwargs, seed=config.seed, device="cpu", tensorboard_log=board, **settings)
        if isinstance(model, SAC):
            start_as_the_law(model, log_std)

    keep(model, False)  # observations go to the policy as they are: a loaded checkpoint can say so

    # 3. validation, checkpoints, progress
    check = PaperCheck(config, run) if isinstance(core, PaperCore) else LawCheck(config, run, core, table)
    callback = Validate(config, run, check, total, progress)

    # 4. learn
    left = max(0, total - model.num_timesteps)
    never: Any = None  # what SB3 takes for no printing, though its annotation says int
    model.learn(left, callback=callback, reset_num_timesteps=not resume, progress_bar=False, log_interval=never)

    # 5. the last policy is validated too; the best one was exported as it came
    callback.validate(model)
    callback.bar.close()
    return check.path


def start_as_the_law(model: SAC, log_std: float | None) -> None:
    """Let SAC's actor begin with the mean action 0, as PPO's nearly does, and with the given log standard deviation (None: its own)."""
    mean: Any = model.actor.mu
    head: Any = model.actor.log_std
    with torch.no_grad():
        mean.weight.zero_()
        mean.bias.zero_()
        if log_std is not None:
            head.weight.zero_()
            head.bias.fill_(log_std)


class Falling:
    """A learning rate that falls linearly from `first` to `last` over the training; of a class, so that checkpoints can hold it."""

    def __init__(self, first: float, last: float) -> None:
        if not 0.0 < last <= first:
            raise ValueError(f"final_learning_rate must lie in (0, learning_rate], got {last} with learning_rate {first}")
        self.first, self.last = first, last

    def __call__(self, left: float) -> float:
        """The rate where the share `left` of the training is still to come."""
        return self.last + (self.first - self.last) * left


class Discrete(VecEnvWrapper):
    """An environment whose actions are the rows of a table, (n, n_act) in [-1, 1]; ValueError where they do not fit it."""

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


class LawCheck:
    """Work at matched error against a law on the family's validation split; keeps the policy as a controller."""

    name = "ratio"

    def __init__(self, config: Config, run: RunDir, core: Any, table: Any) -> None:
        self.config, self.decision, self.table, self.path = config, core.decision, table, run.controller
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
                    "env_steps": int(model.num_timesteps), **provenance()}  # fmt: skip
        figures = {"validation_ratio": ratio, "against": self.config.evaluate.against, "instances": self.config.evaluate.instances}
        best = self.learned.replace(
            name=self.config.name, family=self.validator.family.name, provenance=training, measured=figures
        )
        save(best, self.path)


class PaperCheck:
    """Mean return, with its sign turned, over one episode of each instance of the paper environment's validation split."""

    name = "minus_return"

    def __init__(self, config: Config, run: RunDir) -> None:
        own = {"split": "validation", "in_turn": True, "seeds": None, "pool_size": config.evaluate.instances,
               "pool_seed": config.evaluate.seed}  # fmt: skip
        env = {k: v for k, v in config.env.items() if k != "id"}
        self.core = make_paper_core(config.evaluate.instances, True, **{**env, **own})
        self.path = run.path / "policy.zip"

    def __call__(self, model: BaseAlgorithm) -> float:
        """The figure, less is better."""
        self.core.seed(np.zeros(self.core.lanes, np.uint64))  # from the first episode, thus all instances, again
        return -float(np.mean(play(self.core, lambda obs: model.predict(obs, deterministic=True)[0])["return"]))

    def keep(self, model: BaseAlgorithm, figure: float) -> None:
        """Save the policy; the replay buffer is not part of it."""
        model.save(self.path)


class Validate(BaseCallback):
    """Every `evaluate.every` env steps: validate, keep the best, checkpoint.  Between: progress and episode statistics."""

    def __init__(self, config: Config, run: RunDir, check: LawCheck | PaperCheck, total: int, progress: bool) -> None:
        super().__init__()
        self.config, self.run, self.check = config, run, check
        self.best, self.due = run.best, config.evaluate.every
        self.bar = Progress(f"{config.algorithm} {config.name}", total, "env steps", progress)
        self.episodes: list[tuple[float, float]] = []

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info:
                self.episodes.append((info["episode"]["r"], info["episode"].get("nreject", 0.0) / max(info["episode"]["l"], 1)))
        if self.num_timesteps >= self.due:
            self.due = self.num_timesteps + self.config.evaluate.every
            self.validate(self.model)
        elif self.n_calls % 50 == 0:
            self.bar.update(self.num_timesteps, validation=self.best)
        return True

    def validate(self, model: BaseAlgorithm) -> float:
        """Validation figure of the current policy; keeps it where it is the best so far."""
        figure = self.check(model)
        episodes = np.array(self.episodes[-2000:]) if self.episodes else np.full((1, 2), np.nan)
        self.episodes.clear()
        if figure < self.best:
            self.best = figure
            self.check.keep(model, figure)
        mean = episodes.mean(axis=0)
        self.run.log(env_steps=int(self.num_timesteps), validation=figure, best=self.best, episode_return=mean[0], rejected=mean[1])
        self.logger.record(f"validation/{self.check.name}", figure)
        self.logger.record("rollout/episode_return", mean[0])
        self.logger.record("rollout/rejected_share", mean[1])
        self.logger.dump(self.num_timesteps)
        model.save(self.run.path / "checkpoint.zip")
        if isinstance(model, OffPolicyAlgorithm):
            model.save_replay_buffer(self.run.path / "replay.pkl")
        self.bar.update(self.num_timesteps, validation=self.best)
        return figure


