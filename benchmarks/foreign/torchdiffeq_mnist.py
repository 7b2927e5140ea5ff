"""torchdiffeq's ODE-net on MNIST-5k, trained through torchdiffeq, with its own steps or with ours.

    python benchmarks/foreign/torchdiffeq_mnist.py [--controller pi34] [--seed 0] [--alone] [--quick] [--out FILE]

torchdiffeq's example odenet_mnist.py with 32 channels, five epochs, no augmentation and a fixed learning rate:
tolerances 1e-3, batches of 128, gradients through the solver.  Evaluations are calls of the field in training, each for
a whole batch.
"""

from __future__ import annotations

from typing import Any

import cell
import data
import torch
import torch_nets
from torchdiffeq import odeint


def train(
    seed: int,
    controller: str | None,
    rtol: float,
    atol: float,
    task: str = "mnist",
    quick: bool = False,
    alone: bool = False,
) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    images, labels, test_images, test_labels, batches, per_epoch = data.images(seed, quick)
    images, labels, test_images, test_labels = map(torch.from_numpy, (images, labels, test_images, test_labels))
    model = torch_nets.ImageNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    times = torch.tensor([0.0, 1.0])

    method = "dopri5"
    if controller is not None:
        method = cell.chosen(controller).for_torchdiffeq("dopri5", warm_start=not alone, even_steps=not alone)

    def solve(y: torch.Tensor) -> torch.Tensor:
        return odeint(model.field, y, times, rtol=rtol, atol=atol, method=method)[-1]

    clock, losses = cell.Clock(), []
    for rows in batches:
        x, label = images[rows], labels[rows]
        with clock:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x, solve), label)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    field = model.field
    counted = {"evaluations": field.calls, "backward": 0, "accepted": field.accepted, "rejected": field.rejected}
    with torch.no_grad():
        right = sum(
            int((model(x, solve).argmax(1) == label).sum())
            for x, label in zip(test_images.split(250), test_labels.split(250), strict=True)
        )
        apart = torch_nets.solve_errors(field, model.down(test_images[:64]), times, rtol, atol, method)
    return cell.report(
        clock, losses, per_epoch, **counted, **apart, quality=right / len(test_labels), quality_name="test accuracy"
    )


if __name__ == "__main__":
    cell.main("torchdiffeq", ("mnist",), train, (1e-3, 1e-3), __doc__)
