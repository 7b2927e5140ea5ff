"""Stable-Baselines3's VecEnv over the batch core: no Python per lane, dictionaries only where an episode has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from ..integrators.names import unknown
from .ode import _spaces, key_from, make_core

IDS = {"stepsmith/ODE-v0": {}, "stepsmith/ThreeBody-v0": {"family": "three_body"}}


class StepsmithVecEnv(VecEnv):
    """`num_envs` lanes as an SB3 VecEnv (finished lanes restart at once; `terminal_observation` and `TimeLimit.truncated` in their info,
    `episode` with r, l and the run's statistics).  Observations are copies: SB3 keeps references to them."""

    def __init__(self, num_envs: int, **kwargs: Any) -> None:
        self.core = make_core(num_envs, True, **kwargs)
        obs_space, act_space = _spaces(self.core)
        self.render_mode = None
        self._empty: dict[str, Any] = {}
        self._infos: list[dict[str, Any]] = [self._empty] * num_envs
        self._actions: np.ndarray | None = None
        self._keys_ready = False
        super().__init__(num_envs, obs_space, act_space)

    def reset(self) -> np.ndarray:
        if not self._keys_ready or any(s is not None for s in self._seeds):
            seeds = [s if s is not None else None for s in self._seeds]
            self.core.seed(np.array([key_from(np.random.default_rng(s)) for s in seeds], np.uint64))
            self._keys_ready = True
        self._reset_seeds()
        self._reset_options()
        return self.core.reset().copy()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        core = self.core
        ended = core.step(self._actions)
        dones = core.terminated | core.truncated
        infos = self._infos
        if ended:
            infos = [self._empty] * self.num_envs
            for i in np.flatnonzero(dones):
                stats = core.episode(i)
                infos[i] = {
                    "terminal_observation": core.final_obs[i].copy(),
                    "TimeLimit.truncated": bool(core.truncated[i]),
                    "episode": {"r": stats["return"], "l": int(stats["length"]), "t": 0.0, **stats},
                }
        return core.obs.copy(), core.reward.copy(), dones, infos

    def close(self) -> None:
        pass

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """`render_mode`, `lagrange`, or an attribute of the core; the same for every lane."""
        if attr_name == "render_mode":
            value: Any = None
        elif attr_name == "lagrange":
            value = float(self.core.consts[1])
        else:
            value = getattr(self.core, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Only `lagrange`, the constraint's multiplier, can be set, for all lanes together."""
        if attr_name != "lagrange":
            raise unknown("attribute that can be set", attr_name, ["lagrange"])
        self.core.consts[1] = float(value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        raise ValueError(f"lanes of a compiled kernel have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        return [False for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        return [None] * self.num_envs


def make_sb3(env_id: str, num_envs: int = 1, seed: int | None = None, **kwargs: Any) -> StepsmithVecEnv:
    """An SB3 VecEnv of a registered id; keyword arguments as the environment's.  ValueError on an unknown id."""
    if env_id not in IDS:
        raise unknown("environment", env_id, IDS)
    venv = StepsmithVecEnv(num_envs, **{**IDS[env_id], **kwargs})
    if seed is not None:
        venv.seed(seed)
    return venv
