"""torchdiffeq's continuous adjoint: a forward solve by one method, and one backwards by the same or another.

Two adaptive methods are one solve with the adjoint called "backsolve" (`adjoint`): state and cotangent decide the
steps, and the parameters' integral is a quadrature along them.  Where either is no adaptive method, or where a norm of
one's own asks for the integral too, the three are solved for as one vector (`augmented`), interval by interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.utils import _pytree as tree

from ..core import tolerance_scale
from ..methods.explicit.tableau import ExplicitTableau
from . import adjoint, augmented, drop_in_adaptive, drop_in_forward, drop_in_grid, drop_in_options, fixed
from .adams import Adams
from .augmented import Augmented
from .drop_in_forward import Call
from .drop_in_methods import GRID, SCIPY, method_of
from .drop_in_options import CALLBACKS, Adaptive, Told
from .pytree import Layout, mixed_norm
from .time_gradient import start_at

Tensor = torch.Tensor
NAME = "adjoint_options"


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


def solve(call: Call, y0: Tensor, backward: Backward) -> Tensor:
    """The outputs (T, D) from the vector y0, with the continuous adjoint's gradient; times are constants but for the
    start."""
    method, asked = method_of(backward.method), None
    if isinstance(call.method, ExplicitTableau):
        asked = drop_in_forward.checked(call)
    start = start_at(call.t[0], y0, call.slope_in_time(at_end=False))
    back = None
    if isinstance(method, ExplicitTableau):
        back = _checked(call, method, backward)
        if asked is not None and back.norm is None:
            if back.step_t or back.jump_t:
                raise ValueError("step_t and jump_t belong to options: the backward solve stops where the forward one "
                                 "does")
            return drop_in_forward.adaptive(call, start, asked, **_together(call, asked, back, backward))
        if asked is not None:
            back = replace(back, step_t=back.step_t or asked.step_t, jump_t=back.jump_t or asked.jump_t)
    outputs, interval = _outputs(call, asked), _interval(call, method, back, backward)
    watched = None
    if asked is not None and back is not None:
        # the looser of both solves'
        rtol, atol, _ = drop_in_options.tolerances(call.rtol, call.atol, call.layout, 1.0)
        own = drop_in_grid.plain_tolerances(backward.rtol, backward.atol)
        watched = max(float(rtol), own[0]), max(float(atol), own[1])
    task = augmented.Backwards(outputs, call.slope, interval, watched)
    return augmented.solve(task, start, tuple(backward.params or ()))


def _checked(call: Call, method: ExplicitTableau, backward: Backward) -> Adaptive:
    """The options of an adaptive backward solve."""
    given = backward.options
    if backward.controller is not None and isinstance(given, dict):
        given = {"controller": backward.controller, **given}
    return drop_in_options.adaptive(method, given, None, call.resolve, NAME)


def _together(call: Call, asked: Adaptive, back: Adaptive, backward: Backward) -> dict[str, Any]:
    """Options of the solver and settings of the backward solve, both adaptive, as
    `drop_in_adaptive.solve` takes them."""
    layout, method = call.layout, back.tableau
    told = Told.of(call.func, CALLBACKS, method.name, "_adjoint")
    norm = layout.twice(layout.norm(asked.norm))
    # the solver multiplies both solves' tolerances by the forward controller's scale
    ratio = tolerance_scale.of(back.controller) / tolerance_scale.of(asked.controller)
    rtol, atol = (backward.rtol, backward.atol) if ratio == 1.0 else (
        ratio * x for x in drop_in_grid.plain_tolerances(backward.rtol, backward.atol)
    )
    options = {
        "adjoint": "backsolve",
        "adjoint_params": backward.params,
        "adjoint_rtol": rtol,
        "adjoint_atol": atol,
    }
    settings = {
        "tableau": method,
        "controller": back.controller,
        "first_step": back.first_step,
        "max_steps": back.steps or drop_in_options.MOST,
        "even": back.even_steps is not False,
        "start": back.start,
        "hooks": drop_in_options.hooks_of(back, told, _pair(layout), norm),
    }
    return {"rest": options, "back": settings}


def _pair(layout: Layout) -> Callable[[Tensor], Any]:
    """State and cotangent from a vector that begins with both."""
    width = layout.width
    return lambda z: (layout.state(z[:width]), layout.state(z[width : 2 * width]))


def _outputs(call: Call, asked: Adaptive | None) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """What gives the forward solve's outputs (T, D) from y0, and their times (T,)."""
    t = call.t.detach()
    if asked is not None:
        forward: Any = lambda y0: drop_in_forward.adaptive(call, y0, asked)  # noqa: E731
    elif call.method == SCIPY:
        forward = drop_in_forward.scipy(call)
    else:
        on_grid = drop_in_forward.grid(call)
        forward = lambda y0: on_grid(y0, t)  # noqa: E731

    def outputs(y0: Tensor) -> tuple[Tensor, Tensor]:
        y = forward(y0)
        return y, t if call.event is None else torch.stack([t[0], t.new_tensor(call.event.times[0])])

    return outputs


def _interval(call: Call, method: Any, asked: Adaptive | None, backward: Backward) -> augmented.Interval:
    """What solves for (state, cotangent, integral) from one output back to the one before."""
    tolerances: tuple[Any, Any] = (None, None)
    if asked is not None or method == SCIPY or isinstance(GRID[method], Adams):
        tolerances = drop_in_grid.plain_tolerances(backward.rtol, backward.atol)
    if asked is not None:
        return _adaptive_interval(call, asked, tolerances)
    if method == SCIPY:
        Told.of(call.func, (), method, "_adjoint")
        solver = drop_in_grid.scipy(backward.options, tolerances, NAME)
        return lambda system, z, t: solver.integrate(system, z, t)[1]
    told = Told.of(call.func, ("callback_step",), method, "_adjoint").hook("callback_step", _pair(call.layout))
    grid = drop_in_grid.grid(method, backward.options, call.func, call.y0, tolerances, told, NAME)
    grid = replace(grid, method=augmented.Back(grid.method))
    return lambda system, z, t: fixed.integrate(grid, system, z, t)[1]


def _adaptive_interval(call: Call, asked: Adaptive, tolerances: tuple[float, float]) -> augmented.Interval:
    """The same by an adaptive method, under the norm of the options, or that of the state and the cotangent.

    Without a norm of one's own the cotangent is solved for in units of its largest component, as in `adjoint`.
    """
    layout, width = call.layout, call.layout.width
    told = Told.of(call.func, CALLBACKS, asked.tableau.name, "_adjoint")
    rtol, atol, solved = *tolerances, drop_in_adaptive.solve

    def interval(system: Augmented, z: Tensor, t: Tensor) -> Tensor:
        unit = z.new_ones(())
        if asked.norm is None and bool(z[width : 2 * width].any()):
            unit = z[width : 2 * width].abs().max()
        scale = torch.ones_like(z)
        scale[width:] = unit
        here = replace(asked, norm=_norm(asked.norm, layout, system))
        back = replace(call, func=system, called=system, y0=z, t=t, layout=Layout(z), event=None, rtol=rtol, atol=atol)
        return solved(back, z / scale, here, told, state=lambda z: _pair(layout)(z * scale))[1] * scale

    return interval


def _norm(own: Any, layout: Layout, system: Augmented) -> Callable[[Tensor], Tensor]:
    """The norm of the vector (state, cotangent, integral): torchdiffeq's own with the parts of a tuple (t, state,
    cotangent, parameters), whose t has no error here; else that of state and cotangent alone."""
    width = layout.width

    def of_parts(z: Tensor) -> Tensor:
        pair = (*tree.tree_leaves(layout.state(z[:width])), *tree.tree_leaves(layout.state(z[width : 2 * width])))
        params = z[2 * width :].split([p.numel() for p in system.params]) if system.params else ()
        shaped = (part.view(p.shape) for part, p in zip(params, system.params, strict=True))
        return own((z.new_zeros(()), *pair, *shaped))

    if own is not None:
        return of_parts
    norm = mixed_norm(layout.sizes * 2)
    return lambda z: norm(z[None, : 2 * width])[0]
