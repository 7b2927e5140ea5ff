"""The mean return of a policy in an environment's batch core: the figure of environments without a controller."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def mean_return(core: Any, act: Callable[[np.ndarray], np.ndarray], episodes: int = 1) -> float:
    """Mean return over the first `episodes` episodes of every lane, which begin anew.

    core    of any environment (`envs.faces`), whose lanes restart in the call that ended them.
    act     the policy, from observations (lanes, n_obs) float32 to actions (lanes, ...).
    """
    column = core.columns.index("return")
    total, played = np.zeros(core.lanes), np.zeros(core.lanes, np.int64)
    core.reset()
    while (played < episodes).any():
        core.step(np.asarray(act(core.obs)))
        counts = (core.terminated | core.truncated) & (played < episodes)
        total += np.where(counts, core.stats[:, column], 0.0)
        played += counts
    return float(total.mean() / episodes)
