"""The sizes of two gradients, that of the task loss and that of the penalty, group by group of the parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import torch

from ...core import options

Tensor = torch.Tensor
#: a Module, an optimiser, tensors, or groups of tensors
Parameters: TypeAlias = Any
Groups: TypeAlias = list[list[Tensor]]


def groups_of(parameters: Parameters) -> Groups:
    """The tensors that require grad, in their groups: those of an optimiser's `param_groups`, lists of tensors as they
    are, and one group of everything else.  ValueError where there are none, or where they are no tensors."""
    if isinstance(parameters, torch.nn.Module):
        found: list[Any] = [list(parameters.parameters())]
    elif isinstance(parameters, torch.optim.Optimizer):
        found = [list(group["params"]) for group in parameters.param_groups]
    elif isinstance(parameters, Tensor):
        found = [[parameters]]
    elif isinstance(parameters, Iterable) and not isinstance(parameters, (str, bytes, dict)):
        given = list(parameters)
        if all(isinstance(x, Tensor) for x in given):
            found = [given]
        else:
            found = [x["params"] if isinstance(x, dict) and "params" in x else x for x in given]
            found = [list(x) if isinstance(x, Iterable) and not isinstance(x, (Tensor, str)) else [x] for x in found]
    else:
        found = [[None]]
    if not all(isinstance(x, Tensor) for group in found for x in group):
        raise options.refuse("parameters", "a Module, an optimiser, tensors, or groups of tensors", parameters)
    kept = [[x for x in group if x.requires_grad] for group in found]
    if not any(kept):
        raise ValueError("none of the parameters requires a gradient, so that there is none to measure")
    return [group for group in kept if group]


def gradients(loss: Tensor, groups: Groups) -> list[Tensor | None]:
    """d loss / d group of each group, 1-d and float64, zero in tensors that the loss does not depend on; None where
    that is all of them.  The graph is kept."""
    flat = [x for group in groups for x in group]
    found = iter(torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True))
    parts = [[next(found) for _ in group] for group in groups]
    return [
        None if all(g is None for g in mine)
        else torch.cat([_flat(torch.zeros_like(x) if g is None else g, group[0].device)
                        for x, g in zip(group, mine, strict=True)])
        for group, mine in zip(groups, parts, strict=True)
    ]  # fmt: skip


def _flat(gradient: Tensor, device: torch.device) -> Tensor:
    dense = gradient.detach().to_dense() if gradient.is_sparse else gradient.detach()
    return dense.double().flatten().to(device)


def norms(found: list[Tensor | None]) -> list[float]:
    """The Euclidean norm of each of `gradients`; zero for None."""
    return [0.0 if g is None else float(torch.linalg.vector_norm(g)) for g in found]


def cosine(a: list[Tensor | None], b: list[Tensor | None]) -> float:
    """That of two `gradients`, over the groups that both have; zero where there are none, or one of them is zero."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not both:
        return 0.0
    sizes = [sum(float(x @ x) for x in side) ** 0.5 for side in zip(*both, strict=True)]
    dot = sum(float(x @ y.to(x.device)) for x, y in both)
    return dot / (sizes[0] * sizes[1]) if all(sizes) else 0.0
