"""Training with Stable-Baselines3: environment, model, callbacks, learn, export; read it from top to bottom.

`final_learning_rate` in [train] lets the learning rate fall to it, linearly over the training.  DQN chooses from a
table: `actions` in [train], rows in [-1, 1] as the environment's actions.  `ThreeBodyPaper-v0` is discrete itself, and
its policy no step-size controller (it sees raw states, and decides ten times a year): what is kept of it is SB3's own
file, chosen by the mean return on the validation split.

A run that was interrupted, by whatever, and resumed gives the log and the controller of an unbroken one, to the last
bit: a checkpoint is made between two rollouts, after every validation, and holds networks, optimisers, generators, the
lanes of the environment and the replay buffer (`sb3_state`).  Validations behind the checkpoint that the log has
already are not made again.
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
from stable_baselines3.common.vec_env import VecEnvWrapper

from ...controllers.file import save
from ...controllers.learned.network import Learned
from ...envs import make_sb3
from ...envs.three_body_paper import PaperCore
from ...envs.three_body_paper import make_core as make_paper_core
from ...integrators.engine.costs import NONE
from ...policies.export import from_sb3
from ...policies.normalisation import keep
from ..config.config import Config
from ..evaluate.paper import play
from ..run.progress import Progress
from ..run.provenance import provenance
from ..run.rundir import RunDir, least, opened
from ..run.runfiles import RunError, plain, put, say
from .sb3_state import between_rollouts, restore, state_of
from .validate import Validator

ALGORITHMS: dict[str, type[BaseAlgorithm]] = {"ppo": PPO, "sac": SAC, "dqn": DQN}
ACTIVATIONS = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}


def train(config: Config, out: str | Path | None = None, resume: bool = False, progress: bool = True) -> Path:
    """Train as `config` says; returns the path of the exported controller (of `ThreeBodyPaper-v0`: of the policy).

    The run folder keeps the config, what made it, a log, tensorboard events, the last checkpoint and the controller
    that was best on the validation split.  resume: go on from the last checkpoint.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two threads on a small network cost more than they give
    try:
        with opened(config, out) as path:
            return _train(config, RunDir(config, path, resume), resume, progress)
    finally:
        torch.set_num_threads(threads)


def _train(config: Config, run: RunDir, resume: bool, progress: bool) -> Path:
    state = run.restored() if resume else None

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
        raise ValueError(
            "dqn chooses from a table: give `actions` in [train], rows in [-1, 1], or take stepsmith/ThreeBodyPaper-v0"
        )

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
    board = str(run.path / "tensorboard")
    model = between_rollouts(cls)("MlpPolicy", venv, policy_kwargs=policy_kwargs, seed=config.seed, device="cpu", tensorboard_log=board,
                                  **settings)  # fmt: skip
    if isinstance(model, SAC):
        start_as_the_law(model, log_std)

    keep(model, False)  # observations go to the policy as they are: a loaded checkpoint can say so

    # 3. validation, checkpoints, progress
    check = PaperCheck(config, run) if isinstance(core, PaperCore) else LawCheck(config, run, core, table)
    callback = Validate(config, run, check, core, total, progress)
    if state is not None:
        try:
            restore(model, venv, state["model"])
            callback.take_up(state)
        except (KeyError, TypeError, AttributeError, RuntimeError, ValueError) as error:
            told = " ".join(str(error).split())[:160]
            raise RunError(
                f"{run.checkpoint.path}: its state does not fit the run ({type(error).__name__}: {told})"
            ) from None

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


def start_as_the_law(model: SAC, log_std: float | None) -> None:
    """Let SAC's actor begin with the mean action 0, as PPO's nearly does, and with the given log standard deviation
    (None: its own).
    """
    mean: Any = model.actor.mu
    head: Any = model.actor.log_std
    with torch.no_grad():
        mean.weight.zero_()
        mean.bias.zero_()
        if log_std is not None:
            head.weight.zero_()
            head.bias.fill_(log_std)


class Falling:
    """A learning rate that falls linearly from `first` to `last` over the training; of a class, so that checkpoints can
    hold it.
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
        figures = {
            "validation_ratio": ratio,
            "against": self.config.evaluate.against,
            "instances": self.config.evaluate.instances,
        }
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
        write: Any = model.save  # into an open file
        put(self.path, write)


class Validate(BaseCallback):
    """Every `evaluate.every` env steps: validate and keep the best; at the next boundary, checkpoint.  Between:
    progress and statistics.
    """

    def __init__(
        self, config: Config, run: RunDir, check: LawCheck | PaperCheck, core: Any, total: int, progress: bool
    ) -> None:
        super().__init__()
        self.config, self.run, self.check, self.core = config, run, check, core
        self.due = config.evaluate.every
        self.rows = run.logged()  # of a resumed run, more of them than the checkpoint knows, perhaps
        self.made = 0  # validations so far
        self.saved = -1  # validations at the last checkpoint
        self.finished = False
        self.bar = Progress(f"{config.algorithm} {config.name}", total, "env steps", progress)
        self.episodes: list[tuple[float, float]] = []

    @property
    def best(self) -> float:
        """Least figure of the validations so far."""
        return least(self.rows[: self.made])

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.due, self.made, self.finished = int(state["due"]), int(state["validations"]), bool(state["finished"])
        self.episodes = [(float(a), float(b)) for a, b in state["episodes"]]
        if len(self.rows) < self.made:
            say(
                f"{self.run.path / 'log.jsonl'}: lines of {self.made - len(self.rows)} validations are missing, and "
                "are not made again"
            )
            self.made = len(self.rows)
        self.saved = self.made

    def boundary(self, model: BaseAlgorithm) -> None:
        """Between two rollouts: checkpoint at the start and after every validation."""
        if self.saved == self.made:
            return
        self.run.checkpoint.save({
            "model": state_of(model, self.core), "due": self.due, "validations": self.made, "finished": self.finished,
            "episodes": np.array(self.episodes).reshape(-1, 2),
        })  # fmt: skip
        self.saved = self.made

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info:
                self.episodes.append(
                    (info["episode"]["r"], info["episode"].get("nreject", 0.0) / max(info["episode"]["l"], 1))
                )
        if self.num_timesteps >= self.due:
            self.due = self.num_timesteps + self.config.evaluate.every
            self.validate(self.model)
        elif self.n_calls % 50 == 0:
            self.bar.update(self.num_timesteps, validation=self.best)
        return True

    def validate(self, model: BaseAlgorithm) -> None:
        """Measure the current policy, keep it where it is the best so far, and log it; nothing of that where the log
        has it already.
        """
        steps = int(model.num_timesteps)
        episodes = np.array(self.episodes[-2000:]) if self.episodes else np.full((1, 2), np.nan)
        self.episodes.clear()
        if self.made < len(self.rows):
            if self.rows[self.made].get("env_steps") != steps:
                log = self.run.path / "log.jsonl"
                raise RunError(
                    f"{log}, line {self.made + 1}: not this run's, which validates at {steps} env steps here"
                )
        else:
            figure, best = self.check(model), self.best
            if figure < best:
                self.check.keep(model, figure)
            mean = episodes.mean(axis=0)
            row = {"env_steps": steps, "validation": figure, "best": min(figure, best) if figure == figure else best,
                   "episode_return": mean[0], "rejected": mean[1]}  # fmt: skip
            self.run.log(**row)
            self.rows.append(plain(row))
            self._show(figure, mean, steps)
        self.made += 1
        self.bar.update(steps, validation=self.best)

    def _show(self, figure: float, mean: np.ndarray, steps: int) -> None:
        self.logger.record(f"validation/{self.check.name}", figure)
        self.logger.record("rollout/episode_return", mean[0])
        self.logger.record("rollout/rejected_share", mean[1])
        self.logger.dump(steps)

    def finish(self, model: BaseAlgorithm) -> None:
        """Validate the last policy and save the end, unless that has been done."""
        if not self.finished:
            self.validate(model)
            self.finished = True
            self.boundary(model)
