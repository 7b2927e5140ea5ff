"""Training of a sampler's numbers by gradients through its own steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..linear import Rows, run
from .task import Task

Tensor = torch.Tensor

#: iterations between two looks at the validation noise
LOOK = 20
#: of the gradient
CLIP = 1.0


def train(
    task: Task,
    parameters: Sequence[Tensor],
    build: Callable[[], Rows],
    *,
    rate: float,
    iterations: int,
    loss: Callable[..., Tensor] | None = None,
    polish: Callable[[Rows], Rows] | None = None,
) -> tuple[Rows, dict[str, Any]]:
    """The rows with the least error on the validation noise among those seen, and facts for the provenance.

    Adam (D. P. Kingma, J. Ba, ICLR 2015) with a rate that falls by a cosine to a hundredth, on batches of the training
    noise.  parameters: float64 leaves, which end as those of the answer.  build: rows from them.  loss(task, picked,
    rows): of the training samples `picked`; None for the logarithm of the mean square error of the samples.  polish:
    what is made of rows before they are looked at.
    """
    for p in parameters:
        p.requires_grad_(True)
    adam = torch.optim.Adam(parameters, lr=rate, betas=(0.9, 0.99))
    measure = loss or end_error
    best, kept = math.inf, list[Tensor]()
    found, done = build().detached(), 0
    task.say(f"{sum(p.numel() for p in parameters)} numbers, {iterations} iterations")
    target = task.target  # before the clock of the iterations
    for i in range(iterations + 1):
        last = i == iterations or (task.over and i > 0)
        if i % LOOK == 0 or last:
            with torch.no_grad():
                rows = build().detached()
                rows = rows if polish is None else polish(rows)
                error = task.error_of(rows)
            if error < best:
                best, found, kept, done = error, rows, [p.detach().clone() for p in parameters], i
            task.say(f"iteration {i}: {error:.3f} % on the validation noise, best {best:.3f}")
        if last:
            break
        picked = torch.randint(len(target), (task.batch,), generator=task.generator)
        value = measure(task, picked, build())
        gradients = torch.autograd.grad(value, list(parameters), allow_unused=True)
        if not math.isfinite(value.item()) or any(g is not None and not torch.isfinite(g).all() for g in gradients):
            task.say(f"iteration {i}: the loss is {value.item():g}, which ends the training")
            break
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g
        torch.nn.utils.clip_grad_norm_(list(parameters), CLIP)
        for group in adam.param_groups:
            group["lr"] = rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * task.share(i / iterations))))
        adam.step()
    for p, value in zip(parameters, kept, strict=False):
        p.detach_().requires_grad_(False).copy_(value)
    return found, {"iterations": i, "best_iteration": done, "numbers": sum(p.numel() for p in parameters)}


def end_error(task: Task, picked: Tensor, rows: Rows) -> Tensor:
    """The logarithm of the mean square error of the samples."""
    found = run(task.field, task.training[picked], rows)[0]
    return (found - task.target[picked]).double().square().mean().log()


def monotone(logits: Tensor, span: tuple[float, float]) -> Tensor:
    """Times (k+1,) from span[0] to span[1] whose steps are the softmax of k numbers; both ends are exact."""
    inner = torch.cumsum(torch.softmax(logits, 0), 0)[:-1]
    zero, one = torch.zeros(1, dtype=logits.dtype), torch.ones(1, dtype=logits.dtype)
    shares = torch.cat([zero, inner, one])
    return span[0] * (1 - shares) + span[1] * shares


def logits_of(times: Tensor) -> Tensor:
    """Numbers that `monotone` makes these times of."""
    steps = times[1:] - times[:-1]
    return torch.log(steps / (times[-1] - times[0]))
