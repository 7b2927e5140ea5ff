"""What a graph leads to, the gradient through it, and what is in force while it is made."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch

Tensor = torch.Tensor


class Foreign(Exception):
    """Func uses a tensor with a graph of its own, so that a stretch cannot be one node."""


def newest() -> int:
    """The number of a node made now; nodes made later in this thread have larger ones."""
    return torch.zeros((), requires_grad=True).clone().grad_fn._sequence_nr()  # type: ignore[union-attr]


def nodes(outs: Sequence[Tensor], end: Any = None) -> Iterator[Any]:
    """The nodes of the graph behind `outs`, each once, without the node `end` and what is behind it alone; those of
    leaves have an attribute `variable`."""
    todo = [x.grad_fn for x in outs if x.grad_fn is not None and x.grad_fn is not end]
    seen = {*todo, end}
    while todo:
        node = todo.pop()
        yield node
        for child, _ in node.next_functions:
            if child is not None and child not in seen:
                seen.add(child)
                todo.append(child)


def leaves_behind(outs: Sequence[Tensor], since: int, end: Any = None) -> list[Tensor]:
    """The leaves that `outs` depend on, not through the node `end`; Foreign where they depend on a node older than
    number `since`."""
    found = []
    for node in nodes(outs, end):
        if type(node).__name__ == "AccumulateGrad":
            found.append(node.variable)
        elif node._sequence_nr() <= since:
            raise Foreign
    return found


def pairs_of(outs: Sequence[Tensor | None], given: Sequence[Tensor | None]) -> list[tuple[Tensor, Tensor]]:
    """Results that have a gradient and are given one, with it."""
    both = zip(outs, given, strict=True)
    return [(x, g) for x, g in both if x is not None and g is not None and x.requires_grad]


def through(
    pairs: list[tuple[Tensor, Tensor]],
    inputs: Sequence[Tensor | None],
    create_graph: bool = False,
    keep: bool = False,
) -> list[Tensor | None]:
    """The gradient in `inputs`, one each, of results with a gradient; None where there is none.

    create_graph: the gradient can be differentiated again.  keep: so can the results, once more.
    """
    wanted = {j: x for j, x in enumerate(inputs) if x is not None and x.requires_grad}
    found: list[Tensor | None] = [None] * len(inputs)
    if pairs and wanted:
        outs, given = zip(*pairs, strict=True)
        retain = keep or create_graph
        some = torch.autograd.grad(outs, list(wanted.values()), given, retain, create_graph, allow_unused=True)
        for j, grad in zip(wanted, some, strict=True):
            found[j] = grad
    return found


@contextlib.contextmanager
def under(casts: list[dict[str, Any]]) -> Iterator[None]:
    """A block under the settings of `torch.autocast` that `casts_in_force` has given."""
    with contextlib.ExitStack() as stack:
        for settings in casts:
            stack.enter_context(torch.autocast(**settings))
        yield


@contextlib.contextmanager
def unhooked(leaves: Sequence[Tensor]) -> Iterator[None]:
    """A block in which the hooks of `leaves` for their gradients are not called: whoever asked for the gradient calls
    them, once, when it arrives."""
    hooks = [(x._backward_hooks, dict(x._backward_hooks)) for x in leaves if x._backward_hooks]
    for now, _ in hooks:
        now.clear()
    try:
        yield
    finally:
        for now, before in hooks:
            now.update(before)


def casts_in_force(device: torch.device) -> list[dict[str, Any]]:
    """Settings of `torch.autocast` in force, for the CPU and for `device`; none where it is off."""
    return [
        {
            "device_type": kind,
            "dtype": torch.get_autocast_dtype(kind),
            "cache_enabled": torch.is_autocast_cache_enabled(),
        }
        for kind in sorted({"cpu", device.type})
        if torch.is_autocast_enabled(kind)
    ]
