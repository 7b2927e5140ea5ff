"""A checked call of torchdiffeq's, solved from its start through its times by the method it names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from ..methods.explicit.tableau import ExplicitTableau
from . import drop_in_adaptive, drop_in_grid, drop_in_options, fixed
from .adams import Adams
from .drop_in_methods import SCIPY
from .drop_in_options import CALLBACKS, Adaptive, Resolve, Told
from .events import LaneEvents
from .graphs import refuse_transforms
from .implicit import Implicit
from .pytree import Layout
from .stops import Stops, stop_times
from .time_gradient import start_at

Tensor = torch.Tensor


@dataclass(frozen=True)
class Call:
    """A checked call: the user's func, y0 and times t (T,) on y0's device, the state's layout, the event, the method (a
    tableau, or a name of one that is none), tolerances and options, what makes a controller of a name, and func as it
    is called, with its parameters as they are in this call."""

    func: Any
    y0: Any
    t: Tensor
    layout: Layout
    event: LaneEvents | None
    method: ExplicitTableau | str
    rtol: Any
    atol: Any
    options: Any
    resolve: Resolve
    called: Callable[[Tensor, Any], Any]

    @property
    def slope(self) -> Callable[[Tensor, Tensor], Tensor]:
        """func over vectors."""
        return self.layout.field(self.called)

    def slope_in_time(self, at_end: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """func over vectors at a time of any dtype at which the solve ends, or begins: where the field jumps there, a
        little inside the solve."""
        slope, sign = self.slope, 1.0 if self.t[-1] > self.t[0] else -1.0
        jumps = None if isinstance(self.method, str) else (self.options or {}).get("jump_t")
        stops = Stops.of((), stop_times("jump_t", jumps))

        def inside(t: Tensor, y: Tensor) -> Tensor:
            return slope(t.to(y.dtype) if stops is None else stops.moved(t[None], y.dtype, sign, at_end)[0], y)

        return inside

    @property
    def name(self) -> str:
        """The method's name."""
        return self.method if isinstance(self.method, str) else self.method.name

    @property
    def span(self) -> float | None:
        """Length of the span, where it is known."""
        return None if self.event is not None else abs(float(self.t[-1].detach() - self.t[0].detach()))


def solve(call: Call, y0: Tensor) -> Tensor:
    """The outputs (T, D) from the vector y0, with gradient but for SciPy's solvers."""
    if isinstance(call.method, ExplicitTableau):
        asked = checked(call)
        return adaptive(call, start_at(call.t[0], y0, call.slope_in_time(at_end=False)), asked)
    if call.method == SCIPY:
        _warn_of_no_gradient(call, y0)
        return scipy(call)(y0)
    return grid(call)(y0, call.t)


def checked(call: Call) -> Adaptive:
    """The options of an adaptive method."""
    assert isinstance(call.method, ExplicitTableau)
    return drop_in_options.adaptive(call.method, call.options, call.span, call.resolve)


def adaptive(call: Call, start: Tensor, asked: Adaptive, **back: Any) -> Tensor:
    """The outputs of an adaptive method; back: as `drop_in_adaptive.solve` takes it."""
    refuse_transforms(asked.tableau.name, "which chooses its steps by numbers")
    told = Told.of(call.func, CALLBACKS, asked.tableau.name)
    return drop_in_adaptive.solve(call, start, asked, told, **back)


def grid(call: Call) -> Callable[[Tensor, Tensor], Tensor]:
    """What gives the outputs of a method on a grid from y0 and the times."""
    name, t = call.name, call.t.detach()
    tolerances = drop_in_grid.exact_tolerances(call.rtol, call.atol, call.layout)
    told = Told.of(call.func, ("callback_step",), name).hook("callback_step", call.layout.state)
    asked = drop_in_grid.grid(name, call.options, call.func, call.y0, tolerances, told)
    sign = 1.0 if t[-1] > t[0] else -1.0
    if isinstance(asked.method, Implicit) or (isinstance(asked.method, Adams) and asked.method.implicit):
        refuse_transforms(name, "whose iterations end by numbers")

    def outputs(y0: Tensor, times: Tensor) -> Tensor:
        if call.event is not None:
            return fixed.until(asked, call.slope, y0, times[0], sign, call.event)
        return fixed.integrate(asked, call.slope, y0, times)

    return outputs


def scipy(call: Call) -> Callable[[Tensor], Tensor]:
    """What gives the outputs of SciPy's solver from y0, without gradient."""
    if call.event is not None:
        raise ValueError(f"method {SCIPY!r} does not go with event_fn: use \"dopri5\", or another method")
    refuse_transforms(SCIPY, "which solves outside torch")
    Told.of(call.func, (), SCIPY)
    asked = drop_in_grid.scipy(call.options, drop_in_grid.exact_tolerances(call.rtol, call.atol, call.layout))
    return lambda y0: asked.integrate(call.slope, y0, call.t)


def _warn_of_no_gradient(call: Call, y0: Tensor) -> None:
    """UserWarning where a gradient looks wanted."""
    params = call.func.parameters() if isinstance(call.func, torch.nn.Module) else ()
    if torch.is_grad_enabled() and any(x.requires_grad for x in (y0, call.t, *params)):
        fixed.warn(
            f"method {SCIPY!r} solves outside torch, and its outputs have no gradient here: odeint_adjoint gives them "
            "one, fastest with adjoint_method=\"dopri5\"; or call under torch.no_grad()"
        )
