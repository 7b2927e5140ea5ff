"""Policies that see the last observations, by Stable-Baselines3's `VecFrameStack`: how many they see, and stacks of
them for comparisons.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..controllers.learned import frames as controllers_frames
from ..controllers.learned.decision import Decision
from ..integrators.core import options

MOST = controllers_frames.MOST


def frames_of(model: Any, decision: Decision, given: int | None, env: Any) -> int:
    """How many observations the model's policy sees: `given`, or what the VecFrameStack of `env`, or else of the
    model's own environment, says; 1 without one.

    ValueError where they contradict each other or the policy, where a policy sees several and nothing says why, and
    where observations are normalised after they are stacked.
    """
    policy: Any = getattr(model, "policy", None)
    shape: tuple[int, ...] = getattr(getattr(policy, "observation_space", None), "shape", None) or ()
    wrapper = _wrapper(env if env is not None else getattr(model, "get_env", lambda: None)())
    found = 1 if wrapper is None else int(wrapper.stacked_obs.n_stack)
    if given is not None:
        given = options.count("frames", given, 1, MOST)
        if wrapper is not None and given != found:
            raise options.refuse("frames", f"{found}, the n_stack of the environment's VecFrameStack", given)
        return given
    whole, rest = divmod(shape[0], decision.n_obs) if len(shape) == 1 else (0, 1)
    if wrapper is None and rest == 0 and whole > 1:
        raise ValueError(
            f"the policy observes {shape[0]} numbers, {whole} times the decision's {decision.n_obs} features: where it "
            f"was trained under VecFrameStack(venv, {whole}), give frames={whole} or env="
        )
    if found > MOST:
        raise ValueError(f"a controller sees at most {MOST} observations, and the VecFrameStack stacks {found}")
    return found


def _wrapper(env: Any) -> Any:
    """The VecFrameStack of an environment; None without one.  ValueError where a VecNormalize stands upon it."""
    from stable_baselines3.common.vec_env import VecEnvWrapper, VecFrameStack, VecNormalize

    normalised = False
    while isinstance(env, VecEnvWrapper):
        if isinstance(env, VecFrameStack):
            if normalised:
                raise ValueError(
                    "VecNormalize(VecFrameStack(venv, k)) cannot be exported, for every observation of the stack has "
                    "statistics of its own there: train under VecFrameStack(VecNormalize(venv), k)"
                )
            return env
        normalised = normalised or (isinstance(env, VecNormalize) and env.norm_obs)
        env = env.venv
    return None


def at_random(ours: np.ndarray, theirs: np.ndarray, frames: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Rows (k, n) that belong together as stacks (k, frames * n) of the same random choice, the newest last.

    A part of them begins with zeros, as at the start of a trajectory.
    """
    if frames == 1:
        return ours, theirs
    pick = rng.integers(len(ours), size=(len(ours), frames))
    pick[:, -1] = np.arange(len(ours))
    past = rng.integers(frames, size=len(ours)) if frames > 1 else np.zeros(len(ours), int)
    empty = np.arange(frames) < np.where(rng.random(len(ours)) < 0.5, past, 0)[:, None]
    stacks = [np.where(empty[:, :, None], 0.0, rows[pick]) for rows in (ours, theirs)]
    return stacks[0].reshape(len(ours), -1), stacks[1].reshape(len(ours), -1)


class Stacks:
    """The stacks of several lanes, as an environment goes on: (lanes, frames * n), the newest last."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.stacks: np.ndarray | None = None

    def __call__(self, rows: np.ndarray, began: np.ndarray | None = None) -> np.ndarray:
        """The stacks with the observations `rows` (lanes, n) at their end; began: the lanes whose episode is new."""
        if self.stacks is None:
            self.stacks = np.zeros((len(rows), self.frames, rows.shape[1]))
        self.stacks = np.roll(self.stacks, -1, axis=1)
        if began is not None:
            self.stacks[began] = 0.0
        self.stacks[:, -1] = rows
        return self.stacks.reshape(len(rows), -1).copy()
