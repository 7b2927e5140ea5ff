"""torchdiffeq's odenet_mnist.py on scikit-learn's digits: a classifier with an ODE block, small.

    python benchmarks/examples/odenet_digits.py --library torchdiffeq|stepsmith [--seed 0] [--iterations 400]

As there: two convolutions with the time as one more channel and three group norms in the field
(benchmarks/foreign/torch_nets.py), odeint on [0, 1] with tolerances 1e-3 in float32, gradient descent with momentum .9
at .1, a tenth of it after 60, 100 and 140 of 160 parts of the training.  Reduced: images of 8 x 8, two convolutions
down to 6 x 6, 16 channels for 64, batches of 32 for 128, 400 iterations.
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
    norm = frame.torch_nets.norm(CHANNELS)
    model.down = nn.Sequential(nn.Conv2d(1, CHANNELS, 3), norm, nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))
    train_set, test_set = (images[TEST:], labels[TEST:]), (images[:TEST], labels[:TEST])
    return fit(ode, model, train_set, test_set, seed, iterations, 32)


if __name__ == "__main__":
    frame.main(train, 400, __doc__)
