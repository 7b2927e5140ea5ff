"""The solves and vector-Jacobian products of which `spectrum` makes its numbers.

Everything here works on rows (lanes, width): a lane is a sample, or the whole state where that is one system.  Phi is
the fundamental matrix of an interval, dPhi/dt = df/dy Phi, as the steps taken make it; Phi^T w is a backward pass
through the interval's solve.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.utils import _pytree as tree

from ..kernels.layout import MESSAGES, SUCCESS
from .api import odeint
from .field import Field
from .forms import Form
from .rows import check_rows, generator_state, restore
from .solution import NeuralSolution

Tensor = torch.Tensor
#: how often an interval may be cut in half where its cotangent leaves the dtype's range
HALVINGS = 12


@dataclass
class Probed:
    """One problem, its options for `odeint`, and what was counted and found wrong with it so far.

    func       as the caller gave it.
    inside     func under the caller's autocast.
    form       of the state, with lanes as rows where these are samples.
    lanes      how many.
    steps      whether steps are per sample.
    options    keywords of `odeint` for every solve.
    first      keywords for the plain solve alone.
    grid       (T,) times that a method on a grid steps through, None where there are none.
    reasons    of each lane that failed, why.
    open       (lanes,) bool: its cotangent is finite and not zero, so that cutting an interval may help.
    """

    func: Callable[..., Any]
    inside: Callable[..., Any]
    form: Form
    lanes: int
    steps: bool
    options: dict[str, Any]
    first: dict[str, Any]
    grid: np.ndarray | None
    nfev: int = 0
    vjps: int = 0
    reasons: dict[int, str] = field(default_factory=dict)
    open: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.open = np.ones(self.lanes, dtype=bool)

    # -- solves -------------------------------------------------------------------------------------------------------

    def plain(self, nodes: np.ndarray) -> tuple[list[Tensor], NeuralSolution]:
        """The states (lanes, width) at the nodes, and the solution, without gradient."""
        times, where = nodes, np.arange(len(nodes))
        if self.grid is not None:
            times = _merged(self.grid, nodes)
            where = np.searchsorted(abs(times - times[0]), abs(nodes - nodes[0]))
        sol = self._solve(self.form.y0, times, "none", **self.first)
        self._failures(sol)
        return [self._rows(sol, int(i)) for i in where], sol

    def ahead(self, y: Tensor, a: np.ndarray, b: np.ndarray) -> Tensor:
        """The rows at b, from y at a, without gradient."""
        sol = self._solve(y.reshape(self.form.y0.shape), self._between(a, b), "none")
        self._failures(sol)
        return self._rows(sol, -1)

    def products(self, y: Tensor, a: np.ndarray, b: np.ndarray, w: Tensor) -> Tensor:
        """Phi^T w, (vectors, lanes, width), for the interval from a to b, from y (lanes, width) at a."""
        with torch.enable_grad():
            start = y.detach().reshape(self.form.y0.shape).clone().requires_grad_()
            sol = self._solve(start, self._between(a, b), "discrete")
            end = self._rows(sol, -1)
        self._failures(sol)
        dead = torch.from_numpy(~self.open).to(end.device)[:, None]
        found = []
        for i, each in enumerate(w):
            # what has failed may be NaN, whose gradient would be NaN in every row that shares a sum with it
            each = torch.where(dead, 0.0, each)
            last = i == len(w) - 1
            (pull,) = torch.autograd.grad(end, start, each, retain_graph=not last, allow_unused=True)
            found.append(torch.zeros_like(each) if pull is None else pull.reshape(each.shape))
            self.vjps += sol.stats.nfev
        self.nfev += sol.stats.nfev_replay
        return torch.stack(found)

    def _solve(self, y: Tensor, times: np.ndarray, adjoint: str, **more: Any) -> NeuralSolution:
        t = torch.from_numpy(np.ascontiguousarray(times)).to(y.device)
        given = {**self.options, **more, "adjoint": adjoint}
        sol = odeint(self.func, self.form.back(y), t, per_sample=self.steps, **given)
        self.nfev += sol.stats.nfev
        return sol

    def _rows(self, sol: NeuralSolution, i: int) -> Tensor:
        """The output number i as rows."""
        state = tree.tree_map(lambda part: part[i], sol.y)
        flat = state if self.form.layout is None else self.form.layout.flat(state)
        return flat.reshape(self.lanes, -1)

    def _between(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.stack([a, b]) if self.grid is None else _merged(self.grid, np.stack([a, b]))

    def _failures(self, sol: NeuralSolution) -> None:
        """Take down which lanes have failed."""
        status = sol.status if len(sol.status) >= self.lanes else np.repeat(sol.status, self.lanes)
        for lane in range(self.lanes):
            if status[lane] != SUCCESS:
                at = sol.t_last[min(lane, len(sol.t_last) - 1)]
                why = MESSAGES[int(status[lane])].partition(";")[0]
                self.fail(lane, f"the solve failed at t = {at:.6g}, {why}")

    def fail(self, lane: int, reason: str) -> None:
        """Give a lane up."""
        self.reasons.setdefault(lane, reason)
        self.open[lane] = False

    # -- the growth of cotangents -------------------------------------------------------------------------------------

    def pull(
        self, y: Tensor, a: np.ndarray, b: np.ndarray, w: Tensor, halvings: int = HALVINGS
    ) -> tuple[Tensor, np.ndarray]:
        """Phi^T w of the interval, scaled to unit rows, and the logs of the scales, (vectors, lanes) float64.

        w    (vectors, lanes, width), unit rows.  An interval over which a row leaves the square root of its dtype's
             range is cut in half, and halves again.
        """
        found = self.products(y, a, b, w)
        size = torch.linalg.vector_norm(found, dim=2, dtype=torch.float64)
        info, sizes = torch.finfo(w.dtype), size.cpu().numpy()
        fine = ((sizes > info.tiny**0.5) & (sizes < info.max**0.5)).all(0)
        if halvings and (self.open & ~fine).any():
            half = 0.5 * (a + b)
            w, later = self.pull(self.ahead(y, a, half), half, b, w, halvings - 1)
            w, sooner = self.pull(y, a, half, w, halvings - 1)
            return w, sooner + later
        for lane in map(int, np.flatnonzero(self.open & ~np.isfinite(sizes).all(0))):
            start, end = (float(np.broadcast_to(t, (self.lanes,))[lane]) for t in (a, b))
            self.fail(lane, f"the gradient is not finite between t = {start:.6g} and {end:.6g}")
        self.open &= (sizes > 0).all(0)
        keep = (size > 0) & size.isfinite()
        unit = torch.where(keep[:, :, None], found.double() / torch.where(keep, size, 1.0)[:, :, None], 0.0).to(w)
        with np.errstate(divide="ignore"):
            return unit, np.log(sizes)

    # -- the field at one time ----------------------------------------------------------------------------------------

    def slope(self, t: np.ndarray, y: Tensor) -> tuple[Tensor, Tensor, Callable[[Tensor], Tensor]]:
        """Leaf x, slope f(t, x) with its graph, and the slope as a function of rows, at y (lanes, width), t () or
        (lanes,)."""
        y0 = self.form.y0
        shape = tuple(y0.shape) if y0.dim() == 1 else (-1, *y0.shape[1:])
        func = Field(self.form.func(self.inside), shape, not self.steps)
        at = torch.from_numpy(np.broadcast_to(t, (self.lanes,)).copy()).to(y)

        def of(rows: Tensor) -> Tensor:
            self.nfev += 1
            return func(at, rows)

        with torch.enable_grad():
            x = y.detach().clone().requires_grad_()
            return x, of(x), of

    def check(self, t: np.ndarray) -> None:
        """ValueError for a func that depends on y without a graph, or, with one step size, whose rows depend on each
        other."""
        y0 = self.form.y0.reshape(self.lanes, -1)
        before = generator_state(y0.device)
        x, f, of = self.slope(t, y0)
        ok = (y0.isfinite() & f.detach().isfinite()).all(1)
        if not self.steps and self.lanes > 1:
            with torch.no_grad():
                check_rows(self.func, of, y0, f.detach(), ok)
        if f.requires_grad and torch.autograd.grad(f, x, torch.zeros_like(f), allow_unused=True)[0] is not None:
            return
        restore(before)
        with torch.no_grad():
            moved = of(y0 + 1e-2 * (1.0 + y0.abs()))
        if not torch.equal(moved[ok], f.detach()[ok]):
            raise ValueError(
                "func depends on y and leaves no graph (torch.no_grad, detach, or NumPy inside?), so that there are no "
                "gradients whose growth could be measured: compute the slope with torch's own operations"
            )

    def radius(self, t: np.ndarray, y: Tensor, v: Tensor, iterations: int) -> np.ndarray:
        """The spectral radius of df/dy at y (lanes, width), (lanes,), by power iteration from v (vectors, lanes,
        width), unit rows."""
        x, f, _ = self.slope(t, y)
        logs = np.zeros((iterations, *v.shape[:2]))
        for k in range(iterations):
            found = torch.stack([self._transposed(f, x, each) for each in v])
            size = torch.linalg.vector_norm(found, dim=2, dtype=torch.float64)
            keep = size > 0
            v = torch.where(keep[:, :, None], found.double() / torch.where(keep, size, 1.0)[:, :, None], 0.0).to(v)
            with np.errstate(divide="ignore"):
                logs[k] = np.log(size.cpu().numpy())
        late = logs[iterations // 2 :].mean(0).max(0)
        return np.where(y.isfinite().all(1).cpu().numpy(), np.exp(late), np.nan)

    def _transposed(self, f: Tensor, x: Tensor, v: Tensor) -> Tensor:
        """(df/dy)^T v."""
        self.vjps += 1
        if not f.requires_grad:
            return torch.zeros_like(v)
        (found,) = torch.autograd.grad(f, x, v, retain_graph=True, allow_unused=True)
        return torch.zeros_like(v) if found is None else found


def _merged(grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """`times` (n,) and what of `grid` lies between the first and the last of them, in their direction."""
    low, high = min(times[0], times[-1]), max(times[0], times[-1])
    found = np.unique(np.concatenate([grid[(grid > low) & (grid < high)], times]))
    return found if times[-1] > times[0] else found[::-1]
