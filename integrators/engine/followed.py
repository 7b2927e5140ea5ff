"""Solves that follow a trajectory: events, stops, bounds on the step, dense output (`kernels.followed`), of one problem
and of ensembles.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .. import methods
from ..checks import jacobian_check, mass_check, rhs_check, second_order
from ..compile import digest
from ..compile.cache import Recent, compiled
from ..compile.callback import is_caller
from ..compile.prepared import event_by_address
from ..core.errors import OptionError, outside
from ..core.follow_options import Follow, stops
from ..kernels.build import Kernel, aligned
from ..kernels.followed import FOLLOWED_PLACE, RECORD_COLUMNS, followed_kernel, limits, most_events, rules
from ..methods import tableaus
from ..problems.events import Event, events_of
from ..problems.foreign import callback_of
from ..problems.problem import Problem
from .dense_output import DenseOutput
from .pace import Pace

_KERNELS = Recent()
_EVENTS, _STATES, _PIECES, _RECORDS = (FOLLOWED_PLACE.index(k) for k in ("events", "states", "pieces", "records"))

#: bytes of dense output that a solve, or an ensemble's trajectories together, may take while it is gathered
DENSE_BYTES = 2**31


@dataclass
class Logs:
    """Rows that the kernel wrote, in the order of writing: events, states, pieces, records."""

    events: list[np.ndarray] = field(default_factory=list)
    states: list[np.ndarray] = field(default_factory=list)
    pieces: list[np.ndarray] = field(default_factory=list)
    records: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True)
class Followed:
    """A problem or batch made ready: the kernel, the source with the parameters that it takes, events, their rules,
    stops, limits, what is kept.
    """

    kernel: Kernel
    source: Any
    events: tuple[Event, ...]
    stops: np.ndarray
    limits: np.ndarray
    dense: bool
    degree: int
    callbacks: tuple[Any, ...]

    def reraise(self, threads: bool = False) -> None:
        """Raise what an event or a reset that runs in Python raised, in this thread or in any."""
        for callback in self.callbacks:
            callback.reraise(threads)


def made_ready(
    given: Any, source: Any, method: methods.Method, controller: Any, slots: frozenset[int], follow: Follow, width: int
) -> Followed:
    """given: the caller's Problem or Batch; source: the same as kernels take it.  slots: of the record."""
    events = events_of(follow.events, given)
    callbacks = tuple(c for e in events for fn in (e.value, e.reset) if (c := callback_of(fn)) is not None)
    own, events = event_by_address(source, events, given)
    _check_events(given, own, events)
    structure = (controller.key, getattr(controller, "known", ()), controller.n_state)
    identities = tuple((digest.identity(e.value), digest.identity(e.reset)) for e in events)
    key = (method.name, method.key(own), own.n, own.m, given.m, structure, slots, width, identities)

    def make() -> tuple[Kernel, int]:
        rhs_check.check(own, method)
        mass_check.check_index(own)
        if jacobian_check.concerns(own, method):
            jacobian_check.warn_once(own)
        parts = method.parts(own, slots)
        return followed_kernel(parts, own.n, own.m, given.m, controller, width, events), parts.degree

    kernel, degree = _KERNELS.made(key, make)
    second_order.check(given, method)
    if follow.dense and degree == 0:
        raise OptionError(
            f"method {method.name!r} does not say the degree of its dense output (`Parts.degree`), as dense=True needs"
        )
    if follow.tstops is not None:
        _warn_of_jumps(method)
    single = isinstance(given, Problem)
    t0 = np.array([given.t_span[0]]) if single else given.t0
    t1 = np.array([given.t_span[1]]) if single else given.t1
    bounds = limits(follow.min_step, follow.max_step, follow.save_every)
    return Followed(kernel, own, events, stops(follow.tstops, t0, t1), bounds, follow.dense, degree, callbacks)


class Budget:
    """Bytes of dense output that all threads together have kept."""

    def __init__(self, remedy: str) -> None:
        self._lock, self._used, self._remedy = threading.Lock(), 0, remedy

    def take(self, size: int) -> None:
        """Add bytes; OptionError where they are too many."""
        with self._lock:
            self._used += size
            if self._used > DENSE_BYTES:
                raise OptionError(
                    f"dense output takes more than {DENSE_BYTES / 2**30:g} GB here: take t_eval in place of "
                    f"dense=True, {self._remedy}"
                )

    def free(self) -> None:
        """Nothing is kept any more."""
        self._used = 0


def looks_beyond(method: methods.Method) -> float:
    """How far beyond a step, in steps, a method evaluates the right-hand side; 0 where it does not."""
    if method.name not in tableaus.IMPLICIT:
        return 0.0
    tableau: Any = tableaus.implicit(method.name)
    nodes = tableau.nodes if hasattr(tableau, "nodes") else tableau.C
    return max(float(np.max(nodes)) - 1.0, 0.0)


_TOLD: set[str] = set()


def _warn_of_jumps(method: methods.Method) -> None:
    """UserWarning, once a method, where a step that ends at a stop looks beyond it."""
    beyond = looks_beyond(method)
    if beyond <= 1e-12 or method.name in _TOLD:
        return
    _TOLD.add(method.name)
    warnings.warn(
        f"{method.name} evaluates the right-hand side up to {beyond:.2g} of a step beyond a stop: where it jumps "
        "there, use rodas5p or radau5",
        stacklevel=outside(),
    )


def _check_events(given: Any, own: Any, events: Sequence[Event]) -> None:
    """ValueError, naming the function, where an event or a reset breaks its contract."""
    if own.y0.ndim == 2 and len(own.y0) == 0:
        return
    first = own.y0.ndim == 2
    y, p = (own.y0[0], given.p[0]) if first else (own.y0, given.p)
    t = float(given.t0[0]) if first else float(given.t_span[0])
    for event in events:
        for role, fn in (("event", event.value), ("reset", event.reset)):
            if fn is not None and not is_caller(fn):
                rhs_check.check_function(fn, role, t, y, p)


def _room(followed: Followed, states: bool, records: bool) -> tuple[np.ndarray, ...]:
    """Empty logs: for events, states, pieces and records."""
    n, w = followed.source.n, followed.kernel.width
    events = w * most_events(len(followed.events), followed.degree) + 64 if followed.events else 0
    columns = 3 + (followed.degree + 1) * n
    pieces = 2 * w + min(1024, 2**20 // (8 * columns)) if followed.dense else 0
    return (
        np.empty((events, 3 + n)),
        np.empty((3 * w + 1024 if states else 0, 2 + n)),
        np.empty((pieces, columns if followed.dense else 1)),
        np.empty((1024 if records else 0, RECORD_COLUMNS)),
    )


def warm(followed: Followed, params: np.ndarray, args: tuple, what: str) -> None:
    """Compile the kernel where that has not been done.  args: as for `run`.  what: what is said to be compiled."""
    call = followed.kernel.module.run_followed
    if not call.overloads:
        block, place = aligned(followed.kernel.layout.size), np.zeros(len(FOLLOWED_PLACE), np.int64)
        rest = (followed.limits, followed.stops, rules(followed.events), *_room(followed, False, False))
        compiled(call, block, params, *args, 0, 0, place, 0, *rest, what=what)


def run(
    followed: Followed,
    params: np.ndarray,
    args: tuple,
    span: tuple[int, int],
    logs: Logs,
    states: bool = False,
    records: bool = False,
    stop: threading.Event | None = None,
    under_way: Any = None,
    kept: Any = None,
) -> None:
    """Run trajectories span[0]..span[1]-1 to their ends, and gather their logs.

    args: y0, p, t0, t1, rtol, atol, h0, tgrid, yout, max_steps, yend, stat.  states, records: whether they are kept.
    stop: set by another thread to end it.  under_way: called with the `place` between calls.  kept: called with the
    bytes of dense output that were just kept.
    """
    kernel = followed.kernel
    block, place, pace = aligned(kernel.layout.size), np.zeros(len(FOLLOWED_PLACE), np.int64), Pace()
    room = _room(followed, states, records)
    rest = (followed.limits, followed.stops, rules(followed.events), *room)
    call = kernel.module.run_followed
    while True:
        more = call(block, params, *args, *span, place, pace.most, *rest)
        for column, log, rows in zip(
            (_EVENTS, _STATES, _PIECES, _RECORDS), room, (logs.events, logs.states, logs.pieces, logs.records),
            strict=True,
        ):
            if place[column]:
                rows.append(log[: place[column]].copy())
                place[column] = 0
                if rows is logs.pieces and kept is not None:
                    kept(rows[-1].nbytes)
        if not more or (stop is not None and stop.is_set()):
            return
        pace.more()
        if under_way is not None:
            under_way(place)


def joined(rows: list[np.ndarray], columns: int) -> np.ndarray:
    """Logged rows as one array, (k, columns)."""
    return np.concatenate(rows) if rows else np.empty((0, columns))


def event_lists(
    followed: Followed, rows: np.ndarray, state: Any
) -> tuple[list[np.ndarray], list[np.ndarray]] | tuple[None, None]:
    """Times and states of the events of one trajectory, an array for every event function; None without events."""
    if not followed.events:
        return None, None
    which = rows[:, 1].astype(int)
    times, values = [], []
    for k in range(len(followed.events)):
        mine = rows[which == k]
        times.append(mine[:, 2].copy())
        y = mine[:, 3:].copy()
        values.append(y if state is None else state.shaped(y))
    return times, values


def dense_output(followed: Followed, rows: np.ndarray, t0: float, y0: np.ndarray, state: Any) -> DenseOutput:
    """Dense output from the pieces of one trajectory."""
    nodes = rows[:, 3:].reshape(len(rows), followed.degree + 1, followed.source.n)
    return DenseOutput(rows[:, 1].copy(), rows[:, 2].copy(), np.ascontiguousarray(nodes), t0, y0, state)


