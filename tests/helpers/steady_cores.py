"""Lanes of `stepsmith/SteadyState-v0`, and their fields in NumPy."""

from __future__ import annotations

import numpy as np

from stepsmith.envs.steady_state import make_core


def slope(i, z, fields):
    """f(z) - z of instance i, in NumPy."""
    return fields.w2[i].T @ np.tanh(fields.w1[i].T @ z + fields.b[i]) + fields.c[i] - z


def begun(lanes=1, same_step=False, seed=0, **more):
    core = make_core(lanes, same_step, **{"pool_size": 16, **more})
    core.seed(np.arange(seed, seed + lanes).astype(np.uint64))
    core.reset()
    return core
