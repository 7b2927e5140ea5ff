"""A small dense network as plain arrays: what a schedule holds beside its numbers, and how torch computes it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..integrators.core import options

Tensor = torch.Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda z: z,
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
}


@dataclass(frozen=True, eq=False)
class Network:
    """Layers (weight (n_out, n_in), bias (n_out,), activation), arrays in float64.  ValueError for what does not fit.

    role    "correction": (x_i, u_i, share of the way) of a sample, flat, to what is added to the end of its step,
            divided by the step to the power `order` (`hypersolver`).
            "clock": what `clock.observe` sees to the size of the next step (`policy`).
    order   of the power, 0 for a clock.
    shared  whether a clock sees the mean over the batch, and gives all samples the same time.
    """

    role: str
    layers: tuple[tuple[np.ndarray, np.ndarray, str], ...]
    order: int = 0
    shared: bool = False

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"the role of a network must be one of {', '.join(ROLES)}, got {options.shown(self.role)}")
        if not self.layers:
            raise ValueError("a network must have a layer")
        width = self.layers[0][0].shape[-1]
        for i, (weight, bias, activation) in enumerate(self.layers):
            if weight.ndim != 2 or bias.ndim != 1 or weight.shape != (len(bias), width):
                raise ValueError(f"layer {i} of a network must have {width} inputs, got {weight.shape}, {bias.shape}")
            if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
                raise ValueError(f"layer {i} of a network holds values that are not finite")
            if activation not in ACTIVATIONS:
                raise ValueError(f"layer {i} of a network has the unknown activation {options.shown(activation)}")
            width = len(bias)

    @property
    def inputs(self) -> int:
        """Numbers that it sees."""
        return self.layers[0][0].shape[1]

    @property
    def outputs(self) -> int:
        """Numbers that it gives."""
        return len(self.layers[-1][1])

    def on(self, like: Tensor) -> Callable[[Tensor], Tensor]:
        """(..., inputs) to (..., outputs), with weights of the dtype and on the device of `like`."""
        made = [
            (torch.as_tensor(w).to(like), torch.as_tensor(b).to(like), ACTIVATIONS[activation])
            for w, b, activation in self.layers
        ]

        def call(z: Tensor) -> Tensor:
            for weight, bias, activate in made:
                z = activate(torch.nn.functional.linear(z, weight, bias))
            return z

        return call


ROLES = ("correction", "clock")


def of_module(role: str, module: torch.nn.Sequential, order: int = 0, shared: bool = False) -> Network:
    """The network of a torch `Sequential` of `Linear` layers with Tanh or SiLU between them."""
    names = {torch.nn.Tanh: "tanh", torch.nn.SiLU: "silu"}
    found: list[list[Any]] = []
    for part in module:
        if isinstance(part, torch.nn.Linear):
            arrays = [p.detach().double().cpu().numpy().copy() for p in (part.weight, part.bias)]
            found.append([*arrays, "linear"])
        else:
            found[-1][2] = names[type(part)]
    return Network(role, tuple((w, b, a) for w, b, a in found), order, shared)


def dense(widths: Sequence[int], activation: type[torch.nn.Module], zero_last: bool = True) -> torch.nn.Sequential:
    """A torch network of these widths, whose last layer is linear and gives zeros at first where `zero_last`."""
    parts: list[torch.nn.Module] = []
    for n_in, n_out in zip(widths[:-1], widths[1:], strict=True):
        parts += [torch.nn.Linear(n_in, n_out), activation()]
    last = parts[-2]
    if zero_last and isinstance(last, torch.nn.Linear):
        torch.nn.init.zeros_(last.weight)
        torch.nn.init.zeros_(last.bias)
    return torch.nn.Sequential(*parts[:-1])
