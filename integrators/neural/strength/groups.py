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


def gradient_norms(loss: Tensor, groups: Groups) -> list[float]:
    """||d loss / d group||, the Euclidean norm over all numbers of a group, for each; zero where the loss does not
    depend on it.  The graph is kept."""
    flat = [x for group in groups for x in group]
    found = iter(torch.autograd.grad(loss, flat, retain_graph=True, allow_unused=True))
    norms = []
    for group in groups:
        parts = [g.detach() for _ in group if (g := next(found)) is not None]
        norms.append(torch.stack([torch.linalg.vector_norm(g.double()) for g in parts]).norm() if parts else None)
    return [0.0 if x is None else float(x) for x in norms]
