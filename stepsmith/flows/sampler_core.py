"""The batch core of `stepsmith/Sampler-v0`: lanes of samples on their way from noise to data, in few steps.

A lane is `samples` samples that share their times.  Its numbers stand in a row of one block, from which each call
makes a `clock.Walk`; the model is evaluated for all lanes at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..envs.actions import checked_actions
from ..envs.lane_rows import Layout, Rows
from ..envs.state import Stateful, total
from . import clock
from .learners.task import Task
from .linear import run

Tensor = torch.Tensor

#: statistics of an episode.  error, baseline: RMS distances to the fine solver's samples, of the clock's times and of
#: even ones; failed: 1 where a sample is not finite; status: 1 arrived, 0 cut, -5 failed
EPISODE = ("return", "length", "error", "nfev", "baseline", "failed", "status", "instance", "nfallback")
#: most lanes
MOST = 2**20
#: how far outside [-1, 1] an action may lie by round-off, and is clipped
NEAR = 1e-6
#: the reward lies within
WORTH = 3.0
LEAST = 1e-12
SPLITS = {"train": 0, "validation": 1, "test": 2}


class SamplerCore(Stateful):
    """`lanes` walks in lock-step; buffers as those of `envs.core.Core`, stats with the columns `EPISODE`."""

    columns = EPISODE
    n_act = 1

    def __init__(
        self, lanes: int, same_step: bool, model: Any, shape: tuple[int, ...], steps: int, samples: int,
        pool_size: int, split: str, pool_seed: int, max_attempts: int, dtype: str,
    ) -> None:  # fmt: skip
        self._made = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self.lanes, self.same_step, self.model, self.steps = lanes, same_step, model, steps
        self.samples, self.most, self.shape, self.dtype = samples, max_attempts, shape, getattr(torch, dtype)
        # noise of the pool: streams of `Task` by split, so that what validates a schedule is never trained on
        task = Task(
            model, steps, shape, seed=pool_seed * 3 + SPLITS[split] + 2**40, n_train=pool_size * samples,
            dtype=self.dtype,
        )  # fmt: skip
        self.span = task.span
        with torch.no_grad():
            even, _, _ = run(task.field, task.training, task.start())
        grouped = (pool_size, samples, *shape)
        self.noise, self.answers = task.training.reshape(grouped), task.target.reshape(grouped)
        self.baseline = np.maximum(rms(even.reshape(grouped) - self.answers), LEAST)
        size = samples * int(np.prod(shape))
        places = {"t": 0, "h": 1, "step": 2, "over": 3, "return": 4, "instance": 5, "nfallback": 6, "first": 7}
        self.at = {**places, "x": 7 + samples, "u": 7 + samples + size, "slope": 7 + samples + 2 * size}
        self.size, count = size, 7 + samples + 3 * size
        self.kernel = Rows(Layout(self.at, count))
        self._blocks = np.zeros((lanes, count))
        self.keys, self.episodes = np.zeros(lanes, np.uint64), np.zeros(lanes, np.int64)
        self.obs = np.zeros((lanes, len(clock.FEATURES)), np.float32)
        self.final_obs = np.zeros_like(self.obs)
        self.reward = np.zeros(lanes, np.float32)
        self.terminated, self.truncated = np.zeros(lanes, np.bool_), np.zeros(lanes, np.bool_)
        self.stats, self.ended = np.zeros((lanes, len(EPISODE))), np.zeros(lanes, np.int64)
        self._started = False

    def _about(self) -> dict[str, Any]:
        kept = {k: v for k, v in self._made.items() if k not in ("lanes", "model")}
        return {**kept, "shape": list(self.shape), "process": self.model.process.as_dict()}

    def _computed(self) -> dict[str, float]:
        return {"answers": total(self.answers.numpy()), "baseline": total(self.baseline)}

    @property
    def settings_view(self) -> np.ndarray:
        """(0,): nothing changes between steps."""
        return self.baseline[:0]

    def seed(self, keys: np.ndarray, mask: Any = True) -> None:
        """Give lanes (all, or those of a bool mask) their generator's key, of keys (lanes,) uint64, and start their
        count of episodes anew."""
        self.keys[:] = np.where(mask, keys, self.keys)
        self.episodes[:] = np.where(mask, 0, self.episodes)

    def reset(self, mask: np.ndarray | None = None) -> np.ndarray:
        """Start a new episode in the lanes of `mask` (all by default); returns the observations, a view of `obs`."""
        mask = np.ones(self.lanes, np.bool_) if mask is None else mask
        if not self._started and not np.all(mask):
            raise ValueError("the first reset must cover every lane")
        self._started = True
        self._begin(np.flatnonzero(mask))
        return self.obs

    def _begin(self, at: np.ndarray) -> None:
        """New episodes in the lanes `at`."""
        if not len(at):
            return
        most = len(self.noise)
        drawn = [
            int(np.random.Generator(np.random.Philox(key=[int(self.keys[i]), int(self.episodes[i])])).integers(most))
            for i in at
        ]
        self.episodes[at] += 1
        self._blocks[at] = 0.0
        self._blocks[at, self.at["instance"]] = drawn
        self._blocks[at, self.at["h"]], self._blocks[at, self.at["t"]] = 1.0, self.span[0]
        x = self.noise[torch.tensor(drawn)].flatten(0, 1)
        self._put(at, "x", x)
        first = clock.norm(x).reshape(len(at), -1).numpy()
        self._blocks[at, self.at["first"] : self.at["first"] + self.samples] = first
        self._look(at)

    def _walk(self, at: np.ndarray) -> clock.Walk:
        """The samples of the lanes `at`, (len(at) samples, ...)."""

        def each(name: str) -> Tensor:
            return torch.from_numpy(np.repeat(self._blocks[at, self.at[name]], self.samples)).to(self.dtype)

        first = self._blocks[at, self.at["first"] : self.at["first"] + self.samples]
        return clock.Walk(
            self._get(at, "x"), each("t"), each("step").long(), each("h"), self._get(at, "slope"),
            torch.from_numpy(first.reshape(-1)).to(self.dtype), self.span, self.steps,
        )  # fmt: skip

    def _get(self, at: np.ndarray, name: str) -> Tensor:
        found = self._blocks[at, self.at[name] : self.at[name] + self.size]
        return torch.from_numpy(np.ascontiguousarray(found)).to(self.dtype).reshape(-1, *self.shape)

    def _put(self, at: np.ndarray, name: str, value: Tensor) -> None:
        self._blocks[at, self.at[name] : self.at[name] + self.size] = value.reshape(len(at), -1).numpy()

    def _look(self, at: np.ndarray) -> None:
        """Evaluate the velocity where the lanes `at` are, and observe."""
        walk = self._walk(at)
        with torch.no_grad():
            u = self.model.velocity(walk.x, walk.t)
        self._put(at, "u", u)
        seen = clock.observe(walk, u).reshape(len(at), self.samples, -1).mean(1)
        self.obs[at] = seen.numpy()

    def _go(self, at: np.ndarray, actions: np.ndarray) -> None:
        """A step of the lanes `at` along the velocities that were evaluated."""
        if not len(at):
            return
        walk = self._walk(at)
        walk.go(self._get(at, "u"), torch.from_numpy(np.repeat(actions, self.samples)).to(self.dtype))
        self._put(at, "x", walk.x)
        self._put(at, "slope", walk.slope)
        for name, value in (("t", walk.t), ("h", walk.h), ("step", walk.step)):
            self._blocks[at, self.at[name]] = value[:: self.samples].numpy()

    def step(self, actions: np.ndarray) -> int:
        """Carry out `actions` (lanes, 1) in [-1, 1] and fill the buffers; returns how many episodes ended."""
        if not self._started:
            raise RuntimeError("reset() must be called before step()")
        given = checked_actions(actions, self.lanes, self.n_act)[:, 0].astype(np.float64)
        wrong = ~(np.abs(given) <= 1.0 + NEAR)
        given = np.clip(np.where(wrong, 0.0, given), -1.0, 1.0)
        self.reward[:], self.terminated[:], self.truncated[:] = 0.0, False, False
        over = self._blocks[:, self.at["over"]] > 0.0
        self._begin(np.flatnonzero(over))
        at = np.flatnonzero(~over)
        self._blocks[at, self.at["nfallback"]] += wrong[at]
        self._go(at, given[at])
        count = self._blocks[:, self.at["step"]]
        bad = np.zeros(self.lanes, np.bool_)
        bad[at] = ~np.isfinite(self._blocks[at, self.at["x"] : self.at["x"] + self.size]).all(1)
        going = at[~bad[at]]
        if len(going):
            self._look(going)
            bad[going] = ~np.isfinite(self._blocks[going, self.at["u"] : self.at["u"] + self.size]).all(1)
        last = np.flatnonzero((count == self.steps - 1) & ~over & ~bad)  # the last step has no choice
        self._go(last, np.zeros(len(last)))
        done = np.zeros(self.lanes, np.bool_)
        done[last] = True
        return self._finish(done, bad, ~over & ~done & ~bad & (count >= self.most))

    def _finish(self, arrived: np.ndarray, bad: np.ndarray, cut: np.ndarray) -> int:
        """Pay, keep the statistics of what ended, and begin anew where that is asked for."""
        ended = np.flatnonzero(arrived | bad | cut)
        for i in ended:
            row = self._blocks[i]
            instance = int(row[self.at["instance"]])
            error, base = np.nan, float(self.baseline[instance])
            if arrived[i]:
                x = self._get(np.array([i]), "x").reshape(self.samples, *self.shape)
                error = float(rms((x - self.answers[instance])[None])[0])
                bad[i] = not np.isfinite(error)
            reward = -WORTH if bad[i] else 0.0
            if arrived[i] and not bad[i]:
                reward = float(np.clip(np.log(base / max(error, LEAST)), -WORTH, WORTH))
            self.reward[i] = reward
            status = -5.0 if bad[i] else 1.0 if arrived[i] else 0.0
            took = row[self.at["step"]]
            length = took - 1 if arrived[i] else took
            error = np.nan if bad[i] else error
            nfev = took if arrived[i] else took + 1
            self.stats[i] = (reward, length, error, nfev, base, bad[i], status, instance, row[self.at["nfallback"]])
            row[self.at["over"]] = 1.0
        self.terminated[:], self.truncated[:] = arrived | bad, cut
        self.final_obs[ended] = self.obs[ended]
        self.ended[: len(ended)] = ended
        if self.same_step:
            self._begin(ended)
        return len(ended)

    def rows(self, name: str) -> np.ndarray:
        """A number of every lane by its name in `at`, a view (lanes,)."""
        return self._blocks[:, self.at[name]]

    def waiting(self, lane: int) -> bool:
        """Whether the lane's episode is over and its next one has not begun."""
        return bool(self._blocks[lane, self.at["over"]] > 0.0)

    def snapshot(self, lane: int) -> np.ndarray:
        """The first numbers of the lane: t, h, step, over, return, instance, nfallback."""
        return self._blocks[lane, :7].copy()

    def episode(self, lane: int) -> dict[str, float]:
        """Statistics of the episode that has just ended in `lane`."""
        return dict(zip(EPISODE, self.stats[lane].tolist(), strict=True))


def rms(x: Tensor) -> np.ndarray:
    """(n,) root mean squares over all but the first axis."""
    return x.double().flatten(1).square().mean(1).sqrt().numpy()
