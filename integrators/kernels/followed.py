"""Kernels that follow trajectories: events, stops, bounds on the step, what is kept of the way (`pieces.followed`).

They are kernels of their own, so that a solve without these options is not slowed by them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import rhs_check
from ..compile.callback import is_caller
from ..core import record
from ..core.contract import N_OUT
from ..problems.events import Event
from . import calls, layout
from .build import Kernel, Parts, build
from .drivers import PLACE
from .pieces import events as events_pieces
from .pieces import followed, halt, sides, state_at, zeros
from .templates import constants, text

#: places in the `place` of `run_followed`, int64
FOLLOWED_PLACE = (*PLACE, "events", "states", "pieces", "records")

#: pieces of a step at whose ends events are evaluated: the degree of dense output, but at least this many
LEAST_SPANS = 4
#: nodes of the geometric row behind a start without a side
GRADED = 18

N_LIMITS = 3
RECORD_COLUMNS = record.N_RECORD + N_OUT


def nodes(degree: int) -> np.ndarray:
    """Chebyshev-Lobatto nodes of [0, 1], (degree + 1,) float64, both ends exact."""
    x = 0.5 - 0.5 * np.cos(np.pi * np.arange(degree + 1) / degree)
    x[0], x[-1] = 0.0, 1.0
    return x


def spans(degree: int) -> int:
    """Pieces of a step at whose ends events are evaluated."""
    return max(LEAST_SPANS, degree)


def most_events(count: int, degree: int) -> int:
    """The most events that one step of one lane can hold."""
    return count * (2 * most_nodes(degree) + 1)


def most_nodes(degree: int) -> int:
    """The most nodes of a step, both ends among them."""
    return spans(degree) + GRADED + 1


def followed_kernel(
    parts: Parts, n: int, m: int, own: int, controller: Any, width: int, events: Sequence[Event]
) -> Kernel:
    """Kernel that follows trajectories of n unknowns and m parameters, of which the first `own` are the problem's."""
    count = len(events)
    rows = {name: 1 for name in ("WAIT", "HALT", "HALT_AT", "NEXT_STOP", "STOP_AT", "SKIPPED")}
    more: dict[str, Any] = {}
    if count:
        rows |= dict.fromkeys(("GLAST", "GFIRED", "LARGEST", "SIDE", "COUNT", "CROSSED", "FIRED", "NOISE"), count)
        most = most_nodes(parts.degree)
        rows |= {"VALUES": count * most, "NODE_TH": most, "REPEATS": 1, "TFIRED": 1, "GV": 1, "YR": n}
        rows |= dict.fromkeys(("ROOT_TH", "ROOT_EVENT", "ROOT_DIR"), 3 * count)
        more |= {f"event{k}": event.value for k, event in enumerate(events)}
        more |= {f"reset{k}": event.reset for k, event in enumerate(events) if event.reset is not None}

    def source(wide: bool) -> str:
        return _constants(parts, count, events, wide) + _events(parts, n, own, events) + text(followed)

    return build(parts, n, m, controller, width, source, rows, more)


def _constants(parts: Parts, count: int, events: Sequence[Event], wide: bool) -> str:
    places = {f"PLACE_{name.upper()}": i for i, name in enumerate(FOLLOWED_PLACE)}
    degree = max(parts.degree, 1)
    return constants(
        WIDE=wide,
        **places,
        EVENT=layout.EVENT,
        BAD_EVENT=layout.BAD_EVENT,
        ENDLESS=layout.ENDLESS,
        SMALLEST=layout.SMALLEST,
        NOTHING=0.0,
        BEGIN=1.0,
        CHANGE=2.0,
        RESET=3.0,
        STOP=4.0,
        PIECE_DEGREE=degree,
        PIECE_NODES=tuple(float(x) for x in nodes(degree)),
        WITH_EVENTS=count > 0,
        MOST_EVENTS=most_events(count, parts.degree),
        **({} if count else {"YR": "Y"}),
    ).replace("YR = 'Y'", "YR = Y")


def _events(parts: Parts, n: int, own: int, events: Sequence[Event]) -> str:
    """The events' values and resets by number, and the pieces that look for them; without events nothing."""
    if not events:
        return "\n\n" + text(state_at)
    out = constants(
        N_EVENTS=len(events),
        SPANS=spans(parts.degree),
        MOST_NODES=most_nodes(parts.degree),
        HAS_RESET=tuple(event.reset is not None for event in events),
        HAS_RHS="rhs" in parts.objects,
        HALT_TERMINAL=1.0,
        HALT_RESET=2.0,
        HALT_NAN=3.0,
        HALT_ENDLESS=4.0,
        **({} if "rhs" in parts.objects else {"rhs": None}),
    )
    value = "@_piece\ndef value(A, l, e, t, row):\n"
    reset = "@_piece\ndef reset(A, l, e, t):\n"
    for k, event in enumerate(events):
        given = _parameters(event.value, own)
        out += calls.guard(f"event{k}", True, rhs_check.indexes_arrays(event.value))
        value += f"    if e == {k}:\n        event{k}(t, frozen(A, row + l, WIDTH, DIM), {given}, "
        value += "view(A, GV + l, WIDTH, 1))\n"
        if event.reset is not None:
            out += calls.guard(f"reset{k}", True, rhs_check.indexes_arrays(event.reset))
            reset += f"    if e == {k}:\n        for i in range(N):\n            A[Z + i*W + l] = A[YR + i*W + l]\n"
            given = _parameters(event.reset, own)
            reset += f"        reset{k}(t, frozen(A, Z + l, WIDTH, DIM), {given}, view(A, YR + l, WIDTH, DIM))\n"
    value += "    return A[GV + l]\n\n\n"
    reset += "    return\n\n\n"
    return out + "\n\n" + value + reset + text(state_at, zeros, sides, events_pieces, halt)


def _parameters(fn: Any, own: int) -> str:
    """The parameters that a function is given: the problem's own, or all, among which is the place of one that is
    called by address.
    """
    return f"frozen(A, P + l, WIDTH, {'NPAR' if is_caller(fn) else own})"


def rules(events: Sequence[Event]) -> np.ndarray:
    """(events, 2) float64: the how many-th time ends the solve, 0 for none, and the direction."""
    return np.array([[event.terminal, event.direction] for event in events]).reshape(len(events), 2)


def limits(min_step: float | None, max_step: float | None, save_every: int) -> np.ndarray:
    """(N_LIMITS,) float64, as `run_followed` takes them."""
    return np.array([min_step or 0.0, math.inf if max_step is None else max_step, float(save_every)])
