"""diffrax's example latent_ode.ipynb as it is written for torchdiffeq: a variational autoencoder of a damped rotation.

    python benchmarks/examples/diffrax_latent_ode.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 150]

As there: series of 20 points at irregular times on [0, 2..3], a GRU that reads them backwards, latent and hidden
states of 16, nets of two hidden layers of 16, Adam at .01, in float32.  For torchdiffeq: the times of a batch merged
into one grid, as latent ODEs are written there, and adaptive steps at the tolerances of diffrax's neural_ode.ipynb,
rtol = 1e-3 and atol = 1e-6, in the place of constant steps of .4.  Reduced: 2000 series for 10,000, batches of 16 for
256, 150 iterations for 250.  The quality is the mean squared error of 200 new series.
"""

from __future__ import annotations

from typing import Any

import frame
import numpy as np
import torch
from diffrax_neural_ode import Learned
from torch import Tensor, nn

MATRIX = np.array([[-0.1, 1.3], [-1.0, -0.1]])


def series(count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Times (count, 20), ascending, and values (count, 20, 2) of a rotation whose start is drawn."""
    t = np.sort(rng.uniform(size=(count, 20)) * (2.0 + rng.uniform(size=(count, 1))))
    values, vectors = np.linalg.eig(MATRIX)
    since = (t - t[:, :1])[:, :, None]
    at_start = rng.normal(size=(count, 2)) @ np.linalg.inv(vectors).T
    y = ((at_start[:, None] * np.exp(since * values)) @ vectors.T).real
    return torch.from_numpy(t).float(), torch.from_numpy(y).float()


class Model(nn.Module):
    def __init__(self, ode: Any, size: int = 16) -> None:
        super().__init__()
        self.ode, self.field = ode, Learned(size, size)
        self.cell, self.guess = nn.GRUCell(3, size), nn.Linear(size, 2 * size)
        self.begin = nn.Sequential(
            nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, size)
        )
        self.read = nn.Linear(size, 2)

    def encode(self, t: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and logarithm of the standard deviation of the latent state, (B, size) each."""
        memory = torch.zeros(len(t), self.cell.hidden_size)
        for i in reversed(range(t.shape[1])):
            memory = self.cell(torch.cat([t[:, i, None], y[:, i]], dim=1), memory)
        mean, log_std = self.guess(memory).chunk(2, dim=1)
        return mean, log_std

    def decode(self, t: Tensor, latent: Tensor) -> Tensor:
        """Values (B, T, 2) at the times (B, T), from the time that the earliest series of the batch begins at."""
        grid, where = torch.unique(t, return_inverse=True)
        z = self.ode.odeint(self.field, self.begin(latent), grid, rtol=1e-3, atol=1e-6).permute(1, 0, 2)
        return self.read(z.gather(1, where[:, :, None].expand(-1, -1, z.shape[2])))

    def loss(self, t: Tensor, y: Tensor) -> Tensor:
        mean, log_std = self.encode(t, y)
        off = y - self.decode(t, mean + torch.randn_like(mean) * log_std.exp())
        divergence = 0.5 * (mean**2 + torch.exp(2.0 * log_std) - 2.0 * log_std - 1.0)
        return (0.5 * (off**2).sum((1, 2)) + divergence.sum(1)).mean()


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    rng = np.random.default_rng(seed)
    t, y = series(2000, rng)
    t_new, y_new = series(200, rng)
    model = Model(ode)
    optimizer, meter = torch.optim.Adam(model.parameters(), lr=0.01), frame.Meter(model.field)
    for _ in range(iterations):
        with meter:
            optimizer.zero_grad()
            chosen = torch.from_numpy(rng.choice(len(t), 16, replace=False))
            meter.backward(model.loss(t[chosen], y[chosen]))
            optimizer.step()
    with torch.no_grad():
        off = model.decode(t_new, model.encode(t_new, y_new)[0]) - y_new
    return meter, float(off.square().mean()), "held-out mean squared error"


if __name__ == "__main__":
    frame.main(train, 150, __doc__)
