"""The controller contract: slots of the shared state head and of the answer, phases, and `bind`.

A controller is data (`params`) plus a tuple of phases over flat float64 arrays; see `docs/architecture.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..integrators.binding import bind as bind

#: no learned decision, no law out of a file and no rules of a published code accept a scaled error above this.  The shipped controllers
#: accept up to 8.9 in use and could ask for 40.5 (a law that accepts 8.1, times e^T = 5); the laws tuned for one family and shipped as
#: bases accept up to 47 (Lorenz)
ACCEPT_MAX = 50.0

# state head, the same for every controller
S_LE1 = 0
S_LE2 = 1
S_LH1 = 2
S_LH2 = 3
S_STREAK = 4
S_NACC = 5
N_HEAD = 6

# answer
ACCEPT = 0
LOG_FACTOR = 1
FLAGS = 2
FALLBACK = 3
N_OUT = 4

# what `FLAGS` is the sum of, for implicit methods: what the next attempt does with its Jacobian (neither: the method's own rule), and
# whether its LU factors may stand although the step size changes
KEEP_JACOBIAN = 1.0
REFRESH_JACOBIAN = 2.0
KEEP_LU = 4.0


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

    `activation` is "tanh", "relu" or "linear".
    """

    src: int
    dst: int
    n_in: int
    n_out: int
    offset: int
    activation: str
