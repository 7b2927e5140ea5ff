"""A controller's decision as expressions: of each number of the answer, and of each number of state that outlives it.

The controller's phases run once, on symbols, as `integrators.core.runner.Runner` runs them on numbers.  Parameters are
numbers: what depends on them alone is computed here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...integrators.core import dense
from ...integrators.core import record as rec
from ...integrators.core.contract import N_OUT, bind, missing
from ...integrators.core.errors import shown
from ...integrators.core.record import N_RECORD
from .expressions import Expr, Graph, Untraceable, Value, reached

#: slots that a law may read without naming them among its `slots`
ALWAYS = frozenset({rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.TRUNCATED, rec.FINITE})


@dataclass(frozen=True)
class Traced:
    """A decision, written down.

    out      the answer, `N_OUT` values
    state    (row, value before the first attempt, value after an attempt) of every row of the state that outlives an
             attempt and is read by a later one, in the order of the rows
    first    the controller's own first step size, or None
    slots    record slots that are read, in the record's order

    Symbols are ("state", row) and ("record", slot).
    """

    out: tuple[Value, ...]
    state: tuple[tuple[int, float, Value], ...]
    first: Value | None
    slots: tuple[int, ...]


def trace(controller: Any) -> Traced:
    """The decision of `controller`, an object of the controller contract.

    A slot that the controller says it does not read (`slots`, where it has them) is NaN throughout.  TypeError for what
    is no controller, ValueError for one with a formula that cannot be written down.
    """
    lacks = missing(controller, compiled=False)
    if lacks:
        raise TypeError(
            f"export: a controller is needed, {type(controller).__name__!r} lacks {', '.join(lacks)} "
            "(stepsmith.controller(NAME) gives one)"
        )
    graph = Graph()
    try:
        with np.errstate(all="ignore"):
            return _traced(controller, graph)
    except Exception as problem:
        reason = str(problem) if isinstance(problem, Untraceable) else f"{type(problem).__name__}: {problem}"
        raise ValueError(
            f"controller {shown(getattr(controller, 'name', controller))} cannot be written down, one of its formulas "
            f"is not made of stepsmith.integrators.core.formulas alone: {' '.join(reason.split())}"
        ) from None


def _traced(controller: Any, graph: Graph) -> Traced:
    flat = np.ascontiguousarray(controller.params, dtype=np.float64)
    params = list(flat)
    start: list[Any] = [0.0] * controller.n_state
    if hasattr(controller, "init"):
        bind(controller.init, graph.namespace)(params, start)
    named = getattr(controller, "slots", None)
    read = range(N_RECORD) if named is None else ALWAYS | frozenset(named)
    record = [graph.symbol("record", i) if i in read else np.float64(np.nan) for i in range(N_RECORD)]
    state: list[Value] = [graph.symbol("state", i) for i in range(controller.n_state)]
    out: list[Value] = [0.0] * N_OUT
    for phase in controller.phases:
        if hasattr(phase, "fn"):
            bind(phase.fn, graph.namespace)(params, state, record, out)
        else:
            dense.check(phase)
            weight, bias = dense.weights(phase, flat)
            inputs = state[phase.src : phase.src + phase.n_in]
            state[phase.dst : phase.dst + phase.n_out] = graph.layer(weight, bias, phase.activation, inputs)
    first = getattr(controller, "first", None)
    size = None if first is None else bind(first, graph.namespace)(params, list(start), record)
    rows = _live(out, state)
    kept = tuple((row, float(start[row]), state[row]) for row in rows)
    nodes = reached([*out, *(state[row] for row in rows), *([] if size is None else [size])])
    slots = sorted({node.args[1] for node in nodes if _is(node, "record")})
    values = [*out, *(value for _, _, value in kept)]
    if not all(isinstance(value, (Expr, float, int, np.number)) for value in values):
        raise Untraceable("it writes something else than numbers into its state or answer")
    return Traced(tuple(out), kept, size, tuple(slots))


def _is(node: Expr, kind: str) -> bool:
    return node.op == "symbol" and node.args[0] == kind


def _live(out: Iterable[Value], state: list[Value]) -> list[int]:
    """The state rows whose value before an attempt has a part in an answer, now or later."""
    live: set[int] = set()
    roots = list(out)
    while True:
        found = {node.args[1] for node in reached(roots) if _is(node, "state")} - live
        if not found:
            return sorted(live)
        live |= found
        roots = [state[row] for row in found]
