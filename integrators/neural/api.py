"""`odeint`: a differentiable explicit solver for batches of initial-value problems in torch, with any controller.

The solve is an adaptive pass without gradient (`adaptive`), then, for adjoint="discrete", a replay of the recorded steps with gradient
(`replay`): the gradient is that of the numerical solution on its grid, step sizes being constants.  A batch with one step size has the
same gradient from the adaptive pass itself (`direct`).  The continuous adjoints (`adjoint`) solve for it backwards in time instead.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable

import numpy as np
import torch

from .. import record as rec
from .. import trained_method
from ..kernels.layout import MESSAGES, SUCCESS, message
from ..names import unknown
from ..tableaus import ExplicitTableau
from ..tableaus import get as get_tableau
from .adaptive import Pass, Settings, adaptive_pass
from .adjoint import CONTINUOUS, Continuous, parameters_of, solve
from .controller import check
from .direct import direct
from .replay import Replay, replay
from .solution import Heuristics, NeuralSolution, NeuralStats
from .step import Field

Tensor = torch.Tensor
ADJOINTS = ("discrete", *CONTINUOUS, "none")
#: record slots that every explicit method fills here
FILLS = frozenset({
    rec.ERR, rec.H, rec.H_FREE, rec.ORDER, rec.CURV, rec.YNORM, rec.ENORM, rec.NF, rec.T_LEFT, rec.TRUNCATED, rec.FINITE, rec.RTOL,
})  # fmt: skip


def odeint(
    func: Callable[[Tensor, Tensor], Tensor],
    y0: Tensor,
    t: Tensor,
    method: str = "tsit5",
    controller: object = "pi34",
    rtol: float = 1e-6,
    atol: float = 1e-9,
    adjoint: str = "discrete",
    *,
    per_sample: bool = True,
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
        func        func(t, y) -> dy/dt of y's shape, dtype and device; y is (B, *features).  t is 0-d with per_sample=False, else
                    (B, 1, ..., 1) with y's number of axes.  With per-sample steps a row's slope must depend on that row alone.
        y0          (B, *features) float32 or float64.
        t           (T,), T >= 2, strictly increasing or decreasing; t[0] belongs to y0.  Outputs between steps come from dense output.
        method      an explicit tableau: "bs32", "dopri5", "tsit5", "dop853".
        controller  an object of the controller contract, or a name if `resolve` is given.
        rtol, atol  error per step and component: atol + rtol max(|y_n|, |y_{n+1}|), in the rms over a sample (or over the batch).
        adjoint     "discrete": gradients through the accepted steps.  "backsolve", "interpolating": by solving the adjoint equation
                    backwards (see `adjoint`); first derivatives only, and heuristics have none.  "none": no gradient, no replay;
                    so too under torch.no_grad().
        per_sample  True: every sample has its own steps and its own status.  False: one step size, one error norm for the whole batch.
        first_step  size of the first attempt, positive; None: Hairer's automatic choice (one more evaluation).
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

    Returns a NeuralSolution.  A sample whose slope turns NaN or infinite, whose step underflows, or which runs out of max_steps, gets a
    negative status and NaN outputs from there on; the others are not touched.

    Raises ValueError for arguments that do not fit, TypeError for a controller that is not one; in the backward pass of a continuous
    adjoint RuntimeError where the backward solve fails.  Warns (UserWarning) where rtol is
    below eight ulp of y0's dtype: there round-off, not the method's error, sets the step size.
    """
    began = time.perf_counter()
    times = _times(t)
    _check_state(y0)
    _check_options(rtol, atol, adjoint, per_sample, first_step, max_steps, checkpoint_every, compact, even_steps)
    back_rtol, back_atol = _check_adjoint(adjoint, adjoint_params, adjoint_rtol, adjoint_atol, checkpoint_every, rtol, atol)
    if isinstance(controller, str):
        if resolve is None:
            raise ValueError(f"controller {controller!r} is a name: use stepsmith.neural.odeint, or pass resolve=")
        controller = resolve(controller)
    check(controller)
    tableau = get_tableau(method)
    _check_needs(controller, tableau)
    trained_method.warn_once(controller, tableau.name)
    eps = torch.finfo(y0.dtype).eps
    if rtol < 8 * eps:
        warnings.warn(
            f"rtol = {rtol:g} is near the resolution of {y0.dtype} (eps = {eps:.2g}): round-off will set the step size; "
            "use float64 or a larger rtol",
            stacklevel=2,
        )
    batch, features = y0.shape[0], tuple(y0.shape[1:])
    settings = Settings(
        tableau, controller, times, float(rtol), float(atol), first_step, int(max_steps), compact, bool(heuristics),
        _graph(heuristics, tableau), even_steps,
    )
    rows = y0.reshape(batch, -1) if per_sample else y0.reshape(1, -1)
    forward, backward = Field(func, features, not per_sample), Field(func, features, not per_sample)
    differentiate = adjoint == "discrete" and torch.is_grad_enabled()
    again: Replay | None = None
    if differentiate and not per_sample and checkpoint_every is None:
        done, again = direct(forward, settings, rows.contiguous())
        y = again.y
    elif adjoint in CONTINUOUS:
        problem = Continuous(adjoint, forward, backward, settings, back_rtol, back_atol, not per_sample)
        done, y = solve(problem, rows, parameters_of(func, adjoint_params))
    else:
        with torch.no_grad():
            done = adaptive_pass(forward, settings, rows.detach().contiguous(), want_output=not differentiate)
        if differentiate:
            again = replay(backward, settings, done, rows.contiguous(), checkpoint_every)
        answer = again.y if again is not None else done.y
        assert answer is not None
        y = answer
    return NeuralSolution(
        t=torch.as_tensor(t),
        y=y.reshape(len(times), *y0.shape),
        success=bool((done.status == SUCCESS).all()),
        message=_message(done, batch if per_sample else None),
        t_last=_spread(done.t_last, batch),
        y_last=done.y_last.reshape(y0.shape),
        stats=_stats(done, batch, forward.calls, backward, adjoint, time.perf_counter() - began),
        heuristics=_heuristics(done, again, settings, rows, per_sample) if heuristics else None,
    )


def _times(t) -> np.ndarray:
    if isinstance(t, Tensor) and t.requires_grad:
        raise ValueError("t requires a gradient, and output times are constants here: pass t.detach()")
    if isinstance(t, Tensor) and t.is_meta:
        raise ValueError("t is on the device meta, which holds no values")
    values = np.asarray(t.cpu() if isinstance(t, Tensor) else t, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"t must be 1-D with at least two times, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("t must be finite")
    steps = np.diff(values)
    if not ((steps > 0).all() or (steps < 0).all()):
        what = "holds a time twice" if (steps == 0).any() else "turns back"
        raise ValueError(f"t must be strictly increasing or strictly decreasing; it {what}")
    return values


def _check_state(y0) -> None:
    if not isinstance(y0, Tensor):
        raise ValueError(f"y0 must be a tensor, got {type(y0).__name__}")
    if y0.is_meta:
        raise ValueError("y0 is on the device meta, which holds no values")
    if y0.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"y0 must be float32 or float64, got {y0.dtype}")
    if y0.dim() == 0:
        raise ValueError("y0 must have a batch axis, (B, *features); got a 0-d tensor")
    if y0.numel() == 0:
        raise ValueError(f"y0 is empty: shape {tuple(y0.shape)}")


def _check_options(rtol, atol, adjoint, per_sample, first_step, max_steps, checkpoint_every, compact, even_steps) -> None:
    if not (math.isfinite(rtol) and rtol >= 0 and math.isfinite(atol) and atol >= 0 and rtol + atol > 0):
        raise ValueError(f"rtol and atol must be finite, not negative and not both zero; got rtol={rtol}, atol={atol}")
    if adjoint not in ADJOINTS:
        raise unknown("adjoint", adjoint, ADJOINTS)
    if first_step is not None and not (math.isfinite(first_step) and first_step > 0):
        raise ValueError(f"first_step must be positive and finite, got {first_step}")
    if max_steps < 1:
        raise ValueError(f"max_steps must be at least 1, got {max_steps}")
    if checkpoint_every is not None and checkpoint_every < 1:
        raise ValueError(f"checkpoint_every must be at least 1, got {checkpoint_every}")
    if compact and not per_sample:
        raise ValueError("compact=True needs per_sample=True: a coupled batch has no samples to take out")
    if not isinstance(even_steps, bool):
        raise ValueError(f"even_steps must be True or False, got {even_steps!r}")


def _check_adjoint(adjoint, params, back_rtol, back_atol, checkpoint_every, rtol, atol) -> tuple[float, float]:
    """Tolerances of the backward solve; ValueError for options that belong to another adjoint."""
    if adjoint not in CONTINUOUS:
        given = {"adjoint_params": params, "adjoint_rtol": back_rtol, "adjoint_atol": back_atol}
        for name, value in given.items():
            if value is not None:
                raise ValueError(f"{name} belongs to adjoint={' or '.join(CONTINUOUS)}, not to {adjoint!r}")
        return rtol, atol
    if checkpoint_every is not None:
        raise ValueError(f'checkpoint_every belongs to adjoint="discrete", not to {adjoint!r}')
    back_rtol, back_atol = rtol if back_rtol is None else back_rtol, atol if back_atol is None else back_atol
    if not (math.isfinite(back_rtol) and back_rtol >= 0 and math.isfinite(back_atol) and back_atol >= 0 and back_rtol + back_atol > 0):
        raise ValueError(
            f"adjoint_rtol and adjoint_atol must be finite, not negative and not both zero; got {back_rtol}, {back_atol}"
        )
    return float(back_rtol), float(back_atol)


def _check_needs(controller: object, tableau: ExplicitTableau) -> None:
    fills = FILLS | {rec.HS} if tableau.stiffness is not None else FILLS
    missing = [rec.NAMES[i] for i in getattr(controller, "needs", ()) if i not in fills]
    if missing:
        raise ValueError(f"controller needs {', '.join(missing)}, which method {tableau.name!r} does not report here")


def _spread(per_lane: np.ndarray, batch: int) -> np.ndarray:
    return np.broadcast_to(per_lane, (batch,)).copy()


def _stats(done: Pass, batch: int, nfev: int, backward: Field, adjoint: str, wall_s: float) -> NeuralStats:
    return NeuralStats(
        nfev=nfev,
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
    return Heuristics(
        lanes(tensor(grid.t)), lanes(tensor(size)), lanes(err), None if stiff is None else lanes(stiff), set_.tableau.name
    )


def _graph(heuristics: bool | str, tableau: ExplicitTableau) -> str:
    """Which of E and S carry gradient; ValueError for what `heuristics` cannot be."""
    if not isinstance(heuristics, bool) and heuristics not in ("E", "S", "values"):
        raise ValueError(f'heuristics must be True, False, "E", "S" or "values"; got {heuristics!r}')
    if heuristics == "S" and tableau.stiffness is None:
        raise ValueError(f"method {tableau.name!r} has no stage-based stiffness estimate; use dopri5, tsit5 or dop853")
    if heuristics is True:
        return "E" if tableau.stiffness is None else "ES"
    return heuristics if heuristics in ("E", "S") else ""


def _over(done: Pass) -> np.ndarray:
    """Accepted steps of each lane whose scaled error exceeded 1, (lanes,)."""
    return np.count_nonzero(done.grid.err > 1.0, axis=0)


def _message(done: Pass, batch: int | None) -> str:
    failed = done.status[done.status != SUCCESS]
    if len(failed) == 0:
        return message(SUCCESS, int(_over(done).sum()))
    first = MESSAGES[int(failed[0])]
    return first if batch is None else f"{len(failed)} of {batch} samples failed; the first: {first}"
