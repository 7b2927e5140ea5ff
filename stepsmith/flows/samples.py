"""What `sample` returns."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..integrators.core.brief import Brief

Tensor = torch.Tensor


@dataclass(frozen=True, repr=False)
class Samples(Brief):
    """Samples and how they were made.

    y           (B, *features) in the noise's dtype: the states at the last time, or Tweedie's estimates from them; NaN
                in samples that failed.
    nfe         evaluations of the network for a sample: of a method with steps of each sample's own, the mean.
    t           the times (N,), float64, in the time of the model's process; of a method that chooses its steps, the two
                ends, or those that were asked for.
    trajectory  (N, B, *features), the states at `t`, or None where it was not asked for.
    success     whether every sample is finite and reached the end.
    message     one line saying what happened.
    denoised    whether y are Tweedie's estimates at t[-1], the last of the evaluations.
    failed      (B,) bool, the samples that failed.
    nfe_per_sample
                (B,) int64.
    naccept, nreject
                accepted and rejected steps, sums over the samples; of a method on a grid its steps, and 0.
    """

    y: Tensor
    nfe: float
    t: Tensor
    trajectory: Tensor | None
    success: bool
    message: str
    denoised: bool
    failed: Tensor
    nfe_per_sample: Tensor
    naccept: int
    nreject: int


class Counter:
    """A network that counts its calls."""

    def __init__(self, net: object) -> None:
        self.net = net
        self.calls = 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        return self.net(x, t)  # type: ignore[operator]
