"""The controller contract: what a controller is, its phases, and the slots of its state and of its answer.

A controller is data (`params`) and a tuple of phases over flat float64 arrays; `docs/architecture.md` explains the
contract as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from .binding import bind as bind

#: no learned decision, no law out of a file and no rules of a published code accept a scaled error above this.  The
#: shipped controllers accept up to 8.9 in use and could ask for 40.5 (a law that accepts 8.1, times e^T = 5); the laws
#: tuned for one family and shipped as bases accept up to 47 (Lorenz)
ACCEPT_MAX = 50.0

# state head, the same for every controller
S_LE1 = 0  # natural logarithm of the scaled error of the last accepted step
S_LE2 = 1  # of the one before
S_LH1 = 2  # natural logarithm of the size of the last accepted step
S_LH2 = 3  # of the one before
S_STREAK = 4  # rejections in a row
S_NACC = 5  # accepted steps
N_HEAD = 6

# answer
ACCEPT = 0  # 1.0 to accept the attempt, 0.0 to reject it
LOG_FACTOR = 1  # natural logarithm of the next size over this one
FLAGS = 2  # sum of the four below
FALLBACK = 3  # 1.0 where the base law answered in the place of a learned decision
ANSWER = ("accept", "log_factor", "flags", "fallback")
N_OUT = len(ANSWER)

# what `FLAGS` is the sum of, for implicit methods: what the next attempt does with its Jacobian (neither: the method's
# own rule), and whether its LU factors may stand although the step size changes
KEEP_JACOBIAN = 1.0
REFRESH_JACOBIAN = 2.0
KEEP_LU = 4.0
# in a portfolio of methods (`methods.portfolio`): `METHOD*(k + 1)` asks that the next step be taken with method k;
# nothing of it: the method stays
METHOD = 8.0


@dataclass(frozen=True)
class Lane:
    """A per-lane, branch-free function `fn(params, state, record, out)`, in place over flat float64 arrays."""

    fn: Callable[..., None]

    def bound(self, namespace: Mapping[str, object], wrap: Callable | None = None) -> Callable[..., None]:
        """`bind(self.fn, namespace, wrap)`: what a compiler or another array library takes."""
        return bind(self.fn, namespace, wrap)


@dataclass(frozen=True)
class Dense:
    """state[dst:dst+n_out] = act(W @ state[src:src+n_in] + b), W row-major at params[offset:], then b.

    `activation` is one of `activations.ACTIVATIONS`: "tanh", "relu", "linear", "elu", "silu", "gelu", "gelu_tanh" or
    "leaky_relu(<slope>)".
    """

    src: int
    dst: int
    n_in: int
    n_out: int
    offset: int
    activation: str


@runtime_checkable
class Controller(Protocol):
    """What the engine, the environments and the hosts ask of a controller.

    name      what it is called in messages and tables
    params    (k,) float64: coefficients, weights; read by the phases, changed by nobody
    n_state   numbers of state a lane, the shared head of `N_HEAD` first
    phases    `Lane` and `Dense`, run one after the other at every attempt
    key       what its compiled form depends on: controllers of equal keys share kernels and differ in `params` alone
    init      `init(params, state)`: set the state of a lane at the start

    It may have more: `first(params, state, record)`, its own first step size; `needs`, slots of the record without
    which it cannot decide; `slots`, those that it reads where a method fills them; `known`, elements of params and
    state that its key fixes; `n_kept`, numbers of its state that outlive a decision; `functions`, those of a caller's
    own that are compiled in; `trained_method`, the method that it was trained on; `tolerance_scale` other than 1, by
    which solvers multiply the tolerances asked for (module `tolerance_scale`), with a method `unscaled()`, which gives
    the controller without it.
    """

    name: str
    params: np.ndarray
    n_state: int
    phases: tuple[Any, ...]
    key: Hashable

    def init(self, params: Any, state: Any) -> None: ...


#: what the runner asks for (without `init` the state starts at zero), and what a compiled controller needs besides
PARTS, COMPILED = ("params", "n_state", "phases"), ("name", "key", "init")


def missing(value: Any, compiled: bool = True) -> tuple[str, ...]:
    """Names of what `value` lacks to be a `Controller`; empty where it is one.  compiled: for the engine; else for the
    runner."""
    return tuple(part for part in (*PARTS, *(COMPILED if compiled else ())) if not hasattr(value, part))
