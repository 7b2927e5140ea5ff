"""Strengths of a regulariser over the course of training, all of them.

    constant, exponential, linear, of    known before training
    ratio, auto                          in units of the two gradients, which carry over
    dual_ascent                          as strong as the quality allows
    bandit                               the one of a few that costs the fewest f-evaluations
    best_response, hypergradient         by the gradient of a validation loss
    policy, trained                      by a network that was trained by reinforcement learning

`make` builds one from its description, whose kind is one of `KINDS`.
"""

from __future__ import annotations

from ..controllers.strengths import (
    BanditStrength,
    BestResponse,
    Hypergradient,
    PolicyStrength,
    Responsive,
    bandit,
    best_response,
    hypergradient,
    policy,
    trained,
)
from ..integrators.neural.strength import (
    DualAscent,
    Ratio,
    Schedule,
    Strength,
    auto,
    constant,
    dual_ascent,
    exponential,
    kinds,
    linear,
    make,
    of,
    ratio,
)

__all__ = [
    "KINDS", "BanditStrength", "BestResponse", "DualAscent", "Hypergradient", "PolicyStrength", "Ratio", "Responsive",
    "Schedule", "Strength", "auto", "bandit", "best_response", "constant", "dual_ascent", "exponential",
    "hypergradient", "linear", "make", "of", "policy", "ratio", "trained",
]  # fmt: skip

#: all kinds that a description may have
KINDS = kinds()
