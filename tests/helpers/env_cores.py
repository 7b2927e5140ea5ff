"""Cores of environments for tests of their state: options, a begun core, and all that it gives back."""

from __future__ import annotations

from typing import Any

import numpy as np

SMALL = {"family": "lorenz", "method": "dopri5", "pool_size": 12, "rtol": (1e-3, 1e-6)}
PAPER = {"steps": 7, "pool_size": 4}


def play(core: Any, steps: int, seed: int) -> list[bytes]:
    """Everything that `steps` calls give back, as bytes (NaN equals NaN)."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(steps):
        if hasattr(core, "decision"):
            act = rng.uniform(-1, 1, (core.lanes, core.decision.n_act)).astype(np.float32)
        else:
            act = rng.integers(0, 5, core.lanes)
        ended = core.step(act)
        out += [
            x.tobytes() for x in (core.obs, core.final_obs, core.reward, core.terminated, core.truncated, core.stats)
        ]
        out.append(core.ended[:ended].tobytes())
    return out


def begun(make: Any) -> Any:
    """The core that `make` makes, seeded, reset and 50 steps on its way."""
    core = make()
    core.seed(np.arange(3, 3 + core.lanes).astype(np.uint64))
    core.reset()
    play(core, 50, 1)
    return core
