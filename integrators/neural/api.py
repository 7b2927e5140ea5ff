"""`odeint`: a differentiable explicit solver for batches of initial-value problems in torch, with any controller.

This file checks the arguments.  `solving` chooses the way to the solution and its gradient, and `answer` makes the
answer.  The gradient of adjoint="discrete" is that of the numerical solution on its grid, step sizes being constants.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable

import torch

from ..core import options, tolerance_scale
from ..core.errors import outside
from ..engine import trained_method
from ..methods.tableaus import ExplicitTableau
from ..methods.tableaus import get as get_tableau
from . import checks
from .answer import solution_of
from .checks import ADJOINTS
from .field import check_callable
from .solution import NeuralSolution
from .solving import Problem, solve

Tensor = torch.Tensor
__all__ = ["ADJOINTS", "odeint"]


@options.named
def odeint(
    func: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    t: Tensor,
    method: str | ExplicitTableau = "tsit5",
    controller: object = "pi34",
    rtol: float = 1e-6,
    atol: float = 1e-9,
    adjoint: str = "discrete",
    *,
    per_sample: bool | None = None,
    first_step: float | None = None,
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
    resolve: Callable[[str], object] | None = None,
) -> NeuralSolution:
    """Solve y' = func(t, y) from y0 through the times t.

    Parameters
        func        func(t, y) -> dy/dt of y's shape, dtype and device, which must leave t and y as they are.  t is 0-d
                    with one step size for all, else (B, 1, ..., 1) with y's number of axes.  With steps per sample a
                    row's slope must depend on that row alone.  t has y's dtype, but float64 where y is float32 and
                    cannot resolve the steps (`clock`).
        y0          (B, *features), a batch; or (D,), one system, for which func gets y of shape (D,).  float32 or
                    float64.
        t           (T,), T >= 2, strictly increasing or decreasing; t[0] belongs to y0.  Outputs between steps come
                    from dense output.
        method      an explicit Runge-Kutta pair: "bs32" ("bosh3"), "dopri5", "tsit5", "dop853", "adaptive_heun",
                    "fehlberg2", "dopri8", or an ExplicitTableau.
        controller  an object of the controller contract, or a name if `resolve` is given.
        rtol, atol  error allowed a step and component: atol + rtol max(|y_n|, |y_{n+1}|), in the rms over a sample (or
                    over the batch).  Numbers, rtol at most 1, not both zero.  A controller with a `tolerance_scale`
                    works at that many times these tolerances, those of a backward solve included.
        adjoint     "discrete": gradients through the accepted steps.  "backsolve", "interpolating": gradients by
                    solving the adjoint equation backwards (see `adjoint`); first derivatives only, and heuristics have
                    none.  "none": no gradient and no replay; so too under torch.no_grad().
        per_sample  True: every sample has its own steps and its own status.  False: one step size and one error norm
                    for the whole batch.  None: True for a batch, False for one system.
        first_step  size of the first attempt, positive; it is cut to the span where it is longer, and refused beyond
                    100 spans.  None: Hairer's automatic choice, which takes one more evaluation.
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
                    tolerances of the backward solve; None: rtol, atol.  The adjoint counts in units of its own size.
        resolve     turns a controller's name into an object; `stepsmith.neural.odeint` fills it in.

    Returns a NeuralSolution, y of shape (T, *y0.shape).  A sample whose slope turns NaN or infinite, whose step size
    underflows, or which runs out of max_steps, gets a negative status and NaN outputs from there on; the others are not
    touched.

    Raises ValueError for arguments that do not fit, for a func that modifies t or y or writes over what it has
    returned, and, with steps per sample, for one whose rows depend on each other (this is looked for in the first solve
    of a func, see `rows`; `stats.nfev_check` counts those calls); TypeError for a controller that is not one; and in
    the backward pass of a continuous adjoint RuntimeError where the backward solve fails.  Warns (UserWarning) where
    rtol is below eight ulp of y0's dtype, for there round-off, not the method's error, sets the step size; and where
    func draws random numbers in every call.
    """
    began = time.perf_counter()
    if not callable(func):
        check_callable(func)
    times = checks.times(t)
    checks.state(y0)
    per_sample = bool(checks.per_sample(per_sample, y0))
    tableau = get_tableau(method)
    asked = checks.solver_options(
        tableau,
        per_sample,
        abs(float(times[-1] - times[0])),
        rtol=rtol,
        atol=atol,
        adjoint=adjoint,
        adjoint_params=adjoint_params,
        adjoint_rtol=adjoint_rtol,
        adjoint_atol=adjoint_atol,
        first_step=first_step,
        max_steps=max_steps,
        checkpoint_every=checkpoint_every,
        checkpoint=checkpoint,
        checkpoint_mb=checkpoint_mb,
        heuristics=heuristics,
        compact=compact,
        even_steps=even_steps,
    )
    controller = checks.controller(controller, resolve, tableau, "odeint")
    trained_method.warn_once(controller, tableau.name)
    scale = tolerance_scale.of(controller)
    asked = asked.scaled(scale)
    _warn_of_resolution(asked.rtol, y0.dtype, scale)
    solved = solve(Problem(func, y0, times, tableau, controller, per_sample, asked))
    return solution_of(solved, t, time.perf_counter() - began)


def _warn_of_resolution(rtol: float, dtype: torch.dtype, scale: float) -> None:
    """UserWarning where rtol, already multiplied by the controller's scale, is below eight ulp."""
    eps = torch.finfo(dtype).eps
    if rtol < 8 * eps:
        warnings.warn(
            f"rtol = {rtol:g}{tolerance_scale.said(scale)} is near the resolution of {dtype} (eps = {eps:.2g}): "
            "round-off will set the step size; use float64 or a larger rtol",
            stacklevel=outside(),
        )
