"""One explicit Runge-Kutta step for a batch of lanes in torch, with and without gradient.

    g_i = y + sum_{j<i} a_ij (h k_j),    k_i = f(t + c_i h, g_i),    y1 = y + sum_i b_i (h k_i),    err = sum_i e_i (h
    k_i)

The state is a matrix (lanes, width): a lane is what one step size belongs to, a sample of the batch or the whole batch.
The scaled slopes h k_i lie in one buffer (stages, lanes*width), so that a stage is two operations whatever its number
of terms: k_i times h into its row, and one matrix-vector product.  The differentiable step does the same arithmetic
inside `Combine`, whose backward needs nothing but coefficients and h: linear combinations keep no activations alive,
and the buffer serves every step again.

A method that is not FSAL leaves no slope at y1: the next step's first one is evaluated when that step begins, if dense
output has not evaluated it already.

What is measured on a step, its error above all, is in `estimates`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from ..methods.explicit.rounding import rounded
from ..methods.explicit.tableau import ExplicitTableau
from .stops import Stops

Tensor = torch.Tensor
#: slope of all lanes: (t (lanes,), y (lanes, width)) -> (lanes, width)
Slope = Callable[[Tensor, Tensor], Tensor]


@dataclass
class Step:
    """What a step leaves.

    y, y1      (lanes, width) states at its start and end.
    k_end      (lanes, width) slope at y1; None while it is not known.
    times      (stages + dense stages + 1, lanes) times of the stages as func gets them, and as the last row the sizes.
    h          (lanes, 1) signed sizes in the state's dtype.
    g_pair     (lanes, width) state of the first stage of the method's stiffness pair; None without such a pair.
    ks         the slopes, of a step with gradient; those of other steps lie in the stepper's buffer.
    extended   whether the method's dense stages have been evaluated.
    terms      the first lane's dense output (`Stepper.first_state`), once it was asked for.
    """

    y: Tensor
    y1: Tensor
    k_end: Tensor | None
    times: Tensor
    h: Tensor
    g_pair: Tensor | None
    ks: list[Tensor] = dataclasses.field(default_factory=list)
    extended: bool = False
    terms: Tensor | None = None


class Stepper:
    """Takes steps of the method `tableau` for states (lanes, width); holds their buffers and coefficients.

    graph   attempts are differentiable.
    wide    times are float64 whatever the dtype of the state (`clock`).
    stops   moves times off the jumps of the field; None where there are none.
    """

    graph = False
    wide = False
    stops: Stops | None = None

    def __init__(self, tableau: ExplicitTableau, field: Slope, lanes: int, width: int, dtype, device) -> None:
        self.tableau, self.field, self.width = tableau, field, width
        self.dtype, self.device = dtype, device
        self._buffers(lanes)

        def tensor(row):
            return torch.tensor(np.asarray(row, dtype=np.float64), dtype=dtype, device=device)

        rows, weights = rounded(tableau)
        self.floats = [list(row) for row in rows]
        self.floats += [[float(x) for x in row] for row in tableau.dense_a]
        self.coef = [tensor(row) for row in self.floats]
        self.b_floats = list(weights)
        self.b_coef = tensor(self.b_floats)
        errors = (tableau.E,) if tableau.error == "embedded" else (tableau.E5, tableau.E3)
        self.err_floats = [row.tolist() for row in errors]
        self.err_coef = [tensor(row) for row in self.err_floats]
        self.dense_floats = tensor(tableau.P)
        self.pair = tableau.stiffness or (-1, -1)
        self.c = np.concatenate([tableau.C, tableau.dense_C])[:, None]

    def _buffers(self, lanes: int) -> None:
        self.lanes, rows = lanes, self.tableau.stages + self.tableau.dense_stages
        self.k = torch.empty(rows, lanes * self.width, dtype=self.dtype, device=self.device)
        self.rows = [self.k[i].view(lanes, self.width) for i in range(rows)]
        self.heads = [self.k[:i].T for i in range(rows + 1)]

    def resized(self, lanes: int) -> Stepper:
        """The same stepper for another number of lanes."""
        other = copy.copy(self)
        other._buffers(lanes)
        return other

    def _times(self, t: np.ndarray, h: np.ndarray) -> Tensor:
        """Stage times and, as the last row, h: one transfer a step."""
        table = np.concatenate([t + self.c * h, h[None]])
        times = torch.from_numpy(table).to(device=self.device, dtype=torch.float64 if self.wide else self.dtype)
        if self.stops is not None:
            times[:-1] = self.stops.inside(times[:-1], t, np.sign(h))
        return times

    # -- without gradient ------------------------------------------------------------------------------------------

    def attempt(self, t: np.ndarray, h: np.ndarray, y: Tensor, k1: Tensor) -> Step:
        """One trial step; t, h (lanes,) float64 with h signed, y and k1 = f(t, y) (lanes, width).  Call under
        no_grad."""
        times = self._times(t, h)
        hc = times[-1].view(-1, 1).to(self.dtype)
        flat, g_pair = y.view(-1), None
        torch.mul(k1, hc, out=self.rows[0])
        for i in range(1, self.tableau.stages):
            g = torch.addmv(flat, self.heads[i], self.coef[i]).view(self.lanes, self.width)
            k = self.field(times[i], g)
            torch.mul(k, hc, out=self.rows[i])
            if i == self.pair[0]:
                g_pair = g
        if self.tableau.fsal:
            return Step(y, g, k, times, hc, g_pair)
        y1 = torch.addmv(flat, self.heads[self.tableau.stages], self.b_coef).view(self.lanes, self.width)
        return Step(y, y1, None, times, hc, g_pair)

    def dense(self, step: Step, lane: np.ndarray, theta: np.ndarray) -> Tensor:
        """y(t + theta h) of the pairs (lane, theta), each (p,): (p, width).  Evaluates the method's dense stages."""
        self.extend(step)
        return self._interpolate(step.y, self.k.view(-1, self.lanes, self.width), lane, theta)

    def extend(self, step: Step) -> None:
        """Evaluate the method's dense stages of an `attempt`, once."""
        s = self.tableau.stages
        for e in range(0 if step.extended else self.tableau.dense_stages):
            if s + e == self.tableau.end:
                k = step.k_end = self.field(step.times[s + e], step.y1).clone()  # func may use its result as a buffer
            else:
                g = torch.addmv(step.y.view(-1), self.heads[s + e], self.coef[s + e]).view(self.lanes, self.width)
                k = self.field(step.times[s + e], g)
            torch.mul(k, step.h, out=self.rows[s + e])
        step.extended = True

    def polynomial(self, step: Step, rows: np.ndarray) -> Tensor:
        """Dense output of an `attempt` as a polynomial in theta: (p, degree + 1, width) coefficients of the lanes
        `rows` (p,)."""
        whole = torch.cat([step.y[None], self.terms(step)]).transpose(0, 1)
        return (whole if len(rows) == self.lanes else whole[torch.from_numpy(rows).to(self.device)]).contiguous()

    def terms(self, step: Step) -> Tensor:
        """The coefficients (degree, lanes, width) of the powers of theta in dense output, without gradient."""
        self.extend(step)
        hk = torch.stack([k.detach() for k in step.ks]) * step.h if step.ks else self.k
        return (self.dense_floats.T @ hk.reshape(len(self.k), -1)).view(-1, self.lanes, self.width)

    def first_state(self, step: Step, theta: float) -> Tensor:
        """The first lane's state (width,) at the fraction theta of the step, without gradient."""
        if step.terms is None:
            step.terms = self.terms(step)[:, 0]
        powers = torch.tensor([theta ** (n + 1) for n in range(len(step.terms))], dtype=self.dtype, device=self.device)
        return torch.addmv(step.y.detach()[0], step.terms.T, powers)

    def _interpolate(self, y: Tensor, hk: Tensor, lane: np.ndarray, theta: np.ndarray) -> Tensor:
        p = self.tableau.P
        weights = p @ theta ** np.arange(1, p.shape[1] + 1)[:, None]
        w = torch.from_numpy(weights).to(device=self.device, dtype=self.dtype)
        if self.lanes == 1:
            return y + w.T @ hk[:, 0]
        index = torch.from_numpy(lane).to(self.device)
        return y[index] + (hk[:, index] * w[:, :, None]).sum(0)

    # -- with gradient ---------------------------------------------------------------------------------------------

    def step(self, t: np.ndarray, h: np.ndarray, y: Tensor, k1: Tensor) -> Step:
        """As `attempt`, differentiable in y, k1 and whatever func closes over; t and h are constants."""
        times = self._times(t, h)
        hc = times[-1].view(-1, 1).to(self.dtype)
        ks, g_pair = [k1], None
        for i in range(1, self.tableau.stages):
            g = Combine.apply(self, hc, i, self.coef[i], self.floats[i], y, *ks)
            ks.append(self.field(times[i], g))
            if i == self.pair[0]:
                g_pair = g
        if self.tableau.fsal:
            return Step(y, g, ks[-1], times, hc, g_pair, ks)
        y1 = Combine.apply(self, hc, self.tableau.stages, self.b_coef, self.b_floats, y, *ks)
        return Step(y, y1, None, times, hc, g_pair, ks)

    def errors(self, step: Step) -> list[Tensor]:
        """Differentiable error estimates (lanes, width) of a `step`: one, or two for "hairer853"."""
        n = self.tableau.stages
        return [
            Combine.apply(self, step.h, n, c, f, None, *step.ks[:n])
            for c, f in zip(self.err_coef, self.err_floats, strict=True)
        ]

    def extend_step(self, step: Step, live: np.ndarray | None = None) -> None:
        """Append the dense stages to the slopes of a `step`, once.  live: lanes (lanes,) whose dense stages are known
        to be finite; the others get the slopes of one of those (None: all are)."""
        s = self.tableau.stages
        for e in range(0 if step.extended else self.tableau.dense_stages):
            t, end = step.times[s + e], s + e == self.tableau.end
            g = (
                step.y1
                if end
                else Combine.apply(self, step.h, s + e, self.coef[s + e], self.floats[s + e], step.y, *step.ks)
            )
            t, g = lend(live, t, g)
            step.ks.append(self.field(t, g))
            step.k_end = step.ks[-1] if end else step.k_end
        step.extended = True

    def dense_step(self, step: Step, lane: np.ndarray, theta: np.ndarray, live: np.ndarray | None = None) -> Tensor:
        """As `dense`, differentiable, after `step`; `live` as for `extend_step`."""
        self.extend_step(step, live)
        return self._interpolate(step.y, torch.stack(step.ks) * step.h, lane, theta)


class Combine(torch.autograd.Function):
    """(y +) sum_j c_j h k_j over the first n slopes; slopes before the last one passed are in the buffer already."""

    @staticmethod
    def forward(
        ctx, stepper: Stepper, h: Tensor, n: int, coef: Tensor, floats: list[float], y: Tensor | None, *ks: Tensor
    ):
        ctx.h, ctx.floats, ctx.has_y = h, floats, y is not None
        torch.mul(ks[-1], h, out=stepper.rows[n - 1])
        shape = (stepper.lanes, stepper.width)
        if y is None:
            return torch.mv(stepper.heads[n], coef).view(shape)
        return torch.addmv(y.view(-1), stepper.heads[n], coef).view(shape)

    @staticmethod
    def backward(ctx, g: Tensor):
        hg = g * ctx.h
        return (None,) * 5 + (g if ctx.has_y else None,) + tuple(hg * c if c != 0.0 else None for c in ctx.floats)


def lend(live: np.ndarray | None, *rows: Tensor) -> tuple[Tensor, ...]:
    """Tensors (lanes, ...) whose lanes outside `live` (lanes,) are copies of one within, cut from the graph: func is
    finite there."""
    if live is None or live.all():
        return rows
    mask = torch.from_numpy(live).to(rows[0].device)
    one = int(np.argmax(live))
    return tuple(torch.where(mask.view(-1, *(1,) * (x.dim() - 1)), x, x[one : one + 1].detach()) for x in rows)
