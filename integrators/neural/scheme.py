"""Which states of a replay are kept for the backward pass, and which steps are taken again: the options and the choice.

Of n steps, let s be the bytes that the graph of one step takes, c those of a state that is kept, and B the budget.

    n s <= B                            the plain graph: nothing is taken again
    2 (n s c)^(1/2) <= B                stretches of (n c / s)^(1/2) steps, each taken again once
    else                                B / 2 of stretches; in the backward pass of one, B / 4 of states kept by the
                                        binomial schedule (`recompute`), and B / 4 of graph

s is measured on the first step that is taken: the tensors that its graph holds, those of func's parameters left out,
and `NODE` bytes for every node.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..core import options
from ..core.errors import outside
from .behind import nodes

Tensor = torch.Tensor
#: bytes of a node of the graph beside its tensors' numbers, as a process grows by them (`benchmarks/neural_memory.py`)
NODE = 1400
#: bytes of a kept state beside its numbers: the stretch's node, its objects and its rows of the grid
KEPT = 12_000
#: budget of checkpoint="auto" in MB of 10^6 bytes
DEFAULT_MB = 1000.0


@dataclass
class Chosen:
    """The next steps of a replay: how many, and how their gradient is made.

    block   None: by their graph.  A number: they are one stretch, taken again so many steps at a time, with `slots`
            states kept meanwhile.
    taken   is given the results of steps that have a graph.
    """

    steps: int
    block: int | None = None
    slots: int = 0
    taken: Callable[[Sequence[Tensor]], None] = lambda outs: None


class Scheme:
    """No checkpoints (every=None), or a checkpoint every so many steps."""

    def __init__(self, every: int | None = None) -> None:
        self.every = every

    def next(self, steps: int, left: int) -> Chosen:
        """What to do next, where at most `steps` steps may be one stretch, and `left` are left in all."""
        if self.every is None:
            return Chosen(steps)
        some = min(steps, self.every)
        return Chosen(some, some)


class Auto(Scheme):
    """Chosen by a budget of bytes, from the first step's graph."""

    def __init__(self, budget: float) -> None:
        super().__init__()
        self.budget = budget
        self.step_bytes = self.state_bytes = 0
        self.plain = False
        self.shape: tuple[int, int, int] | None = None

    def next(self, steps: int, left: int) -> Chosen:
        if self.step_bytes == 0:
            return Chosen(1, taken=self.measure)
        if self.shape is None and not self.plain:
            self.plain = (left + 1) * self.step_bytes <= self.budget
            if not self.plain:
                self.shape = stretches(left, self.step_bytes, self.state_bytes, self.budget)
        if self.shape is None:
            return Chosen(steps)
        length, block, slots = self.shape
        some = min(steps, length)
        return Chosen(some, min(block, some), slots)

    def measure(self, outs: Sequence[Tensor]) -> None:
        """Measure a step of which `outs` are the results, state and slope first."""
        self.step_bytes = graph_bytes(outs)
        self.state_bytes = KEPT + sum(x.untyped_storage().nbytes() for x in outs[:2])


def stretches(steps: int, step: float, state: float, budget: float) -> tuple[int, int, int]:
    """(steps a stretch, steps a block, states kept while a stretch is reversed) for the bytes of a step's graph and of
    a state.  Warns (UserWarning) where the budget does not hold what every scheme needs."""
    # a stretch has a price of its own in time: it is not made shorter than a few steps for the sake of memory left over
    even = max(1, round(math.sqrt(steps * state / step)), min(4, int(budget / 2 / step)))
    if 2.0 * math.sqrt(steps * state * step) <= budget and step + state <= budget:
        return even, even, 0
    block = max(1, int(budget / 4 / step))
    count = max(1, int(budget / 2 / state))
    length = block * math.ceil(math.ceil(steps / count) / block)
    # with fewer states than this the repeats would grow faster than the logarithm of the steps
    least = max(1, math.ceil(math.log2(length / block + 1)))
    slots = max(least, int(budget / 4 / state))
    needed = block * step + (slots + math.ceil(steps / length)) * state
    if needed > 1.5 * budget:
        warnings.warn(
            f"checkpoint_mb = {budget / 1e6:g} is less than this solve's gradient needs, about {needed / 1e6:.3g} MB "
            f"for {steps} steps of {step / 1e6:.2g} MB each: pass a larger checkpoint_mb, or a smaller batch",
            stacklevel=outside(),
        )
    return length, block, slots


def graph_bytes(outs: Sequence[Tensor]) -> int:
    """Bytes that the graph behind `outs` takes: tensors saved for the backward pass, each storage once and leaves left
    out, and the nodes themselves."""
    count = 0
    leaves: set[Any] = set()
    sizes: dict[Any, int] = {}
    for node in nodes([x for x in outs if x is not None]):
        if type(node).__name__ == "AccumulateGrad":
            leaves.add(_storage(node.variable)[0])
            continue
        count += 1
        sizes.update(map(_storage, _saved(node)))
    return NODE * count + sum(size for place, size in sizes.items() if place not in leaves)


def _storage(x: Tensor) -> tuple[Any, int]:
    """What tells the storage of x from others, and its bytes; of what torch.func has wrapped, whose storage cannot be
    read, the bytes of its numbers."""
    try:
        return x.untyped_storage().data_ptr(), x.untyped_storage().nbytes()
    except RuntimeError:
        return object(), x.numel() * x.element_size()


def _saved(node: Any) -> list[Tensor]:
    """The tensors that a node has saved."""
    names = [name for name in dir(node) if name.startswith("_saved_") or name == "saved_tensors"]
    found: list[Tensor] = []
    for name in names:
        value = getattr(node, name)
        found += [x for x in (value if isinstance(value, (tuple, list)) else (value,)) if isinstance(x, Tensor)]
    return found


def checked(every: Any, checkpoint: Any, megabytes: Any) -> tuple[int | None, float | None]:
    """`checkpoint_every`, and the budget of checkpoint="auto" in bytes (None without it), checked."""
    every = options.count("checkpoint_every", every, none=True)
    if checkpoint is not None and not (isinstance(checkpoint, str) and checkpoint == "auto"):
        raise options.refuse("checkpoint", 'None or "auto"', checkpoint)
    if checkpoint is None:
        if megabytes is not None:
            raise ValueError('checkpoint_mb is the budget of checkpoint="auto", which was not given')
        return every, None
    if every is not None:
        raise ValueError('checkpoint="auto" chooses the steps, and checkpoint_every was given too: leave one out')
    return None, 1e6 * (DEFAULT_MB if megabytes is None else options.positive("checkpoint_mb", megabytes))
