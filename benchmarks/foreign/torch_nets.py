"""The models of torchdiffeq's examples odenet_mnist.py and latent_ode.py in torch, for torchdiffeq and torchode.

They are imported by the scripts beside them and have no command of their own.  The field of each counts its calls, and
the steps that torchdiffeq tells it of.  Widths: the image network has 32 channels in the place of the example's 64, a
quarter of its work, and group norms of two channels as there; the latent ODE has the example's sizes.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Solve = Callable[[Tensor, Any], Tensor]


class Field(nn.Module):
    """A right-hand side that counts; torchdiffeq calls the two methods after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = self.accepted = self.rejected = 0

    def callback_accept_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.accepted += 1

    def callback_reject_step(self, t0: Tensor, y0: Tensor, dt: Tensor) -> None:
        self.rejected += 1


def norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(channels // 2, channels)


class ImageField(Field):
    """Two convolutions of the state with the time as one more channel, group norms before, between and behind."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(norm(channels) for _ in range(3))
        self.convolutions = nn.ModuleList(nn.Conv2d(channels + 1, channels, 3, padding=1) for _ in range(2))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """t: one time for all images, or one for each."""
        self.calls += 1
        time = torch.ones_like(x[:, :1]) * t.reshape(-1, 1, 1, 1).to(x.dtype)
        for group, convolution in zip(self.norms, self.convolutions, strict=False):
            x = convolution(torch.cat([time, torch.relu(group(x))], dim=1))
        return self.norms[2](x)


class ImageNet(nn.Module):
    """Images to scores of ten classes: convolutions down to 6 x 6 pixels, `solve` of the field, a linear head."""

    def __init__(self, channels: int = 32) -> None:
        super().__init__()
        c = channels
        self.down = nn.Sequential(
            nn.Conv2d(1, c, 3), norm(c), nn.ReLU(), nn.Conv2d(c, c, 4, 2, 1), norm(c), nn.ReLU(),
            nn.Conv2d(c, c, 4, 2, 1),
        )  # fmt: skip
        self.field = ImageField(c)
        self.head = nn.Sequential(norm(c), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10))

    def forward(self, x: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        return self.head(solve(self.down(x)))


class LatentField(Field):
    def __init__(self, latent: int, hidden: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(latent, hidden), nn.ELU(), nn.Linear(hidden, hidden), nn.ELU(), nn.Linear(hidden, latent)
        )

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        self.calls += 1
        return self.net(z)


class LatentODE(nn.Module):
    """A recurrent net reads a series backwards and guesses where the latent state began; a decoder reads the state."""

    def __init__(self, inputs: int, outputs: int, latent: int = 4, hidden: int = 20, recurrent: int = 25) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.field = LatentField(latent, hidden)
        self.remember = nn.Linear(inputs + recurrent, recurrent)
        self.guess = nn.Linear(recurrent, 2 * latent)
        self.decode = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, outputs))

    def encode(self, visits: Any) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the variance of the first latent state."""
        memory = visits.inputs.new_zeros(len(visits.inputs), self.recurrent)
        for i in reversed(range(visits.inputs.shape[1])):
            after = torch.tanh(self.remember(torch.cat([visits.inputs[:, i], memory], dim=1)))
            memory = torch.where(visits.real[:, i, None], after, memory)
        mean, logvar = self.guess(memory).chunk(2, dim=1)
        return mean, logvar

    def loss(self, visits: Any, solve: Solve, noise: float) -> Tensor:
        """The negative evidence lower bound, per subject.  solve: latent states (B, T, latent) at the visits."""
        mean, logvar = self.encode(visits)
        z0 = mean + torch.randn_like(mean) * torch.exp(0.5 * logvar)
        off = (visits.values - self.decode(solve(z0, visits))) / noise
        unlikely = 0.5 * (math.log(2.0 * math.pi) + 2.0 * math.log(noise) + off**2) * visits.mask
        divergence = 0.5 * (mean**2 + torch.exp(logvar) - 1.0 - logvar)
        return (unlikely.sum((1, 2)) + divergence.sum(1)).mean()

    @torch.no_grad()
    def held_out_error(self, visits: Any, solve: Solve) -> float:
        """Mean squared error of what was observed, from the most likely first state."""
        found = self.decode(solve(self.encode(visits)[0], visits))
        return float((((found - visits.values) ** 2) * visits.mask).sum() / visits.mask.sum())


def solve_errors(
    field: nn.Module, y0: Tensor, times: Tensor, rtol: float, atol: float, method: Any
) -> dict[str, float]:
    """Errors of two solves of one field in double precision, the second under warm start: by torchdiffeq's dopri5, and
    by `method`.  They are the root mean square of the difference from a solve at a thousandth of the tolerances,
    over that of the solution.
    """
    from torchdiffeq import odeint  # torchode's scripts do without

    twin = copy.deepcopy(field).double()
    given = twin, y0.detach().double(), times.double()
    with torch.no_grad():
        exact = odeint(*given, rtol=1e-3 * rtol, atol=1e-3 * atol, method="dopri8")
        found = {}
        for name, each in (("error_default", "dopri5"), ("error", method)):
            for _ in range(2):
                y = odeint(*given, rtol=rtol, atol=atol, method=each)
            found[name] = float((y - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    return found
