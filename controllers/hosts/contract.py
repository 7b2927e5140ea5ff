"""What an adapter for a host promises.

A host is a solver that somebody else wrote.  After each trial step it fills the slots of an attempt record that it
knows, and an adapter answers with the decision of a controller.  The adapter holds the controller's state; the host
holds nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Adapter(Protocol):
    """A controller at work in a host, for a number of lanes (trajectories that the host steps side by side).

    slots   record slots (`integrators.core.record`) that the host can fill; every other slot is NaN in what the adapter
            decides on
    decide  one attempt of every lane: its record in, accept and log of the factor of the size out

    `decide` advances the controller's state, as the engine's own loop does: once an attempt, rejected attempts
    included.
    """

    slots: frozenset[int]

    def decide(self, record: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """record: `N_RECORD` float64 arrays of shape (lanes,).

        Returns accept, float64 (lanes,) of 0 and 1, and the natural logarithm of the next size over the size attempted,
        float64 (lanes,).
        """
        ...


#: how an adapter is made: from a controller and the number of lanes
Make = Callable[[Any, int], Adapter]
