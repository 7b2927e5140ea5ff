"""Stable-Baselines3's VecEnv over the batch core: no Python per lane, dictionaries only where an episode has ended."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.utils import seeding
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from ..integrators.core import options
from ..integrators.core.names import unknown
from ..integrators.kernels.environment.places import CONST_LAGRANGE
from . import state as saved
from .faces import arguments, key_from, reset_options, seed_of, told
from .specs import SPECS


class StepsmithVecEnv(VecEnv):
    """The lanes of a batch core as an SB3 VecEnv.

    Finished lanes restart at once; their info holds `terminal_observation`, `TimeLimit.truncated` and `episode` (r, l,
    t as SB3's Monitor writes them, and the core's own statistics).  Lanes whose episode goes on share one empty
    dictionary.  Observations (num_envs, n_obs) float32 are copies: SB3 keeps references to them.  Seeds as
    `VecEnv.seed`; equal seeds give the episodes of the Gymnasium environments. Can be copied and pickled with its
    state.

    Where a decision covers time, `durations` says how much; `stepsmith.train.TimeAwarePPO` reads it.
    """

    def __init__(self, core: Any, observation_space: Any, action_space: Any) -> None:
        self.core = core
        self._empty: dict[str, Any] = {}
        self._actions: Any = None
        self._keyed = False
        self._began = time.time()
        super().__init__(core.lanes, observation_space, action_space)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """As `VecEnv.seed`: lane i gets seed + i at the next reset.  ValueError where it is no whole number of at least
        0."""
        return super().seed(seed_of(seed))

    def reset(self) -> np.ndarray:
        for given in self._options:
            reset_options(given)
        fresh = np.array([s is not None or not self._keyed for s in self._seeds])
        if fresh.any():
            keys = [key_from(seeding.np_random(s)[0]) if new else 0 for s, new in zip(self._seeds, fresh, strict=True)]
            self.core.seed(np.array(keys, np.uint64), fresh)
            self._keyed = True
        self._reset_seeds()
        self._reset_options()
        return self.core.reset().copy()

    def step_async(self, actions: np.ndarray) -> None:
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        core = self.core
        ended = core.step(self._actions)
        dones = core.terminated | core.truncated
        infos = [self._empty] * self.num_envs
        if ended:
            elapsed = round(time.time() - self._began, 6)
            for i in core.ended[:ended].tolist():
                episode = told(core, i)
                episode["r"], episode["l"], episode["t"] = episode["return"], int(episode["length"]), elapsed
                final = core.final_obs[i].copy()
                cut = bool(core.truncated[i])
                infos[i] = {"terminal_observation": final, "TimeLimit.truncated": cut, "episode": episode}
        return core.obs.copy(), core.reward.copy(), dones, infos

    @property
    def durations(self) -> np.ndarray:
        """(num_envs,) float64: time that every lane's last decision covers, as a share of its episode's span; 0 where
        the attempt was rejected.  AttributeError where decisions cover no time."""
        return self.core.durations.copy()

    def get_state(self, indices: Any = None) -> saved.State:
        """Everything that decides what follows, as NumPy arrays by name, one row a lane (see `envs.state`); indices: of
        some lanes."""
        pending = saved.packed({"seeds": self._seeds, "options": self._options})
        waiting = {"pending": pending} if indices is None else {}
        return {**self.core.get_state(indices), **saved.own_state(self), **waiting}

    def set_state(self, state: Mapping[str, Any], indices: Any = None) -> None:
        """Go on from `state` bit for bit (`t` of an episode's info, which is a clock's, apart).  indices: the lanes to
        overwrite; `state` then holds as many, in this order, or one for each of them.  ValueError where it is damaged
        or of another environment."""
        whole = indices is None and isinstance(state, Mapping) and "pending" in state
        pending = self._pending(saved.unpacked("pending", state["pending"])) if whole else None
        saved.set_face(self, state, indices)
        if pending is not None:
            self._seeds, self._options = pending["seeds"], pending["options"]

    def _pending(self, found: Any) -> dict[str, list[Any]]:
        """Seeds and options of the next reset, one a lane; ValueError where they are anything else."""
        if not isinstance(found, dict) or any(
            not isinstance(found.get(k), list) or len(found[k]) != self.num_envs for k in ("seeds", "options")
        ):
            raise options.OptionError(f"state: 'pending' must hold seeds and options of {self.num_envs} lanes")
        for seed in found["seeds"]:
            seed_of(seed)
        for given in found["options"]:
            if not isinstance(given, dict):
                raise options.OptionError("state: 'pending' must hold options as a mapping a lane")
            reset_options(given)
        return found

    def close(self) -> None:
        """Nothing to release."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """`durations`, a number a lane; `render_mode`, `lagrange`, or a public attribute of the core, the same for
        every lane.  AttributeError where there is none."""
        if attr_name == "durations":
            return [float(self.core.durations[i]) for i in self._get_indices(indices)]
        if attr_name == "render_mode":
            value: Any = None
        elif attr_name == "lagrange" and hasattr(self.core, "consts"):
            value = float(self.core.consts[CONST_LAGRANGE])
        else:
            value = getattr(self.core, attr_name)
        return [value for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Only `lagrange`, the multiplier of the rewards "constraint" and "propagated" (a number >= 0), can be set, for
        all lanes together. ValueError otherwise."""
        if attr_name == "render_mode" and value is None:
            return
        if attr_name != "lagrange" or not hasattr(self.core, "consts"):
            raise unknown("attribute that can be set", attr_name, ["lagrange"] if hasattr(self.core, "consts") else [])
        if not self.core.priced:
            raise options.OptionError(f"lagrange has no effect on the reward {self.core.rule.kind!r}")
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError("lagrange is one number for all lanes: set it for all of them")
        self.core.consts[CONST_LAGRANGE] = options.number("lagrange", value, low=0.0)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """`get_state()`: a state a lane; `set_state(state)`: one lane's state for each of the lanes.  AttributeError
        for anything else: lanes of a compiled kernel are no Python objects."""
        lanes = list(self._get_indices(indices))
        if method_name == "get_state":
            return [self.core.get_state([i], *method_args, **method_kwargs) for i in lanes]
        if method_name == "set_state":
            self.core.set_state(*method_args, **method_kwargs, indices=lanes)
            return [None for _ in lanes]
        raise AttributeError(f"lanes of a compiled kernel have no method {method_name!r}: only get_state, set_state")

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """True for SB3's Monitor, whose `episode` statistics every lane reports; no other wrapper is ever there."""
        return [issubclass(Monitor, wrapper_class) and wrapper_class is not object for _ in self._get_indices(indices)]

    def get_images(self) -> Sequence[np.ndarray | None]:
        """None a lane: draw a single environment instead."""
        return [None] * self.num_envs


def make_sb3(env_id: str, num_envs: int = 1, seed: int | None = None, **kwargs: Any) -> StepsmithVecEnv:
    """An SB3 VecEnv of a registered id; keyword arguments as the environment's (`envs.ode.make_core`,
    `envs.three_body_paper.make_core`).

    ValueError on an unknown id or option, which names the nearest, and on values out of range.
    """
    spec = SPECS[options.choice("environment", env_id, SPECS)]
    module = spec.load()
    options.check_names(env_id, kwargs, [p.name for p in arguments(module.make_core)])
    seed = seed_of(seed)
    core = module.make_core(num_envs, True, **{**spec.fixed, **kwargs})
    venv = StepsmithVecEnv(core, *module.spaces_of(core))
    if seed is not None:
        venv.seed(seed)
    return venv
