"""Differentiable solver search: times and the weights of the velocities so far, the weights of a step summing to one.

    x_{i+1} = x_i + dt_i sum_{j <= i} c_ij u_j,    sum_j c_ij = 1,    dt the softmax of free numbers

The sum makes every step exact for a constant velocity.  Trained from AB2 on the mean square distance to the fine
solver's way at all times plus 1000 times the Huber loss (threshold 0.001) of the samples.

Source: S. Wang et al., "Differentiable Solver Search for Fast Diffusion Sampling", ICML
2025, arXiv:2505.21114, and its code, MCG-NJU/NeuralSolver.
"""

from __future__ import annotations

from typing import Any

import torch

from ..linear import Rows, adams, run
from .gradient import logits_of, monotone, train
from .task import Task

Tensor = torch.Tensor
END, THRESHOLD = 1000.0, 0.001


def rows_of(times: Tensor, weights: Tensor) -> Rows:
    """Rows of weights (N, N), of which those below the diagonal count: c_ii is one less their sum."""
    n = len(times) - 1
    below = torch.tril(weights, -1)
    full = below + torch.diag(1 - below.sum(1))
    steps = (times[1:] - times[:-1])[:, None]
    return Rows(times, torch.zeros(n).to(times), torch.ones(n).to(times), steps * full)


def path_error(task: Task, picked: Tensor, rows: Rows) -> Tensor:
    """The loss of the module's text."""
    _, states, _ = run(task.field, task.training[picked], rows, keep=True)
    on_way = sum((states[i] - task.state_at(rows.times[i])[picked]).square().mean() for i in range(1, rows.evaluations))
    end = torch.nn.functional.huber_loss(states[-1], task.target[picked], delta=THRESHOLD)
    return on_way + END * end


def fit(task: Task, rate: float = 0.01, iterations: int = 400) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance."""
    times = task.times()
    logits = logits_of(times)
    weights = adams(times, 2).slopes / (times[1:] - times[:-1])[:, None]
    found, facts = train(
        task, [logits, weights], lambda: rows_of(monotone(logits, task.span), weights),
        rate=rate, iterations=iterations, loss=path_error,
    )  # fmt: skip
    return found, {"rate": rate, **facts}
