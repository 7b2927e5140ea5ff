"""torchdiffeq's odenet_mnist.py on scikit-learn's digits: a classifier with an ODE block, small.

    python benchmarks/examples/odenet_digits.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 60]

As there: two convolutions with the time as one more channel and three group norms in the field
(benchmarks/foreign/torch_nets.py), odeint on [0, 1] with tolerances 1e-3 in float32, batches of 128, gradient descent
at .1 with momentum .9.  Reduced: images of 8 x 8, one convolution down to 6 x 6, 16 channels for 64, 60 iterations.
"""

from __future__ import annotations

from typing import Any

import frame
import torch
from odenet_mnist import fit
from sklearn.datasets import load_digits
from torch import nn

CHANNELS, TEST = 16, 397


def train(ode: Any, seed: int, iterations: int) -> frame.Trained:
    found = load_digits()
    images = torch.from_numpy(found.data).float().reshape(-1, 1, 8, 8) / 16.0
    labels = torch.from_numpy(found.target)
    model = frame.torch_nets.ImageNet(CHANNELS)
    model.down = nn.Conv2d(1, CHANNELS, 3)
    train_set, test_set = (images[TEST:], labels[TEST:]), (images[:TEST], labels[:TEST])
    return fit(ode, model, train_set, test_set, seed, iterations)


if __name__ == "__main__":
    frame.main(train, 60, __doc__)
