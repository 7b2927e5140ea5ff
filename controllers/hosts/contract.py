"""What an adapter for a host promises.

A host is a solver that somebody else wrote.  After each trial step it fills the slots of an attempt record that it
knows, and an adapter answers with the decision of a controller.  The adapter holds the controller's state; the host
holds nothing of ours.

A controller may have a tolerance scale s (`integrators.core.tolerance_scale`).  The host then works at s rtol and
s atol, which it finds by `tolerance_scale.of(controller)`.  Where its tolerances cannot be reached, the adapter passes
its records through `at_scale`, which gives what the host would have measured there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from ...integrators.core import record as rec


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


def at_scale(record: Sequence[Any], scale: float) -> list[Any]:
    """The record of an attempt, measured at rtol and atol, as one measured at `scale` times both.

    record: `N_RECORD` arrays of any library.  Errors and the norm of the state count in tolerances, so they are divided
    by `scale`; the tolerance itself is multiplied.  Everything else is the same, and with `scale` 1 nothing changes.
    The first step size, which the host chooses before there is a record, is not touched.
    """
    row = list(record)
    if scale != 1.0:
        row[rec.ERR], row[rec.YNORM] = row[rec.ERR] / scale, row[rec.YNORM] / scale
        row[rec.RTOL] = row[rec.RTOL] * scale
    return row


#: how an adapter is made: from a controller and the number of lanes
Make = Callable[[Any, int], Adapter]
