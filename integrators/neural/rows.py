"""Whether a row's slope depends on that row alone.  Steps per sample need that it does, and refuse a func otherwise.

With steps per sample the stages of different rows stand at different times, and rejected rows hold trial states: batch
normalisation or attention across the batch would mix them.  So the first slope is evaluated once more with half of the
rows replaced by copies of the other half, states that func is known to accept.  The rows that stay must keep their
slopes.  The number of rows is the same, for func may hold something for each of them; where it raises all the same,
nothing is said.  Round-off is told apart by what a plain repetition yields.

That is one evaluation of func more, in the first solve of a func (`looked_at`).  What depends on a few rows alone, a
maximum over the batch for instance, may be missed where those are among the rows that stay.

A func that draws random numbers in every call is another matter: it brings a warning (`Draws`).
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch

from ..core.errors import outside
from .looked_at import known, modules, remember

Tensor = torch.Tensor
#: the states of torch's generators on the CPU and on a CUDA device (None: the device is another), and that device
GeneratorState = tuple[Tensor, Tensor | None, torch.device]


def check_rows(func: Callable[..., Any], slope: Callable[[Tensor], Tensor], y: Tensor, k1: Tensor, ok: Tensor) -> None:
    """ValueError where a row's slope depends on others.

    slope: func's slope at the start as a function of the states.  y, k1 (lanes, width): states, and k1 = slope(y).
    ok (lanes,): both are finite there.  Generators and buffers are left as they were.
    """
    if int(ok.sum()) < 2 or known(func):
        return
    with left_as_found(func, y.device) as state, torch.no_grad():
        mixes = _mixes(slope, y, k1, ok, state)
    if mixes:
        raise ValueError(
            "the slope that func gives for one row changes with the other rows (batch normalisation, or attention or "
            "sums over the batch?), which steps per sample would mix at different times: use per_sample=False, one "
            "step for the batch"
        )
    if mixes is not None:
        remember(func)


@contextlib.contextmanager
def left_as_found(func: Callable[..., Any], device: torch.device) -> Iterator[GeneratorState]:
    """A block after which the generators, whose state is its value, and the buffers of func's modules are as before."""
    state = generator_state(device)
    buffers = [(b, b.detach().clone()) for m in modules(func) for b in m.buffers(recurse=False)]
    try:
        yield state
    finally:
        restore(state)
        with torch.no_grad():
            for buffer, before in buffers:  # running statistics
                if buffer.shape == before.shape and not torch.equal(buffer, before):
                    buffer.copy_(before)


def _mixes(slope: Callable[[Tensor], Tensor], y: Tensor, k1: Tensor, ok: Tensor, state: GeneratorState) -> bool | None:
    """Whether rows that keep their states change their slopes with the others; None where func refuses the others."""
    keep, mixed = _mix(y, ok)
    try:
        found = slope(mixed)
    except Exception:
        # a func that holds something for each row may refuse the rows of others: that says nothing of dependence
        return None
    off = (found - k1)[keep].abs()
    if not bool((off > 0).any()) and bool(torch.isfinite(off).all()):
        return False
    # random draws and inexact sums are no dependence: repeat, each time with the same draws
    restore(state)
    plain = slope(y)
    restore(state)
    noise = (slope(y) - plain)[keep].abs().amax()
    off = (found - plain)[keep].abs()
    limit = 100 * noise + 1e3 * torch.finfo(y.dtype).eps * plain[keep].abs().amax(1, keepdim=True)
    return not bool((off <= limit).all())


def _mix(y: Tensor, ok: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the rows to keep, and y with the other rows replaced by copies of them.

    The first, the last and the larger rows are replaced.
    """
    good = torch.nonzero(ok)[:, 0]
    size = y[good].abs().amax(1)
    size[0] = torch.inf
    if len(good) > 3:
        size[-1] = torch.inf
    order = good[torch.argsort(size, stable=True)]
    keep = order[: len(order) // 2]
    other = torch.ones(len(y), dtype=torch.bool, device=y.device)
    other[keep] = False
    places = torch.nonzero(other)[:, 0]
    mixed = y.clone()
    mixed[places] = y[keep[torch.arange(len(places), device=y.device) % len(keep)]]
    if torch.equal(mixed, y):
        # all rows are alike: a small change, which most fields can take
        mixed[places] = mixed[places] * (1 + 2**-6) + 2**-8
    return keep, mixed


def generator_state(device: torch.device) -> GeneratorState:
    """The generators' state now."""
    cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), cuda, device


def restore(state: GeneratorState) -> None:
    """Put the generators into `state`."""
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], state[2])


def same_state(a: GeneratorState, b: GeneratorState) -> bool:
    """Whether nothing was drawn between two states of the same generators."""
    return all(x is None or z is None or torch.equal(x, z) for x, z in zip(a[:2], b[:2], strict=True))


class Draws:
    """Warns where func draws from torch's generators after its first call.

    Noise that func draws once a solve, in its first call, is none of that.
    """

    def __init__(self, device: torch.device) -> None:
        self.state = generator_state(device)

    def warn(self) -> None:
        """UserWarning where the generators are in another state than when this object was made."""
        if not same_state(self.state, generator_state(self.state[2])):
            warnings.warn(
                "func draws random numbers in every call (dropout, or noise in training mode?): the step sizes then "
                "follow the noise, and a replay or backward solve draws others. Call func.eval(), or draw the noise "
                "once a solve",
                stacklevel=outside(),
            )
