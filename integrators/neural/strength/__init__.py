"""Strengths of a regulariser over the course of training.

    constant, exponential, linear, of    known before training (`schedules`)
    ratio, auto                          in units of the two gradients, which carry over (`ratio`)
    dual_ascent                          as strong as the quality allows (`dual`)

Each is a `Strength`: `total(loss, penalty, parameters)` is the loss of an iteration.  `register` adds further kinds to
those that `make` knows.
"""

from __future__ import annotations

from .base import Strength
from .dual import DualAscent, dual_ascent
from .making import KINDS, kinds, make, register
from .ratio import Ratio, auto, ratio
from .schedules import Schedule, constant, exponential, linear, of

__all__ = [
    "KINDS", "DualAscent", "Ratio", "Schedule", "Strength", "auto", "constant", "dual_ascent", "exponential", "kinds",
    "linear", "make", "of", "ratio", "register",
]  # fmt: skip
