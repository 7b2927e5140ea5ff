"""The controller contract: slots of the shared state head and of the answer, phases, and `bind`.

A controller is data (`params`) plus a tuple of phases over flat float64 arrays; see `docs/architecture.md`.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass

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


def bind(formula: Callable[..., None], namespace: Mapping[str, object], wrap: Callable | None = None) -> Callable[..., None]:
    """Return `formula` with its global names looked up in `namespace` first (one source, many libraries).

    Plain functions of this package that `formula` calls by a global name are bound with it.  `wrap` is
    applied to those: a compiler cannot call a plain function.  By default it is `lanes.inline` where the
    namespace itself holds functions compiled by Numba.
    """
    if wrap is None:
        wrap = _same
        if any(hasattr(f, "py_func") for f in namespace.values()):
            from ..integrators.lanes import inline

            wrap = inline
    return _bind(formula, dict(namespace), wrap, {})


def _same(fn: Callable) -> Callable:
    return fn


def _bind(formula: Callable, namespace: dict, wrap: Callable, done: dict) -> Callable:
    glb = {**formula.__globals__, **namespace}
    fn = types.FunctionType(formula.__code__, glb, formula.__name__, formula.__defaults__, formula.__closure__)
    fn.__doc__ = formula.__doc__
    fn.__module__ = formula.__module__
    fn.__qualname__ = formula.__qualname__
    package = __name__.split(".")[0]
    for name in formula.__code__.co_names:
        helper = formula.__globals__.get(name)
        if name in namespace or not isinstance(helper, types.FunctionType):
            continue
        if (helper.__module__ or "").split(".")[0] == package:
            if helper not in done:
                done[helper] = wrap(_bind(helper, namespace, wrap, done))
            glb[name] = done[helper]
    return fn
