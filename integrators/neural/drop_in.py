"""torchdiffeq's calls on this package's solver: one state of any form, one step size, outputs as tensors.

The state is made one vector (`pytree`), the options are put in this package's terms (`drop_in_options`), and the
vector's problem is solved: by an adaptive method in `legs`, or on a grid (`fixed`, `fixed_adjoint`).  What
differentiates in the times is `time_gradient`, and `events` finds the end of a solve that has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import NoneType
from typing import Any

import torch
from torch.utils import _pytree as tree

from ..core import options as core_options
from . import adjoint, checks, drop_in_options, fixed, fixed_adjoint, legs
from .drop_in_options import Told
from .events import Crossing
from .field import check_callable
from .pytree import Layout
from .time_gradient import outputs_at, start_at, state_at, zeros_for

Tensor = torch.Tensor
Resolve = Callable[[Any, str], Any]


@dataclass(frozen=True)
class Backward:
    """What `odeint_adjoint` is asked for besides `odeint`'s arguments; None for those of the forward solve.

    controller: the forward solve's, where its options name one.
    """

    rtol: Any = None
    atol: Any = None
    method: Any = None
    options: Any = None
    controller: Any = None
    params: Iterable[Tensor] | None = None

    def completed(self, func: Any, rtol: Any, atol: Any, method: Any, options: Any) -> Backward:
        """With the forward solve's arguments in the place of None, and the parameters found."""
        other = self.method is not None and self.method != method
        if other and options and self.options is None:
            raise ValueError(
                "adjoint_method is not method, and options is that of method: pass adjoint_options, {} for none"
            )
        given = self.options
        if given is None:
            given = {key: value for key, value in (options or {}).items() if key not in ("norm", "step_t", "jump_t")}
        params = adjoint.parameters_of(func, self.params)
        return Backward(
            rtol if self.rtol is None else self.rtol,
            atol if self.atol is None else self.atol,
            method if self.method is None else self.method,
            given,
            (options or {}).get("controller"),
            params,
        )


@dataclass(frozen=True)
class Call:
    """A checked call: the user's func, y0 and times t (T,) on y0's device, the state's layout, and the event."""

    func: Any
    y0: Any
    t: Tensor
    layout: Layout
    crossing: Crossing | None

    @property
    def slope(self) -> Callable[[Tensor, Tensor], Tensor]:
        """func over vectors."""
        return self.layout.field(self.func)


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
    name and the method's into an object.  All else as `stepsmith.neural.torchdiffeq` says.
    """
    check_callable(func)
    layout = Layout(y0)
    t = _times(t, layout, event_fn)
    chosen = drop_in_options.method_of(method)
    if not isinstance(options, (Mapping, NoneType)):
        raise core_options.refuse("options", "a dict or None", options)
    if backward is not None:
        backward = backward.completed(func, rtol, atol, method, options)
    flat = layout.flat(y0)
    crossing = None if event_fn is None else crossing_of(event_fn, layout, t[0], flat)
    call = Call(func, y0, t, layout, crossing)
    if len(t) == 1:
        return layout.state(flat[None])
    if isinstance(chosen, str):
        y = _on_grid(call, flat, chosen, options, backward)
    else:
        start = start_at(t[0], flat, call.slope)
        y = legs.solve(call, start, chosen, options, rtol, atol, resolve, backward)
    if y.requires_grad:
        # the first output is y0 itself, whenever the solve starts
        y = torch.cat([flat[None], y[1:]])
    if backward is not None:
        y = zeros_for(y, backward.params)  # type: ignore[arg-type]  # a tuple, completed
    if crossing is not None:
        return crossing.timed(t, y[1], call.slope), layout.state(y)
    if not isinstance(chosen, str) or backward is not None:
        y = outputs_at(t, y, call.slope)
    return layout.state(y)


def crossing_of(event_fn: Any, layout: Layout, t0: Tensor, flat: Tensor) -> Crossing:
    """The event function over vectors, with its signs at the start."""
    if not callable(event_fn):
        raise core_options.refuse("event_fn", "a function of (t, y), or None", event_fn)
    return Crossing(lambda at, y: event_fn(at, layout.state(y)), float(t0.detach()), flat)


def _times(t: Any, layout: Layout, event_fn: Any) -> Tensor:
    """t, checked, on the state's device."""
    if not isinstance(t, Tensor) or t.dtype not in (torch.float32, torch.float64) or t.dim() != 1 or not len(t):
        raise core_options.refuse("t", "a 1-D tensor of times, float32 or float64", t)
    if event_fn is not None and len(t) != 2:
        raise ValueError(f"with event_fn t must hold the start and one time in the direction to go, got {len(t)} times")
    if len(t) > 1:
        checks.times(t.detach().tolist())
    return t.to(layout.device)


def _on_grid(call: Call, flat: Tensor, method: str, options: Any, backward: Backward | None) -> Tensor:
    """The outputs (T, D) of a fixed-grid method, with gradient."""
    layout, slope, t = call.layout, call.slope, call.t
    sign = 1.0 if t[-1] > t[0] else -1.0

    def grid_of(name: str, method: str, value: Any, state: Any, suffix: str = "") -> fixed.Grid:
        told = Told.of(call.func, ("callback_step",), method, suffix).hook("callback_step", state)
        return drop_in_options.grid(method, value, layout, call.func, call.y0, told, name)

    grid = grid_of("options", method, options, layout.state)

    def forward(y: Tensor, times: Tensor) -> Tensor:
        if call.crossing is not None:
            return fixed.until(grid, slope, y, times[0], sign, call.crossing)
        return fixed.integrate(grid, slope, y, times)

    if backward is None:
        return forward(flat, t)
    chosen = drop_in_options.method_of(backward.method)
    if not isinstance(chosen, str):
        raise ValueError(f"adjoint_method {chosen.name!r} chooses its steps, which needs a method that does so too")
    back = grid_of("adjoint_options", chosen, backward.options, _pair(layout), "_adjoint")

    def outputs(y: Tensor) -> tuple[Tensor, Tensor]:
        found = forward(y, t.detach())
        if call.crossing is None:
            return found, t.detach()
        return found, torch.stack([t[0].detach(), t.new_tensor(call.crossing.t)])

    task = fixed_adjoint.Backwards(outputs, slope, back)
    return fixed_adjoint.solve(task, start_at(t[0], flat, slope), tuple(backward.params or ()))


def _pair(layout: Layout) -> Callable[[Tensor], Any]:
    """State and cotangent from a vector that begins with both."""
    width = layout.width
    return lambda z: (layout.state(z[:width]), layout.state(z[width : 2 * width]))


def odeint_event(func: Any, y0: Any, t0: Any, event_fn: Any, reverse_time: Any, interface: Any, given: Any) -> Any:
    """The event's time and the states at t0 and at the event, both with their whole gradient.

    interface: what solves up to the event, as `odeint`; given: keywords for it.
    """
    reverse_time = core_options.flag("reverse_time", reverse_time)
    if not isinstance(t0, Tensor) or t0.numel() != 1:
        raise core_options.refuse("t0", "a tensor of one time", t0)
    start = t0.reshape(1)
    t = torch.cat([start, start.detach() + (-1.0 if reverse_time else 1.0)])
    event_t, states = interface(func, y0, t, event_fn=event_fn, **given)
    layout = Layout(y0)
    rows = _rows(layout, states)
    crossing = crossing_of(event_fn, layout, start[0], layout.flat(y0))
    if crossing.start:
        return event_t, states
    slope = layout.field(func)
    crossing.t = float(event_t.detach())
    event_t = crossing.timed(t, rows[1], slope)
    y = torch.stack([rows[0], state_at(event_t, rows[1], slope)])
    return event_t, layout.state(y)


def _rows(layout: Layout, states: Any) -> list[Tensor]:
    """The vectors (D,) of the two states in `states`, whose parts are (2, *shape)."""
    parts = tree.tree_leaves(states)
    return [torch.cat([part[i].reshape(-1) for part in parts]) for i in (0, 1)]
