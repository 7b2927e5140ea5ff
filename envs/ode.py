"""`stepsmith/ODE-v0`: choose the step size inside an explicit integrator, one decision an attempted step.

Observation: the decision's features of the last attempt record (scale-free, float32).  Action, in [-1, 1]: a residual log-factor on the
base law's proposal (0 is that law) and, with two actions, the acceptance threshold.  An episode is one trajectory of one instance of
the family at a relative tolerance drawn log-uniformly from `rtol`; it ends (terminates) when the span is covered or the integration
fails, and is cut (truncated) after `max_attempts`.  Rewards: see `integrators/kernels/env.py`.
"""

from __future__ import annotations

import functools
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from ..controllers import registry
from ..controllers.decision import Decision
from ..integrators import problems
from .core import Core, Reward
from .pool import Pool, make_pool

DEFAULT_RTOL = (1e-3, 1e-8)


@functools.lru_cache(maxsize=8)
def _pool(family: str, method: str, baseline: str, size: int, split: str, seed: int, rtol: tuple[float, float]) -> Pool:
    return make_pool(problems.family(family), method, registry.get(baseline), size, split, seed, rtol)


def make_core(
    lanes: int,
    same_step: bool,
    family: str = "lorenz",
    method: str | None = None,
    decision: Decision | None = None,
    law: str = "i",
    features: tuple[str, ...] | None = None,
    n_act: int = 2,
    baseline: str = "pi34",
    rtol: tuple[float, float] | None = None,
    pool_size: int = 256,
    split: str = "train",
    pool_seed: int = 0,
    reward: str | Reward = "matched",
    lagrange: float = 1.0,
    fail: float = 1.0,
    time_discount: float = 1.0,
    window: float = 0.0,
    max_attempts: int = 20_000,
) -> Core:
    """Build the batch core that an environment's arguments describe.

    family, method (None: the family's own), law (base of the residual), features (None: the decision's default), n_act (1: step size,
    2: and acceptance threshold), baseline (law whose work the rewards compare with), rtol (loose, tight; None: the family's grid),
    pool_size instances of `split` drawn with `pool_seed`, reward "matched" or "constraint" with `lagrange`, `fail`, `time_discount`,
    `window` (see `core.Reward`).
    Raises ValueError on unknown names and bad values.
    """
    fam = problems.family(family)
    method = method or fam.method
    if decision is None:
        decision = Decision(law=law, n_act=n_act) if features is None else Decision(tuple(features), law, n_act=n_act)
    span = (fam.tolerances[0], fam.tolerances[-1]) if rtol is None else (float(rtol[0]), float(rtol[1]))
    pool = _pool(fam.name, method, baseline, pool_size, split, pool_seed, span)
    rule = reward if isinstance(reward, Reward) else Reward(reward, lagrange, fail, time_discount, window)
    return Core(pool, method, decision, lanes, rule, span, max_attempts, same_step)


def _spaces(core: Core) -> tuple[spaces.Box, spaces.Box]:
    return (
        spaces.Box(-np.inf, np.inf, (core.decision.n_obs,), np.float32),
        spaces.Box(-1.0, 1.0, (core.decision.n_act,), np.float32),
    )


def key_from(rng: np.random.Generator) -> np.uint64:
    """A lane's generator key, drawn from an environment's own generator."""
    return np.uint64(rng.integers(0, 2**64, dtype=np.uint64))


class ODEEnv(gym.Env):
    """Single environment; arguments as `make_core`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.render_mode = render_mode
        self.core = make_core(1, False, **kwargs)
        self.observation_space, self.action_space = _spaces(self.core)
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

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        core = self.core
        if not self._keyed or core.rows("PAID")[0, 0] == 1.0:
            raise gym.error.ResetNeeded("reset() must be called before step() and after an episode has ended")
        core.step(np.asarray(action, np.float32).reshape(1, -1))
        self._note()
        info = {}
        if core.terminated[0] or core.truncated[0]:
            info["stepsmith"] = core.episode(0)
        return core.obs[0].copy(), float(core.reward[0]), bool(core.terminated[0]), bool(core.truncated[0]), info

    def _note(self) -> None:
        if self.render_mode == "rgb_array":
            core = self.core
            row = [core.rows("T")[0, 0], abs(core.rows("HS")[0, 0]), core.rows("ACC")[0, 0], *core.rows("Y", core.pool.family.n)[:, 0]]
            self._trace.append(np.array(row))

    def render(self) -> np.ndarray | None:
        """RGB picture (480, 960, 3) of the trajectory so far and its step sizes."""
        if self.render_mode != "rgb_array":
            return None
        from .render import draw

        return draw(self.core.pool.batch.nbody, np.array(self._trace))


class ODEVectorEnv(VectorEnv):
    """Native vector environment: `num_envs` lanes of one compiled kernel; arguments as `make_core`.

    autoreset_mode: "next_step" (Gymnasium's default) or "same_step" (the last observation is then in `info["final_obs"]`).
    `info["stepsmith"]` holds the episodes' statistics, masked by `info["_stepsmith"]`.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, num_envs: int = 1, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **kwargs: Any) -> None:
        mode = _mode(autoreset_mode)
        self.num_envs = num_envs
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.core = make_core(num_envs, mode == AutoresetMode.SAME_STEP, **kwargs)
        self.single_observation_space, self.single_action_space = _spaces(self.core)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._keyed = False

    def reset(self, *, seed: int | list[int | None] | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """seed: an int (lane i gets seed + i), a list, or None (lanes go on with their own generators)."""
        mask = None if not options else options.get("reset_mask")
        if seed is not None or not self._keyed:
            if isinstance(seed, (int, np.integer)):
                seeds = [int(seed) + i for i in range(self.num_envs)]
            else:
                seeds = list(seed) if seed is not None else [None] * self.num_envs
            if len(seeds) != self.num_envs:
                raise ValueError(f"seed must be an int or hold {self.num_envs} values, got {len(seeds)}")
            self.core.seed(np.array([key_from(gym.utils.seeding.np_random(s)[0]) for s in seeds], np.uint64))
            self._keyed = True
        obs = self.core.reset(None if mask is None else np.asarray(mask, np.bool_))
        return obs.copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        core = self.core
        ended = core.step(actions)
        info: dict[str, Any] = {}
        if ended:
            done = core.terminated | core.truncated
            stats = {}
            for k, name in enumerate(_episode_names()):
                stats[name] = np.where(done, core.stats[:, k], 0.0)
                stats["_" + name] = done.copy()
            info = {"stepsmith": stats, "_stepsmith": done.copy()}
            if core.consts[5] == 1.0:
                final = np.full(self.num_envs, None, dtype=object)
                for i in np.flatnonzero(done):
                    final[i] = core.final_obs[i].copy()
                info |= {"final_obs": final, "_final_obs": done.copy()}
        return core.obs.copy(), core.reward.astype(np.float64), core.terminated.copy(), core.truncated.copy(), info


def _episode_names() -> tuple[str, ...]:
    from ..integrators.kernels.env import EPISODE

    return EPISODE


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
