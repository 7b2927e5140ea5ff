"""Training losses, one a process: the mean square of what the network misses of its target.

    flow_matching  velocity x_data - z at t uniform in [0, 1] (Lipman et al., ICLR 2023)
    vp, ve         noise z at t uniform over the process's range (Song et al., ICLR 2021, with the weights that make the
                   score's loss the noise's)
    edm            denoised data at log sigma normal with mean -1.2 and deviation 1.2, times (sigma^2 + sigma_data^2) /
                   (sigma sigma_data)^2 (Karras et al., NeurIPS 2022, table 1)
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from ...flows.processes import EDM, FlowMatching, Process
from .nets import SIGMA_DATA

Tensor = torch.Tensor
MEAN, DEVIATION = -1.2, 1.2


def predicts(process: Process) -> str:
    """What networks of this process are trained to predict."""
    if isinstance(process, FlowMatching):
        return "velocity"
    return "denoised" if isinstance(process, EDM) else "noise"


def example(process: Process, data: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """States x (B, size), times (B,), targets (B, size) and weights (B,) of items (B, size), in the items' dtype."""
    n = len(data)
    if isinstance(process, EDM):
        t = torch.exp(MEAN + DEVIATION * torch.randn(n, generator=generator, dtype=torch.float64))
        t = t.clamp(process.sigma_min, process.sigma_max)
        weight = (t**2 + SIGMA_DATA**2) / (t * SIGMA_DATA) ** 2
    else:
        u = torch.rand(n, generator=generator, dtype=torch.float64)
        t = process.t_noise + u * (process.t_data - process.t_noise)
        weight = torch.ones_like(t)
    z = torch.randn(data.shape, generator=generator, dtype=data.dtype)
    a, s, da, ds = (f(t).to(data.dtype)[:, None] for f in (process.a, process.s, process.da, process.ds))
    target = {"velocity": da * data + ds * z, "denoised": data, "noise": z}[predicts(process)]
    return a * data + s * z, t.to(data.dtype), target, weight.to(data.dtype)


def loss(
    net: Callable[..., Tensor], process: Process, data: Tensor, labels: Tensor | None, generator: torch.Generator
) -> Tensor:
    """The loss () of `net(x, t[, labels])` on items (B, size)."""
    x, t, target, weight = example(process, data, generator)
    out = net(x, t) if labels is None else net(x, t, labels)
    return (weight * (out - target).square().mean(1)).mean()
