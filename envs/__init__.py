"""Gymnasium environments: single, natively vectorised, and an adapter for Stable-Baselines3."""

from __future__ import annotations

from typing import Any

__all__ = ["make_sb3"]


def make_sb3(env_id: str, num_envs: int = 1, seed: int | None = None, **kwargs: Any) -> Any:
    """A Stable-Baselines3 VecEnv of `num_envs` compiled lanes; see `stepsmith.envs.sb3.make_sb3`."""
    from .sb3 import make_sb3 as make

    return make(env_id, num_envs, seed, **kwargs)
