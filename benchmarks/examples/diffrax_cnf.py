"""diffrax's example continuous_normalising_flow.ipynb as it is written for torchdiffeq, with adaptive steps.

    python benchmarks/examples/diffrax_cnf.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 100]

As there: two blocks of four layers of 64 whose gates and shifts depend on the time, the exact trace, t from .5 to 0,
AdamW at 1e-3 with a weight decay of 1e-5, in float32.  The example takes ten constant steps a block, which
diffrax_cnf_grid.py does too; here the steps are those of the tolerances of diffrax's neural_ode.ipynb, rtol = 1e-3 and
atol = 1e-6.  Reduced: two moons for the picture of a cat, batches of 200 points for 500, 100 iterations for 10,000.
The quality is the negative logarithm of the likelihood of 1000 new points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import frame
import torch
from sklearn.datasets import make_moons
from torch import Tensor, nn

STEPS = {"rtol": 1e-3, "atol": 1e-6}


class Squashed(nn.Module):
    """A linear layer with a gate and a shift that depend on the time."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.linear, self.gate = nn.Linear(inputs, outputs), nn.Linear(1, outputs)
        self.shift = nn.Linear(1, outputs, bias=False)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.linear(y) * torch.sigmoid(self.gate(t)) + self.shift(t)


class Block(frame.Field):
    """The slope of (y, log p), whose second part is the trace of the first one's Jacobian."""

    def __init__(self, size: int = 2, width: int = 64, depth: int = 3) -> None:
        super().__init__()
        widths = [size, *[width] * depth, size]
        self.layers = nn.ModuleList(Squashed(a, b) for a, b in zip(widths[:-1], widths[1:], strict=True))

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.calls += 1
        with torch.enable_grad():
            y = state[0] if state[0].requires_grad else state[0].detach().requires_grad_()
            slope = y
            for i, layer in enumerate(self.layers):
                slope = layer(t.reshape(1), torch.tanh(slope) if i else slope)
            parts = range(y.shape[1])
            rows = [torch.autograd.grad(slope[:, i].sum(), y, create_graph=True)[0][:, i] for i in parts]
        return slope, sum(rows)


def moons(count: int, seed: int) -> Tensor:
    points, _ = make_moons(count, noise=0.06, random_state=seed)
    points = torch.from_numpy(points).float()
    return (points - torch.tensor([0.5, 0.25])) / torch.tensor([0.87, 0.5])


def trained(ode: Any, seed: int, iterations: int, steps: Mapping[str, Any]) -> frame.Trained:
    """steps: what odeint is told of the steps."""
    blocks, t = nn.ModuleList([Block(), Block()]), torch.tensor([0.5, 0.0])
    optimizer = torch.optim.AdamW(blocks.parameters(), lr=1e-3, weight_decay=1e-5)
    meter = frame.Meter(*blocks)

    def loss_of(points: Tensor) -> Tensor:
        state = points, torch.zeros(len(points))
        for block in reversed(blocks):
            state = tuple(part[-1] for part in ode.odeint(block, state, t, **steps))
        return (0.5 * (state[0] ** 2).sum(1) + math.log(2.0 * math.pi) - state[1]).mean()

    for i in range(iterations):
        with meter:
            optimizer.zero_grad()
            meter.backward(loss_of(moons(200, 10_000 * seed + i)))
            optimizer.step()
    return meter, float(loss_of(moons(1000, 10**6)).detach()), "negative log-likelihood"


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    return trained(ode, seed, iterations, STEPS)


if __name__ == "__main__":
    frame.main(train, 100, __doc__)
