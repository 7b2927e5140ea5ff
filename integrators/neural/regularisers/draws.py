"""Random draws of a plan: from the generator that the user gave, on its device, or from torch's own."""

from __future__ import annotations

import torch

Tensor = torch.Tensor


def uniform(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Uniform on [0, 1), float64 on the CPU."""
    device = "cpu" if generator is None else generator.device
    return torch.rand(shape, dtype=torch.float64, generator=generator, device=device).cpu()


def normal_like(x: Tensor, generator: torch.Generator | None) -> Tensor:
    """Standard normal of x's shape, dtype and device."""
    device = x.device if generator is None else generator.device
    return torch.randn(x.shape, dtype=x.dtype, generator=generator, device=device).to(x.device)
