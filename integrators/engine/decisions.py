"""Decisions, compiled, for solvers in Python: one trajectory at a time, or a batch of them.

The controller's phases become one compiled function of flat float64 arrays, as in the engine's kernels.  A decision
costs about a microsecond, where `core.runner.Runner` takes 25 to 100 for one lane; the first one of a structure is
compiled within a second, and kept on disk.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..compile.cache import Recent, compiled, load_module
from ..core import activations
from ..core.contract import N_OUT, Dense, missing
from ..core.record import N_RECORD
from ..core.runner import Runner
from ..kernels.build import known, phase_list

_HEAD = """import math
from numba import njit as _njit
from stepsmith.integrators.compile.vecmath import exp, fabs, log, maximum, minimum, sqrt, tanh, where


@_njit(cache=True, error_model="numpy")
def decide(params, state, record, out):
"""
_MANY = """    return


@_njit(cache=True, error_model="numpy")
def decide_all(params, states, records, outs):
    for lane in range(len(states)):
        decide(params, states[lane], records[lane], outs[lane])
"""
_LAYER = """    for o in range({n_out}):
        z = params[{bias} + o]
        for i in range({n_in}):
            z += params[{offset} + {n_in}*o + i]*state[{src} + i]
        state[{dst} + o] = {answer}
"""
_KERNELS: Recent = Recent()


def _layer(layer: Dense) -> str:
    name = layer.activation
    answer = {"tanh": "tanh(z)", "relu": "where(z < 0.0, 0.0, z)", "linear": "z"}.get(name)
    return _LAYER.format(
        n_out=layer.n_out, n_in=layer.n_in, offset=layer.offset, bias=layer.offset + layer.n_in * layer.n_out,
        src=layer.src, dst=layer.dst, answer=activations.call(name, "z") if answer is None else answer,
    )  # fmt: skip


def _kernel(controller: Any) -> tuple[Callable[..., None], Callable[..., None]]:
    """`decide(params, state, record, out)`, and the same over the rows of the last three, compiled for controllers of
    this structure.
    """

    def make() -> tuple[Callable[..., None], Callable[..., None]]:
        objects: dict[str, Any] = {}
        kept = getattr(controller, "n_kept", None)
        phases = phase_list(controller.phases, objects, controller.n_state, known(controller), kept)
        body = "".join(
            f"    {what}(params, state, record, out)\n" if kind == "lane" else _layer(what) for kind, what in phases
        )
        module, what = load_module(_HEAD + body + _MANY, objects), f"the decision of controller {controller.name!r}"
        compiled(module.decide, *[np.empty(0)] * 4, what=what)
        compiled(module.decide_all, np.empty(0), *[np.empty((0, 0))] * 3, what=what)
        return module.decide, module.decide_all

    own = tuple(id(function) for function in getattr(controller, "functions", ()))
    return _KERNELS.made((controller.key, known(controller), own), make) if not own else make()


class Decisions:
    """A controller's state for one trajectory, and its compiled decision.

    controller: an object of the contract.  TypeError for what is none.
    """

    def __init__(self, controller: Any) -> None:
        lacks = missing(controller)
        if lacks:
            raise TypeError(f"controller must be an object of the controller contract; it lacks {', '.join(lacks)}")
        (self._decide, _), self._controller = _kernel(controller), controller
        self._params = np.ascontiguousarray(controller.params, dtype=np.float64)
        self._begin()

    def _begin(self) -> None:
        self._state, self._record = np.zeros(self._controller.n_state), np.empty(N_RECORD)
        self._controller.init(self._params, self._state)

    def anew(self) -> Decisions:
        """The same controller at the start of another solve, at a tenth of the price of making it."""
        other = copy.copy(self)
        other._begin()
        return other

    def __call__(self, seen: Mapping[int, float]) -> np.ndarray:
        """One attempt.  seen: the record's slots that are filled.  Returns `out`, float64 (`N_OUT`,), and advances the
        state.
        """
        record, out = self._record, np.zeros(N_OUT)
        record.fill(np.nan)
        for slot, value in seen.items():
            record[slot] = value
        self._decide(self._params, self._state, record, out)
        return out

    def first(self, guess: float) -> float:
        """The first step size: the controller's own where it gives a positive number, else `guess`."""
        if getattr(self._controller, "first", None) is None:
            return guess
        return float(Runner(self._controller, 1).first(np.array([guess], dtype=np.float64))[0])


class Batched:
    """The compiled decision for a batch of trajectories, whose states the caller keeps.

    controller: an object of the contract.
    """

    def __init__(self, controller: Any) -> None:
        _, self._decide_all = _kernel(controller)
        self._params = np.ascontiguousarray(controller.params, dtype=np.float64)

    def __call__(self, states: np.ndarray, records: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One attempt of every trajectory.

        states: float64 (B, n_state).  records: float64 (B, `N_RECORD`).  Returns the answers, float64 (B, `N_OUT`), and
        the states after them; neither argument is changed.
        """
        states, outs = states.copy(), np.zeros((len(states), N_OUT))
        self._decide_all(self._params, states, np.ascontiguousarray(records), outs)
        return outs, states
