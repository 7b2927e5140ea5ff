"""The adjoint's slope, and the gradient in the parameters as a quadrature along the steps that were taken.

Backwards in time, from where the loss looks at y,

    dy/dt = f(t, y),      da/dt = -(df/dy)^T a,      dL/dtheta = int_{t0}^{t1} (df/dtheta)^T a dt.

Nothing depends on the integral, so it is no part of the state: a step of the method with weights b_i and (negative)
size h adds

    -sum_i b_i h (df/dtheta)^T(t_i, y_i) a_i,

which is what solving for it along gives, digit for digit, but takes one vector-Jacobian product over all stages of a
step and no storage of the parameters' size a stage.  With per-sample steps every sample brings its own b_i h as a
weight of its cotangent a_i, so that one product serves them all; samples that rejected the attempt bring none.

R. T. Q. Chen, Y. Rubanova, J. Bettencourt, D. Duvenaud, Neural ordinary differential equations, NeurIPS 2018
(arXiv:1806.07366).  That the integral is left out of the error norm: P. Kidger, R. T. Q. Chen, T. Lyons, "Hey, that's
not an ODE", ICML 2021 (arXiv:2009.09457).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .adjoint_dense import Trajectory
from .field import Field
from .step import Step, Stepper
from .watch import Attempt, Watch

Tensor = torch.Tensor


@dataclass
class _Stage:
    """One evaluation: time (lanes,), state, cotangent and slope (lanes, width); the slope has its graph."""

    t: Tensor
    y: Tensor
    a: Tensor
    f: Tensor


class AdjointField(Watch):
    """Slope of (y, a), rows (lanes, 2 width), at y itself or where `path` says y is; as a watch, collector of `grads`.

    With a path the rows' y decides nothing but the steps: it is the integral of f along the path, and its error
    estimate speaks for the other integrand along the path, the parameters', which a slowly changing a says nothing
    about.

    field   the user's func over rows.
    params  what to differentiate in, may be empty.
    grads   one gradient a parameter, None for those that func has not used.
    unit    (lanes, 1): the integrated cotangent is a / unit, the gradient is in units of a.
    """

    def __init__(
        self, field: Field, path: Trajectory | None, params: list[Tensor], grads: list[Tensor | None], unit: Tensor
    ) -> None:
        self.field, self.path, self.params, self.grads, self.unit = field, path, params, grads, unit
        self.tape: list[_Stage] = []
        self.first: _Stage | None = None
        self.begun = False

    def _split(self, t: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """State and cotangent, each (lanes, width), from rows z (lanes, 2 width) at the times t."""
        width = z.shape[1] // 2
        y = self.path(t) if self.path is not None else z[:, :width].contiguous()
        return y, z[:, width:].contiguous()

    def __call__(self, t: Tensor, z: Tensor) -> Tensor:
        y, a = self._split(t, z)
        with torch.enable_grad():
            y = y.detach().requires_grad_()
            f = self.field(t, y)
        if f.requires_grad:
            (pull,) = torch.autograd.grad(f, y, a, retain_graph=bool(self.params), allow_unused=True)
        else:
            pull = None
        if self.params:
            self.tape.append(_Stage(t, y.detach(), a, f))
        return torch.cat([f.detach(), torch.zeros_like(a) if pull is None else pull.neg()], 1)

    # -- the parameters' part -----------------------------------------------------------------------------------------

    def take(self, keep: np.ndarray) -> None:
        index = torch.from_numpy(keep).to(self.unit.device)
        self.unit = self.unit[index]
        self.path = None if self.path is None else self.path.take(keep)
        self.tape.clear()
        self.first, self.begun = None, True

    def attempt(self, stepper: Stepper, step: Step, at: Attempt) -> None:
        if not self.params:
            return
        fsal = stepper.tableau.fsal
        stages = self.tape[len(self.tape) - stepper.tableau.stages + 1 :]
        kind = stages[-1].t.dtype
        if not self.begun or at.anew or (self.first is not None and self.first.t.dtype != kind):
            # the pass's first evaluation is the first step's first slope; it is made anew where times become
            # float64, and without FSAL where a step was accepted
            self.first, self.begun = next(stage for stage in self.tape if stage.t.dtype == kind), True
        self.tape.clear()
        if at.accept.any():
            self._add(stepper, step, at, stages)
            if fsal:
                # the last stage is the next step's first, if that holds for every lane that goes on
                self.first = stages[-1] if (at.accept | ~at.run).all() else None

    def _add(self, stepper: Stepper, step: Step, at: Attempt, stages: list[_Stage]) -> None:
        """Add an accepted step's part of the gradient; `stages`: all of its stages but the first."""
        if self.first is None:
            t = step.times[0]
            y, a = self._split(t, step.y)
            self.first = self._again(t, y, a)
        stages = [self.first, *stages]
        mask = None
        if not at.accept.all():
            mask = torch.from_numpy(at.accept).to(self.unit.device)[:, None]
            if (at.run & ~at.finite).any():
                # a graph through NaN answers a zero cotangent with NaN: evaluate again, those lanes resting where the
                # step began
                rest = stages[0]
                stages = [rest] + [
                    self._again(torch.where(mask[:, 0], s.t, rest.t), torch.where(mask, s.y, rest.y), s.a)
                    for s in stages[1:]
                ]
        weight = -step.h * self.unit
        slopes, cotangents = [], []
        for b, stage in zip(stepper.tableau.B, stages, strict=True):
            if b != 0.0 and stage.f.requires_grad:
                cotangent = stage.a * (weight * float(b))
                slopes.append(stage.f)
                cotangents.append(cotangent if mask is None else torch.where(mask, cotangent, 0.0))
        if not slopes:
            return
        found = torch.autograd.grad(slopes, self.params, cotangents, retain_graph=True, allow_unused=True)
        for i, g in enumerate(found):
            if g is not None:
                known = self.grads[i]
                self.grads[i] = g.clone() if known is None else known.add_(g)

    def _again(self, t: Tensor, y: Tensor, a: Tensor) -> _Stage:
        """A stage evaluated once more, with its graph."""
        with torch.enable_grad():
            return _Stage(t, y, a, self.field(t, y))
