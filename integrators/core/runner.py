"""A controller of the contract for many lanes at once, in NumPy or another array library.

`state`, `record` and `out` are *lists* of one array of shape (lanes,) a slot: assigning to a slot then rebinds it, as a
scalar assignment does in the compiled form, where a row of a 2-D array would be overwritten behind the back of a
formula that has read it.

A solver whose data lie in another library may still decide in NumPy: a law is some fifty operations on a few hundred
numbers, which cost more to start than to do (in torch, three times what they cost in NumPy).  Other libraries serve
hosts whose data stay on a device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import dense
from .binding import bind
from .contract import N_OUT, missing
from .namespaces import ONE, ROWS, Arrays, torch_arrays
from .record import N_RECORD


def check(controller: Any) -> None:
    """TypeError unless `controller` is one; the message names what it lacks."""
    lacks = missing(controller, compiled=False)
    if lacks:
        raise TypeError(
            f"controller must be an object of the controller contract; {type(controller).__name__!r} lacks "
            f"{', '.join(lacks)}"
        )
    for phase in controller.phases:
        if not hasattr(phase, "fn") and not hasattr(phase, "activation"):
            raise TypeError(f"controller phase {phase!r} is neither a formula (fn) nor a dense layer (activation)")


class Runner:
    """The controller's state for `lanes` lanes and its decision.

    controller: an object of the contract.  lanes: number of lanes.  xp: "numpy", "torch" or a library's `Arrays`;
    records are then lists of its float64 arrays of shape (lanes,).  device: where torch's tensors live.  TypeError for
    what is no controller, ValueError for an unknown library.
    """

    def __init__(self, controller: Any, lanes: int, xp: str | Arrays = "numpy", device: Any = None) -> None:
        check(controller)
        if isinstance(xp, str):
            if xp not in ("numpy", "torch"):
                raise ValueError(f"xp must be 'numpy' or 'torch', got {xp!r}")
            xp = torch_arrays(device) if xp == "torch" else ONE if lanes == 1 else ROWS
        self.arrays, self.lanes = xp, lanes
        params = np.ascontiguousarray(controller.params, dtype=np.float64)
        self.params = xp.numbers(params)
        self.phases = [
            bind(phase.fn, xp.namespace) if hasattr(phase, "fn") else self._dense(phase, params)
            for phase in controller.phases
        ]
        self.state = [self._full(0.0) for _ in range(controller.n_state)]
        self.out = [self._full(0.0) for _ in range(N_OUT)]
        if hasattr(controller, "init"):
            bind(controller.init, xp.namespace)(self.params, self.state)
            self._widen()
        first = getattr(controller, "first", None)
        self._first = None if first is None else bind(first, xp.namespace)

    def _full(self, value: float) -> Any:
        return self.arrays.full(self.lanes, value)

    def _dense(self, layer: Any, params: np.ndarray) -> Callable[..., None]:
        dense.check(layer)
        weight, bias = dense.weights(layer, params)
        if not self.arrays.single:
            bias = bias[:, None]
        lib, weight, bias = self.arrays.lib, self.arrays.array(weight), self.arrays.array(bias)
        src, dst = slice(layer.src, layer.src + layer.n_in), slice(layer.dst, layer.dst + layer.n_out)

        def run(_params: Any, state: list, _record: Any, _out: Any) -> None:
            state[dst] = list(dense.activate(weight @ lib.stack(state[src]) + bias, layer.activation, lib))

        return run

    def decide(self, record: Sequence) -> list:
        """Run the phases on one attempt's record; returns `out` (N_OUT arrays of shape (lanes,)) and advances the
        state.
        """
        state, out = self.state, self.out
        if self.arrays.single:
            record = [row[0] for row in record]
        with np.errstate(all="ignore"):
            for phase in self.phases:
                phase(self.params, state, record, out)
        if self.arrays.single:
            return [np.array([value], dtype=np.float64) for value in out]
        self._widen()
        return out

    def _widen(self) -> None:
        """Formulas may store plain numbers; make them arrays over the lanes."""
        if self.arrays.single:
            return
        for slots in (self.state, self.out):
            for i, value in enumerate(slots):
                if getattr(value, "ndim", 0) == 0:
                    slots[i] = self._full(value)

    def first(self, guess: np.ndarray) -> np.ndarray:
        """First step size (lanes,): the controller's own where it gives a positive number, else `guess`, the method's.
        In NumPy only.
        """
        if self._first is None:
            return guess
        with np.errstate(all="ignore"):
            size = self._first(self.params, self.state, [self._full(np.nan) for _ in range(N_RECORD)])
        size = np.broadcast_to(np.asarray(size, dtype=np.float64), guess.shape)
        return np.where(size > 0.0, size, guess)

    def take(self, index: Any) -> None:
        """Keep only the lanes of `index` (integer array or tensor), in that order.  For more than one lane."""
        self.lanes = len(index)
        self.state = [s[index] for s in self.state]
        self.out = [o[index] for o in self.out]


#: its former name
LaneController = Runner


class _Probe(list):
    """A record that notes which slots are read."""

    def __init__(self, values: Sequence) -> None:
        super().__init__(values)
        self.read: set[int] = set()

    def __getitem__(self, i: Any) -> Any:
        self.read.add(i)
        return super().__getitem__(i)


def slots_read(controller: Any) -> frozenset[int]:
    """Record slots that the controller looks at: its own `slots`, or what one decision reads (formulas are
    branch-free).
    """
    if hasattr(controller, "slots"):
        return frozenset(controller.slots)
    probe = _Probe([np.ones(1) for _ in range(N_RECORD)])
    Runner(controller, 1).decide(probe)
    return frozenset(probe.read)
