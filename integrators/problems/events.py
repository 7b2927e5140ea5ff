"""Events as people write them: functions of the trajectory, at whose zeros a solve takes note, stops, or goes on from
another state.

    def ground(t, y, p):            an event happens where the value changes its sign
        return y[0]

    ground.terminal = True          stop there (True), or at the k-th time (a whole number); False: record it
    ground.direction = -1           only where the value falls (-1) or rises (1); 0: both
    ground.reset = bounce           bounce(t, y, p) -> the state to go on from

The attributes `terminal` and `direction` are SciPy's.  `events_of` reads them and brings the functions into the form
that kernels call, f(t, y, p, out), as `styles` does for right-hand sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..core.errors import OptionError, shown
from ..core.options import LARGEST_COUNT
from .layouts import Layout
from .styles import Style, in_place, name_of, style_of


@dataclass(frozen=True)
class Event:
    """value, reset: functions f(t, y, p, out) of the event's value, out (1,), and of the state to go on from, out (n,),
    or None.  terminal: the how many-th time ends the solve, 0: none.  direction: -1.0, 0.0 or 1.0.  name: in messages.
    """

    value: Callable[..., None]
    reset: Callable[..., None] | None
    terminal: int
    direction: float
    name: str


def given_events(events: Any) -> tuple[Any, ...]:
    """`events` of a solve, one function or a sequence of them, as a tuple; OptionError for anything else."""
    if events is None:
        return ()
    if callable(events):
        return (events,)
    if not isinstance(events, Sequence) or isinstance(events, (str, bytes)):
        raise OptionError(f"events must be a function g(t, y, p) or a sequence of them, got {shown(events)}")
    for k, g in enumerate(events):
        if not callable(g):
            raise OptionError(f"events[{k}] must be a function g(t, y, p), got {shown(g)}")
    return tuple(events)


def _terminal(name: str, value: Any) -> int:
    """How many times make an end; 0: none."""
    if value is None or value is False or (isinstance(value, np.bool_) and not value):
        return 0
    if value is True or (isinstance(value, np.bool_) and value):
        return 1
    number = isinstance(value, (int, np.integer, float, np.floating)) and math.isfinite(value)
    if not number or value != int(value) or not 0 <= value <= LARGEST_COUNT:
        raise OptionError(f"event {name}: terminal must be True, False or a whole number of times, got {shown(value)}")
    return int(value)


def _direction(name: str, value: Any) -> float:
    """-1.0, 0.0 or 1.0."""
    try:
        number = 0.0 if value is None else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if number != number:
        raise OptionError(
            f"event {name}: direction must be a number (negative: the value falls, positive: it rises, 0: both), got "
            f"{shown(value)}"
        )
    return float(np.sign(number))


def events_of(events: tuple[Any, ...], source: Any) -> tuple[Event, ...]:
    """The events of a Problem or Batch `source`.

    ValueError, naming the function, where one is not written as this file says.
    """
    if source.y0.ndim == 2:
        t, y, p = float(source.t0[0]), source.y0[0], source.p[0]
    else:
        t, y, p = float(source.t_span[0]), source.y0, source.p
    own = style_of(source.rhs)
    layout = own.layout if own is not None else Layout(names=source.names)
    compiled, apart = (True, False) if own is None else (own.compiled, own.apart)
    found = []
    for g in events:
        style = Style(g, "event", y.size, p.size, source.state, layout, compiled, apart)
        name = name_of(style)
        terminal = _terminal(name, getattr(g, "terminal", None))
        direction = _direction(name, getattr(g, "direction", None))
        reset = getattr(g, "reset", None)
        if reset is not None and not callable(reset):
            raise OptionError(f"event {name}: reset must be a function reset(t, y, p) or None, got {shown(reset)}")
        if reset is not None:
            reset = in_place(replace(style, fn=reset, role="reset"), t, y, p)
        found.append(Event(in_place(style, t, y, p), reset, terminal, direction, name))
    return tuple(found)
