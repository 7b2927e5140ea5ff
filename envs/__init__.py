"""Gymnasium environments: single, natively vectorised, and an adapter for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

__all__ = ["make_sb3"]


def make_sb3(env_id: str, num_envs: int = 1, seed: int | None = None, **kwargs: Any) -> Any:
    """A Stable-Baselines3 VecEnv of `num_envs` compiled lanes.

    env_id: one of `specs.SPECS`: "stepsmith/ODE-v0", "stepsmith/ThreeBody-v0", "stepsmith/Stiff-v0" or
    "stepsmith/ThreeBodyPaper-v0".  seed: of lane 0, lane i
    gets seed + i (None: drawn).  kwargs: the environment's options; `stepsmith.envs.ode.make_core` (three-body paper:
    `stepsmith.envs.three_body_paper.make_core`) says which, with their defaults.  ValueError on unknown names and bad
    values; ModuleNotFoundError, with the command that installs it, without Stable-Baselines3.
    """
    try:
        from .sb3 import make_sb3 as make
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("stable_baselines3", "torch"):
            raise
        raise ModuleNotFoundError(
            f"make_sb3 needs {missing}, which is not installed: pip install 'stepsmith[train]'", name=missing
        ) from None

    return make(env_id, num_envs, seed, **kwargs)
