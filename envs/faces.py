"""Single and native vector environment: Gymnasium's two faces of a batch core.

A core has `obs, final_obs, reward, terminated, truncated, stats` (one row a lane), `columns`, `same_step`, `seed(keys, mask)`,
`reset(mask)`, `step(actions)`, `waiting(lane)`, `episode(lane)`, `snapshot(lane)`.  The single environment is a core with one lane of the
same kernel, so that both give the same numbers to the last bit.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv


def key_from(rng: np.random.Generator) -> np.uint64:
    """A lane's generator key, drawn from an environment's own generator."""
    return np.uint64(rng.integers(0, 2**64, dtype=np.uint64))


class Single(gym.Env):
    """One lane of a batch core as a Gymnasium environment; `make(**kwargs)` of a subclass builds the core of `lanes` lanes."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    make: Any
    spaces_of: Any

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.render_mode = render_mode
        self.core = type(self).make(1, False, **kwargs)
        self.observation_space, self.action_space = type(self).spaces_of(self.core)
        self._keyed = False
        self._trace: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        if seed is not None or not self._keyed:
            self.core.seed(np.array([key_from(self.np_random)], np.uint64))
            self._keyed = True
        obs = self.core.reset(np.ones(1, np.bool_))[0].copy()
        self._trace = []
        self._note()
        return obs, {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        core = self.core
        if not self._keyed or core.waiting(0):
            raise gym.error.ResetNeeded("reset() must be called before step() and after an episode has ended")
        core.step(np.asarray(action)[None])
        self._note()
        info = {}
        if core.terminated[0] or core.truncated[0]:
            info["stepsmith"] = core.episode(0)
        return core.obs[0].copy(), float(core.reward[0]), bool(core.terminated[0]), bool(core.truncated[0]), info

    def _note(self) -> None:
        if self.render_mode == "rgb_array":
            self._trace.append(self.core.snapshot(0))

    def render(self) -> np.ndarray | None:
        """RGB picture (480, 960, 3), uint8, of the trajectory so far and its step sizes; None without a render mode."""
        if self.render_mode != "rgb_array":
            return None
        from .render import draw

        return draw(self.core.pool.batch.nbody, np.array(self._trace))


class Native(VectorEnv):
    """`num_envs` lanes of a batch core as a Gymnasium vector environment, bit for bit what as many single ones are.

    autoreset_mode: "next_step" (Gymnasium's default) or "same_step" (the last observation is then in `info["final_obs"]`, the episode's
    statistics in `info["final_info"]`).  `info["stepsmith"]` holds the statistics of episodes that have just ended, masked by
    `info["_stepsmith"]`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
    make: Any
    spaces_of: Any

    def __init__(self, num_envs: int = 1, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **kwargs: Any) -> None:
        mode = _mode(autoreset_mode)
        self.num_envs = num_envs
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.core = type(self).make(num_envs, mode == AutoresetMode.SAME_STEP, **kwargs)
        self.single_observation_space, self.single_action_space = type(self).spaces_of(self.core)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._keyed = False

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """seed: an int (lane i gets seed + i), a list, or None (lanes go on with their own generators).  options["reset_mask"]: (num_envs,)
        bool, the lanes to reset; the others are left alone."""
        mask = np.ones(self.num_envs, np.bool_)
        if options is not None and "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.dtype != np.bool_ or mask.shape != (self.num_envs,) or not mask.any():
                raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},) with at least one True")
        if isinstance(seed, (int, np.integer)):
            super().reset(seed=int(seed))
            seeds: list[int | None] = [int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = [None] * self.num_envs if seed is None else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"seed must be an int or hold {self.num_envs} values, got {len(seeds)}")
        fresh = mask & np.array([s is not None or not self._keyed for s in seeds])
        if fresh.any():
            self.core.seed(np.array([key_from(seeding.np_random(s)[0]) for s in seeds], np.uint64), fresh)
        self._keyed = True
        return self.core.reset(mask).copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        core = self.core
        ended = core.step(actions)
        info: dict[str, Any] = {}
        if ended:
            done = core.terminated | core.truncated
            stats: dict[str, Any] = {}
            for k, name in enumerate(core.columns):
                stats[name] = np.where(done, core.stats[:, k], 0.0)
                stats["_" + name] = done.copy()
            info = {"stepsmith": stats, "_stepsmith": done.copy()}
            if core.same_step:
                final = np.full(self.num_envs, None, dtype=object)
                for i in np.flatnonzero(done):
                    final[i] = core.final_obs[i].copy()
                info = {"final_obs": final, "_final_obs": done.copy(), "final_info": info, "_final_info": done.copy()}
        return core.obs.copy(), core.reward.astype(np.float64), core.terminated.copy(), core.truncated.copy(), info


def _mode(mode: str | AutoresetMode) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        found = mode
    else:
        key = str(mode).lower().replace("-", "_").replace("autoreset", "").strip("_")
        table = {"next_step": AutoresetMode.NEXT_STEP, "nextstep": AutoresetMode.NEXT_STEP, "same_step": AutoresetMode.SAME_STEP,
                 "samestep": AutoresetMode.SAME_STEP}  # fmt: skip
        if key not in table:
            raise ValueError(f"autoreset_mode must be 'next_step' or 'same_step', got {mode!r}")
        found = table[key]
    if found not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        raise ValueError(f"autoreset_mode must be 'next_step' or 'same_step', got {mode!r}")
    return found
