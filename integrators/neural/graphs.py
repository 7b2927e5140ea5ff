"""torch.compile and torch.func around a solve.

Under torch.compile the graph breaks there, and the solve runs as it does without it.

How many steps a solve takes depends on numbers, so that there is no graph of it, and a tracer that tries ends in its
own errors.  torch's way to say so, `torch._dynamo.disable`, takes seconds to import, and whoever does not compile would
pay them with every import of this package: it is asked for once the tracer is loaded.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def outside_graphs(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, at whose calls torch.compile breaks its graph; nothing inside is traced."""
    known: list[Callable[P, T]] = []

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if "torch._dynamo" not in sys.modules:
            return function(*args, **kwargs)
        if not known:
            known.append(torch._dynamo.disable(function))
        return known[0](*args, **kwargs)

    return call


def transforming() -> tuple[str, ...]:
    """The names of the transforms of torch.func that are under way, the outermost first: "Grad", "Vmap", "Jvp"."""
    if torch._C._functorch.peek_interpreter_stack() is None:
        return ()
    return tuple(level.key().name for level in torch._C._functorch.get_interpreter_stack())


def refuse_transforms(method: str, why: str) -> None:
    """RuntimeError under vmap, grad and the other transforms of torch.func, which cannot see through numbers."""
    if transforming():
        raise RuntimeError(
            f"torch.func cannot transform a solve by {method!r}, {why}: use an explicit fixed-grid method such as "
            '"rk4", torch.autograd in the place of torch.func.grad, and a batch in the place of vmap'
        )
