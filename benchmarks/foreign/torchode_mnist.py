"""torchdiffeq's ODE-net on MNIST-5k, trained through torchode, with its own steps or with ours.

    python benchmarks/foreign/torchode_mnist.py [--controller pi34] [--seed 0] [--quick] [--out FILE]

The model and the training of torchdiffeq_mnist.py.  Every image has its own steps, and a call of the field is for the
whole batch until the last image has arrived: evaluations are those calls, in training.  Accepted and rejected attempts
are an image's, the mean over the batch.
"""

from __future__ import annotations

from typing import Any

import cell
import data
import torch
import torch_nets
import torchode
import torchode_solve


def train(
    seed: int, controller: str | None, rtol: float, atol: float, task: str = "mnist", quick: bool = False
) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    images, labels, test_images, test_labels, batches, per_epoch = data.images(seed, quick)
    images, labels, test_images, test_labels = map(torch.from_numpy, (images, labels, test_images, test_labels))
    model = torch_nets.ImageNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def flat(t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return model.field(t, y.unflatten(1, (-1, 6, 6))).flatten(1)

    term = torchode.ODETerm(flat)
    step = torchode.Dopri5(term=term)
    adjoint = torchode.AutoDiffAdjoint(step, torchode.IntegralController(atol, rtol, term=term))
    if controller is not None:
        sizes = cell.chosen(controller).for_torchode(atol, rtol, term=term, warm_start=True, even_steps=True)
        adjoint = sizes.solver(step)
    solver = torchode_solve.Solver(adjoint)

    def solve(y: torch.Tensor) -> torch.Tensor:
        start = torch.zeros(len(y))
        return solver(y.flatten(1), start, start + 1.0).ys[:, -1].view_as(y)

    clock, losses = cell.Clock(), []
    for rows in batches:
        x, label = images[rows], labels[rows]
        with clock:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x, solve), label)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())

    counted = {"evaluations": model.field.calls, "backward": 0, **solver.attempts()}
    with torch.no_grad():
        right = sum(
            int((model(x, solve).argmax(1) == label).sum())
            for x, label in zip(test_images.split(250), test_labels.split(250), strict=True)
        )
    return cell.report(
        clock, losses, per_epoch, **counted, quality=right / len(test_labels), quality_name="test accuracy"
    )


if __name__ == "__main__":
    cell.main("torchode", ("mnist",), train, (1e-3, 1e-3), __doc__)
