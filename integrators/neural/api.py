"""`odeint`: a differentiable explicit solver for batches of initial-value problems in torch, with any controller.

The solve is an adaptive pass without gradient (`adaptive`), then, for adjoint="discrete", a replay of the recorded steps with gradient
(`replay`): the gradient is that of the numerical solution on its grid, step sizes being constants.  A batch with one step size has the
same gradient from the adaptive pass itself (`direct`).  The continuous adjoints (`adjoint`) solve for it backwards in time instead.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np
import torch

from ..core import options
from ..core.runner import check
from ..engine import trained_method
from ..kernels.layout import MESSAGES, SUCCESS, message
from ..methods.tableaus import ExplicitTableau
from ..methods.tableaus import get as get_tableau
from . import checks
from .adaptive import adaptive_pass
from .adjoint import CONTINUOUS, Continuous, parameters_of, solve
from .checks import ADJOINTS
from .clock import Clock
from .direct import direct
from .field import Field, check_callable
from .replay import Replay, replay
from .rows import check_rows
from .settings import Settings
from .solution import Heuristics, NeuralSolution, NeuralStats
from .totals import Pass

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
        func        func(t, y) -> dy/dt of y's shape, dtype and device, which must leave t and y as they are.  t is 0-d with one step for
                    all, else (B, 1, ..., 1) with y's number of axes.  With per-sample steps a row's slope must depend on that row
                    alone.  t has y's dtype, but float64 where y is float32 and cannot resolve the steps (`clock`).
        y0          (B, *features), a batch; or (D,), one system, for which func gets y of shape (D,).  float32 or float64.
        t           (T,), T >= 2, strictly increasing or decreasing; t[0] belongs to y0.  Outputs between steps come from dense output.
        method      an explicit Runge-Kutta pair: "bs32", "dopri5", "tsit5", "dop853", or an ExplicitTableau.
        controller  an object of the controller contract, or a name if `resolve` is given.
        rtol, atol  error per step and component: atol + rtol max(|y_n|, |y_{n+1}|), in the rms over a sample (or over the batch); numbers,
                    rtol at most 1, not both zero.
        adjoint     "discrete": gradients through the accepted steps.  "backsolve", "interpolating": by solving the adjoint equation
                    backwards (see `adjoint`); first derivatives only, and heuristics have none.  "none": no gradient, no replay;
                    so too under torch.no_grad().
        per_sample  True: every sample has its own steps and its own status.  False: one step size, one error norm for the whole batch.
                    None: True for a batch, False for one system.
        first_step  size of the first attempt, positive, cut to the span where it is longer (beyond 100 spans: refused); None:
                    Hairer's automatic choice (one more evaluation).
        max_steps   attempts a sample may make.
        checkpoint_every   None, or n: keep every n-th state only and evaluate steps again in the backward pass.
        heuristics  True: fill `.heuristics`, E and S with gradient where the solve has one.  "E", "S": that one with gradient, the
                    other's numbers; "values": numbers alone, which cost next to nothing.  False: None.
        compact     per-sample steps only: take samples out of the batch once they are done.  func must then accept any number of rows,
                    in an order of the solver's choosing.
        even_steps  take the largest of equal steps that end at t[-1] and are no longer than the controller asks for, in the place of that
                    size and a short last step (a continuous adjoint's backward solve: between every two output times).  For solves of a
                    few steps on smooth fields; see docs/neural.md.
        adjoint_params   continuous adjoints only: the tensors to differentiate in; None: the parameters of func, which must then be
                    a torch.nn.Module.  What func closes over besides gets no gradient.
        adjoint_rtol, adjoint_atol   tolerances of the backward solve; None: rtol, atol.  The adjoint counts in units of its own size.
        resolve     turns a controller's name into an object; `stepsmith.neural.odeint` fills it in.

    Returns a NeuralSolution, y of shape (T, *y0.shape).  A sample whose slope turns NaN or infinite, whose step underflows, or which
    runs out of max_steps, gets a
    negative status and NaN outputs from there on; the others are not touched.

    Raises ValueError for arguments that do not fit, for a func that modifies t or y or writes over what it has returned, and, with
    per-sample steps, for one whose rows depend on each other (looked for in the first solve of a func, see `rows`; `stats.nfev_check`
    counts those calls); TypeError for a controller that is not one; in the backward pass of a continuous adjoint RuntimeError where the
    backward solve fails.  Warns (UserWarning) where rtol is below eight ulp of y0's dtype: there round-off, not the method's error, sets
    the step size; and where func draws random numbers in every call.
    """
    began = time.perf_counter()
    if not callable(func):
        check_callable(func)
    times = checks.times(t)
    checks.state(y0)
    per_sample = bool(checks.per_sample(per_sample, y0))
    rtol, atol = checks.tolerances(rtol, atol)
    checks.parameters(adjoint_params)
    back_rtol, back_atol = checks.adjoint(adjoint, adjoint_params, adjoint_rtol, adjoint_atol, checkpoint_every, rtol, atol)
    first_step = checks.first_step(first_step, abs(float(times[-1] - times[0])))
    checkpoint_every = options.count("checkpoint_every", checkpoint_every, none=True)
    if isinstance(controller, str):
        if resolve is None:
            raise ValueError(f"controller {controller!r} is a name: use stepsmith.neural.odeint, or pass resolve=")
        controller = resolve(controller)
    check(controller)
    tableau = get_tableau(method)
    checks.needs(controller, tableau)
    trained_method.warn_once(controller, tableau.name)
    eps = torch.finfo(y0.dtype).eps
    if rtol < 8 * eps:
        warnings.warn(
            f"rtol = {rtol:g} is near the resolution of {y0.dtype} (eps = {eps:.2g}): round-off will set the step size; "
            "use float64 or a larger rtol",
            stacklevel=2,
        )
    single = y0.dim() == 1
    batch, shape = 1 if single else y0.shape[0], tuple(y0.shape) if single else (-1, *y0.shape[1:])
    clock = Clock(y0.dtype, times[0], times[-1] - times[0])
    settings = Settings(
        tableau, controller, times, rtol, atol, first_step, options.count("max_steps", max_steps), checks.compact(compact, per_sample),
        bool(heuristics), checks.graph(heuristics, tableau), options.flag("even_steps", even_steps), clock, True,
    )  # fmt: skip
    # a copy: the caller's y0 is not for func to see; row after row whatever the strides of y0
    rows = y0.reshape(batch if per_sample else 1, -1).clone(memory_format=torch.contiguous_format)
    forward, backward = Field(func, shape, not per_sample), Field(func, shape, not per_sample)
    if per_sample and batch > 1:
        settings = replace(settings, check_start=lambda *start: check_rows(func, *start))
    differentiate = adjoint == "discrete" and torch.is_grad_enabled()
    again: Replay | None = None
    if differentiate and not per_sample and checkpoint_every is None:
        done, again = direct(forward, settings, rows)
        y = again.y
    elif adjoint in CONTINUOUS:
        problem = Continuous(adjoint, forward, backward, settings, back_rtol, back_atol, not per_sample)
        done, y = solve(problem, rows, parameters_of(func, adjoint_params))
    else:
        with torch.no_grad():
            done = adaptive_pass(forward, settings, rows.detach(), want_output=not differentiate)
        if differentiate:
            again = replay(backward, settings, done, rows, checkpoint_every)
        answer = again.y if again is not None else done.y
        assert answer is not None
        y = answer
    return NeuralSolution(
        t=torch.as_tensor(t),
        y=y.reshape(len(times), *y0.shape),
        success=bool((done.status == SUCCESS).all()),
        message=_message(done, batch if per_sample else None),
        t_last=_spread(done.t_last, batch),
        y_last=done.y_last.reshape(y0.shape).clone(),
        stats=_stats(done, batch, forward.calls, backward, adjoint, time.perf_counter() - began),
        heuristics=_heuristics(done, again, settings, rows, per_sample) if heuristics else None,
    )


def _spread(per_lane: np.ndarray, batch: int) -> np.ndarray:
    return np.broadcast_to(per_lane, (batch,)).copy()


def _stats(done: Pass, batch: int, nfev: int, backward: Field, adjoint: str, wall_s: float) -> NeuralStats:
    return NeuralStats(
        nfev=nfev,
        nfev_check=done.checks,
        naccept=int(done.naccept.sum()),
        nreject=int(done.nreject.sum()),
        nfallback=int(done.nfallback.sum()),
        status=_spread(done.status, batch),
        nfev_per_sample=_spread(done.nfev, batch),
        naccept_per_sample=_spread(done.naccept, batch),
        nreject_per_sample=_spread(done.nreject, batch),
        nfallback_per_sample=_spread(done.nfallback, batch),
        naccept_over=int(_over(done).sum()),
        naccept_over_per_sample=_spread(_over(done), batch),
        wall_s=wall_s,
        first_step=_spread(done.h_first, batch),
        _gradient_calls=backward.count,
        _continuous=adjoint in CONTINUOUS,
    )


def _heuristics(done: Pass, again: Replay | None, set_: Settings, rows: Tensor, per_sample: bool) -> Heuristics:
    grid = done.grid

    def tensor(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device=rows.device, dtype=rows.dtype)

    def lanes(x: Tensor) -> Tensor:
        return x if per_sample else x[:, 0]

    size = np.abs(grid.h)
    err, stiff = (None, None) if again is None else (again.err, again.stiff)
    if err is None:
        err = tensor(grid.err)
    if stiff is None and set_.tableau.stiffness is not None and grid.hs is not None:
        stiff = tensor(grid.hs / np.where(size > 0, size, 1.0))
    start = torch.from_numpy(grid.t.copy()).to(rows.device)
    return Heuristics(
        lanes(start), lanes(tensor(size)), lanes(err), None if stiff is None else lanes(stiff), set_.tableau.name, set_.tableau
    )


def _over(done: Pass) -> np.ndarray:
    """Accepted steps of each lane whose scaled error exceeded 1, (lanes,)."""
    return np.count_nonzero(done.grid.err > 1.0, axis=0)


def _message(done: Pass, batch: int | None) -> str:
    failed = done.status[done.status != SUCCESS]
    if len(failed) == 0:
        return message(SUCCESS, int(_over(done).sum()))
    first = MESSAGES[int(failed[0])]
    return first if batch is None else f"{len(failed)} of {batch} samples failed; the first: {first}"
