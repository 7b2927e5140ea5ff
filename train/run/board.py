"""Events for tensorboard, under the tags of Stable-Baselines3 where it has one, else under `stepsmith/`.

    rollout/ep_rew_mean, rollout/ep_len_mean    mean return and length of training episodes
    train/...                                   what the algorithm itself logs; train/loss is what it lowers
    eval/mean_reward                            mean return on the validation split
    time/fps, time/time_elapsed, time/total_timesteps, time/iterations
    stepsmith/validation_ratio                  work at equal error over the law's, on the validation split
    stepsmith/best, stepsmith/rejected_share, ...
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

OURS = "stepsmith"


class Clock:
    """What `time/` says: seconds since this process began the run, and steps a second since then."""

    def __init__(self, steps: int = 0) -> None:
        self.began, self.steps = time.monotonic(), steps

    def now(self, steps: int) -> dict[str, float]:
        """Tags and values after so many steps of the whole run."""
        elapsed = max(time.monotonic() - self.began, 1e-9)
        return {
            "time/fps": int((steps - self.steps) / elapsed), "time/time_elapsed": int(elapsed),
            "time/total_timesteps": steps,
        }  # fmt: skip


def tags(name: str, figure: float, best: float) -> dict[str, float]:
    """Tags of a validation whose figure, less is better, is a "ratio" of work or a "minus_return".
    """
    tag, value = ("eval/mean_reward", -figure) if name == "minus_return" else (f"{OURS}/validation_{name}", figure)
    return {tag: value, f"{OURS}/best": best}


class Board:
    """The events of a run in its folder `tensorboard`."""

    def __init__(self, folder: Path, behind: int | None = None) -> None:
        """behind: steps of the checkpoint that a resumed run goes on from; events behind them are written again."""
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=None if behind is None else behind + 1)

    def add(self, step: int, values: dict[str, Any]) -> None:
        """Add values by tag; what is no finite number is left out."""
        for tag, value in values.items():
            if isinstance(value, (int, float)) and math.isfinite(value):
                self._writer.add_scalar(tag, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
