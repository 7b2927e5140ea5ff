"""Samples with steps that a controller chooses: of the probability-flow ODE, and of the reverse SDE.

The reverse SDE (Y. Song et al., ICLR 2021, equation 6) is solved in tau, the time since the noise's end:

    dx = [v - |w|/a eps] dtau + sqrt(2 s |w|/a) dW,     v = dx/dtau of the probability flow, w = a' s - a s',

whose noise does not depend on the state.  At pure noise (a = 0) it has no finite drift: in the time of flow
matching it runs from sigma = 80 to sigma = 0.002, and Tweedie's estimate ends it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import neural
from .model import Model, broadcast
from .samples import Samples

Tensor = torch.Tensor
Field = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Choice:
    """How steps are chosen.  tol: (rtol, atol).  The rest: as for `sample`, filled in."""

    method: str
    controller: Any
    tol: tuple[Any, Any]
    per_sample: bool
    first_step: Any
    max_steps: int
    seed: int


def probability_flow(
    model: Model, start: Tensor, times: Tensor, choice: Choice, denoise: bool, trajectory: bool
) -> Samples:
    """Samples (B, *features) from the state `start` at times[0], by `neural.odeint`; the other times are outputs."""

    def slope(t: Tensor, x: Tensor) -> Tensor:
        return model.velocity(x, _moment(t, times))

    sol = neural.odeint(
        slope, start, times, method=choice.method, controller=choice.controller, rtol=choice.tol[0],
        atol=choice.tol[1], adjoint="none", per_sample=choice.per_sample, first_step=choice.first_step,
        max_steps=choice.max_steps, heuristics=False,
    )  # fmt: skip
    return _samples(model, sol, times, denoise, trajectory)


def reverse_equation(model: Model, times: Tensor) -> tuple[Field, Field]:
    """Drift and diffusion of the reverse SDE from times[0] on, as `neural.sdeint` takes them.

    They are functions of tau, the time since times[0], and of x (B, *features)."""
    process = model.process
    sign, begin = process.towards_data, float(times[0])

    def moment(tau: Tensor) -> Tensor:
        return _moment(begin + sign * tau.to(torch.float64), times)

    def drift(tau: Tensor, x: Tensor) -> Tensor:
        t = moment(tau)
        denoised, noise = model.predictions(x, t)
        pull = process.wronskian(t).abs() / process.a(t)
        return broadcast(sign * process.da(t), x) * denoised + broadcast(sign * process.ds(t) - pull, x) * noise

    def diffusion(tau: Tensor, x: Tensor) -> Tensor:
        t = moment(tau)
        spread = torch.sqrt(2.0 * process.s(t) * process.wronskian(t).abs() / process.a(t))
        return broadcast(spread, x).expand_as(x)

    return drift, diffusion


def reverse_sde(
    model: Model, start: Tensor, times: Tensor, choice: Choice, denoise: bool, trajectory: bool
) -> Samples:
    """Samples (B, *features) from the state `start` at times[0], by `neural.sdeint`; the other times are outputs."""
    drift, diffusion = reverse_equation(model, times)
    sol = neural.sdeint(
        drift, diffusion, start, (times - times[0]).abs(), method=choice.method, controller=choice.controller,
        rtol=choice.tol[0], atol=choice.tol[1], seed=choice.seed, noise="additive", adjoint="none",
        per_sample=choice.per_sample, first_step=choice.first_step, max_steps=choice.max_steps, heuristics=False,
    )  # fmt: skip
    return _samples(model, sol, times, denoise, trajectory)


def _moment(t: Tensor, times: Tensor) -> Tensor:
    """A solver's time, () or (B, 1, ...), as float64 () or (B,): float32 times may end a rounding behind the last."""
    low, high = sorted((float(times[0]), float(times[-1])))
    moment = t.to(torch.float64).clamp(low, high)
    return moment.reshape(-1) if moment.ndim else moment


def _samples(model: Model, sol: Any, times: Tensor, denoise: bool, trajectory: bool) -> Samples:
    """What a solution gives."""
    y = sol.y[-1]
    batch, stats = len(y), sol.stats
    failed = torch.from_numpy(np.broadcast_to(np.asarray(sol.status) < 0, (batch,)).copy())
    nfe = torch.from_numpy(np.broadcast_to(stats.nfev_per_sample, (batch,)).astype(np.int64))
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
