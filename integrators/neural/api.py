"""`odeint`: a differentiable explicit solver of initial-value problems in torch, with any controller.

This file checks the arguments.  `solving` chooses the way to the solution and its gradient, and `answer` makes the
answer.  The gradient of adjoint="discrete" is that of the numerical solution on its grid, step sizes being constants.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch

from ..core import options, tolerance_scale
from ..engine import trained_method
from ..methods.tableaus import ExplicitTableau
from ..methods.tableaus import get as get_tableau
from . import autocast, checks, fixed, held, on_grid, shaping
from .adjoint import CONTINUOUS
from .answer import solution_of
from .checks import ADJOINTS
from .field import check_callable
from .forms import form_of
from .graphs import transforming
from .resolution import each_floored, floored, warn_of_half
from .shaping import Shaping
from .solution import NeuralSolution
from .solving import Problem, solve
from .transforms import through

Tensor = torch.Tensor
__all__ = ["ADJOINTS", "odeint"]


@options.named
def odeint(
    func: Callable[[Tensor, Any], Any],
    y0: Any,
    t: Any,
    method: str | ExplicitTableau = "tsit5",
    controller: object = "pi34",
    rtol: Any = 1e-6,
    atol: Any = 1e-9,
    adjoint: str = "discrete",
    *,
    per_sample: bool | None = None,
    first_step: Any = None,
    max_steps: int = 10_000,
    checkpoint_every: int | None = None,
    checkpoint: str | None = None,
    checkpoint_mb: float | None = None,
    heuristics: bool | str = True,
    compact: bool = False,
    even_steps: bool = False,
    adjoint_params: Iterable[Tensor] | None = None,
    adjoint_rtol: float | None = None,
    adjoint_atol: float | None = None,
    norm: Callable[[Any], Any] | None = None,
    min_step: float | None = None,
    max_step: float | None = None,
    step_t: Any = None,
    jump_t: Any = None,
    event_fn: Callable[[Tensor, Any], Tensor] | None = None,
    step_size: float | None = None,
    resolve: Callable[[str], object] | None = None,
) -> NeuralSolution:
    """Solve y' = func(t, y) from y0 through the times t.

    Parameters
        func        func(t, y) -> dy/dt of y's form, shapes, dtype and device, which must leave t and y as they are.  t
                    is 0-d with one step size for all, else (B, 1, ..., 1) with as many axes as y, or its part with most
                    of them.  With steps per sample a row's slope must depend on that row alone.  t has y's dtype, but
                    float64 where y is float32 and cannot resolve the steps (`clock`).
        y0          (B, *features), a batch; or (D,), one system, for which func gets y of shape (D,).  Or a 0-d tensor,
                    or a tuple, list or dict of tensors, nested if need be: one system, and with per_sample=True a
                    batch, every part of which has B first.  float32 or float64, all parts alike.
        t           (T,), T >= 2, strictly increasing or decreasing; t[0] belongs to y0.  Or (T, B), the times of every
                    sample, which may run in different directions; steps are then per sample.  A t that requires a
                    gradient gets that of the exact solution (`time_rows`), first derivatives only.  Outputs between
                    steps come from dense output.
        method      an explicit Runge-Kutta pair: "bs32" ("bosh3"), "dopri5", "tsit5", "dop853", "bs54", "vern6",
                    "vern7", "vern8", "vern9", "fehlberg45", "adaptive_heun" ("heun_euler"), "fehlberg2", "dopri8", or
                    an ExplicitTableau; or on a grid "euler", "midpoint", "heun2", "heun3", "rk4" (`fixed`), for which
                    all options are refused but step_size, per_sample, adjoint ("discrete", "backsolve", "none") and
                    adjoint_params.
        controller  an object of the controller contract, or a name if `resolve` is given.
        rtol, atol  error allowed a step and component: atol + rtol max(|y_n|, |y_{n+1}|), in the rms over a sample (or
                    over the batch), or over its worst part where y0 has several.  Numbers, or tensors that broadcast to
                    a sample (to the whole state, with one step size), or one of these for each part of y0; with steps
                    per sample a tensor of y0's dimensions, such as (B, 1, ..., 1), has each sample's own; rtol at most
                    1, not both zero.  A controller with a `tolerance_scale` works at that many times these tolerances,
                    those of a backward solve included.
        adjoint     "discrete": gradients through the accepted steps.  "backsolve", "interpolating": gradients by
                    solving the adjoint equation backwards (see `adjoint`); first derivatives only, and heuristics have
                    none.  "none": no gradient and no replay; so too under torch.no_grad().
        per_sample  True: every sample has its own steps and its own status.  False: one step size and one error norm
                    for the whole state.  None: True for a tensor with a batch axis, else False.
        first_step  size of the first attempt, positive; it is cut to the span where it is longer, and refused beyond
                    100 spans.  With steps per sample it may be (B,), one a sample, such as `stats.first_step`, and each
                    counts against its sample's span; a number counts against the longest.  None: Hairer's automatic
                    choice, which takes one more evaluation.  "bold": four times that, which saves the small steps at
                    the start and is seldom rejected on the fields of neural differential equations.
        max_steps   attempts that a sample may make.
        checkpoint_every
                    None, or n: keep every n-th state only and evaluate steps again in the backward pass.
        checkpoint  None, or "auto": choose checkpoints so that the gradient's memory stays within `checkpoint_mb`; none
                    where the whole graph fits (`scheme`).
        checkpoint_mb
                    budget of checkpoint="auto", in MB of 10^6 bytes, positive; None: 1000.
        heuristics  True: fill `.heuristics`, E and S with gradient where the solve has one.  "E", "S": that one with
                    gradient, and the other's numbers.  "values": numbers alone, which cost next to nothing.  False:
                    `.heuristics` is None.
        compact     with steps per sample only: take samples out of the batch once they are done.  func must then accept
                    any number of rows, in an order of the solver's choosing.
        even_steps  take the largest of equal steps that end at t[-1] and are no longer than the controller asks for, in
                    the place of that size and a short last step (in a continuous adjoint's backward solve: between
                    every two output times).  For solves of a few steps on smooth fields; see docs/neural.md.
        adjoint_params
                    continuous adjoints only: the tensors to differentiate in.  None: the parameters of func, which must
                    then be a torch.nn.Module.  What func closes over besides gets no gradient.
        adjoint_rtol, adjoint_atol
                    tolerances of the backward solve, numbers; None: rtol, atol, their least where they are tensors.
                    The adjoint counts in units of its own size.
        norm        with one step size only: norm(y) -> 0-d, the error norm of the state, which gets errors over their
                    tolerances in y's form.  It must be differentiable where E is to have a gradient.  None: the rms.
        min_step, max_step
                    least and largest size of an attempt, backward solves included; one of min_step is accepted whatever
                    its error, if it is finite.
        step_t, jump_t
                    times at which steps end, a tensor or list; at those of jump_t the field jumps besides: func is
                    asked just before and just after them, never at them.  Times outside of the span mean nothing.
        event_fn    event_fn(t, y) -> (B,) or (B, n) with steps per sample, else a tensor of any shape; t, y as func's.
                    Where one of its numbers changes its sign the sample (the solve) ends, its outputs behind that are
                    NaN, and `event_t`, `event_y` have the event.  See `events`.
        step_size   methods on a grid only: size of the steps, the last of which is what is left; outputs within a step
                    are read off a cubic Hermite interpolant.  None: the steps are those between the times t.
        resolve     turns a controller's name into an object; `stepsmith.neural.odeint` fills it in.

    Under torch.autocast func runs in half precision, and all else in y0's dtype (`autocast`).  torch.func's grad, vjp
    and jacrev go through a solve, and its vmap and jvp do not (`transforms`).

    Returns a NeuralSolution, y of shape (T, *y0.shape).  A sample whose slope turns NaN or infinite, whose step size
    underflows, or which runs out of max_steps, gets a negative status and NaN outputs from there on; the others are not
    touched.

    Raises ValueError for arguments that do not fit, for a func that modifies t or y or writes over what it has
    returned, and, with steps per sample, for one whose rows depend on each other (this is looked for in the first solve
    of a func, see `rows`; `stats.nfev_check` counts those calls); TypeError for a controller that is not one; and
    RuntimeError for what torch.func cannot do, and in the backward pass of a continuous adjoint where the backward
    solve fails.  Warns (UserWarning) where rtol is below what y0's dtype resolves, at which it is worked then
    (`resolution`), or below an eighth of an ulp of func's under autocast, whose round-off sets the step size; and where
    func draws random numbers in every call.
    """
    given, began = locals(), time.perf_counter()
    if transforming():
        return through(
            lambda y0, t, own: odeint(**{**given, "y0": y0, "t": t, "adjoint_params": own}),
            (func, event_fn, norm), y0, t, adjoint_params,
        )  # fmt: skip
    if not callable(func):
        check_callable(func)
    form = form_of(y0, per_sample)
    if isinstance(method, str) and method in fixed.RULES:
        on_grid.refuse_unused(method, {name: given[name] for name in DEFAULTS}, DEFAULTS)
        return on_grid.solve(func, form, t, method, given, began)
    refuse_step_size(step_size)
    times = checks.times(t, len(form.y0) if form.per_sample else None)
    tableau = get_tableau(method, fixed.RULES)
    controller = checks.controller(controller, resolve, tableau, "odeint")
    trained_method.warn_once(controller, tableau.name)
    scale = tolerance_scale.of(controller)
    rtol, atol, each, least = shaping.tolerances(form, rtol, atol, scale)
    if least is not None and adjoint in CONTINUOUS:
        adjoint_rtol, adjoint_atol = (
            low if own is None else own for own, low in zip((adjoint_rtol, adjoint_atol), least, strict=True)
        )
        if least == (0.0, 0.0) and adjoint_rtol == adjoint_atol == 0.0:
            raise ValueError(
                "adjoint_rtol and adjoint_atol are by default the least of rtol and of atol, which are both zero here: "
                "pass one of them"
            )
    sizes = shaping.first_sizes(form, first_step, times)
    asked = checks.solver_options(
        tableau,
        form.per_sample,
        float(abs(times[-1] - times[0]).max()),
        rtol=rtol,
        atol=atol,
        adjoint=adjoint,
        adjoint_params=adjoint_params,
        adjoint_rtol=adjoint_rtol,
        adjoint_atol=adjoint_atol,
        first_step=first_step if sizes is None else None,
        max_steps=max_steps,
        checkpoint_every=checkpoint_every,
        checkpoint=checkpoint,
        checkpoint_mb=checkpoint_mb,
        heuristics=heuristics,
        compact=compact,
        even_steps=even_steps,
    )
    asked = floored(asked.scaled(scale), form.y0.dtype, tableau.order, scale)
    warn_of_half(asked.rtol, form.y0.device, scale)
    if sizes is not None:
        asked = replace(asked, first_step=sizes)
    shape = Shaping(norm, min_step, max_step, step_t, jump_t, event_fn)
    shape.check_event()
    hooks, back = shape.hooks(form, each_floored(each, form.y0.dtype, tableau.order, scale))
    device = form.y0.device
    moved = t.to(device) if isinstance(t, Tensor) and t.requires_grad else None
    # steps per sample are taken again where their gradient is not finite, and for second derivatives
    again = asked.repeats or moved is not None or event_fn is not None or form.per_sample
    with (
        held.of_solve(again, func, event_fn) as (own, event),
        autocast.of_solve(own, device, form.y0.dtype) as asked_func,
    ):
        problem = Problem(
            form.func(asked_func),
            form.y0,
            times,
            tableau,
            controller,
            form.per_sample,
            asked,
            hooks,
            back,
            func,
            shape.stops(),
            replace(shape, event_fn=event).event(form),
            moved,
        )
        return solution_of(solve(problem), t, time.perf_counter() - began, form.back)


def refuse_step_size(step_size: Any) -> None:
    """ValueError for a step size, which methods that choose their steps do not take."""
    if step_size is not None:
        raise ValueError(f"step_size belongs to the methods on a grid, {', '.join(fixed.RULES)}: here pass first_step")


#: defaults of what `odeint` takes besides func, y0, t and method
DEFAULTS = {
    name: argument.default
    for name, argument in inspect.signature(odeint).parameters.items()
    if name not in ("func", "y0", "t", "method")
}
