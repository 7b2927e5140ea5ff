"""diffrax's example neural_ode.ipynb as it is written for torchdiffeq: a net learns the field of an oscillator.

    python benchmarks/examples/diffrax_neural_ode.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 400]

As there: 256 series of 100 points on [0, 10], a net of two hidden layers of 64 with softplus, a tanh and a learnt
scale, rtol = 1e-3 and atol = 1e-6 in float32, batches of 32, the first half of the iterations on the first tenth of the
series.  For torchdiffeq: dopri5, its default, for Tsit5, which it has not, one step size for a batch, and Adam at 3e-3
for AdaBelief.  Reduced: 400 iterations for 1000.  The quality is the mean squared error of 64 new series.
"""

from __future__ import annotations

from typing import Any

import frame
import numpy as np
import torch
from torch import Tensor, nn


class Oscillator(nn.Module):
    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x = y / (1.0 + y)
        return torch.stack([x[:, 1], -x[:, 0]], dim=1)


class Learned(frame.Field):
    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.net = nn.Sequential(
            nn.Linear(size, width), nn.Softplus(), nn.Linear(width, width), nn.Softplus(), nn.Linear(width, size),
            nn.Tanh(),
        )  # fmt: skip

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return self.scale * self.net(y)


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    t, rng = torch.linspace(0.0, 10.0, 100), np.random.default_rng(seed)
    y0 = torch.from_numpy(rng.uniform(-0.6, 1.0, (320, 2))).float()
    with torch.no_grad():
        series = ode.odeint(Oscillator(), y0, t, rtol=1e-3, atol=1e-6).permute(1, 0, 2)
    known, held_out = series[:256], series[256:]
    field = Learned(2, 64)
    meter = frame.Meter(field)

    def loss_of(chosen: Tensor, points: int) -> Tensor:
        y = ode.odeint(field, chosen[:, 0], t[:points], rtol=1e-3, atol=1e-6)
        return (y.permute(1, 0, 2) - chosen[:, :points]).square().mean()

    for points, count in ((10, iterations // 2), (100, iterations - iterations // 2)):
        optimizer = torch.optim.Adam(field.parameters(), lr=3e-3)
        for _ in range(count):
            with meter:
                optimizer.zero_grad()
                chosen = known[torch.from_numpy(rng.choice(256, 32, replace=False))]
                meter.backward(loss_of(chosen, points))
                optimizer.step()
    with torch.no_grad():
        return meter, float(loss_of(held_out, 100)), "held-out mean squared error"


if __name__ == "__main__":
    frame.main(train, 400, __doc__)
