"""What an environment's core is given as actions: real numbers, one row a lane."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..integrators.core import options


def checked_actions(actions: Any, lanes: int, n_act: int) -> np.ndarray:
    """`actions` as a contiguous array (lanes, n_act) of their own dtype.

    OptionError, which is a ValueError, for what holds no real numbers; ValueError for another shape.
    """
    actions = np.ascontiguousarray(actions)
    if actions.dtype.kind not in "fiu":
        raise options.OptionError(f"actions must be real numbers in [-1, 1], got dtype {actions.dtype}")
    if actions.shape != (lanes, n_act):
        raise ValueError(f"actions must have shape ({lanes}, {n_act}), got {actions.shape}")
    return actions
