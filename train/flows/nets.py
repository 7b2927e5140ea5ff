"""The network of the tasks: a perceptron of the state, the noise level and, where asked for, the class."""

from __future__ import annotations

import math

import torch
from torch import nn

from ...flows.processes import EDM, Process

Tensor = torch.Tensor
WAVES = (0.5, 1.0, 2.0, 4.0)
#: standard deviation of the data, of EDM's preconditioning
SIGMA_DATA = 1.0


def level(process: Process, t: Tensor) -> Tensor:
    """What the network sees of the time: the time itself, and of EDM log(sigma)/4."""
    return torch.log(t.clamp(min=1e-6)) / 4.0 if isinstance(process, EDM) else t


class Perceptron(nn.Module):
    """x (B, size), t (B,), classes (B,) or none -> (B, size), in terms of the process.

    The state is scaled to about unit variance.  For EDM the answer is the denoised state, preconditioned as by Karras
    et al. 2022, table 1; for the others it is what the layers give.
    """

    def __init__(self, process: Process, size: int, width: int, layers: int, classes: int = 0) -> None:
        super().__init__()
        self.process, self.size, self.classes = process, size, classes
        into = size + 1 + 2 * len(WAVES) + classes
        stack: list[nn.Module] = []
        for _ in range(layers):
            stack += [nn.Linear(into, width), nn.SiLU()]
            into = width
        self.layers = nn.Sequential(*stack, nn.Linear(width, size))

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        if x.ndim != 2 or x.shape[1] != self.size:
            raise ValueError(f"x must be of shape (B, {self.size}) for this network, got {tuple(x.shape)}")
        p = self.process
        a, s = p.a(t).to(x.dtype)[:, None], p.s(t).to(x.dtype)[:, None]
        seen = level(p, t)[:, None]
        waves = [f(2.0 * math.pi * w * seen) for w in WAVES for f in (torch.sin, torch.cos)]
        known = [] if not self.classes else [_one_hot(labels, self.classes, x)]
        total = torch.sqrt(a**2 * SIGMA_DATA**2 + s**2)
        out = self.layers(torch.cat([x / total, seen, *waves, *known], 1))
        if not isinstance(p, EDM):
            return out
        return SIGMA_DATA**2 / total**2 * x + s * SIGMA_DATA / total * out


def _one_hot(labels: Tensor | None, classes: int, x: Tensor) -> Tensor:
    if labels is None:
        raise ValueError("the network of a conditional model must be told the classes: load(path, labels=...)")
    if labels.ndim and len(labels) != len(x):
        raise ValueError(f"labels must be one number or one a sample, ({len(x)},), got {tuple(labels.shape)}")
    return nn.functional.one_hot(labels.expand(len(x)), classes).to(x.dtype)
