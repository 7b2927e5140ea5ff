"""Continuous adjoints: the gradient as a second initial-value problem, solved from the last output back to the first.

With a(t) = dL/dy(t) and outputs at t_0 .. t_T, a starts from dL/dy(t_T), obeys da/dt = -(df/dy)^T a in between, and
jumps by dL/dy(t_k) at every output; what arrives at t_0 is dL/dy_0.  `adjoint_field` gives the slope, and the
gradient in the parameters.

"backsolve" solves for y along with a, starting each interval from the forward solution's output: memory does not grow
with the steps, but y is solved against its own direction, and where the flow contracts (stiff or dissipative fields) it
drifts off.  At the next output the drift is known, and a large one brings a warning.  "interpolating" reads y from the
forward solve's dense output and solves for a alone, which is stable whenever y was, for memory of (degree + 1) states a
step.

Either is the gradient of the exact solution up to both solves' tolerances, not the exact gradient of the numbers
returned, as the discrete adjoint is.  The cotangent is integrated in units of its own largest component at the start of
an interval: the equation is linear in it, so gradients are exactly proportional to the loss, and atol means what it
means for y whatever the loss's scale.

R. T. Q. Chen et al., NeurIPS 2018 (arXiv:1806.07366); P. Kidger, R. T. Q. Chen, T. Lyons, ICML 2021 (arXiv:2009.09457);
interpolated: C. Rackauckas et al., Universal differential equations, arXiv:2001.04385, and A. C. Hindmarsh et al.,
SUNDIALS, ACM TOMS 31 (2005) 363.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..core.errors import outside
from ..kernels.layout import MESSAGES, SUCCESS
from .adaptive import adaptive_pass
from .adjoint_dense import Recorder, Trajectory
from .adjoint_field import AdjointField
from .field import Field
from .settings import Settings
from .totals import Pass

Tensor = torch.Tensor
CONTINUOUS = ("backsolve", "interpolating")
#: drift of the state solved backwards, in units of the tolerance, from which on backsolve warns
DRIFT = 1e3


@dataclass
class Continuous:
    """A solve with a continuous adjoint.

    name        "backsolve" or "interpolating".
    forward     the user's func in the forward solve; `backward`, in the backward one.  They count their calls apart.
    settings    of the forward solve.
    rtol, atol  tolerances of the backward solve.
    coupled     one lane is the whole batch.
    done        the forward pass, once it is done.
    back        settings of the backward solve where they are not those of the forward one.
    order       (T + 1, lanes) with events: the outputs and the event, the last of them, in the order of time.
    """

    name: str
    forward: Field
    backward: Field
    settings: Settings
    rtol: float
    atol: float
    coupled: bool
    done: Pass | None = None
    back: Settings | None = None
    order: np.ndarray | None = None


def parameters_of(func: Any, adjoint_params: Iterable[Tensor] | None) -> tuple[Tensor, ...]:
    """The tensors to differentiate in, each once: `adjoint_params`, or the parameters of a func that is a Module.

    Raises ValueError where func is not a Module and nothing is passed, or something else than a tensor.
    """
    if adjoint_params is None:
        if not isinstance(func, torch.nn.Module):
            raise ValueError(
                f"func is a {type(func).__name__}, and a continuous adjoint cannot see which tensors it uses: make it "
                "a torch.nn.Module, or pass adjoint_params=(...), the tensors to differentiate in, () for none"
            )
        adjoint_params = func.parameters()
    params = tuple(adjoint_params)
    for p in params:
        if not isinstance(p, Tensor):
            raise ValueError(f"adjoint_params must be tensors, got {type(p).__name__}")
    return tuple({id(p): p for p in params if p.requires_grad}.values())


def solve(problem: Continuous, y0: Tensor, params: Sequence[Tensor]) -> tuple[Pass, Tensor]:
    """The pass, and its outputs (T, lanes, width) with the gradient attached."""
    y = _Adjoint.apply(problem, y0, *params)
    assert problem.done is not None
    return problem.done, y


def _in_order(set_: Settings, event_t: np.ndarray) -> tuple[Settings, np.ndarray]:
    """The settings with the events (lanes,) among the output times, and the order that brings them there."""
    t = set_.t.reshape(len(set_.t), -1)
    table = np.concatenate([np.broadcast_to(t, (len(t), len(event_t))), event_t[None]])
    order = np.argsort(set_.sign * table, axis=0, kind="stable")
    return replace(set_, t=np.take_along_axis(table, order, axis=0)), order


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(ctx, problem: Continuous, y0: Tensor, *params: Tensor):
        set_ = problem.settings
        record = None
        if problem.name == "interpolating":
            record = Recorder(len(y0), set_.sign)
        # a detached y0: the answer's first row must not be a view of the input
        problem.done = adaptive_pass(problem.forward, set_, y0.detach().contiguous(), want_output=True, watch=record)
        path = record.trajectory() if record is not None else None
        y = problem.done.y
        if problem.done.event_t is not None:
            problem.settings, problem.order = _in_order(set_, problem.done.event_t)
        ctx.problem, ctx.t_last, ctx.n_params = problem, problem.done.t_last, len(params)
        # all that is kept goes through here, so that torch's hooks for saved tensors can count it or move it
        ctx.save_for_backward(y, *params, *(() if path is None else path))
        return y

    @staticmethod
    def backward(ctx, g: Tensor):
        problem = ctx.problem
        if torch.is_grad_enabled():
            raise RuntimeError(
                f'adjoint="{problem.name}" has no second derivatives (create_graph=True); use adjoint="discrete"'
            )
        y, *saved = ctx.saved_tensors
        params, path = saved[: ctx.n_params], saved[ctx.n_params :]
        before = problem.backward.calls
        if problem.order is not None:
            index = torch.from_numpy(problem.order).to(g.device)[:, :, None].expand(g.shape)
            y, g = y.gather(0, index), g.gather(0, index)
        used = [p for p, need in zip(params, ctx.needs_input_grad[2:], strict=True) if need]
        sweep = _Sweep(problem, Trajectory(*path) if path else None, y, used)
        a, found = sweep.run(ctx.t_last, g), sweep.grads
        if problem.backward.calls == before:
            # nothing of y is in the loss: func was not evaluated, so nobody knows what it uses
            found = [torch.zeros_like(p) for p in used]
        if not torch.isfinite(a).all():
            # a loss that is not finite: say so in every gradient, as backpropagation would
            found = [None if x is None else torch.full_like(x, torch.nan) for x in found]
        each = iter(found)
        return None, a, *(next(each) if need else None for need in ctx.needs_input_grad[2:])


class _Sweep:
    """The backward solve, from output to output.

    problem   what is solved.
    path      the forward solution as a function of time, for "interpolating"; None for "backsolve".
    y         (T, lanes, width) outputs of the forward solve, at the times t (T, lanes).
    params    the tensors to differentiate in; `grads`, their gradients so far, None for those that func has not used.
    """

    def __init__(self, problem: Continuous, path: Trajectory | None, y: Tensor, params: list[Tensor]) -> None:
        self.problem, self.path, self.y, self.params = problem, path, y, params
        t = problem.settings.t
        self.t = np.broadcast_to(t.reshape(len(t), -1), y.shape[:2])
        self.grads: list[Tensor | None] = [None] * len(params)

    def run(self, t_last: np.ndarray, g: Tensor) -> Tensor:
        """dL/dy0 (lanes, width) from dL/dy, g (T, lanes, width); t_last (lanes,): the time that a lane reached.

        Lanes take part from the last output that they reached; outputs that a lane did not reach are constants.  Lanes
        whose cotangent is zero, or not finite, are not solved for.
        """
        t, sign = self.t, self.problem.settings.sign
        reached = sign * (t_last - t) >= 0.0
        if not reached.all():
            g = torch.where(torch.from_numpy(reached).to(g.device)[:, :, None], g, 0.0)
        a, h = g[-1], np.full(len(t_last), np.nan)
        for k in range(len(t) - 1, 0, -1):
            top = a.abs().amax(1)
            size = top.double().cpu().numpy()
            active = reached[k] & np.isfinite(size) & (size > 0.0) & (t[k] != t[k - 1])
            if active.any():
                a, h = self.interval(k, a, top, active, h)
            a = a + g[k - 1]
        return a

    def interval(
        self, k: int, a: Tensor, top: Tensor, active: np.ndarray, h: np.ndarray
    ) -> tuple[Tensor, np.ndarray]:
        """Take the cotangent `a` of the `active` lanes from output k to output k - 1.

        top: each lane's largest component of `a`.  h (lanes,): the sizes to begin with, NaN where none is known.
        Returns `a` there, and the sizes to go on with.
        """
        problem, path, width = self.problem, self.path, a.shape[1]
        times = self.t[[k, k - 1]]
        if not active.all():
            # lanes that are not solved for may have no such times
            times = np.where(active, times, times[:, [int(np.argmax(active))]])
        mask = torch.from_numpy(active).to(a.device)[:, None]
        everyone = bool(active.all())
        unit = top[:, None] if everyone else torch.where(mask, top[:, None], 1.0)
        z = torch.cat([self.y[k], a / unit], 1)
        if not everyone:
            # lanes that are not solved for lend the state of one that is, at which func is known to be finite
            lane = int(np.argmax(active))
            z = torch.where(mask, z, z[lane : lane + 1])
            path = None if path is None else path.take(np.where(active, np.arange(len(active)), lane))
        slope = AdjointField(problem.backward, path, self.params, self.grads, unit)
        with torch.no_grad():
            settings = self._settings(times, active, h)
            done = adaptive_pass(slope, settings, z, want_output=False, watch=slope, active=active)
        _refuse_failures(problem, done.status, active, times)
        end = done.y_last
        if path is None:
            rtol, atol = max(problem.settings.rtol, problem.rtol), max(problem.settings.atol, problem.atol)
            warn_of_drift(rtol, atol, end[mask[:, 0], :width], self.y[k - 1][mask[:, 0]], times[:, active])
        new = end[:, -width:] * unit
        return new if everyone else torch.where(mask, new, a), np.where(active, done.h_next, h)

    def _begin(self) -> Any:
        """The size that the first backward solve begins with: under a bold start the forward solve's last one."""
        back = self.problem.settings if self.problem.back is None else self.problem.back
        if self.problem.back is not None and back.first_step is not None:
            return back.first_step
        return self.problem.done.h_next if back.start > 1.0 and self.problem.done is not None else None

    def _settings(self, times: np.ndarray, active: np.ndarray, h: np.ndarray) -> Settings:
        """Settings of the solve between two outputs, which begins with the sizes h where all active lanes have one."""
        known = np.isfinite(h[active]).all()
        base = self.problem.settings if self.problem.back is None else self.problem.back
        first: Any = np.where(active, h, np.nanmax(h[active])) if known else self._begin()
        return replace(
            base,
            t=times if self.problem.settings.t.ndim > 1 else times[:, 0],
            event=None,
            rtol=self.problem.rtol,
            atol=self.problem.atol,
            first_step=first,
            heuristics=False,
            graph="",
            watch_draws=False,
            check_start=None,
        )


def _refuse_failures(problem: Continuous, status: np.ndarray, active: np.ndarray, times: np.ndarray) -> None:
    """RuntimeError where one of the `active` lanes of the backward solve between `times` (2, lanes) failed."""
    lanes = np.flatnonzero(active & (status != SUCCESS))
    failed = status[lanes]
    if len(failed):
        begin, end = times[:, lanes[0]]
        who = "the batch" if problem.coupled else f"{len(failed)} of {int(active.sum())} samples"
        other = '"interpolating" or "discrete"' if problem.name == "backsolve" else '"discrete"'
        raise RuntimeError(
            f'the backward solve of adjoint="{problem.name}" failed for {who} between t = {begin:g} and '
            f"t = {end:g}: {MESSAGES[int(failed[0])].partition(';')[0]}; use adjoint={other}"
        )


def warn_of_drift(rtol: float, atol: float, back: Tensor, known: Tensor, times: np.ndarray) -> None:
    """UserWarning where the state that was solved `back` is far from the `known` one, both (lanes, width).

    times: where the solve began and ended, (2,) or (2, lanes).
    """
    scale = atol + rtol * known.abs()
    off = torch.linalg.vector_norm((back - known) / scale, dim=1).cpu().numpy() / known.shape[1] ** 0.5
    if off.max() > DRIFT:
        begin, end = times if times.ndim == 1 else times[:, off.argmax()]
        warnings.warn(
            f'adjoint="backsolve": solved back from t = {begin:g}, the state misses the forward solution at t = '
            f'{end:g} by {off.max():.1g} tolerances; its gradient is as wrong. adjoint="interpolating" or '
            '"discrete" do not drift',
            stacklevel=outside(),
        )
