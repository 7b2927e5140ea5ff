"""The last observations of a trajectory, one behind the other, as what a network sees (Stable-Baselines3's
`VecFrameStack`).

They stand in the controller's state, the oldest first, and outlive a decision.  At a trajectory's start all but the
newest are zeros.  Every attempt is an observation, rejected ones included, as every step of an environment is.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

from ...integrators.core.contract import bind
from .residual import clear

#: observations that a network may see
MOST = 64

# compile-time values of `push`, bound for each structure
FRAMES = 1
N_OBS = 1
OBS = 0
STACK = 0


def push(params, state, record, out):
    """Move every observation of the stack one place on, and put the newest in the last one."""
    for i in range(N_OBS * (FRAMES - 1)):
        state[STACK + i] = state[STACK + N_OBS + i]
    for i in range(N_OBS):
        state[STACK + N_OBS * (FRAMES - 1) + i] = state[OBS + i]


@functools.cache
def pushing(frames: int, n_obs: int, obs_at: int, stack_at: int) -> Callable[..., None]:
    """`push` of a structure: the observation stands from state row `obs_at` on, the stack from `stack_at` on."""
    return bind(push, {"FRAMES": frames, "N_OBS": n_obs, "OBS": obs_at, "STACK": stack_at})


@functools.cache
def emptying(rows: int) -> Callable[..., None]:
    """`init(params, state)` that clears this many rows: the decision's and the stack's."""
    return bind(clear, {"CLEAR": rows})
