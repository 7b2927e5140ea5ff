"""Bespoke solvers: the midpoint rule in a scaled state and a warped time, both learned.

The path xbar(r) = s(r) x(t(r)), r in [0, 1], is followed by n steps of the midpoint rule, h = 1/n, so that a step from
node i, with m the middle and + the end, is

    z   = (s + h/2 s') x + h/2 s t' u(x, t)
    x_+ = [s x + h (s'_m/s_m z + t'_m s_m u(z/s_m, t_m))] / s_+

Learned are t at all nodes and middles but the two ends, t' and s' at nodes and middles, and s at all of them but the
first, where it is 1.  With s = 1, t = r it is the midpoint rule.  A step is linear in x, u(x) and u(z/s_m), so that
the sampler is rows of two evaluations a step, exactly.  Trained on the error of the samples instead of the bound on it
that the paper sums over the steps.

Source: N. Shaul et al., "Bespoke Solvers for Generative Flow
Models", ICLR 2024, arXiv:2310.19075, section 2 and appendix (RK2-Bespoke).
"""

from __future__ import annotations

from typing import Any

import torch

from ...integrators.core import options
from ..linear import Rows, paired
from .gradient import logits_of, monotone, train
from .task import Task

Tensor = torch.Tensor


def rows_of(times: Tensor, log_scale: Tensor, time_slope: Tensor, scale_slope: Tensor) -> Rows:
    """Rows of n steps of the rule above.

    times (2n+1,) at nodes and middles; log_scale (2n+1,) log s; time_slope (2n,) t' and scale_slope (2n,) s' at the
    beginning and the middle of every step.
    """
    n = (len(times) - 1) // 2
    h = 1.0 / n
    s = torch.exp(log_scale)
    begin, middle, end = s[:-1:2], s[1::2], s[2::2]
    dt, dt_m = time_slope[::2], time_slope[1::2]
    ds, ds_m = scale_slope[::2], scale_slope[1::2]
    # z of x and u
    z_x, z_u = begin + h / 2 * ds, h / 2 * begin * dt
    grow = h * ds_m / middle
    return paired(
        times, z_x / middle, z_u / middle, (begin + grow * z_x) / end, grow * z_u / end, h * dt_m * middle / end
    )


def fit(task: Task, rate: float = 0.01, iterations: int = 400) -> tuple[Rows, dict[str, Any]]:
    """The rows, and facts for the provenance.  OptionError for an odd number of evaluations."""
    if task.steps % 2:
        raise options.OptionError(f"kind 'bespoke' has steps of two evaluations: steps must be even, got {task.steps}")
    nodes = task.times()
    logits = logits_of(nodes)
    log_scale = torch.zeros(task.steps, dtype=torch.float64)
    # t' begins as the difference quotient over each step, which makes the first rule the midpoint rule on any grid
    n = task.steps // 2
    quotient = ((nodes[2::2] - nodes[:-1:2]) * n).repeat_interleave(2)
    quotient[::2] = (nodes[1::2] - nodes[:-1:2]) * 2 * n
    stretch = torch.zeros(task.steps, dtype=torch.float64)
    scale_slope = torch.zeros(task.steps, dtype=torch.float64)

    def build() -> Rows:
        scale = torch.cat([torch.zeros(1, dtype=torch.float64), log_scale])
        return rows_of(monotone(logits, task.span), scale, quotient * torch.exp(stretch), scale_slope)

    found, facts = train(task, [logits, log_scale, stretch, scale_slope], build, rate=rate, iterations=iterations)
    return found, {"rate": rate, **facts}
