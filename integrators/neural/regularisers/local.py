"""Local regularisers: the error or stiffness estimate of one step, at one random time of the solve.

    draw "uniform" (unbiased)   t_r ~ U(t0, t1), one for the batch; y(t_r) is read as a further output of the main solve
    draw "steps"   (biased)     t_r uniform over the starts of the solver's accepted steps, a sample's own where steps
                   are

    penalty = E(t_r) h    or    S(t_r) h,    with E, S of one step of size h from (t_r, y(t_r))

y(t_r), t_r and h are constants; gradient runs through that one step alone.  So the main solve may use any adjoint, and
with the uniform draw and the automatic size it may be another library's.  h is, by choice of `step`,

    "taken"       the size of the solver's own step across t_r
    "automatic"   Hairer's automatic first step at (t_r, y(t_r)), as in the papers' code

and is never larger than t1 - t_r: f may not be defined beyond t1.  The automatic h follows tol^(1/5) for a method of
order 5, and so E, about h^5 / tol, is a small number that does not depend on the tolerance, in float32 less than its
round-off.

A. Pal, A. Edelman, C. Rackauckas, Locally Regularized Neural Differential Equations: Some Black Boxes Were Meant to
Remain Closed!, ICML 2023, PMLR 202:26809-26819.  Its code differs in three points: it calls f with t0 instead of t_r;
it holds the first stage constant (`hold_first=True` here), so that the stages do not cancel in a gradient that is
larger by orders of magnitude; and it counts t1 among the points of the biased draw, where no step is left.  Hairer's
first step: E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary Differential Equations I, 2nd ed., Springer 1993,
II.4.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from ...core import options
from ...methods.tableaus import ExplicitTableau
from ...methods.tableaus import get as get_tableau
from ..clock import Clock
from ..estimates import scaled_error, stiffness
from ..field import Field
from ..hooks import NO_HOOKS, Hooks
from ..settings import Settings
from ..solution import no_stiffness
from ..start import first_step
from ..step import Stepper
from .draws import uniform
from .plan import Func, Reading, Regulariser, Solver, Term
from .retake import states_at

Tensor = torch.Tensor


class Local(Regulariser):
    """One step's E h (`of="error"`) or S h (`of="stiffness"`).

    draw        "uniform" or "steps".
    step        "taken" or "automatic".
    hold_first  no gradient through the first stage f(t_r, y(t_r)).
    method, rtol, atol
                of the step.  None: those of the main solve, which a NeuralODE knows, and which the user of another
                solver must give.
    """

    def __init__(
        self,
        draw: str = "uniform",
        step: str = "taken",
        of: str = "error",
        hold_first: bool = False,
        method: str | ExplicitTableau | None = None,
        rtol: float | None = None,
        atol: float | None = None,
    ) -> None:
        for what, value, known in (
            ("draw", draw, ("uniform", "steps")),
            ("step", step, ("automatic", "taken")),
            ("of", of, ("error", "stiffness")),
        ):
            options.choice(f"local: {what}", value, known)
        for what, tol in (("rtol", rtol), ("atol", atol)):
            options.number(f"local: {what}", tol, 0.0, 1.0 if what == "rtol" else np.inf, none=True)
        self.draw, self.step, self.of, self.hold_first = draw, step, of, options.flag("local: hold_first", hold_first)
        self.method, self.rtol, self.atol = method, rtol, atol
        self.name = "local_unbiased" if draw == "uniform" else "local_biased"
        self.own_gradient = True
        self.needs_steps = draw == "steps" or step == "taken"
        self.adds_time = draw == "uniform"
        # a drawn time may lie behind the event, and an automatic step may begin before it and end far behind it
        self.ends_early = draw == "steps" and step == "taken"
        if method is not None:
            self._tableau(options.text("local: method", method))

    def describe(self) -> dict[str, Any]:
        own = {key: getattr(self, key) for key in ("method", "rtol", "atol") if getattr(self, key) is not None}
        return {"name": self.name, "step": self.step, "of": self.of, "hold_first": self.hold_first, **own}

    def _tableau(self, name: str | ExplicitTableau) -> Any:
        """The method's coefficients; ValueError where they lack the estimate that is wanted."""
        tableau = get_tableau(name)
        if self.of == "stiffness" and tableau.stiffness is None:
            raise no_stiffness(tableau.name, f"{self.name}: ")
        return tableau

    def check_alone(self) -> None:
        """ValueError where method or tolerances of the one step are those of a main solve, and it has none."""
        missing = [name for name in ("method", "rtol", "atol") if getattr(self, name) is None]
        if missing:
            raise ValueError(
                f"{self.name} takes a step of its own and needs {', '.join(missing)}: "
                f"regulariser({self.name!r}, step={self.step!r}, method='dopri5', rtol=1e-6, atol=1e-9), as the "
                "main solve has them"
            )

    def term(self, func: Func, y0: Tensor, t: Tensor, solver: Solver | None, generator: torch.Generator | None) -> Term:
        if solver is None:
            self.check_alone()
            assert self.method is not None  # not missing
            solver = Solver(self.method, float(self.rtol or 0.0), float(self.atol or 0.0))
        tableau = self._tableau(self.method or solver.method)
        rtol = solver.rtol if self.rtol is None else self.rtol
        atol = solver.atol if self.atol is None else self.atol
        hooks = self._hooks(solver)
        settings = Settings(tableau, None, t.numpy(), float(rtol), float(atol), None, 1, False, True, hooks=hooks)
        if self.draw == "uniform":
            at = float(t[0] + (t[-1] - t[0]) * uniform((), generator))
            return Term(lambda reading: self._at_time(reading, func, settings, solver, at), time=at)
        shares = uniform((len(y0),), generator).numpy()
        return Term(lambda reading: self._at_step(reading, func, settings, shares))

    def _hooks(self, solver: Solver) -> Hooks:
        """The main solve's error norm, and its tolerances of components where there are none of the step's own."""
        each = solver.hooks.each
        if each is not None:
            own = (each[0] if self.rtol is None else torch.full_like(each[0], self.rtol)), (
                each[1] if self.atol is None else torch.full_like(each[1], self.atol)
            )
            each = None if self.rtol is not None and self.atol is not None else own
        return replace(NO_HOOKS, norm=solver.hooks.norm, each=each)

    def _at_time(self, reading: Reading, func: Func, set_: Settings, solver: Solver, at: float) -> Tensor:
        """The penalty at the drawn time `at`; the state there is a further output of the main solve."""
        assert reading.extra is not None  # the term has a time
        coupled, lanes = not solver.per_sample, 1 if not solver.per_sample else len(reading.ok)
        if reading.solution is not None and reading.solution.heuristics is not None:
            coupled = reading.solution.heuristics.h.dim() == 1
            lanes = 1 if coupled else len(reading.ok)
        times, size = np.full(lanes, at), None
        if self.step == "taken" and bool(reading.ok.any()):
            start, h, count = self._grid(reading)
            behind = (set_.sign * start <= set_.sign * at) & (np.arange(len(start))[:, None] < count)
            size = np.take_along_axis(h, np.maximum(behind.sum(0) - 1, 0)[None], axis=0)[0]
        return self._one_step(reading, func, set_, coupled, times, reading.extra.detach(), size)

    def _at_step(self, reading: Reading, func: Func, set_: Settings, shares: np.ndarray) -> Tensor:
        """The penalty at the start of an accepted step, number shares * (number of steps), shares (B,) in [0, 1)."""
        start, h, count = self._grid(reading)
        lanes = len(count)
        if len(start) == 0:
            return reading.y.new_zeros(())
        assert reading.solution is not None and reading.solution.heuristics is not None  # _grid has seen them
        heuristics = reading.solution.heuristics
        chosen = np.minimum((shares[:lanes] * count).astype(np.int64), np.maximum(count - 1, 0))
        times, size = (np.take_along_axis(x, chosen[None], axis=0)[0] for x in (start, h))
        coupled = heuristics.h.dim() == 1
        # the main solve's steps are taken again by its own method, whatever the method of the one step
        main = replace(set_, tableau=heuristics.tableau)
        y = states_at(func, reading.y[0].detach(), main, start, h, chosen, coupled)
        return self._one_step(reading, func, set_, coupled, times, y, size if self.step == "taken" else None)

    def _grid(self, reading: Reading) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Starts and sizes (n_steps, lanes), and each lane's number of steps."""
        if reading.solution is None or reading.solution.heuristics is None:
            raise ValueError(
                f"{self.name} with step={self.step!r} needs the steps that the solver took, which a tensor of states "
                "does not hold: solve with stepsmith.neural.odeint and heuristics=True, or use draw='uniform' and "
                "step='automatic'"
            )
        heuristics = reading.solution.heuristics
        start, h = (x.detach().double().cpu().numpy() for x in (heuristics.t, heuristics.h))
        if h.ndim == 1:
            return start[:, None], h[:, None], np.array([len(h)])
        return start, h, reading.solution.stats.naccept_per_sample

    def _one_step(
        self,
        reading: Reading,
        func: Func,
        set_: Settings,
        coupled: bool,
        t: np.ndarray,
        y: Tensor,
        size: np.ndarray | None,
    ) -> Tensor:
        """The penalty of a step from y (B, *features) at t (lanes,), of `size` (lanes,) or the automatic one."""
        ok = reading.ok.cpu().numpy()
        live = np.array([ok.all()]) if coupled else ok.copy()
        rows = y.reshape(len(t), -1).contiguous()
        field = Field(func, (-1, *y.shape[1:]), coupled)
        stepper = Stepper(set_.tableau, field, len(t), rows.shape[1], y.dtype, y.device)
        while live.any():
            # a failed sample borrows a healthy one's place: what it returns is not used, and must be finite
            healthy = int(np.argmax(live))
            mask = torch.from_numpy(live).to(y.device)
            at, here = np.where(live, t, t[healthy]), torch.where(mask[:, None], rows, rows[healthy : healthy + 1])
            h = _automatic(field, set_, at, here) if size is None else size
            h = np.minimum(np.where(live, h, h[healthy]), np.abs(float(set_.t[-1]) - at))
            values, finite = self._estimated(stepper, set_, at, h, here)
            if finite[live].all():
                return values[mask].mean()
            # once more without the samples that blew up in this step
            live &= finite
        return y.new_zeros(())

    def _estimated(
        self, stepper: Stepper, set_: Settings, t: np.ndarray, h: np.ndarray, y: Tensor
    ) -> tuple[Tensor, np.ndarray]:
        """E h or S h of a step of size h from (t, y), (lanes,), and which lanes were finite throughout."""
        clock = Clock(y.dtype, t, h)
        k1 = clock.settle(stepper.field, t, y)
        stepper.wide = clock.wide
        k1 = k1.detach() if self.hold_first else k1
        step = stepper.step(t, set_.sign * h, y, k1)
        if self.of == "error":
            estimate = scaled_error(step, stepper.errors(step), set_.rtol, set_.atol, set_.hooks)
        else:
            assert set_.tableau.stiffness is not None  # asked for when the plan was made
            estimate = stiffness(step, set_.tableau.stiffness)
        values = estimate * torch.from_numpy(h).to(estimate)
        return values, _finite(values, step.y1, *step.ks)


def _automatic(field: Field, set_: Settings, t: np.ndarray, y: Tensor) -> np.ndarray:
    """The automatic first size (lanes,) of solves from (t, y) to the end."""
    end = float(set_.t[-1])
    # times (2, lanes): each lane starts at its own
    own = replace(set_, t=np.stack([t, np.full(len(t), end)]))
    with torch.no_grad():
        _, h, _, _ = first_step(field, own, y, set_.sign, Clock(y.dtype, t, end - t))
    return h


def _finite(values: Tensor, *rows: Tensor) -> np.ndarray:
    """Lanes (lanes,) of which every number of a step is finite; the estimates' norms turn NaN into zero and do not
    tell."""
    finite = torch.isfinite(values.detach())
    for x in rows:
        finite = finite & torch.isfinite(x.detach()).all(1)
    return finite.cpu().numpy()
