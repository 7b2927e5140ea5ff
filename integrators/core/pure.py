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
from typing import Any

from . import dense
from .binding import bind
from .contract import N_OUT, Dense
from .namespaces import Arrays
from .runner import check


class Decision:
    """The decision of controllers of one structure in one array library.

    controller: an object of the contract; of its parameters nothing is kept.  arrays: the library.  TypeError for what
    is no controller.
    """

    def __init__(self, controller: Any, arrays: Arrays) -> None:
        check(controller)
        self.arrays, self.n_state = arrays, controller.n_state
        self._phases: list[Callable[..., None]] = [
            bind(phase.fn, arrays.namespace) if hasattr(phase, "fn") else self._dense(phase)
            for phase in controller.phases
        ]
        self._init = bind(controller.init, arrays.namespace) if hasattr(controller, "init") else None

    def _dense(self, layer: Dense) -> Callable[..., None]:
        dense.check(layer)
        lib = self.arrays.lib

        def run(params: Any, state: list, _record: Any, _out: Any) -> None:
            weight, bias = dense.weights(layer, params)
            inputs = lib.stack([state[layer.src + i] for i in range(layer.n_in)])
            bias = bias.reshape(layer.n_out, *(1,) * (len(inputs.shape) - 1))
            answer = dense.activate(lib.tensordot(weight, inputs, 1) + bias, layer.activation, lib)
            for i in range(layer.n_out):
                state[layer.dst + i] = answer[i]

        return run

    def start(self, params: Any, like: Any) -> tuple[Any, ...]:
        """The state at the start, in arrays of the shape of `like`, an array of zeros."""
        state = [like] * self.n_state
        if self._init is not None:
            self._init(params, state)
        return tuple(value + like for value in state)

    def __call__(self, params: Any, state: Sequence[Any], record: Sequence[Any]) -> tuple[tuple, tuple]:
        """One attempt.  params: the controller's parameters, an array (k,).  state: `n_state` arrays.  record:
        `N_RECORD` arrays.  Returns the answer (`N_OUT` arrays) and the state after it.
        """
        now, out = list(state), [state[0] * 0.0] * N_OUT
        for phase in self._phases:
            phase(params, now, record, out)
        zero = record[0] * 0.0
        zero = self.arrays.namespace["where"](zero == 0.0, zero, 0.0)  # formulas may store plain numbers
        return tuple(value + zero for value in out), tuple(value + zero for value in now)
