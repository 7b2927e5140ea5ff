"""Samples by solving the probability-flow ODE with a method and a controller that choose their steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .. import neural
from .model import Model
from .samples import Counter, Samples

Tensor = torch.Tensor


def probability_flow(
    model: Model,
    start: Tensor,
    times: Tensor,
    method: str,
    controller: Any,
    rtol: Any,
    atol: Any,
    denoise: bool,
    trajectory: bool,
    per_sample: bool,
    first_step: Any,
    max_steps: int,
) -> Samples:
    """Samples (B, *features) from the state `start` at times[0], by `neural.odeint`; the other times are outputs."""
    counter = Counter(model.net)
    counted = model.with_net(counter)
    low, high = sorted((float(times[0]), float(times[-1])))

    def slope(t: Tensor, x: Tensor) -> Tensor:
        moment = t.to(torch.float64).clamp(low, high)  # float32 times may end a rounding behind
        return counted.velocity(x, moment.reshape(-1) if moment.ndim else moment)

    sol = neural.odeint(
        slope, start, times, method=method, controller=controller, rtol=rtol, atol=atol, adjoint="none",
        per_sample=per_sample, first_step=first_step, max_steps=max_steps, heuristics=False,
    )  # fmt: skip
    batch, stats = len(start), sol.stats
    failed = torch.from_numpy(np.broadcast_to(np.asarray(sol.status) < 0, (batch,)).copy())
    nfe = torch.from_numpy(np.broadcast_to(stats.nfev_per_sample, (batch,)).astype(np.int64))
    y = sol.y[-1]
    if denoise:
        y = model.denoised(torch.nan_to_num(y), float(times[-1]))
        nfe = nfe + 1
    lost = failed.to(y.device) | ~torch.isfinite(y).flatten(1).all(1)
    y = torch.where(lost.reshape(-1, *[1] * (y.ndim - 1)), torch.full_like(y, torch.nan), y)
    message = sol.message
    if bool(lost.any()) and not bool(failed.any()):
        message = f"{int(lost.sum())} of {batch} samples are not finite after the last estimate"
    return Samples(
        y=y, nfe=float(nfe.double().mean()), t=times, trajectory=sol.y if trajectory else None,
        success=not bool(lost.any()), message=message, denoised=denoise, failed=lost.cpu(), nfe_per_sample=nfe,
        naccept=stats.naccept, nreject=stats.nreject,
    )  # fmt: skip
