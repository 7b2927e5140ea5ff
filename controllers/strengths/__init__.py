"""Strengths of a regulariser that learn: baselines that a trained policy is compared with.

    bandit           one of a few strengths, by what it costs in f-evaluations (`bandit`)
    best_response    by a layer that knows how it would respond to another strength (`best_response`, `responsive`)
    hypergradient    by implicit differentiation of a validation loss (`hypergradient`)

Each is an `integrators.neural.strength.Strength`, and `make` there knows their kinds once this package is imported.
"""

from __future__ import annotations

from ...integrators.neural.strength import register
from .bandit import BanditStrength, bandit
from .best_response import BestResponse, best_response
from .hypergradient import Hypergradient, hypergradient
from .responsive import Responsive

__all__ = [
    "BanditStrength", "BestResponse", "Hypergradient", "Responsive", "bandit", "best_response", "hypergradient",
]  # fmt: skip

for maker in (bandit, best_response, hypergradient):
    register(maker.__name__, maker)
