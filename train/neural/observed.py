"""What an iteration of training is to its log: numbers that are there already, of the loss, the strength and the solve.

A mean E h or S h costs a few operations on one number a step.  NaN stands for what is not known: E and S where the
solve keeps none, as without a regulariser, or its method has none; the ratio where the strength measures no gradients.
"""

from __future__ import annotations

import math

import torch

from ... import neural
from ...integrators.neural.strength import Strength

Tensor = torch.Tensor
#: columns of the log that are means over iterations
NAMES = (
    "loss", "penalty", "strength", "ratio", "er_mean", "sr_mean", "nfev", "nfev_replay", "naccept", "nreject",
)  # fmt: skip


def observed(loss: Tensor, out: neural.NeuralOutput, strength: Strength | None) -> dict[str, float]:
    """One number for each of NAMES, of an iteration whose gradient has been taken.

    loss 0-d, the task's; out of the training solve; strength, where there is one, after its `total`.
    """
    s = out.solution.stats
    return {
        "loss": loss.item(),
        "penalty": out.penalty.item(),
        "strength": 0.0 if strength is None else strength.last,
        "ratio": math.nan if strength is None else strength.last_ratio,
        **step_means(out.solution),
        "nfev": s.nfev,
        "nfev_replay": s.nfev_replay + s.nfev_backward,
        "naccept": s.naccept,
        "nreject": s.nreject,
    }


def step_means(solution: neural.NeuralSolution) -> dict[str, float]:
    """(1/n) sum_j E_j h_j as er_mean and (1/n) sum_j S_j h_j as sr_mean, over the n accepted steps of the solve, or
    with steps per sample of each sample's own, then their mean over the samples; NaN where E or S are not there."""
    steps, found = solution.heuristics, {"er_mean": math.nan, "sr_mean": math.nan}
    if steps is None or not len(steps.h):
        return found
    own = solution.stats.naccept_per_sample
    count = len(steps.h) if steps.h.dim() == 1 else torch.from_numpy(own).to(steps.h).clamp(min=1.0)
    for name, estimate in (("er_mean", steps.E), ("sr_mean", steps.S)):
        if estimate is not None:
            found[name] = float(((estimate.detach() * steps.h).sum(0) / count).mean())
    return found


def log_stiffness(out: neural.NeuralOutput) -> float | None:
    """The logarithm of the largest stiffness estimate of the solve's steps; None where it has none above zero."""
    steps = out.solution.heuristics
    largest = 0.0 if steps is None or steps.S is None or not steps.S.numel() else float(steps.S.detach().max())
    return math.log(largest) if 0.0 < largest < math.inf else None
