"""The accepted steps of a pass taken again with gradient: the discrete adjoint of steps per sample.

Sizes and increments are constants.  A sample that is done takes its first step again meanwhile, cut from the graph, and
one that never took a step takes another's: these are known to be finite, and what comes of them is dropped.  Of a step
that is not finite, a longer one for instance, a zero gradient times an infinite derivative would be NaN.
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
    whose = _whose(grid.count)
    rest = y0.detach()[torch.from_numpy(whose).to(y0.device)]
    start = y = before = y0
    for i in range(len(grid.t)):
        live = i < grid.count
        mask = torch.from_numpy(live).to(y.device)[:, None]
        t, h = np.where(live, grid.t[i], grid.t[0][whose]), np.where(live, grid.h[i], grid.h[0][whose])
        w, levy = (None if x is None else _rested(x, i, mask, whose) for x in (taken.w, taken.levy))
        assert w is not None  # somebody moved
        start = y if live.all() else torch.where(mask, y, rest)
        step = plan.step(t, h, w, levy, start)
        trial = attempt(plan.method, plan.f, plan.g, step, start)
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


def _whose(count: np.ndarray) -> np.ndarray:
    """(samples,) whose first step each sample takes while it rests: its own, or, where it has none, another's; count
    (samples,) of steps."""
    return np.where(count > 0, np.arange(len(count)), int(np.argmax(count > 0)))


def _rested(x: Tensor, i: int, live: Tensor, whose: np.ndarray) -> Tensor:
    """Step i of x (steps, samples, noises), and the first one of `whose` where a sample is not `live` (samples, 1)."""
    return torch.where(live, x[i], x[0][torch.from_numpy(whose).to(x.device)])
