"""A controller with a small network as one straight-line function.

Phases run one after another, each over all lanes: features and decision then take the same logarithms twice, and every
layer passes through memory.  Where the network is small and the phases can be traced, they become one function of a
lane: rows of the state that one phase writes for the next stay in registers, and only the shared head is written back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core import activations, dense
from ..core.contract import Dense

#: multiplications up to which a network is written out; larger ones gain more from running a layer over all lanes
LARGEST = 256


class Registers:
    """State of a lane: what is written is kept, what was not written is read from memory."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory
        self.kept: dict[int, Any] = {}

    def __getitem__(self, i: int) -> Any:
        return self.kept[i] if i in self.kept else self.memory[i]

    def __setitem__(self, i: int, x: Any) -> None:
        self.kept[i] = x


def small(phases: tuple) -> bool:
    """Whether the phases hold a network, and one that is small."""
    layers = [p for p in phases if not hasattr(p, "fn")]
    return bool(layers) and sum(p.n_in * p.n_out for p in layers) <= LARGEST


def _activation(step: Any, functions: Mapping[str, Any]) -> Callable | None:
    """The activation of a dense layer, where `dense.written_out` does not write it itself."""
    if not isinstance(step, Dense) or step.activation in activations.PLAIN:
        return None
    return activations.bound(step.activation, functions, lambda helper: helper)


def fused(steps: tuple, n_head: int, functions: Mapping[str, Any]) -> Callable[..., None]:
    """`f(params, state, record, out)`: the steps in a row, each a bound function with these arguments or a dense layer.

    `n_head`: rows of the state that outlive a decision.  `functions`: the elementary functions by name.
    """
    where, tanh = functions["where"], functions["tanh"]
    acts = tuple(_activation(step, functions) for step in steps)

    def decide(params, state, record, out):
        rows = Registers(state)
        for step, act in zip(steps, acts, strict=True):
            if isinstance(step, Dense):
                dense.written_out(step, params, rows, where, tanh, act)
            else:
                step(params, rows, record, out)
        for i, x in rows.kept.items():
            if i < n_head:
                state[i] = x

    decide.traced = True  # type: ignore[attr-defined]
    return decide
