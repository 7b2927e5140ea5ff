"""A controller's decision as a function without side effects: parameters, state and record in, answer and state out.

`runner.Runner` keeps the state and is for hosts that run line by line.  A host that is traced and compiled as a whole
(JAX, torch.compile) passes the state along itself, and its parameters are data there: other weights are no new program.

    decide = decision(controller, arrays)
    state = decide.start(params, lanes)
    out, state = decide(params, state, record)

Everything is a tuple of one array a slot, of shape (lanes,) or of any other shape that all slots share.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from . import activations, dense
from .binding import bind
from .contract import N_OUT, Dense
from .namespaces import Arrays
from .runner import check

#: most weights of a small layer
FEW = 256


class Nought(float):
    """A zero that makes zero of everything it multiplies, as in a kernel (`compile.symbols.Zero`), so that what it
    switches off is not computed.
    """

    def __mul__(self, other: Any) -> Any:
        return self

    __rmul__ = __mul__

    def __neg__(self) -> Nought:
        return self


class Parameters:
    """A controller's parameters where some are constants: `params[i]` is a Python number where i is known, else an
    element of the rest.

    pieces: arrays of one length, the last of any, which are the rest one after the other.  known: ((i, value), ...).
    """

    def __init__(self, pieces: Sequence[Any], known: Sequence[tuple[int, float]] = ()) -> None:
        self._pieces = tuple(pieces)
        self._known = {i: Nought() if value == 0.0 else value for i, value in known}

    def _place(self, i: int) -> int:
        return i - sum(1 for j in self._known if j < i)

    def __getitem__(self, i: int) -> Any:
        if i in self._known:
            return self._known[i]
        piece, at = divmod(self._place(i), len(self._pieces[0]))
        return self._pieces[piece][at]

    def weights(self, layer: Dense, lib: Any) -> tuple[Any, Any]:
        """Those of a layer, as `dense.weights` has them, none of which may be known."""
        rest = self._pieces[0] if len(self._pieces) == 1 else lib.concatenate(self._pieces)
        return dense.weights(replace(layer, offset=self._place(layer.offset)), rest)


class Decision:
    """The decision of controllers of one structure in one array library.

    controller: an object of the contract; of its parameters nothing is kept.  arrays: the library.  single: small
    layers number by number, for a compiler that joins them with what stands around them.  TypeError for what is no
    controller.
    """

    def __init__(self, controller: Any, arrays: Arrays, single: bool = False) -> None:
        check(controller)
        self._few = FEW if single else 0
        self.arrays, self.n_state = arrays, controller.n_state
        self._phases: list[Callable[..., None]] = [
            bind(phase.fn, arrays.namespace) if hasattr(phase, "fn") else self._dense(phase)
            for phase in controller.phases
        ]
        self._init = bind(controller.init, arrays.namespace) if hasattr(controller, "init") else None

    def _dense(self, layer: Dense) -> Callable[..., None]:
        dense.check(layer)
        lib = self.arrays.lib
        if layer.n_in * layer.n_out <= self._few:
            return self._written_out(layer)

        def run(params: Any, state: list, _record: Any, _out: Any) -> None:
            given = isinstance(params, Parameters)
            weight, bias = params.weights(layer, lib) if given else dense.weights(layer, params)
            inputs = lib.stack([state[layer.src + i] for i in range(layer.n_in)])
            bias = bias.reshape(layer.n_out, *(1,) * (len(inputs.shape) - 1))
            answer = dense.activate(lib.tensordot(weight, inputs, 1) + bias, layer.activation, lib)
            for i in range(layer.n_out):
                state[layer.dst + i] = answer[i]

        return run

    def _written_out(self, layer: Dense) -> Callable[..., None]:
        names, lib = self.arrays.namespace, self.arrays.lib
        act = None if layer.activation in activations.PLAIN else activations.of_library(layer.activation, lib)

        def run(params: Any, state: list, _record: Any, _out: Any) -> None:
            dense.written_out(layer, params, state, names["where"], names["tanh"], act)

        return run

    def start(self, params: Any, like: Any) -> tuple[Any, ...]:
        """The state at the start, in arrays of the shape of `like`, an array of zeros."""
        state = [like] * self.n_state
        if self._init is not None:
            self._init(params, state)
        return tuple(value + like for value in state)

    def __call__(self, params: Any, state: Sequence[Any], record: Sequence[Any]) -> tuple[tuple, tuple]:
        """One attempt.  params: the controller's parameters, an array (k,) or `Parameters`.  state: `n_state` arrays.
        record: `N_RECORD` arrays.  Returns the answer (`N_OUT` arrays) and the state after it.
        """
        now, out = list(state), [state[0] * 0.0] * N_OUT
        for phase in self._phases:
            phase(params, now, record, out)
        zero = record[0] * 0.0
        zero = self.arrays.namespace["where"](zero == 0.0, zero, 0.0)  # formulas may store plain numbers
        return tuple(value + zero for value in out), tuple(value + zero for value in now)
