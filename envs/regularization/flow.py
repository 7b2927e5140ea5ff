"""Many small neural differential equations as one: each lane has weights, data, and a tolerance of its own.

The field of a lane is W2 tanh(W1 [y, t] + b1) + b2, with an outer tanh where the lane's is bounded, on states of
`WIDTH` numbers; a linear head reads y(1).  All weights of a lane are one row of a tensor (lanes, `WEIGHTS`).  A lane's
batch is one differential equation with one step size, as in A. Pal et al., ICML 2021 (PMLR 139:8325-8335), and the
lanes are the samples of one solve of ours, with steps and status per sample.

Smaller models are padded with zeros, which stay zero: states of `features` columns and batches of fewer rows have no
slope beyond them, and a lane's tolerance is multiplied by the root of the share in use, so that the error norm is that
of the numbers in use alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from .instances import CLASSES, HIDDEN, WIDTH

Tensor = torch.Tensor
_SHAPES = {
    "w1": (HIDDEN, WIDTH + 1), "b1": (1, HIDDEN), "w2": (WIDTH, HIDDEN), "b2": (1, WIDTH),
    "head": (CLASSES, WIDTH), "bias": (1, CLASSES),
}  # fmt: skip
SIZES = {name: int(np.prod(shape)) for name, shape in _SHAPES.items()}
#: how many weights a lane has, and how many of them, the first, are the field's
WEIGHTS = sum(SIZES.values())
FIELD = sum(SIZES[name] for name in ("w1", "b1", "w2", "b2"))


@dataclass(frozen=True)
class Lanes:
    """Constants of the lanes, tensors: features, classes (lanes,) long; bounded (lanes,) bool; columns (lanes, WIDTH),
    one where a column is in use; outputs (lanes, CLASSES) bool, those of the head in use; tolerance (lanes,)."""

    features: Tensor
    classes: Tensor
    bounded: Tensor
    columns: Tensor
    outputs: Tensor
    tolerance: Tensor


def weights(theta: Tensor) -> dict[str, Tensor]:
    """The parts of (lanes, WEIGHTS), each (lanes, *shape)."""
    parts = theta.split(list(SIZES.values()), 1)
    return {name: part.view(-1, *_SHAPES[name]) for name, part in zip(SIZES, parts, strict=True)}


def weights_in_use(features: int, hidden: int, outputs: int) -> np.ndarray:
    """(WEIGHTS,) bool: those of a lane's weights that its model has."""
    used = {name: np.zeros(shape, np.bool_) for name, shape in _SHAPES.items()}
    used["w1"][:hidden, :features] = used["w1"][:hidden, -1:] = used["b1"][:, :hidden] = True
    used["w2"][:features, :hidden] = used["b2"][:, :features] = True
    used["head"][:outputs, :features] = used["bias"][:, :outputs] = True
    return np.concatenate([u.ravel() for u in used.values()])


def initial(uniform: np.ndarray, features: int, hidden: int, outputs: int) -> np.ndarray:
    """Weights (WEIGHTS,) of a lane from as many uniform numbers in [0, 1): those of X. Glorot and Y. Bengio (AISTATS
    2010), biases zero, zero where not in use."""
    fans = {"w1": features + 1 + hidden, "w2": hidden + features, "head": features + outputs}
    bound = np.concatenate([np.full(n, np.sqrt(6.0 / fans[k]) if k in fans else 0.0) for k, n in SIZES.items()])
    return np.where(weights_in_use(features, hidden, outputs), bound * (2.0 * uniform - 1.0), 0.0)


class Flow:
    """The field of all lanes at once, and its head; `rows` (lanes, batch) is one where a row is in use."""

    def __init__(self, theta: Tensor, lanes: Lanes, rows: Tensor) -> None:
        self.parts, self.lanes = weights(theta), lanes
        self.live = rows[:, :, None] * lanes.columns[:, None, :]
        share = self.live.flatten(1).sum(1) / self.live[0].numel()
        #: (lanes, 1, 1)
        self.tolerance = (lanes.tolerance * share.sqrt()).view(-1, 1, 1)
        self.calls = 0

    def __call__(self, t: Tensor, y: Tensor) -> Tensor:
        p = self.parts
        time = t.to(y.dtype).reshape(-1, 1, 1)
        self.calls += 1
        # W1's last column is that of the time
        inner = torch.baddbmm(p["b1"] + time * p["w1"][:, None, :, -1], y, p["w1"][:, :, :-1].transpose(1, 2))
        slope = torch.baddbmm(p["b2"], torch.tanh(inner), p["w2"].transpose(1, 2))
        return torch.where(self.lanes.bounded.view(-1, 1, 1), torch.tanh(slope), slope) * self.live

    def outputs(self, y: Tensor) -> Tensor:
        """(lanes, batch, CLASSES), very negative where a class is not in use."""
        out = torch.baddbmm(self.parts["bias"], y, self.parts["head"].transpose(1, 2))
        return torch.where(self.lanes.outputs[:, None, :], out, -1e9)


def loss_and_quality(out: Tensor, y: Tensor, rows: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
    """(lanes,) the loss, and the quality as a loss in [0, ...), from outputs, targets y (lanes, batch) and rows in use.

    Classes: cross-entropy, and one minus the mean probability of the right class, a smooth share of errors.  Numbers:
    the mean squared error, both; targets have variance one over the training rows.
    """
    count = rows.sum(1)
    number = classes == 0
    logs = out.log_softmax(2).gather(2, y.clamp(0, CLASSES - 1).long()[:, :, None])[:, :, 0]
    squared = (out[:, :, 0] - y) ** 2
    loss = torch.where(number[:, None], squared, -logs)
    quality = torch.where(number[:, None], squared, 1.0 - logs.exp())
    return (loss * rows).sum(1) / count, (quality * rows).sum(1) / count
