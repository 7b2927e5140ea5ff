"""The accepted steps of a pass taken again with gradient: the discrete adjoint of steps per sample.

Sizes and increments are constants.  A sample that is done, or that failed, lends itself the start of a healthy one,
cut from the graph, where drift and diffusion are known to be finite, and what comes of it is dropped: a zero gradient
times an infinite derivative would be NaN.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..outputs import Outputs, rows_of
from .attempt import attempt
from .plan import Plan, Taken

Tensor = torch.Tensor


def replay(plan: Plan, y0: Tensor, taken: Taken) -> Taken:
    """`taken` with the gradient in y, E and S, by the steps of its grid from y0 (samples, width)."""
    grid, outputs = taken.done.grid, Outputs(plan.t, len(y0))
    errs: list[Tensor] = []
    stiffs: list[Tensor] = []
    if taken.w is None:  # nobody moved
        return replace(taken, y=outputs.assemble(y0))
    rest = _rest(taken.done.start_ok, y0.detach())
    start = y = before = y0
    for i in range(len(grid.t)):
        live = i < grid.count
        mask = torch.from_numpy(live).to(y.device)[:, None]
        t, h = np.where(live, grid.t[i], plan.t[0]), np.where(live, grid.h[i], plan.span)
        levy = None if taken.levy is None else taken.levy[i]
        start = y if live.all() else torch.where(mask, y, rest)
        trial = attempt(plan.method, plan.f, plan.g, plan.step(t, h, taken.w[i], levy, start), start)
        for wanted, found, values in (("E", plan.scale.error, errs), ("S", plan.scale.stiffness, stiffs)):
            if wanted in plan.graph:
                value = found(trial, start, before) if wanted == "E" else found(trial)  # type: ignore[call-arg,arg-type]
                values.append(torch.where(mask[:, 0], value, 0.0))
        y, before = torch.where(mask, trial.y1, y), torch.where(mask, trial.other, before)
        rows = np.flatnonzero(live)
        for output, position, _ in outputs.groups(rows, grid.t[i][rows], grid.end[i][rows]):
            outputs.add(output, rows[position], rows_of(y, rows[position]))
    err, stiff = (torch.stack(rows) if rows else None for rows in (errs, stiffs))
    return replace(taken, y=outputs.assemble(y0), err=err, stiff=stiff)


def _rest(ok: np.ndarray, y0: Tensor) -> Tensor:
    """Starts (samples, width) that are finite: those of failed ones are another's."""
    if ok.all() or not ok.any():
        return y0
    mask = torch.from_numpy(ok).to(y0.device)[:, None]
    healthy = int(np.argmax(ok))
    return torch.where(mask, y0, y0[healthy : healthy + 1])
