"""torchdiffeq's odenet_mnist.py on MNIST-5k: a classifier with an ODE block.

    python benchmarks/examples/odenet_mnist.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 800]

As there: convolutions down to 6 x 6, two convolutions with the time as one more channel and three group norms in the
field (benchmarks/foreign/torch_nets.py), odeint on [0, 1] with tolerances 1e-3 in float32, gradient descent with
momentum .9 at .1, a tenth of it after 60, 100 and 140 of 160 parts of the training.  Reduced: 16 channels for 64,
batches of 32 for 128, no augmentation, 800 iterations.
"""

from __future__ import annotations

from typing import Any

import frame
import numpy as np
import torch
from torch import Tensor, nn

TOLERANCE, RATE = 1e-3, 0.1
#: shares of the training after which the rate is a tenth of what it was
DECAYS = 60 / 160, 100 / 160, 140 / 160


def fit(
    ode: Any,
    model: nn.Module,
    train_set: tuple[Tensor, Tensor],
    test_set: tuple[Tensor, Tensor],
    seed: int,
    iterations: int,
    batch: int,
) -> frame.Trained:
    """Train the classifier `model` on batches of `batch` images; the sets are images and labels."""
    t = torch.tensor([0.0, 1.0])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=0.9)
    meter, rng, rows = frame.Meter(model.field), np.random.default_rng(seed), np.zeros(0, int)

    def solve(y: Tensor) -> Tensor:
        return ode.odeint(model.field, y, t, rtol=TOLERANCE, atol=TOLERANCE)[1]

    for i in range(iterations):
        with meter:
            optimizer.param_groups[0]["lr"] = RATE * 0.1 ** sum(i >= share * iterations for share in DECAYS)
            if len(rows) < batch:  # the incomplete last batch of an epoch is left out
                rows = rng.permutation(len(train_set[0]))
            chosen, rows = rows[:batch], rows[batch:]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(train_set[0][chosen], solve), train_set[1][chosen])
            meter.backward(loss)
            optimizer.step()
    with torch.no_grad():
        pairs = zip(test_set[0].split(250), test_set[1].split(250), strict=True)
        right = sum(int((model(x, solve).argmax(1) == label).sum()) for x, label in pairs)
    return meter, right / len(test_set[1]), "test accuracy"


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    images, labels, test_images, test_labels, *_ = frame.data.images(seed, quick=True)
    images, labels, test_images, test_labels = map(torch.from_numpy, (images, labels, test_images, test_labels))
    model = frame.torch_nets.ImageNet(16)
    return fit(ode, model, (images, labels), (test_images, test_labels), seed, iterations, 32)


if __name__ == "__main__":
    frame.main(train, 800, __doc__)
