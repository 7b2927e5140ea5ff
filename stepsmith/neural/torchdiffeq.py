"""torchdiffeq's three functions on this package's solver: change one import of a script.

    from stepsmith.neural.torchdiffeq import odeint, odeint_adjoint, odeint_event

Signatures, shapes and meanings are those of torchdiffeq 0.2.5.  What cannot be done as there is refused with the
reason; `docs/neural.md` lists it.  Tolerances mean what they mean there (`tolerance`), and steps are taken by
torchdiffeq's law with a bold first one and, where the solve has neither an event nor stops, even ones.
`options={"controller": ...}` takes any law or trained controller as it stands; "torchdiffeq" takes torchdiffeq's own
steps, up to the weights of the method's error estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from .. import controller as _controller
from ..integrators.neural import drop_in as _drop_in
from ..integrators.neural.failures import SolveFailed
from ..integrators.neural.graphs import outside_graphs as _outside_graphs
from .tolerance import known as _known

__all__ = ["SolveFailed", "odeint", "odeint_adjoint", "odeint_event"]

_Func = Callable[[torch.Tensor, Any], Any]


def _resolve(value: Any, method: str, eased: bool | None) -> Any:
    if value is not None:
        return _controller(value, None, method)
    law = _controller("torchdiffeq")
    factor = _known(law, method, eased)
    return law if factor is None else law.replace(tolerance_scale=factor)


@_outside_graphs
def odeint(
    func: _Func,
    y0: Any,
    t: torch.Tensor,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: Any = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[[torch.Tensor, Any], torch.Tensor] | None = None,
) -> Any:
    """Solve y' = func(t, y) from y0 at t[0] through the times t, differentiably, with one step size for the state.

    Parameters
        func        func(t, y) -> dy/dt in y's form, t being 0-d in y's dtype (float64 where float32 cannot resolve the
                    steps).  It must leave t and y as they are.  Methods `callback_step`, `callback_accept_step` and
                    `callback_reject_step` of it are called with (t0, y, dt) before and after every attempt.
        y0          a tensor of any shape, 0-d too, or a tuple, list or dict of such tensors, nested if need be; float32
                    or float64, all of one dtype.
        t           (T,) float32 or float64, strictly increasing or decreasing; one time gives y0 back.
        rtol, atol  error allowed a step: atol + rtol max(|y_n|, |y_{n+1}|) in the root mean square over the state, or
                    over its worst part where it has several.  Numbers; or tensors that broadcast to the state, or one
                    of these for each part.
        method      adaptive: "dopri5" (None), "dopri8", "bosh3", "fehlberg2", "adaptive_heun", "tsit5" and every
                    explicit pair of this package, or an ExplicitTableau; on a grid: "euler", "midpoint", "heun2",
                    "heun3", "rk4", implicit ones "implicit_euler", "implicit_midpoint", "trapezoid", "gl4", "gl6",
                    "radauIIA3", "radauIIA5", "sdirk2", "trbdf2", multistep ones "explicit_adams", "implicit_adams"
                    ("fixed_adams"); outside torch and without gradient: "scipy_solver".
        options     adaptive methods: first_step, max_num_steps (attempts between two outputs), min_step, max_step,
                    step_t, jump_t, norm (a function of the state), and of this package's controller (a name, the path
                    of a file, or an object) and even_steps.  Methods on a grid: step_size, grid_constructor, interp
                    ("linear", "cubic"), perturb; implicit ones max_iters (Newton's iterations); Adams's max_order,
                    max_iters (corrections), implicit.  SciPy: solver, max_step, min_step.
        event_fn    event_fn(t, y) -> tensor: solve until it changes its sign, in the direction from t[0] to t[1].

    Returns the states at t, each part of shape (T, *shape).  With event_fn: (event time, 0-d; the states at t[0] and at
    the event, (2, *shape)); the time has its gradient, and the state that of a solve up to a fixed time (`odeint_event`
    has both).

    Gradients are those of the numerical solution at its steps.  In the times of an adaptive solve they are those of the
    exact solution for t[0] and of dense output for the others, and there are no second ones.  On a grid they are those
    of the numerical solution in all times, t[0] too; with an event it is read off between two grid points, along a
    straight line unless interp is "cubic", and the gradient in t[0] has that line's error.

    Raises ValueError (an OptionError for options) for what does not fit and for what is refused,
    SolveFailed (an AssertionError, as torchdiffeq's) where the solve does not reach its end or an implicit method's
    stages are not found, and RuntimeError where there is no event.
    """
    return _drop_in.odeint(func, y0, t, rtol, atol, method, options, event_fn, _resolve)


@_outside_graphs
def odeint_adjoint(
    func: _Func,
    y0: Any,
    t: torch.Tensor,
    *,
    rtol: float = 1e-7,
    atol: float = 1e-9,
    method: Any = None,
    options: Mapping[str, Any] | None = None,
    event_fn: Callable[[torch.Tensor, Any], torch.Tensor] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    adjoint_method: Any = None,
    adjoint_options: Mapping[str, Any] | None = None,
    adjoint_params: Iterable[torch.Tensor] | None = None,
) -> Any:
    """As `odeint`, with the gradient by a second solve backwards in time, whose memory does not grow with the steps.

    Parameters
        adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options
                    of the backward solve; None: those of the forward one.  The methods may be of different kinds.  A
                    norm in adjoint_options is None or "seminorm": the parameters' integral has no say in the step
                    sizes; or a function of (t, y, adj_y, *adj_params), t being zero, and the parts of a tuple one by
                    one.  Methods `callback_step_adjoint` and so on of func are called with (t0, (y, cotangent), dt).
        adjoint_params
                    the tensors to differentiate in; None: the parameters of func, which must then be a
                    torch.nn.Module.  Those that func does not use get a gradient of zero.

    Returns and raises as `odeint`; the backward pass raises RuntimeError where the backward solve fails, and for second
    derivatives, which there are none of.
    """
    backward = _drop_in.Backward(adjoint_rtol, adjoint_atol, adjoint_method, adjoint_options, params=adjoint_params)
    return _drop_in.odeint(func, y0, t, rtol, atol, method, options, event_fn, _resolve, backward)


@_outside_graphs
def odeint_event(
    func: _Func,
    y0: Any,
    t0: torch.Tensor,
    *,
    event_fn: Callable[[torch.Tensor, Any], torch.Tensor],
    reverse_time: bool = False,
    odeint_interface: Callable[..., Any] = odeint,
    **kwargs: Any,
) -> tuple[torch.Tensor, Any]:
    """Solve from y0 at t0 until event_fn(t, y) changes its sign, and differentiate through the event's time.

    Parameters
        t0          a tensor of one time.
        event_fn    event_fn(t, y) -> tensor.  Of several numbers the first to change its sign is the event.
        reverse_time
                    go backwards in time.
        odeint_interface, kwargs
                    `odeint` or `odeint_adjoint`, and what it is given besides.

    Returns the event's time, 0-d in t0's dtype, and the states at t0 and at the event, each part (2, *shape).  Both
    have their gradient in y0, t0, func's parameters and what event_fn uses; second derivatives of the time are refused.
    Raises as `odeint` does.
    """
    return _drop_in.odeint_event(func, y0, t0, event_fn, reverse_time, odeint_interface, kwargs)
