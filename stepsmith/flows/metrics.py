"""How good samples are.

The paired error compares samples with the model's own fine solution from the same noise: it sees the sampler alone, and
goes on falling where distances between sets of samples are already at their noise.  The energy distance compares sets
with data, and guards against samplers that agree with a bad fine solution.
"""

from __future__ import annotations

from typing import Any

import torch

from ..integrators.core import options
from .model import Model
from .sampling import sample

Tensor = torch.Tensor


def fine(model: Model, x: Tensor, tol: float = 1e-5) -> Tensor:
    """The model's fine solution from the noise x (B, *features), as `sample` ends it: "tsit5" at rtol = atol = tol.

    RuntimeError where a sample fails.
    """
    out = sample(model, x, "tsit5", rtol=tol, atol=tol)
    if not out.success:
        raise RuntimeError(f"the fine solution failed: {out.message}")
    return out.y


def paired_error(y: Tensor, exact: Tensor) -> float:
    """The root mean square of y - exact, in per cent of that of exact; both (B, *features).  NaN where y has some."""
    if y.shape != exact.shape:
        raise options.OptionError(f"y must have the shape of exact, {tuple(exact.shape)}, got {tuple(y.shape)}")
    off = (y - exact).double().square().mean().sqrt()
    return float(100.0 * off / exact.double().square().mean().sqrt())


def energy_distance(x: Any, y: Any) -> float:
    """2 E|X - Y| - E|X - X'| - E|Y - Y'| from two sets of draws, x (n, *features) and y (m, *features), unbiased: pairs
    of a draw with itself do not count, and the value may be a little below zero (G. Szekely, M. Rizzo, 2004).

    OptionError where the features differ, or a set has fewer than two draws.
    """
    one, two = (torch.as_tensor(v).double().flatten(1) for v in (x, y))
    if one.shape[1] != two.shape[1] or min(len(one), len(two)) < 2:
        raise options.OptionError(
            f"x and y must be two or more draws of the same features, got {tuple(one.shape)} and {tuple(two.shape)}"
        )
    return float(2.0 * torch.cdist(one, two).mean() - _within(one) - _within(two))


def _within(x: Tensor) -> Tensor:
    """E|X - X'| over pairs of different draws."""
    return torch.pdist(x).mean()
