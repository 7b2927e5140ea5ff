"""Mixed precision around a solve: func runs under torch.autocast, and the solver does not.

Under autocast torch does products of matrices in half precision, the solver's own sums of stages among them, which
would leave a solution of three digits.  So func alone is run under the caller's autocast, and what it returns in half
precision is taken in the state's dtype; it does so in replays and backward solves too, which torch runs outside the
caller's block.

Halves of weights are not kept from call to call: torch would sum the gradients of all calls in half precision, and hand
out halves without gradient once a pass without gradient has made them.

bfloat16 has eight bits: slopes are then off by some 0.4 %, and a tolerance that sees this makes steps small.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, ParamSpec, TypeVar

import torch
from torch.utils import _pytree as tree

P = ParamSpec("P")
R = TypeVar("R")
HALF = (torch.bfloat16, torch.float16)


def half_of(device: torch.device) -> torch.dtype | None:
    """The dtype of the autocast that is on for `device`; None where none is."""
    kind = device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def as_called(func: Callable[..., Any], device: torch.device, dtype: torch.dtype) -> Callable[..., Any]:
    """func under the autocast that is on now for `device`; halves that it returns become `dtype`."""
    half = half_of(device)
    if half is None:
        return func

    @functools.wraps(func, updated=())
    def inside(t: Any, y: Any) -> Any:
        with torch.autocast(device.type, half, cache_enabled=False):
            slope = func(t, y)

        def whole(part: Any) -> Any:
            return part.to(dtype) if isinstance(part, torch.Tensor) and part.dtype in HALF else part

        return tree.tree_map(whole, slope)

    return inside


@contextlib.contextmanager
def of_solve(func: Callable[..., Any], device: torch.device, dtype: torch.dtype) -> Iterator[Callable[..., Any]]:
    """A block without autocast for `device`; as its value func under the one that was on."""
    wrapped = as_called(func, device, dtype)
    with torch.autocast(device.type, enabled=False) if wrapped is not func else contextlib.nullcontext():
        yield wrapped
