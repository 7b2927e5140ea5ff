"""Single and native vector environment: Gymnasium's two faces of a batch core.

A core has `obs, final_obs, reward, terminated, truncated, stats` (one row a lane), `columns`, `same_step`, `seed(keys,
mask)`, `reset(mask)`, `step(actions)`, `waiting(lane)`, `episode(lane)`, `snapshot(lane)`, `get_state(indices)`,
`set_state(state, indices)`, and, where a decision covers time, `durations` (lanes,): a share of the episode's span. The
single environment is a core with one lane of the same kernel, so that both give the same numbers to the last bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv

from ..integrators.core import options as check
from . import state as saved
from .pool import ERROR_GRID

#: the error that infos give for an episode that did not reach its end, where no error is known: the largest one at
#: which the baseline's work is tabulated, 10, with which `log_ratio` is computed as well
UNREACHED = float(np.exp(ERROR_GRID[-1]).round(9))


def told(core: Any, lane: int) -> dict[str, float]:
    """Statistics of the episode that has just ended in a lane, as infos hold them: every value is finite."""
    episode = core.episode(lane)
    return episode if np.isfinite(episode["error"]) else {**episode, "error": UNREACHED}


def key_from(rng: np.random.Generator) -> np.uint64:
    """A lane's generator key, drawn from an environment's own generator."""
    return np.uint64(rng.integers(0, 2**64, dtype=np.uint64))


def seed_of(value: Any) -> Any:
    """A seed, checked: a whole number that is not negative, or None."""
    return check.count("seed", value, low=0, high=2**128, none=True)


def arguments(make: Callable[..., Any]) -> list[inspect.Parameter]:
    """Parameters of an environment's `make_core` that are its own options, keyword only."""
    own = inspect.signature(make).parameters.values()
    return [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own if p.name not in ("lanes", "same_step")]


def reset_options(given: Any, known: Iterable[str] = ()) -> Mapping[str, Any]:
    """`options` of a reset, checked."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise check.refuse("options of reset()", "a dictionary or None", given)
    check.check_names("reset()", given, known)
    return given


class _Options:
    """Keyword arguments of a face: its own and those of `make_core`, by name in its signature; an unknown one names the
    nearest."""

    make: Any

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if hasattr(cls, "make"):
            own = [
                p
                for p in inspect.signature(cls.__init__).parameters.values()
                if p.name != "self" and p.kind != p.VAR_KEYWORD
            ]
            cls.__signature__ = inspect.Signature([*own, *arguments(cls.make)])  # type: ignore[attr-defined]

    @classmethod
    def _core(cls, lanes: int, same_step: bool, given: dict[str, Any]) -> Any:
        check.check_names(cls.__name__, given, cls.__signature__.parameters)  # type: ignore[attr-defined]
        return cls.make(lanes, same_step, **given)


class Single(_Options, gym.Env):
    """One lane of a batch core as a Gymnasium environment; `make(**kwargs)` of a subclass builds the core of `lanes`
    lanes.

    Where a decision covers time, `info["duration"]` of every step says how much: a share of the episode's span, 0 where
    the attempt was rejected.

    Can be copied (`copy.deepcopy`) and pickled with its state.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    make: Any
    spaces_of: Any

    def __init__(self, render_mode: str | None = None, **kwargs: Any) -> None:
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise check.refuse("render_mode", "None or 'rgb_array'", render_mode)
        self.render_mode = render_mode
        self.core = type(self)._core(1, False, kwargs)
        self.observation_space, self.action_space = type(self).spaces_of(self.core)
        self._keyed = False
        self._trace: list[np.ndarray] = []

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        reset_options(options)
        seed = seed_of(seed)
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
        action = np.asarray(action)
        numbers = action.dtype.kind in "fiu" and isinstance(self.action_space, gym.spaces.Box)
        if numbers and action.shape != self.action_space.shape:
            raise ValueError(f"actions must have shape {self.action_space.shape}, got {action.shape}")
        core.step(action[None])
        self._note()
        info: dict[str, Any] = {}
        if hasattr(core, "durations"):
            info["duration"] = float(core.durations[0])
        if core.terminated[0] or core.truncated[0]:
            info["stepsmith"] = told(core, 0)
        return core.obs[0].copy(), float(core.reward[0]), bool(core.terminated[0]), bool(core.truncated[0]), info

    def get_state(self) -> saved.State:
        """Everything that decides what follows, as NumPy arrays by name (see `envs.state`): the lane, its buffers (the
        last observation is `state["obs"]`, (1, n_obs)), the environment's own generator, the picture's trace.  Not the
        random state of `action_space`."""
        trace = np.array(self._trace) if self._trace else np.zeros((0, 0))
        return {**self.core.get_state(), **saved.own_state(self), "trace": trace}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Go on from `state` bit for bit; it may come from another environment made with the same arguments, in another
        process too, or be one lane of a vector environment.  ValueError where it is damaged or of an environment with
        other arguments; nothing has changed then."""
        try:
            trace = np.asarray(state.get("trace", ()) if isinstance(state, Mapping) else (), np.float64)
        except (TypeError, ValueError):
            raise check.OptionError("state: 'trace' must be an array of numbers") from None
        if trace.size and (trace.ndim != 2 or trace.shape[1] < 4):
            raise check.OptionError(f"state: 'trace' must have shape (attempts + 1, 3 + n), got {trace.shape}")
        saved.set_face(self, state)
        self._trace = list(trace) if self.render_mode is not None else []
        if not self._trace and self._keyed:
            self._note()

    def _note(self) -> None:
        if self.render_mode == "rgb_array":
            self._trace.append(self.core.snapshot(0))

    def render(self) -> np.ndarray | None:
        """RGB picture (480, 960, 3), uint8, of the trajectory so far and its step sizes; None without a render mode."""
        if self.render_mode != "rgb_array":
            return None
        from .render import draw

        return draw(self.core.pool.batch.nbody, np.array(self._trace))


class Native(_Options, VectorEnv):
    """`num_envs` lanes of a batch core as a Gymnasium vector environment, bit for bit what as many single ones are.

    autoreset_mode: "next_step" (Gymnasium's default) or "same_step" (the last observation is then in
    `info["final_obs"]`, the episode's statistics in `info["final_info"]`).  `info["stepsmith"]` holds the statistics of
    episodes that have just ended, masked by `info["_stepsmith"]`; `info["duration"]`, masked by `info["_duration"]`, is
    as of single environments.  Can be copied (`copy.deepcopy`) and pickled with its state.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}
    make: Any
    spaces_of: Any

    def __init__(
        self, num_envs: int = 1, autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP, **kwargs: Any
    ) -> None:
        mode = _mode(autoreset_mode)
        self.metadata = {**self.metadata, "autoreset_mode": mode}
        self.core = type(self)._core(num_envs, mode == AutoresetMode.SAME_STEP, kwargs)
        self.num_envs = num_envs = self.core.lanes
        self.single_observation_space, self.single_action_space = type(self).spaces_of(self.core)
        self.observation_space = gym.vector.utils.batch_space(self.single_observation_space, num_envs)
        self.action_space = gym.vector.utils.batch_space(self.single_action_space, num_envs)
        self._keyed = False
        self._over = np.zeros(num_envs, np.bool_)  # lanes whose next episode begins in the next call

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict | None = None
    ) -> tuple[np.ndarray, dict]:
        """seed: an int (lane i gets seed + i), a list, or None (lanes go on with their own generators).
        options["reset_mask"]: (num_envs,) bool, the lanes to reset; the others are left alone."""
        mask = np.ones(self.num_envs, np.bool_)
        options = dict(reset_options(options, ("reset_mask",)))
        if "reset_mask" in options:
            mask = np.asarray(options["reset_mask"])
            if mask.dtype != np.bool_ or mask.shape != (self.num_envs,) or not mask.any():
                raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},) with at least one True")
        if seed is None or not np.iterable(seed) or isinstance(seed, (str, bytes)):
            first = seed_of(seed)
            super().reset(seed=first)
            seeds: list[int | None] = [None if first is None else first + i for i in range(self.num_envs)]
        else:
            seeds = [seed_of(s) for s in seed]
        if len(seeds) != self.num_envs:
            raise check.OptionError(f"seed must be a whole number or hold {self.num_envs} of them, got {len(seeds)}")
        fresh = mask & np.array([s is not None or not self._keyed for s in seeds])
        if fresh.any():
            self.core.seed(np.array([key_from(seeding.np_random(s)[0]) for s in seeds], np.uint64), fresh)
        self._keyed = True
        self._over[mask] = False
        return self.core.reset(mask).copy(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict]:
        core = self.core
        ended = core.step(actions)
        done = core.terminated | core.truncated
        info = self._told(~self._over & ~done if core.same_step else ~self._over)
        if not core.same_step:
            self._over = done
        if ended:
            stats: dict[str, Any] = {}
            for k, name in enumerate(core.columns):
                values = core.stats[:, k]
                values = np.where(np.isfinite(values), values, UNREACHED) if name == "error" else values
                stats[name] = np.where(done, values, 0.0)
                stats["_" + name] = done.copy()
            last = {"stepsmith": stats, "_stepsmith": done.copy()}
            if core.same_step:
                last |= self._told(done)
                final = np.full(self.num_envs, None, dtype=object)
                for i in np.flatnonzero(done):
                    final[i] = core.final_obs[i].copy()
                last = {"final_obs": final, "_final_obs": done.copy(), "final_info": last, "_final_info": done.copy()}
            info |= last
        return core.obs.copy(), core.reward.astype(np.float64), core.terminated.copy(), core.truncated.copy(), info

    def _told(self, lanes: np.ndarray) -> dict[str, Any]:
        """The durations of some lanes' decisions as infos hold them; nothing where none has one."""
        if not hasattr(self.core, "durations") or not lanes.any():
            return {}
        return {"duration": np.where(lanes, self.core.durations, 0.0), "_duration": lanes.copy()}

    @property
    def durations(self) -> np.ndarray:
        """(num_envs,) float64: time that every lane's last decision covers, as a share of its episode's span; 0 where
        the attempt was rejected.  AttributeError where decisions cover no time."""
        return self.core.durations.copy()

    def get_state(self, indices: Any = None) -> saved.State:
        """As that of a single environment, one row a lane; indices: of some lanes only (whole numbers)."""
        return {**self.core.get_state(indices), **saved.own_state(self)}

    def set_state(self, state: Mapping[str, Any], indices: Any = None) -> None:
        """Go on from `state` bit for bit.  indices: the lanes to overwrite; the others are left alone, and `state` then
        holds as many lanes, in this order, or one, which is copied to each.  A single environment's state is such a
        lane.  ValueError where the state is damaged or of an environment with other arguments; nothing has changed
        then."""
        saved.set_face(self, state, indices)
        core = self.core
        self._over = core.terminated | core.truncated  # of their last calls; lanes may have been reset since then
        for lane in np.flatnonzero(self._over).tolist():
            self._over[lane] = core.waiting(lane)


def _mode(mode: str | AutoresetMode) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        found = mode
    else:
        key = str(mode).lower().replace("-", "_").replace("autoreset", "").strip("_")
        table = {
            "next_step": AutoresetMode.NEXT_STEP,
            "nextstep": AutoresetMode.NEXT_STEP,
            "same_step": AutoresetMode.SAME_STEP,
            "samestep": AutoresetMode.SAME_STEP,
        }
        if key not in table:
            raise check.refuse("autoreset_mode", "'next_step' or 'same_step'", mode)
        found = table[key]
    if found not in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        raise check.refuse("autoreset_mode", "'next_step' or 'same_step'", mode)
    return found
