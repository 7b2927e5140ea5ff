"""Strengths of a regulariser that learn, in a training run or before it.

    bandit           one of a few strengths, by what it costs in f-evaluations (`bandit`)
    best_response    by a layer that knows how it would respond to another strength (`best_response`, `responsive`)
    hypergradient    by implicit differentiation of a validation loss (`hypergradient`)
    policy           by a network that was trained by reinforcement learning (`policy`)

Each is an `integrators.neural.strength.Strength`, and `make` there knows their kinds once this package is imported.
"""

from __future__ import annotations

from ...integrators.neural.strength import register
from .bandit import BanditStrength, bandit
from .best_response import BestResponse, best_response
from .hypergradient import Hypergradient, hypergradient
from .policy import PolicyStrength, as_strength, policy, trained
from .policy_file import StrengthNetwork
from .responsive import Responsive

__all__ = [
    "BanditStrength", "BestResponse", "Hypergradient", "PolicyStrength", "Responsive", "StrengthNetwork", "as_strength",
    "bandit", "best_response", "hypergradient", "policy", "trained",
]  # fmt: skip

for maker in (bandit, best_response, hypergradient, policy):
    register(maker.__name__, maker)
