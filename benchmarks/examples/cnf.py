"""torchdiffeq's cnf.py: a continuous normalising flow takes two noisy circles to a normal distribution.

    python benchmarks/examples/cnf.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 120]

As there: a mixture of 64 hidden units whose weights a net makes of the time, the exact trace, t from 10 to 0,
odeint_adjoint with dopri5 at 1e-5 and 1e-5 in float32, Adam at 1e-3.  Reduced: batches of 128 points for 512, and 120
iterations for 1000.  The quality is the negative logarithm of the likelihood of 1000 new points.
"""

from __future__ import annotations

from typing import Any

import frame
import torch
from sklearn.datasets import make_circles
from torch import Tensor, nn

WIDTH, HIDDEN, SIZE = 64, 32, 2


class Flow(frame.Field):
    """The slope of (z, log p): z' is the mean over the hidden units of u tanh(w z + b), log p' minus its divergence."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.Linear(1, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh(),
            nn.Linear(HIDDEN, WIDTH * (3 * SIZE + 1)),
        )  # fmt: skip

    def forward(self, t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.calls += 1
        z = state[0]
        with torch.enable_grad():
            z.requires_grad_(True)
            w, u, gate, b = self.weights(t.reshape(1, 1))[0].split([WIDTH * SIZE] * 3 + [WIDTH])
            u = u * torch.sigmoid(gate)
            h = torch.tanh(z @ w.reshape(WIDTH, SIZE).T + b)
            slope = h @ u.reshape(WIDTH, SIZE) / WIDTH
            divergence = sum(torch.autograd.grad(slope[:, i].sum(), z, create_graph=True)[0][:, i] for i in range(SIZE))
        return slope, -divergence[:, None]


def circles(count: int, seed: int) -> Tensor:
    points, _ = make_circles(count, noise=0.06, factor=0.5, random_state=seed)
    return torch.from_numpy(points).float()


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    field, t = Flow(), torch.tensor([10.0, 0.0])
    optimizer, meter = torch.optim.Adam(field.parameters(), lr=1e-3), frame.Meter(field)
    base = torch.distributions.MultivariateNormal(torch.zeros(SIZE), 0.1 * torch.eye(SIZE))

    def loss_of(points: Tensor) -> Tensor:
        start = points, torch.zeros(len(points), 1)
        z, log_p = ode.odeint_adjoint(field, start, t, rtol=1e-5, atol=1e-5, method="dopri5")
        return (log_p[-1][:, 0] - base.log_prob(z[-1])).mean()

    for i in range(iterations):
        with meter:
            optimizer.zero_grad()
            meter.backward(loss_of(circles(128, 1000 * seed + i)))
            optimizer.step()
    return meter, float(loss_of(circles(1000, 10**6)).detach()), "negative log-likelihood"


if __name__ == "__main__":
    frame.main(train, 120, __doc__)
