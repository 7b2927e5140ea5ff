"""Random play of environments: what they give back, to compare bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np


def roll(env: Any, steps: int, seed: int) -> list[Any]:
    """What a single environment gives back, episodes restarted without a seed."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(steps):
        discrete = hasattr(env.action_space, "n")
        obs, reward, term, trunc, info = env.step(
            rng.integers(0, 5) if discrete else rng.uniform(-1, 1, 2).astype(np.float32)
        )
        out.append((obs.tobytes(), reward, term, trunc, repr(info)))
        if term or trunc:
            out.append(env.reset()[0].tobytes())
    return out


def vector_roll(venv: Any, steps: int, seed: int) -> list[Any]:
    """What a vector environment, Gymnasium's or SB3's, gives back; the clock's times left out."""
    rng, out = np.random.default_rng(seed), []
    for _ in range(steps):
        *arrays, infos = venv.step(rng.uniform(-1, 1, (venv.num_envs, 2)).astype(np.float32))
        for info in infos if isinstance(infos, list) else []:
            info.get("episode", {}).pop("t", None)
        out.append((*[a.tobytes() for a in arrays], repr(infos)))
    return out
