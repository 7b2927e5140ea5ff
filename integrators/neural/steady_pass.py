"""The way to a steady state: the adaptive pass of `odeint` for dz/dt = f(z, x) - z, which ends a lane when its slope is
small.

The steps, their errors and the controller are those of `adaptive`; what is added is a look at every accepted step.
That costs no evaluation with a method whose last stage is the slope at the new state (FSAL).  An event function would
do for the same stop, at the price of an evaluation a look and of some more on the dense output of the last step: a
steady state is no place on a trajectory that had to be found exactly, and any state with a small slope is as good.

A fixed point of f is one of every step that is taken towards it, whatever the size: the error tolerances decide how
well the trajectory is followed, and not how well the steady state is met.  Loose ones alone would do harm.  Where the
slope is as small as they are no step has an error, steps grow until they are unstable, and the slope goes up again.
Tight ones cost many steps.  So an error is measured by what the step moves besides: with d = h f(z) - h z at the start
of a step, its scaled error is

    ||err|| max(1, 1 / (SHARE ||d||)),    in the root mean square over the scale solver_atol + solver_rtol |z|,

so that no error is larger than the share of ||d||.  An unstable step has an error as large as d, and the distance to
the steady state falls by about the same factor a step from first to last.

A large step has fixed points and cycles that f has not, and a sample may settle on one, its size such that the error is
just the share.  So where `PATIENCE` accepted steps in a row have not brought the slope below `BETTER` times the least
one, the sample's share falls by the factor `CALMER`, and its steps get shorter.  It does not rise again: a way that is
slow for another reason, a stiffness ratio of thousands, is followed with shorter steps than it needs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ..kernels.layout import BAD_START, MAX_STEPS, NON_FINITE, RUNNING, SUCCESS, UNDERFLOW
from .adaptive import Loop
from .hooks import Hooks
from .settings import Settings
from .steady_field import SteadyField
from .step import Stepper
from .totals import Pass

Tensor = torch.Tensor
#: status of a sample whose state grew beyond bounds; the others are those of `kernels.layout`
DIVERGED = -5
#: a state that is as many times as large as z0 and the slope there has diverged
GROWTH = 1e8
#: what a step's error may be of what the step moves
SHARE = 0.05
#: when the share falls, by what, and how far
PATIENCE, BETTER, CALMER, LEAST_SHARE = 25, 0.99, 0.4, 1e-4
#: end of time, which steps of an ordinary size do not reach
END = 1e12

MESSAGES = {
    SUCCESS: "steady: every slope is within its tolerance",
    MAX_STEPS: "max_steps attempts were made, and the slope is not within its tolerance",
    UNDERFLOW: "the step size fell below what the time variable resolves",
    NON_FINITE: "func or the state became non-finite, and smaller steps did not help",
    BAD_START: "z0 or func at z0 is not finite",
    DIVERGED: f"the state grew beyond {GROWTH:g} times z0 and the slope there",
}


@dataclass(frozen=True)
class Arrival:
    """What the way has led to.

    done       the pass: statuses (`MESSAGES`), counts, and as `y_last` (lanes, width) the last states.
    residual   (lanes,) float64, max_i |f_i - z_i| at these; NaN where z0 is not finite.
    """

    done: Pass
    residual: np.ndarray


class _Approach(Loop):
    """A pass that ends lanes whose slope is at most atol + rtol |z| in the maximum norm."""

    field: SteadyField

    def __init__(self, field: SteadyField, set_: Settings, z0: Tensor, rtol: float, atol: float) -> None:
        set_ = replace(set_, hooks=Hooks(norm=self._error))
        super().__init__(field, set_, z0, False, None, None, Stepper)
        self.rtol, self.atol = rtol, atol
        slope, size = self._norms()
        self.residual, self.bound = np.full(len(z0), np.nan), GROWTH * (slope + size)
        self.share, self.least, self.since = np.full(len(z0), SHARE), slope.copy(), np.zeros(len(z0), np.int64)
        self._look(self.run.copy(), slope, size)

    def _error(self, ratio: Tensor) -> Tensor:
        """The scaled errors (lanes,) of an attempt whose errors over their scale are `ratio` (lanes, width)."""
        # what a step moves is known to a few ulp of the state
        move = self.stepper.rows[0].abs() + 4 * torch.finfo(ratio.dtype).eps * self.y.abs()
        scale = (self.set.atol + self.set.rtol * self.y.abs()).clamp(min=torch.finfo(ratio.dtype).tiny)
        error, moved = (torch.linalg.vector_norm(x, dim=1) / x.shape[1] ** 0.5 for x in (ratio, move / scale))
        share = torch.from_numpy(self.share[self.ids]).to(moved)
        return error * (1.0 / (share * moved).clamp(min=1e-30)).clamp(min=1.0)

    def _norms(self) -> tuple[np.ndarray, np.ndarray]:
        """Maximum norms of slopes and states of the lanes in the batch, each (lanes in the batch,); one transfer."""
        both = torch.stack([self.k1.abs().amax(1), self.y.abs().amax(1)]).double().cpu().numpy()
        return both[0], both[1]

    def _look(self, at: np.ndarray, slope: np.ndarray, size: np.ndarray) -> None:
        """End the lanes that have arrived or diverged among those `at` new states, a mask of the lanes in the batch."""
        status, ids = self.totals.status, self.ids
        self.residual[ids[at]] = slope[at]
        there = at & (slope <= self.atol + self.rtol * size)
        away = at & ~there & (size > self.bound[ids])
        late = at & ~there & ~away & (status[ids] == SUCCESS)  # at the end of time
        status[ids[there]], status[ids[away]], status[ids[late]] = SUCCESS, DIVERGED, MAX_STEPS
        self.run = self.run & ~there & ~away

    def _decided(self, out, sizes, accept, end, cost) -> None:
        super()._decided(out, sizes, accept, end, cost)
        if accept.any():
            slope, size = self._norms()
            self._look(accept, slope, size)
            self._calm(self.ids[accept], slope[accept])

    def _calm(self, ids: np.ndarray, slope: np.ndarray) -> None:
        """Let the share of the samples `ids` fall where their slopes have not for long."""
        better = slope < BETTER * self.least[ids]
        self.least[ids] = np.where(better, slope, self.least[ids])
        self.since[ids] = np.where(better, 0, self.since[ids] + 1)
        late = ids[self.since[ids] >= PATIENCE]
        self.share[late], self.since[late] = np.maximum(CALMER * self.share[late], LEAST_SHARE), 0

    def _take_out(self) -> np.ndarray:
        keep = super()._take_out()
        self.field.take(torch.from_numpy(keep))
        return keep


def approach(field: SteadyField, settings: Settings, z0: Tensor, rtol: float, atol: float) -> Arrival:
    """Follow dz/dt = f - z from z0 (lanes, width) until |f - z| <= atol + rtol |z| in the maximum norm of every lane.

    No gradient is made.  settings: of the steps, with a first step and no hooks.
    """
    assert settings.tableau.fsal and settings.stops is None
    with torch.no_grad():
        loop = _Approach(field, settings, z0, rtol, atol)
        while loop.step():
            pass
    assert RUNNING not in loop.totals.status
    return Arrival(loop.result(), loop.residual)
