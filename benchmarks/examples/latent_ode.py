"""torchdiffeq's latent_ode.py: a variational autoencoder of noisy spirals whose decoder solves an ODE.

    python benchmarks/examples/latent_ode.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 150]

As there: spirals of 100 points, the nets and their sizes (benchmarks/foreign/torch_nets.py), Adam at .01, odeint at the
default tolerances 1e-7 and 1e-9 in float32.  Reduced: 200 spirals for 1000, and 150 iterations for 2000.  The quality
is the mean squared error of held-out spirals without noise.
"""

from __future__ import annotations

from typing import Any

import frame
import torch
from torch import Tensor


def tensors(visits: frame.data.Visits) -> Any:
    return frame.data.Visits(*(torch.from_numpy(x.copy()) for x in visits.__dict__.values()))


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    seen = tensors(frame.data.spirals(200, 0.3, 2 * seed))
    held_out = tensors(frame.data.spirals(200, 0.3, 2 * seed + 1, clean=True))
    model = frame.torch_nets.LatentODE(2, 2)
    optimizer, meter = torch.optim.Adam(model.parameters(), lr=0.01), frame.Meter(model.field)

    def solve(z0: Tensor, visits: Any) -> Tensor:
        return ode.odeint(model.field, z0, visits.times[0]).permute(1, 0, 2)

    for _ in range(iterations):
        with meter:
            optimizer.zero_grad()
            meter.backward(model.loss(seen, solve, 0.3))
            optimizer.step()
    return meter, model.held_out_error(held_out, solve), "held-out mean squared error"


if __name__ == "__main__":
    frame.main(train, 150, __doc__)
