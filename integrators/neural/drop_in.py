"""torchdiffeq's calls on this package's solver: one state of any form, one step size, outputs as tensors.

The state is made one vector (`pytree`), and the vector's problem is solved forwards (`drop_in_forward`) and for a
continuous adjoint backwards (`drop_in_adjoint`), by the method of a name (`drop_in_methods`) with its options in this
package's terms (`drop_in_options`, `drop_in_grid`).  What differentiates in the times is `time_gradient`, and `events`
finds the end of a solve that has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import NoneType
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..core import options as core_options
from . import checks, drop_in_adjoint, drop_in_forward, held
from .clock import Clock
from .drop_in_adjoint import Backward
from .drop_in_forward import Call
from .drop_in_methods import method_of
from .drop_in_options import Resolve
from .events import EventFunction, LaneEvents
from .field import check_callable
from .pytree import Layout
from .time_gradient import event_at, outputs_at, state_at, zeros_for

__all__ = ["Backward", "odeint", "odeint_event"]

Tensor = torch.Tensor


def odeint(
    func: Any,
    y0: Any,
    t: Any,
    rtol: Any,
    atol: Any,
    method: Any,
    options: Any,
    event_fn: Any,
    resolve: Resolve,
    backward: Backward | None = None,
) -> Any:
    """The states at the times t in y0's form, each part (T, *shape); with an event its time and the states (2, ...).

    backward: None: differentiate through the solver; else by the continuous adjoint.  resolve: turns a controller's
    name and the method's into an object (`drop_in_options.adaptive`).  All else as `stepsmith.neural.torchdiffeq` says.
    """
    check_callable(func)
    check_event(event_fn)
    layout = Layout(y0)
    t = _times(t, layout, event_fn)
    chosen = method_of(method)
    if not isinstance(options, (Mapping, NoneType)):
        raise core_options.refuse("options", "a dict or None", options)
    if backward is not None:
        backward = backward.completed(func, rtol, atol, method, options)
    # what calls func again in the backward pass finds the parameters of this call
    again = backward is not None or event_fn is not None or t.requires_grad
    with held.of_solve(again, func, event_fn) as (called, ends):
        flat = layout.flat(y0)
        event = None if ends is None else event_of(ends, layout, t, flat)
        call = Call(func, y0, t, layout, event, chosen, rtol, atol, options, resolve, called)
        return layout.state(flat[None]) if len(t) == 1 else _solved(call, flat, backward)


def _solved(call: Call, flat: Tensor, backward: Backward | None) -> Any:
    """The answer of a call from the vector `flat`."""
    t, layout, event = call.t, call.layout, call.event
    y = drop_in_forward.solve(call, flat) if backward is None else drop_in_adjoint.solve(call, flat, backward)
    if y.requires_grad:
        # the first output is y0 itself, whenever the solve starts
        y = torch.cat([flat[None], y[1:]])
    if backward is not None:
        y = zeros_for(y, backward.params)  # type: ignore[arg-type]  # a tuple, completed
    if event is not None:
        return event_at(event, t[0], y[1], call.slope), layout.state(y)
    if backward is not None:
        y = outputs_at(t, y, call.slope_in_time(at_end=True))
    return layout.state(y)


def check_event(event_fn: Any) -> None:
    """OptionError where an event function cannot be called."""
    if event_fn is not None and not callable(event_fn):
        raise core_options.refuse("event_fn", "a function of (t, y), or None", event_fn)


def event_of(event_fn: Any, layout: Layout, t: Tensor, flat: Tensor) -> LaneEvents:
    """The event function over one row, with its signs at the start t[0], where the state is the vector `flat`."""
    start, end = (t.detach()[[i]].double().cpu().numpy() for i in (0, 1))
    function = EventFunction(lambda at, rows: event_fn(at[0], layout.state(rows[0])), coupled=True)
    return LaneEvents(function, start, np.sign(end - start), flat[None], Clock(flat.dtype))


def _times(t: Any, layout: Layout, event_fn: Any) -> Tensor:
    """t, checked, on the state's device."""
    if not isinstance(t, Tensor) or t.dtype not in (torch.float32, torch.float64) or t.dim() != 1 or not len(t):
        raise core_options.refuse("t", "a 1-D tensor of times, float32 or float64", t)
    if event_fn is not None and len(t) != 2:
        raise ValueError(f"with event_fn t must hold the start and one time in the direction to go, got {len(t)} times")
    if len(t) > 1:
        checks.times(t.detach().tolist())
    return t.to(layout.device)


def odeint_event(func: Any, y0: Any, t0: Any, event_fn: Any, reverse_time: Any, interface: Any, given: Any) -> Any:
    """The event's time and the states at t0 and at the event, both with their whole gradient.

    interface: what solves up to the event, as `odeint`; given: keywords for it.
    """
    reverse_time = core_options.flag("reverse_time", reverse_time)
    if not isinstance(t0, Tensor) or t0.numel() != 1:
        raise core_options.refuse("t0", "a tensor of one time", t0)
    start = t0.reshape(1)
    if not callable(event_fn):
        raise core_options.refuse("event_fn", "a function of (t, y)", event_fn)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    # interface gets func itself, whose attributes may be callbacks, and holds the parameters of its own backward pass
    with held.of_solve(True, func, event_fn) as (called, ends):
        event_t, states = interface(func, y0, t, event_fn=event_fn, **given)
        layout = Layout(y0)
        rows = _rows(layout, states)
        event = event_of(ends, layout, t, layout.flat(y0))
        if event.at_start[0]:
            return event_t, states
        slope = layout.field(called)
        event.times[0] = float(event_t.detach())
        event_t = event_at(event, start[0], rows[1], slope)
        y = torch.stack([rows[0], state_at(event_t, rows[1], lambda t, y: slope(t.to(y.dtype), y))])
        return event_t, layout.state(y)


def _rows(layout: Layout, states: Any) -> list[Tensor]:
    """The vectors (D,) of the two states in `states`, whose parts are (2, *shape)."""
    parts = tree.tree_leaves(states)
    return [torch.cat([part[i].reshape(-1) for part in parts]) for i in (0, 1)]
