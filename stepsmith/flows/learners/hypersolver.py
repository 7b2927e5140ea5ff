"""A hypersolver of a model's flow: a network that adds what a step of Euler's method or of AB2 leaves out.

`stepsmith.flows.hypersolver` has the idea and the source.  The network sees a sample's state, its velocity and the
share of the way.  It is fitted to the residuals of the base method along the fine solver's way, and then through the
steps themselves to the fine solver's samples; the iterate with the least error on the validation noise is kept.  It is
of the size of a sample, so that it belongs to the model that it was trained with, and it wants more noise to train on
than a few numbers do.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from ...integrators.core import options
from ..hypersolver import residual
from ..linear import Rows, run, sampler
from ..network import Network, dense, of_module
from ..schedule import Corrected
from .task import Task

Tensor = torch.Tensor
ORDERS = {"euler": 1, "ab2": 2}
LOOK = 100


def fit(
    task: Task, base: str = "ab2", width: int = 128, rate: float = 1e-3, iterations: int = 2000, through: int = 200
) -> tuple[Rows, dict[str, Any], Network]:
    """The rows of the base method, facts for the provenance, and the correction.

    iterations: on the residuals; through: after these, on the samples, through all steps.
    """
    order = ORDERS[options.choice("base", base, ORDERS)]
    through = options.count("through", through, 0)
    rows = sampler(base)(task.times())
    seen, wanted = residuals(task, rows, order)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        net = dense([seen.shape[1], width, width, wanted.shape[1]], torch.nn.Tanh).to(seen)
    adam = torch.optim.Adam(net.parameters(), lr=rate)
    frozen = of_module("correction", net, order + 1)

    def sampled(x: Tensor) -> Tensor:
        return run(task.field, x, rows, True, Corrected(frozen, task.span, x, net))[0]

    best, kept, done = math.inf, frozen, 0
    total = iterations + through
    for i in range(total + 1):
        last = i == total or (task.over and i > 0)
        if i % (LOOK if i < iterations else LOOK // 5) == 0 or last:
            error = task.error(sampled)
            if error < best:
                best, kept, done = error, of_module("correction", net, order + 1), i
            task.say(f"iteration {i}: {error:.3f} % on the validation noise, best {best:.3f}")
        if last:
            break
        if i < iterations:
            picked = torch.randint(len(seen), (task.batch,), generator=task.generator)
            loss = (net(seen[picked]) - wanted[picked]).square().mean()
        else:
            picked = torch.randint(len(task.target), (task.batch,), generator=task.generator)
            loss = (sampled(task.training[picked]) - task.target[picked]).square().mean().log()
        gone = i / iterations if i < iterations else (i - iterations) / through
        for group in adam.param_groups:
            group["lr"] = rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * gone)))
        adam.zero_grad()
        loss.backward(inputs=list(net.parameters()))
        adam.step()
    numbers = sum(p.numel() for p in net.parameters())
    return rows, {"base": base, "iterations": i, "best_iteration": done, "numbers": numbers}, kept


@torch.no_grad()
def residuals(task: Task, rows: Rows, order: int) -> tuple[Tensor, Tensor]:
    """What the network sees (N B, 2 size + 1) and R (N B, size), along the fine solver's way."""
    states = [task.state_at(t) for t in rows.times]
    slopes, seen, wanted = list[Tensor](), [], []
    for i in range(rows.evaluations):
        t, h = rows.times[i], float(rows.times[i + 1] - rows.times[i])
        slopes.append(task.field(states[i], t))
        move = torch.stack([float(rows.slopes[i, j]) * slopes[j] for j in range(i + 1)]).sum(0)
        wanted.append(residual(states[i], states[i + 1], move / h, h, order).flatten(1))
        share = float((t - task.span[0]) / (task.span[1] - task.span[0]))
        one = wanted[-1].new_full((len(wanted[-1]), 1), share)
        seen.append(torch.cat([states[i].flatten(1), slopes[i].flatten(1), one], 1))
    return torch.cat(seen), torch.cat(wanted)
