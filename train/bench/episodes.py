"""A policy played in a protocol's environment: every test instance at every tolerance, an episode each.

A lane draws its instance by its generator's key.  The keys with which lane i plays instance i are looked for once, by
resetting many lanes.  The tolerances follow one another; all instances play side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...envs.core import Core
from ...envs.ode import make_core
from ...integrators.core.errors import shown
from ...integrators.kernels.environment import places
from ..evaluate.splits import Split, Sweep
from .instance_file import BenchError
from .protocol import Protocol

#: lanes a reset that looks for keys, over the number of instances
TRIED = 24


def play(protocol: Protocol, policy: Any, split: Split, name: str) -> tuple[Sweep, float]:
    """What `policy` does on the instances of `split` at the protocol's tolerances, and the share of its answers that
    the law replaced, because they were not finite or left [-1, 1].

    name: what the policy is called, for errors.  BenchError where it raises, and where it returns no real numbers of
    shape (lanes, n_act).
    """
    whole = make_core(1, False, **{
        **protocol.env, "split": "test", "pool_size": split.asked, "reward": "matched", "band": False,
    })  # fmt: skip
    if not np.array_equal(whole.pool.batch.y0, split.batch.y0):
        raise BenchError(f"{protocol.name}: the environment leaves instances out on which the law reaches no error")
    keys = _keys(whole, len(split.batch), protocol)
    columns = [
        _episodes(_core(whole, len(split.batch), math.log(rtol), protocol), keys, policy, name)
        for rtol in split.tolerances
    ]
    *figures, replaced = (np.stack([column[k] for column in columns], axis=1) for k in range(6))
    sweep = Sweep(*figures)
    return sweep, float(replaced.sum() / max(sweep.attempts.sum(), 1.0))


def _core(like: Core, lanes: int, log_rtol: float, protocol: Protocol) -> Core:
    """A core on the same pool with so many lanes, all at one tolerance."""
    span = np.full((len(like.pool.batch), 2), log_rtol)
    return Core(like.pool, like.method, like.decision, lanes, like.rule, span, protocol.max_attempts, False)


def _keys(like: Core, count: int, protocol: Protocol) -> np.ndarray:
    """(count,) keys with which a lane's first episode plays instance 0, 1, ..."""
    core = _core(like, TRIED * count, math.log(1e-3), protocol)
    found: dict[int, int] = {}
    first = 0
    while len(found) < count:
        tried = np.arange(first, first + core.lanes, dtype=np.uint64)
        core.seed(tried)
        core.reset()
        for key, instance in zip(tried, core.rows("INST")[0], strict=True):
            found.setdefault(int(instance), int(key))
        first += core.lanes
    return np.array([found[i] for i in range(count)], dtype=np.uint64)


def _episodes(core: Core, keys: np.ndarray, policy: Any, name: str) -> tuple[np.ndarray, ...]:
    """One episode in every lane: (err, nfev, work, attempts, rejected, answers replaced), each (lanes,)."""
    core.seed(keys)
    obs = core.reset()
    if callable(begin := getattr(policy, "reset", None)):
        begin(core.lanes)
    found = np.zeros((6, core.lanes))
    waiting = np.ones(core.lanes, dtype=bool)
    while waiting.any():
        ended = core.ended[: core.step(_actions(policy, obs, core, name))]
        new = ended[waiting[ended]]
        if new.size:
            stats = core.stats[new]
            rejected = stats[:, places.EPISODE_NREJECT]
            attempts = rejected + stats[:, places.EPISODE_NACCEPT]
            work = np.exp(core.rows("LOGW")[0, new])
            nfev = np.maximum(stats[:, places.EPISODE_NFEV], 1.0)
            replaced = stats[:, places.EPISODE_NFALLBACK]
            found[:, new] = stats[:, places.EPISODE_ERROR], nfev, work, attempts, rejected, replaced
            waiting[new] = False
    return tuple(found)


def _actions(policy: Any, obs: np.ndarray, core: Core, name: str) -> np.ndarray:
    try:
        actions = np.asarray(policy(obs.copy()))
    except Exception as error:
        raise BenchError(
            f"{name} raised {type(error).__name__} for observations of shape {obs.shape}: {error}"
        ) from error
    wanted = (core.lanes, core.decision.n_act)
    if actions.shape != wanted or actions.dtype.kind not in "fiu":
        raise BenchError(
            f"{name} must return real numbers of shape {wanted} (lanes, actions) for observations of shape "
            f"{obs.shape}, got {shown(actions.dtype.name)} of shape {actions.shape}"
        )
    return actions
