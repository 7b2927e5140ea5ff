"""A grid by gradients: the times of a sampler, trained through its own steps.

The steps are the softmax of N free numbers, which begin at the base grid.  Everything else is the sampler's: "ab2" (the
default), "euler", "ab3", "ab4" or "midpoint", whose middle of the step is free as well.
"""

from __future__ import annotations

from typing import Any

from ..linear import Rows, sampler
from .gradient import logits_of, monotone, train
from .task import Task


def fit(task: Task, solver: str = "ab2", rate: float = 0.03, iterations: int = 300) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance."""
    make = sampler(solver)
    logits = logits_of(task.times())
    found, facts = train(task, [logits], lambda: make(monotone(logits, task.span)), rate=rate, iterations=iterations)
    return found, {"solver": solver, "rate": rate, **facts}
