"""Local regularisers of SDEs: the error (or stiffness) estimate of one extra step from a random time, times its size.

    t_r uniform over the span ("local_unbiased"), or the start of a random accepted step ("local_biased"),
    penalty = E(t_r, y(t_r)) h,   y(t_r) without gradient,

along a fresh increment over the step, so that only one step is differentiated for the penalty.  h is the size of the
accepted step around t_r.

A. Pal, A. Edelman, C. Rackauckas, Locally regularized neural differential equations, ICML 2023, PMLR 202:26809, section
3; its code (LocalRegNeuralDE.jl, src/layers/neural_sde.jl).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ...methods import sde
from ..regularisers.draws import uniform
from ..regularisers.local import Local
from .attempt import attempt
from .brownian import Memory
from .estimates import Scale
from .fields import Coefficient
from .plan import Plan
from .solution import SDESolution

Tensor = torch.Tensor


def checked(local: Local, method: str) -> None:
    """ValueError for options of a local regulariser that a step of an SDE has not."""
    if local.step != "taken" or local.method is not None or local.rtol is not None or local.atol is not None:
        raise ValueError(f"{local.name} of an SDE takes its step from the solve: leave step, method, rtol and atol out")
    if local.of == "stiffness" and sde.get(method).stiffness is None:
        raise ValueError(f"{local.name}: method {method!r} has no stiffness estimate: use sosri")


def time_of(local: Local, t: Tensor, generator: torch.Generator | None) -> float | None:
    """A time at which the state is wanted, between those of t (T,); None where there is none."""
    if local.draw != "uniform":
        return None
    return float(t[0] + (t[-1] - t[0]) * uniform((), generator))


def penalty(
    local: Local,
    solution: SDESolution,
    fields: tuple[Any, Any],
    options: dict[str, Any],
    at: float | None,
    state: Tensor | None,
    seed: int,
    generator: torch.Generator | None,
) -> Tensor:
    """The penalty, 0-d.

    fields: drift and diffusion.  options: keywords of the solve.  at, state (B, *features): of `time_of`.  seed: of the
    step's increment.  Samples that failed are left out.
    """
    heuristics = solution.heuristics
    assert heuristics is not None  # the module asks for them
    coupled, ok = heuristics.h.dim() == 1, torch.from_numpy(solution.status > 0)
    y0 = solution.y[0].detach()
    live = ok.to(y0.device)
    if len(heuristics.h) == 0 or not bool(ok.any()) or (coupled and not bool(ok.all())):
        return y0.new_zeros(())
    starts, sizes = (x.detach().double().cpu().numpy() for x in (heuristics.t, heuristics.h))
    starts, sizes = (x[:, None] if coupled else x for x in (starts, sizes))
    count = (sizes > 0.0).sum(0)
    if at is None:
        shares = uniform((starts.shape[1],), generator).numpy()
        chosen = np.minimum((shares * count).astype(np.int64), np.maximum(count - 1, 0))
        t = np.take_along_axis(starts, chosen[None], axis=0)[0]
        rows = solution.states[torch.from_numpy(np.broadcast_to(chosen, (len(y0),)).copy()), torch.arange(len(y0))]
    else:
        behind = (starts <= at) & (np.arange(len(starts))[:, None] < count)
        chosen, t = np.maximum(behind.sum(0) - 1, 0), np.full(starts.shape[1], at)
        assert state is not None  # wanted at the time
        rows = torch.where(live.view(-1, *(1,) * (state.dim() - 1)), state.detach(), y0)
    end = float(solution.t[-1])
    size = np.minimum(np.take_along_axis(sizes, chosen[None], axis=0)[0], np.maximum(end - t, 0.0))
    size = np.where(size > 0.0, size, 1e-6 * (end - float(solution.t[0])))
    if not coupled:
        # another's step for samples that failed, whose own may not be finite: what comes of it is dropped
        whose = np.where(ok.numpy(), np.arange(len(ok)), int(np.argmax(ok.numpy())))
        t, size, rows = t[whose], size[whose], rows[torch.from_numpy(whose).to(rows.device)]
    values = _one_step(local, fields, options, coupled, t, size, rows, seed)
    return values[0] if coupled else values[live].mean()


def _one_step(
    local: Local,
    fields: tuple[Any, Any],
    options: dict[str, Any],
    coupled: bool,
    t: np.ndarray,
    size: np.ndarray,
    y: Tensor,
    seed: int,
) -> Tensor:
    """E h or S h (lanes,) of steps of `size` (lanes,) from y (B, *features) at t (lanes,)."""
    method, noise = sde.get(options["method"], options["estimate"]), options["noise"]
    flat, lanes = y.reshape(len(y), -1), len(y)
    f, g = (
        Coefficient(name, x, (-1, *y.shape[1:]), coupled)
        for name, x in zip(("drift", "diffusion"), fields, strict=True)
    )
    source = Memory(seed, np.arange(lanes), 1 if noise == "scalar" else flat.shape[1], method.levy, y.device)
    begin, until = (np.broadcast_to(x, (lanes,)) for x in (t, t + size))
    w, levy = source.increment(begin, until, np.ones(lanes, dtype=bool))
    trial = attempt(method, f, g, Plan.step(t, size, w, levy, flat), flat)
    scale = Scale(method, options["rtol"], options["atol"], coupled)
    values = scale.error(trial, flat, flat) if local.of == "error" else scale.stiffness(trial)
    return values * torch.from_numpy(size).to(values)
