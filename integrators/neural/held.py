"""The parameters of a solve in its backward pass.

`torch.func.functional_call` puts other tensors in the place of a module's parameters while it runs, and puts the own
ones back when it returns.  A backward pass that calls func again (checkpoints, continuous adjoints, derivatives in
times and of events) comes after that, and would differentiate another function: it is to find the tensors of the solve.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.nn.utils import parametrize

from . import looked_at

#: a module's table of parameters or buffers, a name in it, and what stands there
Place = tuple[dict[str, Any], str, Any]


class Held:
    """The parameters and buffers of the modules that some functions use, once they are `kept`."""

    def __init__(self) -> None:
        self.places: list[Place] | None = None

    def keep(self, *functions: Any) -> None:
        """Keep the tensors as they are now."""
        self.places = places_of(functions)

    def wrapped(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, which runs with the tensors that are kept in their places, once they are."""

        @functools.wraps(function, updated=())
        def call(*args: Any) -> Any:
            if self.places is None:
                return function(*args)
            with put(self.places), uncached():
                return function(*args)

        return call


@contextlib.contextmanager
def of_solve(again: bool, func: Any, event_fn: Any) -> Iterator[tuple[Any, Any]]:
    """A block that solves; as its value func and event_fn, which find their tensors as they were at its end.

    again: whether they are called after it.
    """
    if not (again and torch.is_grad_enabled()):
        yield func, event_fn
        return
    held = Held()
    yield held.wrapped(func), None if event_fn is None else held.wrapped(event_fn)
    held.keep(*(f for f in (func, event_fn) if f is not None))


@contextlib.contextmanager
def put(places: list[Place]) -> Iterator[None]:
    """Tensors in their places for the length of the block."""
    others = [(owner, name, owner.get(name), held) for owner, name, held in places if owner.get(name) is not held]
    for owner, name, _, held in others:
        owner[name] = held
    try:
        yield
    finally:
        for owner, name, other, _ in others:
            owner[name] = other


@contextlib.contextmanager
def uncached() -> Iterator[None]:
    """A block in which parametrizations are computed anew, within `torch.nn.utils.parametrize.cached` too.

    What a pass without gradient put into that cache would have no graph for a pass with gradient.
    """
    before = parametrize._cache_enabled
    parametrize._cache_enabled = 0
    try:
        yield
    finally:
        parametrize._cache_enabled = before


def places_of(functions: Iterable[Any]) -> list[Place]:
    """The places of all parameters and buffers of the modules that the functions use."""
    return [
        (owner, name, tensor)
        for module in looked_at.modules(*functions)
        for owner in (module._parameters, module._buffers)
        for name, tensor in owner.items()
    ]
