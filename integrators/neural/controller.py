"""Controllers of the contract evaluated for a batch of lanes at once, in NumPy or in torch.

A controller is an object with `params` (float64, 1-D), `n_state`, `phases`; where its state does not start at zero, `init(params, state)`;
where it knows a first step size, `first(params, state, record)`.  A phase with an attribute `fn` is a formula
`fn(params, state, record, out)`, in place and branch-free, whose elementary functions are looked up in a namespace; a phase with
`src, dst, n_in, n_out, offset, activation` is a dense layer over state entries.  `docs/architecture.md` states the contract.

Here `state`, `record` and `out` are *lists* of one array of shape (lanes,) a slot: assigning to a slot then rebinds it, as a scalar
assignment does in the compiled form, where a row of a 2-D array would be overwritten behind the back of a formula that has read it.

The solver decides on the host (NUMPY): a law is some fifty operations on a few hundred numbers, which cost more to start than to do,
and about a third in NumPy of what they cost in torch.  TORCH serves hosts whose data stay on a device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from .. import record as rec
from ..binding import bind

ACCEPT, LOG_FACTOR, FLAGS, FALLBACK = range(4)
N_OUT = 4

_TENSOR = torch.Tensor


_F64 = np.float64


def _scalar_exp(x):
    return _F64(math.exp(x)) if not x > 709.782712893384 else _F64(math.inf)


def _np_where(c, a, b):
    # parameters are scalars, and most selects of a law are between parameters
    if isinstance(c, (bool, np.bool_)):
        return a if c else b
    return np.where(c, a, b)


def _where(c, a, b):
    if not isinstance(c, _TENSOR):
        return a if c else b
    if not isinstance(a, _TENSOR) and not isinstance(b, _TENSOR):
        # two numbers would give torch's default dtype, float32
        a = torch.tensor(a, dtype=torch.float64, device=c.device)
    return torch.where(c, a, b)


def _minimum(a, b):
    if not isinstance(a, _TENSOR):
        return torch.clamp(b, max=a) if isinstance(b, _TENSOR) else min(a, b)
    return torch.minimum(a, b) if isinstance(b, _TENSOR) else torch.clamp(a, max=b)


def _maximum(a, b):
    if not isinstance(a, _TENSOR):
        return torch.clamp(b, min=a) if isinstance(b, _TENSOR) else max(a, b)
    return torch.maximum(a, b) if isinstance(b, _TENSOR) else torch.clamp(a, min=b)


def _lift(torch_fn, numpy_fn):
    return lambda x: torch_fn(x) if isinstance(x, _TENSOR) else float(numpy_fn(x))


NUMPY: dict[str, Callable] = {
    "where": _np_where, "minimum": np.minimum, "maximum": np.maximum, "fabs": np.abs, "sqrt": np.sqrt, "exp": np.exp,
    "log": np.log, "pow_": lambda x, a: np.exp(a * np.log(x)), "tanh": np.tanh, "atan": np.arctan, "sin": np.sin,
    "cos": np.cos,
}  # fmt: skip
#: for one lane: NumPy scalars, which divide and overflow as arrays do at a tenth of an array's cost
SCALAR: dict[str, Callable] = {
    "where": lambda c, a, b: a if c else b,
    "minimum": lambda a, b: a if a <= b or a != a else b, "maximum": lambda a, b: a if a >= b or a != a else b,
    "fabs": abs, "sqrt": lambda x: _F64(math.sqrt(x)) if x >= 0.0 else _F64(math.nan), "exp": lambda x: _scalar_exp(x),
    "log": lambda x: _F64(math.log(x)) if x > 0.0 else _F64(-math.inf if x == 0.0 else math.nan),
    "pow_": lambda x, a: SCALAR["exp"](a * SCALAR["log"](x)), "tanh": lambda x: _F64(math.tanh(x)),
    "atan": lambda x: _F64(math.atan(x)), "sin": np.sin, "cos": np.cos,
}  # fmt: skip
TORCH: dict[str, Callable] = {
    "where": _where, "minimum": _minimum, "maximum": _maximum, "fabs": _lift(torch.abs, np.abs),
    "sqrt": _lift(torch.sqrt, np.sqrt), "exp": _lift(torch.exp, np.exp), "log": _lift(torch.log, np.log),
    "tanh": _lift(torch.tanh, np.tanh), "atan": _lift(torch.atan, np.arctan), "sin": _lift(torch.sin, np.sin),
    "cos": _lift(torch.cos, np.cos),
}  # fmt: skip
TORCH["pow_"] = lambda x, a: TORCH["exp"](a * TORCH["log"](x))


def check(controller: Any) -> None:
    """Raise TypeError unless `controller` has what the contract asks for; the message names what is missing."""
    missing = [name for name in ("params", "n_state", "phases") if not hasattr(controller, name)]
    if missing:
        raise TypeError(
            f"controller must be an object of the controller contract; {type(controller).__name__!r} lacks "
            f"{', '.join(missing)}"
        )
    for phase in controller.phases:
        if not hasattr(phase, "fn") and not hasattr(phase, "activation"):
            raise TypeError(f"controller phase {phase!r} is neither a formula (fn) nor a dense layer (activation)")


class LaneController:
    """The controller's state for `lanes` lanes and its decision.

    controller: an object of the contract.
    lanes: number of lanes.
    xp: "numpy" or "torch"; records are then lists of float64 arrays or tensors of shape (lanes,).
    device: where torch states live.
    """

    def __init__(self, controller, lanes: int, xp: str = "numpy", device=None) -> None:
        check(controller)
        if xp not in ("numpy", "torch"):
            raise ValueError(f"xp must be 'numpy' or 'torch', got {xp!r}")
        self.xp, self.lanes, self.device = xp, lanes, device
        params = np.ascontiguousarray(controller.params, dtype=np.float64)
        # formulas index the parameters one by one: scalars of the array library divide and overflow as arrays do
        self.params = list(params) if xp == "numpy" else params.tolist()
        self.scalar = xp == "numpy" and lanes == 1
        namespace = TORCH if xp == "torch" else SCALAR if self.scalar else NUMPY
        self.phases = [
            bind(phase.fn, namespace) if hasattr(phase, "fn") else self._dense(phase, params) for phase in controller.phases
        ]
        self.state = [self._full(0.0) for _ in range(controller.n_state)]
        self.out = [self._full(0.0) for _ in range(N_OUT)]
        if hasattr(controller, "init"):
            bind(controller.init, namespace)(self.params, self.state)
            self._widen()
        first = getattr(controller, "first", None)
        self._first = None if first is None else bind(first, namespace)

    def _full(self, value):
        if self.scalar:
            return np.float64(value)
        if self.xp == "numpy":
            return np.full(self.lanes, float(value))
        return torch.full((self.lanes,), float(value), dtype=torch.float64, device=self.device)

    def _dense(self, phase: Any, params: np.ndarray) -> Callable[..., None]:
        if phase.activation not in ("tanh", "relu", "linear"):
            raise ValueError(f"activation must be tanh, relu or linear, got {phase.activation!r}")
        lo, mid = phase.offset, phase.offset + phase.n_in * phase.n_out
        weight: Any = params[lo:mid].reshape(phase.n_out, phase.n_in)
        bias: Any = params[mid : mid + phase.n_out]
        if not self.scalar:
            bias = bias[:, None]
        lib: Any = np
        if self.xp == "torch":
            lib, weight, bias = torch, torch.tensor(weight, device=self.device), torch.tensor(bias, device=self.device)
        src, dst = slice(phase.src, phase.src + phase.n_in), slice(phase.dst, phase.dst + phase.n_out)

        def run(_params, state, _record, _out):
            z = weight @ lib.stack(state[src]) + bias
            if phase.activation == "tanh":
                z = lib.tanh(z)
            elif phase.activation == "relu":
                z = lib.where(z < 0.0, 0.0, z)  # NaN stays NaN
            state[dst] = list(z)

        return run

    def decide(self, record: Sequence) -> list:
        """Run the phases on one attempt's record; returns `out` (N_OUT arrays of shape (lanes,)) and advances the state."""
        state, out = self.state, self.out
        if self.scalar:
            record = [row[0] for row in record]
        with np.errstate(all="ignore"):
            for phase in self.phases:
                phase(self.params, state, record, out)
        if self.scalar:
            return [np.array([value], dtype=np.float64) for value in out]
        self._widen()
        return out

    def _widen(self) -> None:
        """Formulas may store plain numbers; make them arrays over the lanes."""
        if self.scalar:
            return
        for slots in (self.state, self.out):
            for i, value in enumerate(slots):
                if getattr(value, "ndim", 0) == 0:
                    slots[i] = self._full(value)

    def first(self, guess):
        """First step size (lanes,): the controller's own where it gives a positive number, else `guess`, the method's.  For xp="numpy"."""
        if self._first is None:
            return guess
        with np.errstate(all="ignore"):
            size = self._first(self.params, self.state, [self._full(np.nan) for _ in range(rec.N_RECORD)])
        size = np.broadcast_to(np.asarray(size, dtype=np.float64), guess.shape)
        return np.where(size > 0.0, size, guess)

    def take(self, index) -> None:
        """Keep only the lanes of `index` (integer array or tensor), in that order.  For more than one lane."""
        self.lanes = len(index)
        self.state = [s[index] for s in self.state]
        self.out = [o[index] for o in self.out]


class _Probe(list):
    """A record that notes which slots are read."""

    def __init__(self, values):
        super().__init__(values)
        self.read: set[int] = set()

    def __getitem__(self, i):
        self.read.add(i)
        return super().__getitem__(i)


def slots_read(controller) -> frozenset[int]:
    """Record slots that the controller looks at: its own `slots`, or what one decision reads (formulas are branch-free)."""
    if hasattr(controller, "slots"):
        return frozenset(controller.slots)
    probe = _Probe([np.ones(1) for _ in range(rec.N_RECORD)])
    LaneController(controller, 1).decide(probe)
    return frozenset(probe.read)
