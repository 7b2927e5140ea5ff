"""Validation and checkpoints of a run with Stable-Baselines3: when they are made, and what is logged."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from ..config.config import Config
from ..run.board import OURS, Clock, tags
from ..run.progress import Progress
from ..run.rundir import RunDir, least
from ..run.runfiles import RunError, plain, say
from .sb3_checks import Check
from .sb3_state import state_of


class Validate(BaseCallback):
    """The callback of a run: validation every `evaluate.every` env steps, and the best policy kept.

    A checkpoint is made at the boundary between rollouts that follows a validation.  Between validations the callback
    collects the statistics of episodes and shows the progress.
    """

    def __init__(self, config: Config, run: RunDir, check: Check, core: Any, total: int, progress: bool) -> None:
        super().__init__()
        self.config, self.run, self.check, self.core = config, run, check, core
        self.due = config.evaluate.every
        self.rows = run.logged()  # of a resumed run, more of them than the checkpoint knows, perhaps
        self.made = 0  # validations so far
        self.saved = -1  # validations at the last checkpoint
        self.finished = False
        self.bar = Progress(f"{config.algorithm} {config.name}", total, "env steps", progress)
        self.episodes: list[tuple[float, float, float]] = []  # returns, shares of rejections, lengths
        self.clock = Clock()

    @property
    def best(self) -> float:
        """Least figure of the validations so far."""
        return least(self.rows[: self.made])

    def take_up(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.due, self.made, self.finished = int(state["due"]), int(state["validations"]), bool(state["finished"])
        # checkpoints of earlier versions hold no lengths
        self.episodes = [(float(e[0]), float(e[1]), float(e[2]) if len(e) > 2 else np.nan) for e in state["episodes"]]
        self.clock = Clock(int(state["model"]["counters"]["num_timesteps"]))
        if len(self.rows) < self.made:
            say(
                f"{self.run.path / 'log.jsonl'}: lines of {self.made - len(self.rows)} "
                "validations are missing, and are not made again"
            )
            self.made = len(self.rows)
        self.saved = self.made

    def boundary(self, model: BaseAlgorithm) -> None:
        """Between two rollouts: checkpoint at the start and after every validation."""
        if self.saved == self.made:
            return
        self.run.checkpoint.save({
            "model": state_of(model, self.core), "due": self.due, "validations": self.made, "finished": self.finished,
            "episodes": np.array(self.episodes).reshape(-1, 3),
        })  # fmt: skip
        self.saved = self.made

    def _on_step(self) -> bool:
        for info in self.locals["infos"]:
            if info:
                ended = info["episode"]
                self.episodes.append((ended["r"], ended.get("nreject", 0.0) / max(ended["l"], 1), ended["l"]))
        if self.num_timesteps >= self.due:
            self.due = self.num_timesteps + self.config.evaluate.every
            self.validate(self.model)
        elif self.n_calls % 50 == 0:
            self.bar.update(self.num_timesteps, validation=self.best)
        return True

    def validate(self, model: BaseAlgorithm) -> None:
        """Measure the current policy, keep it where it is the best so far, and log it.

        Where the log has this validation already, which a resumed run repeats, nothing is measured.
        """
        steps = int(model.num_timesteps)
        episodes = np.array(self.episodes[-2000:]) if self.episodes else np.full((1, 3), np.nan)
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
            self._show(figure, row["best"], mean, steps)
        self.made += 1
        self.bar.update(steps, validation=self.best)

    def _show(self, figure: float, best: float, mean: np.ndarray, steps: int) -> None:
        said = {"rollout/ep_rew_mean": mean[0], "rollout/ep_len_mean": mean[2], f"{OURS}/rejected_share": mean[1]}
        for tag, value in {**said, **tags(self.check.name, figure, best), **self.clock.now(steps)}.items():
            self.logger.record(tag, value)
        self.logger.dump(steps)

    def finish(self, model: BaseAlgorithm) -> None:
        """Validate the last policy and save the end, unless that has been done."""
        if not self.finished:
            self.validate(model)
            self.finished = True
            self.boundary(model)
