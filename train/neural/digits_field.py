"""A small neural ODE trained on scikit-learn's digits: the demo's last part, and a trained field to measure controllers
on.

    y(0) = pixels / 16,    y' = W2 tanh(W1 y + b1) + b2  on [0, 1],    logits = head(y(1))

The 8x8 digits are 1797 images in 10 classes (E. Alpaydin, C. Kaynak, UCI Machine Learning Repository, 1998); a quarter,
drawn once, is held out.  Logistic regression alone reaches 96 % on it: good for showing the mechanics, no evidence of
what a flow is worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ...controllers.resolve import controller as resolve
from ...integrators.neural import odeint

DIM, CLASSES = 64, 10


class Field(torch.nn.Module):
    """W2 tanh(W1 y + b1) + b2 over rows of 64; `calls` counts its evaluations."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inner, self.outer, self.calls = torch.nn.Linear(DIM, hidden), torch.nn.Linear(hidden, DIM), 0

    def forward(self, t: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.outer(torch.tanh(self.inner(y)))


@dataclass
class TrainedField:
    """What `digits_demo` leaves.

    field, head       the trained modules, float64
    y0, labels        held-out images (n, 64) float64 in [0, 1] and their classes (n,) int64
    accuracy          share of held-out images classified right
    nfev              evaluations of the field in training, replays included, backward passes excluded
    seconds           wall clock of the training
    history           one dict an epoch: epoch, loss, accuracy, and nfev, naccept, nreject of one solve of the held-out
                      images
    """

    field: Field
    head: torch.nn.Linear
    y0: torch.Tensor
    labels: torch.Tensor
    accuracy: float = 0.0
    nfev: int = 0
    seconds: float = 0.0
    history: list[dict] = field(default_factory=list)

    def weights(self) -> dict[str, np.ndarray]:
        """W1 (hidden, 64), b1 (hidden,), W2 (64, hidden), b2 (64,), head_w (10, 64), head_b (10,): float64 copies."""
        layers = {"W1": self.field.inner.weight, "b1": self.field.inner.bias, "W2": self.field.outer.weight}
        layers |= {"b2": self.field.outer.bias, "head_w": self.head.weight, "head_b": self.head.bias}
        return {name: p.detach().numpy().copy() for name, p in layers.items()}


def digits() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Training images (n, 64) float64 in [0, 1], their classes (n,) int64, and the same of the held-out ones.

    The split is always the same.  Needs scikit-learn.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    x, labels = torch.from_numpy(data.data / 16.0), torch.from_numpy(data.target.astype(np.int64))
    rows = torch.from_numpy(np.random.default_rng(0).permutation(len(x)))
    train, held = rows[len(x) // 4 :], rows[: len(x) // 4]
    return x[train], labels[train], x[held], labels[held]


def _measured(trained: TrainedField, span: torch.Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """Accuracy on the held-out images, and what one solve of them takes."""
    with torch.no_grad():
        sol = odeint(trained.field, trained.y0, span, **options)
        right = trained.head(sol.y[-1]).argmax(1) == trained.labels
    counts = {"nfev": sol.stats.nfev, "naccept": sol.stats.naccept, "nreject": sol.stats.nreject}
    return {"accuracy": right.double().mean().item(), **counts}


def digits_demo(
    epochs: int = 12,
    batch: int = 128,
    hidden: int = 64,
    method: str = "tsit5",
    controller: object = "pi34",
    rtol: float = 1e-3,
    atol: float = 1e-3,
    lr: float = 1e-2,
    seed: int = 0,
    log: Callable[[dict], None] | None = None,
) -> TrainedField:
    """Train the neural ODE through `odeint` (discrete adjoint, one step size a batch), a few seconds on one core.

    epochs, batch         how often all training images are seen, and how many at a time
    hidden                width of the field
    method, controller    of the solves; the controller is an object or a name
    rtol, atol            of the solves
    lr                    learning rate of Adam, which falls to 0 along a cosine
    seed                  of weights and order
    log                   called with each epoch's row of the history

    The same seed gives the same weights, and the global generator of torch is left as it was.  ValueError if `epochs`
    or `batch` is below 1.
    """
    if epochs < 1 or batch < 1:
        raise ValueError(f"epochs and batch must be at least 1, got {epochs} and {batch}")
    law = resolve(controller) if isinstance(controller, str) else controller
    x, labels, x_held, labels_held = digits()
    began = time.perf_counter()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net, head = Field(hidden).double(), torch.nn.Linear(DIM, CLASSES).double()
    order = torch.Generator().manual_seed(seed)
    parameters = [*net.parameters(), *head.parameters()]
    optimiser = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-len(x) // batch))
    span = torch.tensor([0.0, 1.0], dtype=torch.float64)
    result = TrainedField(net, head, x_held, labels_held)
    options: dict[str, Any] = {
        "method": method, "controller": law, "rtol": rtol, "atol": atol, "per_sample": False, "heuristics": False,
    }  # fmt: skip

    for epoch in range(1, epochs + 1):
        total, before = 0.0, net.calls
        for rows in torch.randperm(len(x), generator=order).split(batch):
            sol = odeint(net, x[rows], span, **options)
            if not sol.success:
                raise RuntimeError(f"the solve failed in epoch {epoch}: {sol.message}")
            loss = torch.nn.functional.cross_entropy(head(sol.y[-1]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(rows)
        result.nfev += net.calls - before
        result.history.append({"epoch": epoch, "loss": total / len(x), **_measured(result, span, options)})
        if log is not None:
            log(result.history[-1])
    result.accuracy, result.seconds = result.history[-1]["accuracy"], time.perf_counter() - began
    return result
