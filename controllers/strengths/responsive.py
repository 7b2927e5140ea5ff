"""A linear layer that knows how its weights would respond to another strength of the regulariser."""

from __future__ import annotations

import math
from typing import Any

import torch

from ...integrators.core import options

Tensor = torch.Tensor


class Responsive(torch.nn.Module):
    """x (..., n_in) -> x W0^T + b0 + a v * (x W1^T + b1), of shape (..., n_out).

    W0 and b0 are those of `linear`, a `torch.nn.Linear` (with its bias or without); W1 (n_out, n_in), b1 (n_out) and
    the scale of each row v (n_out) are new weights.  a is the logarithm l of the strength, in training mode with its
    perturbation: `best_response(layer)` sets both.  v is zero at first, so that the layer begins as `linear`.

    The first-order best response of Self-Tuning Networks (M. MacKay et al., ICLR 2019, arXiv:1903.03088, section 3.1:
    W_elem + (V lambda) * W_hyper by rows) to one hyperparameter, with one scale for weights and bias.

    log_strength    l, a buffer: a model that is saved and loaded predicts what it predicted.
    """

    log_strength: Tensor

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        if not isinstance(linear, torch.nn.Linear):
            raise options.refuse("linear", "a torch.nn.Linear", linear)
        self.linear = linear
        weight = linear.weight
        bound = 1.0 / math.sqrt(linear.in_features)  # as torch draws those of a Linear
        self.weight = torch.nn.Parameter(torch.empty_like(weight).uniform_(-bound, bound))
        self.bias = None if linear.bias is None else torch.nn.Parameter(torch.empty_like(linear.bias).zero_())
        self.row_scale = torch.nn.Parameter(torch.zeros_like(weight[:, 0]))
        self.register_buffer("log_strength", torch.zeros((), dtype=weight.dtype, device=weight.device))
        self.spread, self.draw = 0.0, 0.0
        # zeros that stand for small changes of l and of s: the gradients in them are those in l and s
        self.probes = [torch.zeros((), dtype=torch.float64, requires_grad=True) for _ in range(2)]

    def set(self, log_strength: float, spread: float, draw: float) -> None:
        """l, the standard deviation s of its perturbation, and the perturbation in units of s."""
        # a new tensor: graphs of this iteration hold the old one
        self.log_strength = torch.full_like(self.log_strength, log_strength)
        self.spread, self.draw = spread, draw

    def forward(self, x: Tensor) -> Tensor:
        at: Any = self.log_strength + self.probes[0]
        if self.training:
            at = at + (self.spread + self.probes[1]) * self.draw
        response = torch.nn.functional.linear(x, self.weight, self.bias)
        return self.linear(x) + at.to(x.dtype) * self.row_scale * response
