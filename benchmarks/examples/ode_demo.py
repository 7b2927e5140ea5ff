"""torchdiffeq's ode_demo.py: a net learns the field of a cubic spiral from short pieces of one trajectory.

    python benchmarks/examples/ode_demo.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 600]

As there: 1000 points of y' = y^3 A on [0, 25], batches of 20 pieces of 10 points, a net of 50 hidden units, RMSprop,
odeint at the default tolerances 1e-7 and 1e-9 in float32, and every 20 iterations a solve of the whole trajectory.
Reduced: 600 iterations for 2000.  The quality is the mean absolute error of the last ten of these solves.
"""

from __future__ import annotations

from typing import Any

import frame
import numpy as np
import torch
from torch import Tensor, nn


class Spiral(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.tensor([[-0.1, 2.0], [-2.0, -0.1]])

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return y**3 @ self.matrix


class Learned(frame.Field):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 50), nn.Tanh(), nn.Linear(50, 2))
        for layer in (self.net[0], self.net[2]):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        self.calls += 1
        return self.net(y**3)


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    start, t, points = torch.tensor([[2.0, 0.0]]), torch.linspace(0.0, 25.0, 1000), 10
    with torch.no_grad():
        truth = ode.odeint(Spiral(), start, t, method="dopri5")
    field, rng = Learned(), np.random.default_rng(seed)
    optimizer, meter = torch.optim.RMSprop(field.parameters(), lr=1e-3), frame.Meter(field)
    errors: list[float] = []

    def off() -> float:
        """Mean absolute error over the whole trajectory."""
        with torch.no_grad():
            return float((ode.odeint(field, start, t) - truth).abs().mean())

    for i in range(1, iterations + 1):
        with meter:
            optimizer.zero_grad()
            first = torch.from_numpy(rng.choice(len(t) - points, 20, replace=False))
            wanted = torch.stack([truth[first + k] for k in range(points)])
            loss = (ode.odeint(field, truth[first], t[:points]) - wanted).abs().mean()
            meter.backward(loss)
            optimizer.step()
            if i % 20 == 0:
                errors.append(off())
    last = errors[-10:] or [off()]
    return meter, sum(last) / len(last), "mean absolute error"


if __name__ == "__main__":
    frame.main(train, 600, __doc__)
