"""Looking at a pass from within: a `Watch` is told of every attempt, and the continuous adjoints keep what they need of
it that way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .step import Step, Stepper


@dataclass
class Attempt:
    """One attempt of all lanes in the batch, after its decision.  Arrays have the shape (lanes in the batch,).

    ids       the lanes' numbers among all lanes of the solve.
    t, end    start and end time of the attempt.
    h         its signed size.
    run       whether the lane took part.
    finite    whether the attempt was finite.
    accept    whether it was accepted.
    anew      whether the first slopes were evaluated for this attempt; one bool for all lanes.
    """

    ids: np.ndarray
    t: np.ndarray
    end: np.ndarray
    h: np.ndarray
    run: np.ndarray
    finite: np.ndarray
    accept: np.ndarray
    anew: bool = False


class Watch:
    """Follows a pass from within; this base class does nothing.

    dense   the watch wants the dense stages of every accepted step evaluated.
    """

    dense = False

    def take(self, keep: np.ndarray) -> None:
        """The lanes at the positions `keep` of the batch stay in it; the others leave it."""

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        """An attempt was made and decided on; the buffers of `stepper` still hold its slopes."""
